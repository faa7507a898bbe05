"""Run one night: choose works, harvest them into their own output, write the night report, prune old nights.

A night is a harvest of the works that were chosen for it; all other works rest. A night that was not finished is
finished first. Only then the next one is begun, with what is left of the budget. A night that was missed altogether is
not made up for.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

from harvester.config.credentials import require_email
from harvester.core.clock import ClockWatch
from harvester.core.errors import LockHeld, PromiseBroken, Stopped, TimeIsUp
from harvester.core.files import remove
from harvester.core.ownership import size_of
from harvester.core.stop import StoppableClock
from harvester.core.text.sanitize import printable
from harvester.core.text.wording import in_words
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Context
from harvester.harvest.run import Harvest
from harvester.lists.inputs import was_made_by_harvester
from harvester.nightly.files import files_of, output_of, refuse_taken
from harvester.nightly.job import NightlyJob, own_files_of_nights
from harvester.nightly.lifecycle import Nights
from harvester.nightly.plan import night_budget
from harvester.nightly.report import write_report
from harvester.nightly.state import NightlyState
from harvester.reports.summary import Summary
from harvester.storage.database import Database
from harvester.storage.ingest import Reading
from harvester.storage.lock import Lock, lock
from harvester.storage.paths import Paths, check_paths, job_paths
from harvester.storage.store import Store

log = logging.getLogger("harvester")


LOCK_SECONDS = 5.0
"""How often a run that waits for the lock tries to take it."""


async def nightly(
    job: NightlyJob,
    context: Context,
    *,
    wait_lock: bool = False,
    watch: ClockWatch | None = None,
    ready: Callable[[], object] = lambda: None,
) -> Summary:
    """Finish the night that was not finished, if there is one, then run tonight's.

    Args:
        job: of the nights.
        context: what is passed in from outside.
        wait_lock: wait for another run on the same ledger.
        watch: notices when the clock is set; the caller lets it look from time to time.
        ready: called when the lists are read, and before if the run has to wait for the lock.

    Returns:
        The summary of the last night that was worked on.

    Raises:
        StopRun: no night could begin, or one had to end without a summary.
    """
    require_email(job.harvest.upstream.email)
    check_paths(job.harvest.inputs, job.harvest.paths)

    def state(database: Database) -> NightlyState:
        return NightlyState(database, job.intervals, only_changed=job.only_changed)

    async with AsyncExitStack() as stack:
        held = await _acquire_lock(stack, job.ledger, context, wait=wait_lock, ready=ready)
        store = await stack.enter_async_context(Store(job.ledger, None, lock=held, stop=context.stop))
        nights = Nights(store, await store.join(state))
        runner = _NightRunner(job, context, store, nights, watch or ClockWatch(context.clock), ready)
        return await _with_time_limit(runner, job.time_limit, context)


async def _acquire_lock(
    stack: AsyncExitStack, ledger: Path, context: Context, *, wait: bool, ready: Callable[[], object]
) -> Lock:
    """Take the lock of the ledger for as long as the stack lives; wait for it if `wait` says so."""
    clock = StoppableClock(context.clock, context.stop)
    while True:
        try:
            held = stack.enter_context(lock(ledger))
        except LockHeld as other:
            if not wait:
                raise
            if not context.tally.waiting_for:
                log.info("waiting: %s", other)
                ready()  # systemd gives up after a while if nobody is ready, and the other run may take all night
            context.tally.waiting_for = str(other)
            try:
                await clock.sleep(LOCK_SECONDS)
            except Stopped:
                raise context.stop.reason or other from None
        else:
            context.tally.waiting_for = ""
            return held


class _NightRunner:
    """Runs the nights of one call, on an open store."""

    def __init__(
        self,
        job: NightlyJob,
        context: Context,
        store: Store,
        nights: Nights,
        watch: ClockWatch,
        ready: Callable[[], object],
    ) -> None:
        self._job, self._context, self._store, self._nights = job, context, store, nights
        self._watch, self._ready = watch, ready

    async def run(self) -> Summary:
        """Finish the open night, then run tonight's, unless they are the same or the first had to stop."""
        harvest = self._job.harvest
        reading = await read_inputs(
            self._store,
            harvest.inputs,
            harvest.options,
            self._context,
            own=own_files_of_nights(self._job),
            enrol_as=harvest.enrol_as,
        )
        self._ready()
        path = await self._store.call(self._nights.resume, self._output().parent)
        if path is None:
            return await self._tonight(reading)
        log.info("%s was not finished; it is finished first", printable(path.name))
        summary = await self._night(path, reading)
        is_broken = summary.exit.code == PromiseBroken.exit_code
        if summary.figures.pending or is_broken or self._context.stop.requested or path == self._output():
            return summary
        return await self._tonight(reading)

    async def _tonight(self, reading: Reading) -> Summary:
        now, path = self._context.clock.now(), self._output()
        if await self._store.call(self._nights.reopen, path):
            # Tonight's works are done; this only registers what still waits. No summary is written: the next night is
            # to be compared with the one that the night itself wrote.
            return await self._harvest(replace(self._paths(path), summary=None)).run(reading)
        check_paths(self._job.harvest.inputs, self._paths(path))
        refuse_taken(path)
        budget = await night_budget(self._job, self._context)
        selection = await self._store.call(self._nights.begin, path, budget, now)
        log.info(
            "tonight %s of %s works are asked; %s new events are expected",
            *(f"{number:,.0f}" for number in (len(selection.picks), reading.works, selection.expected)),
            extra={"asked": len(selection.picks), "works": reading.works, "expected_events": selection.expected},
        )
        return await self._night(path, reading)

    def _output(self) -> Path:
        """The path of the output of a night that begins now."""
        return Path(os.path.realpath(output_of(self._job.output, self._context.clock.now())))

    def _paths(self, path: Path) -> Paths:
        return job_paths(str(path), ledger=self._job.ledger)

    def _harvest(self, paths: Paths) -> Harvest:
        self._context.tally.forget_requests()  # each night counts its own
        return Harvest(replace(self._job.harvest, paths=paths), self._context, self._store)

    async def _night(self, path: Path, reading: Reading) -> Summary:
        """Harvest the works of a night; end the night if none of them is left to be asked; then write its report.

        A night whose output is not what was written stays open: `harvester recover` needs to know that it is the last.
        """
        summary = await self._harvest(self._paths(path)).run(reading)
        self._watch.look()
        progress = await self._store.call(self._nights.progress)
        is_over = not summary.figures.pending and summary.exit.code != PromiseBroken.exit_code
        # Ended before anything is told of it: what is told is a courtesy, and must not keep a night from its end.
        outputs = await self._store.call(self._nights.end, path) if is_over else []
        await write_report(
            self._store,
            path,
            summary,
            progress,
            clock_jumps_seconds=self._watch.jumps_seconds,
            daily_budget=self._job.harvest.upstream.limits.daily_budget,
        )
        if is_over:
            await self._prune(outputs)
        return summary

    async def _prune(self, outputs: list[str]) -> None:
        """Delete the files of all but the last `keep_nights` nights."""
        kept = outputs[-self._job.keep_nights :]
        for old in set(outputs) - set(kept):
            for file in files_of(Path(old)):
                await self._store.call(_remove_ours, file)
        # After the files: if a crash comes before, their names are still known and they are deleted next time.
        await self._store.call(self._nights.keep, kept)


def _remove_ours(path: Path) -> None:
    """Delete a file of a night, unless somebody put something else in its place."""
    if not os.path.lexists(path):
        return
    is_file = path.is_file() and not path.is_symlink()
    if is_file and (not size_of(path) or was_made_by_harvester(str(path))):
        remove(path)
    else:
        log.warning("%s is no file of a night any more; it is left where it is", printable(str(path)))


async def _with_time_limit(runner: _NightRunner, limit_seconds: float, context: Context) -> Summary:
    """Run the nights, and request a stop when the time limit is reached: answers under way are still committed."""

    async def watch() -> None:
        with suppress(Stopped):
            await context.clock.sleep(limit_seconds)
            context.stop.request(
                TimeIsUp(
                    f"the time limit of {in_words(limit_seconds)} is reached. What was harvested is kept; "
                    "the rest keeps its place for the next night."
                )
            )

    watching = asyncio.create_task(watch())
    try:
        return await runner.run()
    finally:
        watching.cancel()
