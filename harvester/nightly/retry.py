"""`harvester run --only-failed` on a ledger of nights: failed works are asked again as the night would have done it."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from harvester.core.errors import InputMissing
from harvester.harvest.job import Context, HarvestJob
from harvester.harvest.run import run
from harvester.nightly.job import MOVED
from harvester.nightly.revisit import Intervals
from harvester.nightly.state import NightlyState
from harvester.reports.summary import Summary
from harvester.storage.database import Database, WorkState
from harvester.storage.paths import is_there


def is_of_nights(ledger: Path) -> bool:
    """Whether a ledger is that of a nightly harvest; one that is not there yet, or empty, is none."""
    if not is_there(ledger):
        return False
    try:
        with closing(Database(ledger, read_only=True)) as database:
            return database.meta.night is not None
    except InputMissing:  # a run has only just made it
        return False


async def retry(job: HarvestJob, intervals: Intervals, context: Context, *, only_changed: bool) -> Summary:
    """Run a job on a ledger of nights, so that later nights know what it found.

    Args:
        job: what to do.
        intervals: how often the nights may ask for a work.
        context: what is passed in from outside.
        only_changed: leave records that did not change out of the output.

    Raises:
        StopRun: the run could not begin, or had to end without a summary.
    """
    job = replace(
        job,
        upstream=replace(job.upstream, compares=True),
        enrol_as=WorkState.RESTING,
        advice_if_moved=MOVED,
    )

    def state(database: Database) -> NightlyState:
        return NightlyState(database, intervals, only_changed=only_changed)

    return await run(job, context, hooks=[state])
