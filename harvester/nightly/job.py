"""The job of a nightly harvest, made from its settings."""

from dataclasses import dataclass, replace
from pathlib import Path

from harvester.config.credentials import Secret
from harvester.config.settings import Settings
from harvester.core.clock import DAY_SECONDS
from harvester.harvest.from_settings import account, list_options, upstream
from harvester.harvest.job import HarvestJob
from harvester.nightly.files import files_of_nights, nights_ledger
from harvester.nightly.revisit import Intervals
from harvester.storage.database import WorkState
from harvester.storage.paths import Paths, own_files

MOVED = "Name another ledger in [ledger] path, or put base_url back."
"""What to do if the records that the nights know came from another base URL."""


@dataclass(frozen=True, slots=True)
class NightlyJob:
    """What every night is to do.

    Args:
        harvest: the harvest of each night, without its output.
        ledger: of all nights.
        output: template for the path of an output, with placeholders.
        intervals: how often a work may be asked.
        only_changed: leave records that did not change out of the output.
        time_limit: seconds that the nights of one call may take together.
        keep_nights: how many nights' files are kept.
        list_change: share of the list that may come, go or turn invalid without a question.
        accepts_list: a person accepts the list as it is now, however much it changed.
    """

    harvest: HarvestJob
    ledger: Path
    output: str
    intervals: Intervals
    only_changed: bool
    time_limit: float
    keep_nights: int
    list_change: float
    accepts_list: bool = False


def nightly_job(settings: Settings, password: Secret | None = None) -> NightlyJob:
    """Make the job of the nights from settings.

    Args:
        settings: of the nights.
        password: of the OPERAS account; None if nothing is to be registered.

    Raises:
        Misconfigured: the settings cannot be used for nights.
    """
    ledger = nights_ledger(settings)
    harvest = HarvestJob(
        inputs=settings.input.files,
        options=list_options(settings),
        paths=Paths(None, ledger, None, None),
        upstream=replace(upstream(settings), compares=True),
        account=account(settings, password) if password is not None else None,
        enrol_as=WorkState.RESTING,
        wait=True,
        unattended=True,
        advice_if_moved=MOVED,
    )
    return NightlyJob(
        harvest=harvest,
        ledger=ledger,
        output=settings.output.path or "",
        intervals=intervals(settings),
        only_changed=settings.output.only_changed,
        time_limit=settings.nightly.time_limit,
        keep_nights=settings.nightly.keep_nights,
        list_change=settings.nightly.list_change,
    )


def intervals(settings: Settings) -> Intervals:
    """How often a nightly harvest may ask for a work, in days."""
    return Intervals(settings.nightly.min_interval / DAY_SECONDS, settings.nightly.max_interval / DAY_SECONDS)


def own_files_of_nights(job: NightlyJob) -> list[Path]:
    """What the nights of a job write, and wrote: the ledger, and the files of each night that is there."""
    return [*own_files(job.harvest.paths), *files_of_nights(job.output)]
