"""Jobs as the command line makes them of settings."""

from collections.abc import Sequence
from typing import Any

from harvester.config.credentials import Secret
from harvester.config.settings import Settings
from harvester.harvest.from_settings import account, list_options, upstream
from harvester.harvest.job import Account, HarvestJob, RegistrationJob
from harvester.storage.paths import Paths


def an_account(settings: Settings, password: str) -> Account:
    """The OPERAS account of the settings."""
    return account(settings, Secret(password))


def harvest_job(
    settings: Settings, inputs: Sequence[object], paths: Paths, password: str | None = None, **options: Any
) -> HarvestJob:
    """A harvest of some lists; with a password, its DOIs are registered."""
    return HarvestJob(
        inputs=tuple(map(str, inputs)),
        options=list_options(settings),
        paths=paths,
        upstream=upstream(settings),
        account=an_account(settings, password) if password else None,
        **options,
    )


def registration_job(settings: Settings, inputs: Sequence[object], paths: Paths, password: str) -> RegistrationJob:
    """A registration of some lists."""
    return RegistrationJob(tuple(map(str, inputs)), list_options(settings), paths, an_account(settings, password))
