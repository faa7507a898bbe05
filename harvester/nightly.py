"""The nightly harvest: which works tonight, an output of their own, and what is left of the morning.

A night is a run over the works that were chosen for it; everything else rests. It is open from the moment the choice is
committed until its output is published. A night that was not finished is finished first, and only then is the next
one begun, with what is left of the budget: a missed night is not repeated.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harvester.clock import Stop, StoppableClock
from harvester.config import Secret, require_email
from harvester.errors import LockHeld, Misconfigured, Stopped, StopRun, TimeIsUp
from harvester.harvest import Run, read_inputs, refuse_places
from harvester.job import Job, Paths, World, job_paths
from harvester.jsonl import output_format
from harvester.lock import lock
from harvester.metrics import write_metrics
from harvester.morning import Campaign, Extras, Groups, morning
from harvester.nightbook import Explanation
from harvester.ping import ping
from harvester.report import Report, from_json, in_words
from harvester.revisit import Limits, Selection
from harvester.sdnotify import notify, watchdog_seconds
from harvester.services import open_plain, requests_left
from harvester.settings import Settings
from harvester.store import NightsEnd, Reading, Store
from harvester.text import redacted
from harvester.visits import DAY_SECONDS

SHARE_FOR_RETRIES = 0.05
"""Of the budget that is left, kept for second attempts, so that a night with some faults still comes to its end."""

LOCK_SECONDS = 5.0
"""How often whoever waits for the lock looks."""

STATUS_SECONDS = 10.0
"""How often systemd is told how far it is."""

PLACES = ("{date}", "{run_id}")


async def nightly_and_tell(
    settings: Settings, password: Secret | None, world: World, environ: Mapping[str, str], *, wait_lock: bool = False
) -> Report:
    """A night, and everybody who wants to know is told how it goes and went; see `nightly`.

    Args:
        settings: of the nights.
        password: of the OPERAS account.
        world: what is passed in from outside.
        environ: tells whether systemd listens.
        wait_lock: wait for another run on the same ledger.
    """
    url, textfile = settings.metrics.ping_url, settings.metrics.textfile
    alive = asyncio.create_task(_say_alive(world, environ))
    async with open_plain() as transport:
        if url:
            await ping(transport, url, "start")
        try:
            report = await nightly(settings, password, world, wait_lock=wait_lock)
        except StopRun as problem:
            if url:
                await ping(transport, url, problem.exit_code, redacted(str(problem)))
            raise
        finally:
            alive.cancel()
            notify(environ, "STOPPING=1")
        if textfile:
            write_metrics(textfile, report)
        if url:
            await ping(transport, url, report.exit.code, redacted(report.exit.reason))
    return report


async def _say_alive(world: World, environ: Mapping[str, str]) -> None:
    """Tell systemd that we are ready, how far we are, and, as often as its watchdog wants, that we are still there."""
    pause = (watchdog_seconds(environ) or 2 * STATUS_SECONDS) / 2
    tally = world.tally
    notify(environ, "READY=1")
    while True:
        done = tally.results + tally.failures
        waiting = f", waiting for {tally.waiting_for}" if tally.waiting_for else ""
        notify(environ, "WATCHDOG=1", f"STATUS={done:,} of {done + tally.pending:,} works{waiting}")
        await asyncio.sleep(min(pause, STATUS_SECONDS))


@dataclass(frozen=True, slots=True)
class Plan:
    """What tonight would ask.

    Args:
        works: in the list.
        budget: requests that would be spent on them.
        selection: which, and why.
        covered: listed works harvested at least once.
        explanation: of the one DOI that was asked about, if it is listed.
    """

    works: int
    budget: int
    selection: Selection
    covered: int
    explanation: Explanation | None = None


async def plan(settings: Settings, world: World, doi: str | None = None) -> Plan:
    """Find out what tonight would ask, on a copy of the ledger; nothing is asked and nothing is changed.

    Args:
        settings: of the nights.
        world: its clock says when tonight is.
        doi: canonical, to be explained.

    Raises:
        StopRun: the list or the ledger cannot be read.
    """
    ledger = ledger_of(settings)
    now = world.clock.now()
    async with Store(None, None, limits=limits_of(settings)) as store:
        if ledger.exists():
            await store.copy_of(ledger)
        reading = await read_inputs(store, settings.input.files, settings, world)
        budget = _budget(settings, world, reading)
        return Plan(
            reading.works,
            budget,
            await store.planned(budget, now),
            await store.covered(),
            await store.explained(doi, now) if doi else None,
        )


async def nightly(settings: Settings, password: Secret | None, world: World, *, wait_lock: bool = False) -> Report:
    """Finish the night that was not finished, if there is one, then begin and do tonight's.

    Args:
        settings: of the nights.
        password: of the OPERAS account.
        world: what is passed in from outside.
        wait_lock: wait for another run on the same ledger.

    Returns:
        The report of the last night that was worked on.

    Raises:
        StopRun: no night could begin, or one had to end without a report.
    """
    require_email(settings)
    ledger = ledger_of(settings)
    output_of(settings.output.path or "", world.clock.now())
    refuse_places(settings.input.files, Paths(None, ledger, None, None))
    async with AsyncExitStack() as stack:
        await _locked(stack, ledger, world, wait=wait_lock)
        store = Store(
            ledger,
            None,
            register=settings.operas.enabled,
            landing_urls=settings.operas.urls_from_metadata,
            limits=limits_of(settings),
            only_changed=settings.output.only_changed,
        )
        nights = _Nights(settings, password, world, await stack.enter_async_context(store))
        return await _in_time(nights, settings.nightly.time_limit, world)


async def _locked(stack: AsyncExitStack, ledger: Path, world: World, *, wait: bool) -> None:
    clock = StoppableClock(world.clock, world.stop)
    while True:
        try:
            stack.enter_context(lock(ledger))
        except LockHeld as held:
            if not wait:
                raise
            world.tally.waiting_for = str(held)
            try:
                await clock.sleep(LOCK_SECONDS)
            except Stopped:
                raise world.stop.reason or held from None
        else:
            world.tally.waiting_for = ""
            return


def ledger_of(settings: Settings) -> Path:
    """The ledger of the nights.

    Raises:
        Misconfigured: it, the output or the inputs are not set.
    """
    for name, value in (("[input] files", settings.input.files), ("[output] path", settings.output.path)):
        if not value:
            raise Misconfigured(f"a nightly harvest needs {name} in its configuration.")
    if settings.ledger.path is None:
        raise Misconfigured(
            "a nightly harvest needs [ledger] path in its configuration: one ledger for all nights, while each night "
            "has an output of its own."
        )
    return settings.ledger.path


def limits_of(settings: Settings) -> Limits:
    """How often a work may be asked, in days."""
    return Limits(settings.nightly.min_interval / DAY_SECONDS, settings.nightly.max_interval / DAY_SECONDS)


def output_of(template: str, night: datetime) -> str:
    """The output of a night: the template with `{date}` (2026-11-22) and `{run_id}` (20261122T021700Z) filled in.

    Raises:
        Misconfigured: it has other places, or none, so that each night would meet the output of the one before.
    """
    filled = template.replace("{date}", f"{night:%Y-%m-%d}").replace("{run_id}", f"{night:%Y%m%dT%H%M%SZ}")
    if filled == template or "{" in filled or "}" in filled:
        raise Misconfigured(
            f"[output] path is {template}; for a nightly harvest it needs {' or '.join(PLACES)}, and no other places, "
            "such as /var/lib/harvester/{date}.jsonl.zst."
        )
    return filled


class _Nights:
    """The nights of one call, on an open store."""

    def __init__(self, settings: Settings, password: Secret | None, world: World, store: Store) -> None:
        self._settings, self._password, self._world, self._store = settings, password, world, store

    async def all(self, stop: Stop) -> Report:
        """Finish the open night, then do tonight's."""
        reading = await read_inputs(self._store, self._settings.input.files, self._settings, self._world)
        report = None
        if (unfinished := await self._store.open_night()) is not None:
            path = Path(output_of(self._settings.output.path or "", self._world.clock.now())).with_name(unfinished)
            self._world.notice(f"the night of {unfinished} was not finished; it is finished first")
            await self._store.go_on_with(path.resolve())
            report = await self._night(path, reading)
        if report is None or (report.exit.code in (0, 12) and not stop.wished):
            report = await self._tonight(reading)
        return report

    async def _tonight(self, reading: Reading) -> Report:
        now = self._world.clock.now()
        path = _resolved(output_of(self._settings.output.path or "", now))
        refuse_places(self._settings.input.files, self._paths(path))
        if await self._store.is_done(path):
            await self._store.go_on_with(path)
            return await self._run(path).over(reading)
        selection = await self._store.begin_night(path, self._budget(reading), now)
        self._world.notice(
            f"tonight {len(selection.picks):,} of {reading.works:,} works are asked; "
            f"{selection.expected:,.0f} new events are expected"
        )
        return await self._night(path, reading)

    def _paths(self, path: Path) -> Paths:
        return job_paths(str(path), ledger=self._settings.ledger.path)

    def _run(self, path: Path) -> Run:
        job = Job(
            self._settings.input.files,
            self._paths(path),
            register=self._settings.operas.enabled,
            wait=True,
            unattended=True,
        )
        return Run(job, self._settings, self._password, self._world, self._store)

    def _budget(self, reading: Reading) -> int:
        return _budget(self._settings, self._world, reading)

    async def _night(self, path: Path, reading: Reading) -> Report:
        report = await self._run(path).over(reading)
        if not report.pending:
            await self._tell(path, report, await self._store.end_night())
        return report

    async def _tell(self, path: Path, report: Report, end: NightsEnd) -> None:
        """Write the morning's page, and let go of what is older than `keep_nights`."""
        groups = Groups()
        await self._store.each_failure(groups.add)
        extras = Extras(
            groups=groups.largest_first(),
            changed=end.changed,
            truncated=end.truncated,
            median_seconds=end.median_seconds,
            predicted_events=end.night.expected,
            found_events=round(end.night.found),
            daily_budget=self._settings.paperbuzz.daily_budget,
            campaign=Campaign(report.works, end.covered, end.newly_covered) if end.covered < report.works else None,
        )
        page = morning(report, _last(end.before), extras)
        await self._store.write(path.with_name(f"{stem_of(path)}.report.txt"), page.encode())
        for old in end.outputs[: -self._settings.nightly.keep_nights]:
            for file in files_of(Path(old)):
                await self._store.forget(file)


def _budget(settings: Settings, world: World, reading: Reading) -> int:
    """How many works can be asked within the time limit."""
    left = requests_left(settings.paperbuzz, world.clock, world.state, within_seconds=settings.nightly.time_limit)
    return reading.works if left is None else int(left * (1 - SHARE_FOR_RETRIES))


def stem_of(path: Path) -> str:
    """The name of an output without its ending."""
    return path.name.removesuffix(output_format(path.name))


def files_of(path: Path) -> list[Path]:
    """The files of a night, by its output."""
    stem = stem_of(path)
    return [path, *(path.with_name(f"{stem}.{name}") for name in ("failures.jsonl", "summary.json", "report.txt"))]


def _last(output: str | None) -> Report | None:
    """The report of the night before, if it can still be read."""
    if output is None:
        return None
    path = Path(output)
    try:
        return from_json(path.with_name(f"{stem_of(path)}.summary.json").read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _resolved(path: str) -> Path:
    return Path(path).resolve()


async def _in_time(nights: _Nights, limit_seconds: float, world: World) -> Report:
    """Stop in an orderly way when the time is up."""

    async def watch() -> None:
        with suppress(Stopped):
            await world.clock.sleep(limit_seconds)
            world.stop.wish(
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
