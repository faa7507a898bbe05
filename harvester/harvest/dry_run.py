"""What a run would do, in words; nothing is asked and nothing is written."""

from contextlib import closing

from harvester.config.settings import Settings
from harvester.core.wording import in_words
from harvester.harvest.job import Context, Job
from harvester.harvest.run import ledger_with_failures, read_inputs
from harvester.storage.ledger import Ledger
from harvester.storage.store import Store


async def dry_run(job: Job, settings: Settings, world: Context) -> str:
    """What a run would do, in words; nothing is asked and nothing is written."""
    if job.only_failed:
        return _dry_run_of_failed(job)
    async with Store(None, None) as store:
        reading = await read_inputs(store, job.inputs, settings, world)
        ledger = job.paths.ledger
        is_continued = ledger is not None and ledger.exists() and not job.refetch
        done = await store.done_in(ledger, failed_too=not job.retry_failed) if ledger and is_continued else 0
        due = reading.works - done
        text = (
            f"{reading.lines:,} lines: {reading.works:,} works, {reading.duplicates:,} duplicates, "
            f"{reading.invalid:,} invalid, {reading.blank:,} blank; {done:,} works are done already.\n"
            f"{due:,} works would be asked: at {settings.paperbuzz.rate:g} requests a second that takes at least "
            f"{in_words(due / settings.paperbuzz.rate)}"
        )
        budget = settings.paperbuzz.daily_budget
        if budget:
            text += f", and {due / budget:.1%} of a daily budget of {budget:,} requests"
        if job.register:
            text += f".\nUp to {due:,} works would be registered with OPERAS, which cannot be undone"
        return text + ". Nothing was asked."


def _dry_run_of_failed(job: Job) -> str:
    with closing(Ledger(ledger_with_failures(job), read_only=True)) as ledger:
        failed = ledger.figures().failures
    return f"{failed:,} {'work' if failed == 1 else 'works'} failed and would be asked again. Nothing was asked."
