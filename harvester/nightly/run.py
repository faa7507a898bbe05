"""The nightly harvest: which works tonight, an output of their own, and what is left of the morning.

A night is a run over the works that were chosen for it; everything else rests. It is open from the moment the choice is
committed until its output is published. A night that was not finished is finished first, and only then is the next
one begun, with what is left of the budget: a missed night is not repeated.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

from harvester.config.credentials import Secret, require_email
from harvester.config.settings import Settings
from harvester.core.clock import ClockWatch
from harvester.core.errors import LockHeld, PromiseBroken, Stopped, TimeIsUp
from harvester.core.sanitize import printable
from harvester.core.stop import Stop, StoppableClock
from harvester.core.wording import in_words
from harvester.harvest.job import Context, Job
from harvester.harvest.run import Run, limits_of, read_inputs
from harvester.nightly.files import files_of, last_report, nights_ledger, output_of, page_of
from harvester.nightly.lifecycle import NightProgress
from harvester.nightly.plan import night_budget
from harvester.reports.anomalies import Campaign, NightDetails
from harvester.reports.failures import FailureGroups
from harvester.reports.night import morning
from harvester.reports.summary import Summary
from harvester.storage.ingest import Reading
from harvester.storage.lock import lock
from harvester.storage.paths import Paths, check_paths, job_paths
from harvester.storage.store import Store

log = logging.getLogger("harvester")


LOCK_SECONDS = 5.0
"""How often whoever waits for the lock looks."""


async def nightly(
    settings: Settings,
    password: Secret | None,
    world: Context,
    *,
    wait_lock: bool = False,
    watch: ClockWatch | None = None,
    ready: Callable[[], object] = lambda: None,
) -> Summary:
    """Finish the night that was not finished, if there is one, then begin and do tonight's.

    Args:
        settings: of the nights.
        password: of the OPERAS account.
        world: what is passed in from outside.
        wait_lock: wait for another run on the same ledger.
        watch: on the clock, looked at now and then by the caller.
        ready: called when the lists are read and the night is under way, or waits for the lock.

    Returns:
        The report of the last night that was worked on.

    Raises:
        StopRun: no night could begin, or one had to end without a report.
    """
    require_email(settings)
    ledger = nights_ledger(settings)
    check_paths(settings.input.files, Paths(None, ledger, None, None))
    async with AsyncExitStack() as stack:
        await _acquire_lock(stack, ledger, world, wait=wait_lock, ready=ready)
        store = Store(
            ledger,
            None,
            register=settings.operas.enabled,
            limits=limits_of(settings),
            only_changed=settings.output.only_changed,
        )
        nights = _Nights(
            settings, password, world, await stack.enter_async_context(store), watch or ClockWatch(world.clock), ready
        )
        return await _with_time_limit(nights, settings.nightly.time_limit, world)


async def _acquire_lock(
    stack: AsyncExitStack, ledger: Path, world: Context, *, wait: bool, ready: Callable[[], object]
) -> None:
    clock = StoppableClock(world.clock, world.stop)
    while True:
        try:
            stack.enter_context(lock(ledger))
        except LockHeld as held:
            if not wait:
                raise
            if not world.tally.waiting_for:
                log.info("waiting: %s", held)
                ready()  # systemd waits only so long for it, while the other run may take all night
            world.tally.waiting_for = str(held)
            try:
                await clock.sleep(LOCK_SECONDS)
            except Stopped:
                raise world.stop.reason or held from None
        else:
            world.tally.waiting_for = ""
            return


class _Nights:
    """The nights of one call, on an open store."""

    def __init__(
        self,
        settings: Settings,
        password: Secret | None,
        world: Context,
        store: Store,
        watch: ClockWatch,
        ready: Callable[[], object],
    ) -> None:
        self._settings, self._password, self._world, self._store = settings, password, world, store
        self._watch, self._ready = watch, ready

    async def all(self, stop: Stop) -> Summary:
        """Finish the open night, then do tonight's, unless that was the same, or somebody wants to end."""
        reading = await read_inputs(self._store, self._settings.input.files, self._settings, self._world)
        self._ready()
        unfinished = await self._store.open_night()
        if unfinished is None:
            return await self._tonight(reading)
        path = self._output().parent / unfinished
        log.info("%s was not finished; it is finished first", printable(path.name))
        await self._store.go_on_with(path)
        report = await self._night(path, reading)
        is_broken = report.exit.code == PromiseBroken.exit_code
        if report.figures.pending or is_broken or stop.requested or path == self._output():
            return report
        return await self._tonight(reading)

    async def _tonight(self, reading: Reading) -> Summary:
        now, path = self._world.clock.now(), self._output()
        if await self._store.is_over(path):
            await self._store.go_on_with(path)
            # Its summary stays that of the night: next morning is compared with it.
            return await self._run(replace(self._paths(path), summary=None)).over(reading)
        check_paths(self._settings.input.files, self._paths(path))
        selection = await self._store.begin_night(path, night_budget(self._settings, self._world), now)
        log.info(
            "tonight %s of %s works are asked; %s new events are expected",
            *(f"{number:,.0f}" for number in (len(selection.picks), reading.works, selection.expected)),
            extra={"asked": len(selection.picks), "works": reading.works, "expected_events": selection.expected},
        )
        return await self._night(path, reading)

    def _output(self) -> Path:
        return Path(output_of(self._settings.output.path or "", self._world.clock.now())).resolve()

    def _paths(self, path: Path) -> Paths:
        return job_paths(str(path), ledger=self._settings.ledger.path)

    def _run(self, paths: Paths) -> Run:
        tally = self._world.tally
        tally.paperbuzz_requests = tally.operas_requests = tally.retries = tally.bytes = 0  # each night has its own
        job = Job(self._settings.input.files, paths, register=self._settings.operas.enabled, wait=True, unattended=True)
        return Run(job, self._settings, self._password, self._world, self._store)

    async def _night(self, path: Path, reading: Reading) -> Summary:
        """Work on a night; there is a page each morning, and where nothing is left to be asked the night is over."""
        report = await self._run(self._paths(path)).over(reading)
        self._watch.look()
        await self._tell(path, report, await self._store.night_so_far())
        if not report.figures.pending:
            await self._prune(await self._store.end_night())
        return report

    async def _tell(self, path: Path, report: Summary, night: NightProgress) -> None:
        """Write the morning's page."""
        groups = FailureGroups()
        await self._store.each_failure(groups.add)
        pace, last = night.figures.pace, night.paces[-1] if night.paces else None
        medians = [each.median_seconds for each in night.paces if each.median_seconds is not None]
        extras = NightDetails(
            groups=groups.largest_first(),
            changed=night.figures.changed,
            truncated=pace.truncated,
            last_truncated=last.truncated if last else None,
            median_seconds=pace.median_seconds,
            last_median_seconds=last.median_seconds if last else None,
            usual_median_seconds=median(medians) if medians else None,
            clock_jumps_seconds=self._watch.jumps_seconds,
            predicted_events=night.night.expected if not report.figures.pending else None,
            found_events=round(night.night.found),
            daily_budget=self._settings.paperbuzz.daily_budget,
            campaign=Campaign(report.figures.works, night.covered, night.figures.first)
            if night.covered < report.figures.works
            else None,
            files={"page": str(page_of(path))},
        )
        page = morning(report, last_report(night.outputs), extras)
        await self._store.write(page_of(path), page.encode(errors="replace"))

    async def _prune(self, outputs: list[str]) -> None:
        """Delete what is older than `keep_nights`."""
        kept = outputs[-self._settings.nightly.keep_nights :]
        for old in set(outputs) - set(kept):
            for file in files_of(Path(old)):
                await self._store.forget(file)
        await self._store.keep_nights(kept)


async def _with_time_limit(nights: _Nights, limit_seconds: float, world: Context) -> Summary:
    """Stop in an orderly way when the time is up."""

    async def watch() -> None:
        with suppress(Stopped):
            await world.clock.sleep(limit_seconds)
            world.stop.request(
                TimeIsUp(
                    f"the time limit of {in_words(limit_seconds)} is reached. What was harvested is kept; "
                    "the rest keeps its place for the next night."
                )
            )

    watching = asyncio.create_task(watch())
    try:
        return await nights.all(world.stop)
    finally:
        watching.cancel()
