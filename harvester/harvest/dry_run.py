"""What a run would do, in words; nothing is asked and nothing is written."""

from contextlib import closing

from harvester.core.text.sanitize import printable
from harvester.core.text.wording import counted, in_words
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Context, HarvestJob, Mode
from harvester.harvest.run import ledger_with_failures
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.paths import is_there, own_files
from harvester.storage.store import Store

MOST_SHOWN = 10
"""Works that are shown with their URLs."""

MAX_SHOWN = 1_000


async def dry_run(job: HarvestJob, context: Context, *, registers: bool) -> str:
    """What a run would do, in words; nothing is asked and nothing is written.

    Args:
        job: its account is not needed.
        context: what is passed in from outside.
        registers: whether the run would register the DOIs.
    """
    if job.mode is Mode.ONLY_FAILED:
        return _dry_run_of_failed(job)
    async with Store(None, None) as store:
        reading = await read_inputs(store, job.inputs, job.options, context, own=own_files(job.paths))
        done = await _done(job, store)
        first = await store.call(store.outbox.listed, 0, MOST_SHOWN) if registers else []
    due, limits = reading.works - done, job.upstream.limits
    text = (
        f"{reading.lines:,} lines: {reading.works:,} works, {reading.duplicates:,} duplicates, "
        f"{reading.invalid:,} invalid, {reading.blank:,} blank; {done:,} works are done already.\n"
        f"{due:,} works would be asked: at {limits.rate:g} requests a second that takes at least "
        f"{in_words(due / limits.rate)}"
    )
    if limits.daily_budget:
        text += f", and {due / limits.daily_budget:.1%} of a daily budget of {limits.daily_budget:,} requests"
    if registers:
        text += f".\nUp to {due:,} works would be registered with OPERAS, which cannot be undone; the first ones:\n"
        text += "\n".join(printable("  ".join(["", entry.doi, *entry.urls]), MAX_SHOWN) for entry in first)
        text += "\n`harvester register --dry-run` shows all of them"
    return text + ". Nothing was asked."


async def _done(job: HarvestJob, store: Store) -> int:
    """Works that the run would not ask for."""
    ledger = job.paths.ledger
    if ledger is None or not is_there(ledger) or job.mode is Mode.REFETCH:
        return 0
    return await store.call(store.ledger.done_in, ledger, failed_too=job.mode is not Mode.RETRY_FAILED)


def _dry_run_of_failed(job: HarvestJob) -> str:
    with closing(Database(ledger_with_failures(job.paths.ledger), read_only=True)) as database:
        failed = Ledger(database).figures().failures
    return f"{counted(failed, 'work')} failed and would be asked again. Nothing was asked."
