"""The limits of the services, as the settings say them."""

from dataclasses import fields, replace

from harvester.config.limits import operas_limits, paperbuzz_limits
from harvester.config.settings import OperasSettings, PaperbuzzSettings, Settings
from harvester.core.limits import ServiceLimits

SETTINGS = Settings(
    paperbuzz=PaperbuzzSettings("https://api.example/v0/", "a@b.example", 1.5, 2.5, 3, 4, 5.5, 6, 7.5, 8),
    operas=OperasSettings(base_url="https://operas.example/api/", rate=9.5),
)


def test_each_limit_of_paperbuzz_is_the_setting_of_its_name() -> None:
    limits = paperbuzz_limits(SETTINGS)
    for each in fields(ServiceLimits):
        assert getattr(limits, each.name) == getattr(SETTINGS.paperbuzz, each.name), each.name


def test_operas_has_its_own_rate_the_patience_of_paperbuzz_and_no_daily_budget() -> None:
    limits = operas_limits(SETTINGS)
    assert limits == ServiceLimits("https://operas.example/api/", 9.5, patience=7.5)
    assert limits.daily_budget == 0
    assert operas_limits(replace(SETTINGS, paperbuzz=PaperbuzzSettings(patience=1.0))).patience == 1.0
