"""How a run ends: its failures file, its summary, and the exit code."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from harvester.core.clock import timestamp
from harvester.core.errors import (
    COMPLETE,
    TOO_MANY_FAILURES,
    DiskFailed,
    InputUnusable,
    LedgerLost,
    OutOfBudget,
    PipeClosed,
    PromiseBroken,
    StopRun,
)
from harvester.core.files import remove, write_atomically
from harvester.core.model import Figures
from harvester.core.tally import Tally
from harvester.core.text.sanitize import printable
from harvester.harvest.job import Context, HarvestJob, Mode
from harvester.records.kinds import FAILURES, SUMMARY
from harvester.records.lines import failure_line
from harvester.records.schema import SERVICES
from harvester.reports.summary import Exit, Summary, as_json, broken_identities
from harvester.storage.ingest import Reading
from harvester.storage.ledger import Ledger
from harvester.storage.output_file import partial_of
from harvester.storage.paths import Paths
from harvester.storage.store import Store

log = logging.getLogger("harvester")

REPORT_IT = "Nothing was deleted; please report this with the summary and the ledger."


def show(figures: Figures, tally: Tally, *, registers: bool) -> None:
    """Copy the ledger's figures into the tally."""
    tally.take_over(figures)
    if not registers:
        tally.registration_pending = 0


async def problem_of(work: Callable[[], Awaitable[None]], store: Store, paths: Paths) -> StopRun | None:
    """Work; returns what ended it early, to be told in the summary.

    Raises:
        DiskFailed, PipeClosed, LedgerLost: then there is nowhere to write a summary to.
    """
    if paths.summary and not await store.call(_stands, paths):  # that of an earlier run would pass for this one's
        await store.call(remove, paths.summary, SUMMARY)
    try:
        await work()
    except (DiskFailed, PipeClosed, LedgerLost):
        raise
    except StopRun as problem:
        return problem
    return None


def _stands(paths: Paths) -> bool:
    """Whether a finished output is there: as long as it is, its summary is, too."""
    return paths.output is not None and paths.output.exists()


class Summarizer:
    """Writes the failures file and the summary of a run.

    Args:
        store: open.
        paths: where they go.
        context: what is passed in from outside.
        started: when the run began.
        registers: whether it registers DOIs.
        harvests: whether it asks for records. For registration alone, the works that were never asked rest.
    """

    def __init__(
        self, store: Store, paths: Paths, context: Context, started: datetime, *, registers: bool, harvests: bool = True
    ) -> None:
        self._store, self._paths, self._context, self._started = store, paths, context, started
        self._registers, self._harvests = registers, harvests

    async def write(self, reading: Reading, figures: Figures, ending: Exit) -> Summary:
        """Write both, and return the summary.

        Args:
            reading: what the list held.
            figures: what the ledger says at the end.
            ending: how the run ended.
        """
        finished = self._context.clock.now()
        await self._write_failures()
        summary = self._summary(reading, figures, ending, finished)
        summary = checked(summary, broken_identities(summary))
        if self._paths.summary:
            await self._store.call(write_atomically, self._paths.summary, [as_json(summary)], SUMMARY)
        return summary

    def _summary(self, reading: Reading, figures: Figures, ending: Exit, finished: datetime) -> Summary:
        tally = self._context.tally
        return Summary(
            lines=reading.lines,
            duplicates=reading.duplicates,
            invalid=reading.invalid,
            blank=reading.blank,
            figures=self._told(figures),
            requests={name: tally.requests[name] for name in dict.fromkeys((*SERVICES, *tally.requests))},
            retries=tally.retries,
            bytes=tally.bytes,
            budget_left=tally.budget_left,
            started_at=timestamp(self._started),
            finished_at=timestamp(finished),
            duration_seconds=round((finished - self._started).total_seconds(), 3),
            files=self._files(figures),
            exit=ending,
            harvests=self._harvests,
            registers=self._registers,
        )

    def _told(self, figures: Figures) -> Figures:
        """What the ledger says, but nothing pending of which this run was not to do."""
        if not self._registers:
            figures = replace(figures, registration_pending=0, held_back=0)
        if not self._harvests:
            figures = replace(figures, pending=0, resting=figures.resting + figures.pending)
        return figures

    def _files(self, figures: Figures) -> dict[str, str]:
        paths = self._paths
        output = paths.output
        if figures.pending and output and not output.exists():
            output = partial_of(output)
        named = {"output": output, "failures": paths.failures, "ledger": paths.ledger, "summary": paths.summary}
        return {name: str(path) for name, path in named.items() if path}

    async def _write_failures(self) -> None:
        """Where no file takes the failures they are logged, so that each is accounted for."""
        ledger, path = self._store.ledger, self._paths.failures
        if path:
            await self._store.call(lambda: write_atomically(path, map(failure_line, ledger.failures()), FAILURES))
        else:
            await self._store.call(_log_failures, ledger)


def _log_failures(ledger: Ledger) -> None:
    for failure in ledger.failures(with_urls=True):
        log.warning("%s: %s", failure.origin, printable(failure.message), extra={"doi": failure.doi or ""})


def complete(reason: str) -> Exit:
    """The exit of a run that did all it was to do.

    Args:
        reason: says so in a sentence.
    """
    return Exit(COMPLETE, "complete", reason)


def exit_of(reason: StopRun) -> Exit:
    """The exit for an error that ended the run."""
    return Exit(reason.exit_code, reason.name, str(reason))


def exit_of_harvest(job: HarvestJob, figures: Figures, reason: StopRun | None, *, has_work: bool) -> Exit:
    """How a harvest ended: for a reason, with too many failures, or well.

    Args:
        job: what was asked for.
        figures: what the ledger says at the end.
        reason: what ended it early, or kept it from registering; None if nothing did.
        has_work: whether there was anything to do.
    """
    if reason is not None:
        return exit_of(reason)
    if job.unread:
        return _exit_of_unread(job.unread)
    limit = job.max_failures
    if limit is not None and figures.failures > limit:
        return Exit(
            TOO_MANY_FAILURES,
            "failures",
            f"Complete, but with {figures.failures:,} failures where {limit:,} are allowed.",
        )
    if job.mode is Mode.ONLY_FAILED:
        return _exit_of_failed(figures, has_work)
    if has_work:
        return complete("Complete: every DOI is accounted for.")
    if job.unattended:
        return complete("Nothing was left to be done; nothing was asked.")
    return complete("All of this was done before; nothing was asked. Start over with --refetch.")


def _exit_of_unread(unread: Sequence[StopRun]) -> Exit:
    """How a harvest ends that did all it could, but could not read all of its lists."""
    others = f" {len(unread) - 1:,} more could not be read either." if len(unread) > 1 else ""
    reason = f"{unread[0]}{others} All other lists were harvested."
    return Exit(InputUnusable.exit_code, InputUnusable.name, reason)


def _exit_of_failed(figures: Figures, has_work: bool) -> Exit:
    """How a run over failed works ends that nothing stopped."""
    done = "The failed DOIs were asked again." if has_work else "Nothing had failed; nothing was asked."
    if figures.pending:
        rest = f"{figures.pending:,} others are still to be asked: the same command without --only-failed goes on."
        return Exit(OutOfBudget.exit_code, OutOfBudget.name, f"{done} {rest}")
    return complete(done)


def checked(summary: Summary, broken: Sequence[str]) -> Summary:
    """The summary; if its accounting does not add up, this is how the run ended, whatever else happened."""
    if not broken:
        return summary
    reason = f"The accounting does not add up. These do not hold: {'; '.join(broken)}. {REPORT_IT}"
    return replace(summary, exit=Exit(PromiseBroken.exit_code, PromiseBroken.name, reason))
