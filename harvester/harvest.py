"""The jobs: every part is built and connected here.

The way of one DOI through the files: `doilist` reads it, `store` enrols it in the `ledger`; `pipeline` hands it to
`fetch`, which asks through `paperbuzz`, `budget` and `transport`; `store` commits what came of it to `jsonl` and
`ledger`; `registrar` takes it from the outbox to OPERAS through `operas`; `report` sums up.
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import replace

from harvester.breaker import Breaker
from harvester.clock import Stop, StoppableClock, timestamp
from harvester.config import Secret, operas_account, require_email
from harvester.doilist import ListOptions, read_list
from harvester.errors import (
    DiskFailed,
    GiveUp,
    InputUnusable,
    Misconfigured,
    PromiseBroken,
    ServiceDown,
    StopRun,
    TryAgain,
)
from harvester.fetch import Fetcher
from harvester.job import Job, Paths, World
from harvester.jsonl import partial_of
from harvester.ledger import Figures
from harvester.lock import lock
from harvester.operas import OperasClient
from harvester.pipeline import Pipeline
from harvester.registrar import Registrar
from harvester.report import Exit, Report, as_json, in_words, violations
from harvester.services import open_operas, open_paperbuzz
from harvester.settings import Settings
from harvester.store import Reading, Store
from harvester.text import printable

OUTAGE_THRESHOLD = 5
"""Different DOIs that fail in a row until the service is suspected."""


async def run(job: Job, settings: Settings, password: Secret | None, world: World) -> Report:
    """Harvest a list: the whole job, from its beginning or from where it was left.

    Raises:
        StopRun: the run could not begin, or had to end without a report.
    """
    require_email(settings)
    _refuse_folders(job.paths)
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext():
        stdout = world.stdout if job.paths.output is None else None
        landing_urls = settings.operas.urls_from_metadata
        async with Store(
            job.paths.ledger, job.paths.output, stdout=stdout, register=job.register, landing_urls=landing_urls
        ) as store:
            return await _Run(job, settings, password, world, store).to_its_end()


async def dry_run(job: Job, settings: Settings, world: World) -> str:
    """What a run would do, in words; nothing is asked and nothing is written."""
    async with Store(None, None) as store:
        reading = await read_inputs(store, job.inputs, settings, world)
        ledger = job.paths.ledger
        done = await store.done_in(ledger) if ledger and ledger.exists() and not job.refetch else 0
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


async def register(job: Job, settings: Settings, password: Secret, world: World) -> Report:
    """Register a list with OPERAS, without asking Paperbuzz.

    Raises:
        StopRun: the run could not begin, or had to end without a report.
    """
    _refuse_folders(job.paths)
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext():
        async with Store(job.paths.ledger, None) as store:
            return await _Run(job, settings, password, world, store).registering()


async def holdings(settings: Settings, password: Secret, world: World) -> list[dict[str, object]]:
    """What OPERAS holds for the account, sorted by DOI.

    Raises:
        StopRun: it cannot be had.
    """
    clock = StoppableClock(world.clock, world.stop)
    account = operas_account(settings)
    async with open_operas(settings.operas, account, password, clock=clock, tally=world.tally) as operas:
        try:
            rows = await operas.holdings()
        except (TryAgain, GiveUp) as error:
            raise ServiceDown(f"OPERAS does not give its list: {error}. Try again later.") from None
    return sorted(rows, key=lambda row: str(row["raw"]))


def _refuse_folders(paths: Paths) -> None:
    """Find out before anything is asked that the results could not be written."""
    for path in (paths.output, paths.ledger, paths.failures):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise Misconfigured(f"the folder {path.parent} does not exist. Make it, or choose another place.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise DiskFailed(f"the folder {path.parent} is not writable. Nothing was asked; choose another place.")


class _Run:
    """One run of a job, on an open store."""

    def __init__(self, job: Job, settings: Settings, password: Secret | None, world: World, store: Store) -> None:
        self._job, self._settings, self._password = job, settings, password
        self._world, self._store = world, store
        self._clock = StoppableClock(world.clock, world.stop)
        self._started = world.clock.now()
        self._problem: StopRun | None = None

    async def to_its_end(self) -> Report:
        """Read, harvest, register, publish, report."""
        reading = await read_inputs(self._store, self._job.inputs, self._settings, self._world)
        await self._store.begin(refetch=self._job.refetch, retry_failed=self._job.retry_failed)
        if self._job.register:
            await self._store.fill_outbox(harvested_only=True)
        before = await self._store.figures()
        self._show(before)
        to_register = before.registration_pending if self._job.register else 0
        has_work = bool(before.pending or to_register)
        if has_work:
            await self._work(before)
        after = await self._store.figures()
        self._show(after)
        if not after.pending:
            await self._store.publish()
        return await self._report(reading, after, has_work)

    async def registering(self) -> Report:
        """Read, register, report."""
        reading = await read_inputs(self._store, self._job.inputs, self._settings, self._world)
        await self._store.fill_outbox(harvested_only=False)
        before = await self._store.figures()
        self._show(before)
        if before.registration_pending:
            await self._work(replace(before, pending=0))
        return await self._report(reading, await self._store.figures(), bool(before.registration_pending))

    def _show(self, figures: Figures) -> None:
        """Let progress see what the ledger says."""
        for name in ("works", "results", "failures", "pending", "registered", "rejected", "registration_pending"):
            setattr(self._world.tally, name, getattr(figures, name))
        if not self._job.register:
            self._world.tally.registration_pending = 0

    async def _work(self, figures: Figures) -> None:
        """Fetch what is due and register what is in the outbox, at the same time."""
        harvested = asyncio.Event()
        async with AsyncExitStack() as services:
            jobs = []
            if self._job.register and self._password is not None:
                operas = await services.enter_async_context(
                    open_operas(
                        self._settings.operas,
                        operas_account(self._settings),
                        self._password,
                        clock=self._clock,
                        tally=self._world.tally,
                    )
                )
                await self._check_credentials(operas)
                jobs.append(self._register(operas, harvested))
            if figures.pending:
                jobs.append(self._fetch(harvested))
            else:
                harvested.set()
            await _all_of(jobs)

    async def _check_credentials(self, operas: OperasClient) -> None:
        """Wrong credentials are told before the first fetch; a service that is down is not waited for."""
        try:
            await operas.token()
        except TryAgain as error:
            self._world.notice(f"OPERAS does not answer ({error}); registration waits in the ledger")

    async def _fetch(self, harvested: asyncio.Event) -> None:
        settings, world = self._settings.paperbuzz, self._world
        try:
            async with open_paperbuzz(
                settings,
                require_email(self._settings),
                clock=self._clock,
                tally=world.tally,
                wait=self._job.wait,
                state=world.state,
            ) as paperbuzz:
                fetcher = Fetcher(
                    paperbuzz.client,
                    Breaker("Paperbuzz", self._clock, threshold=OUTAGE_THRESHOLD, patience_seconds=settings.patience),
                    max_attempts=settings.max_attempts,
                    patience_seconds=settings.patience,
                    pause=paperbuzz.budget.pause,
                    tally=world.tally,
                    clock=self._clock,
                    random=world.random,
                    canary=await self._store.good_doi(),
                )
                await Pipeline(
                    self._store, fetcher, concurrency=settings.concurrency, stop=world.stop, tally=world.tally
                ).run()
        finally:
            harvested.set()

    async def _register(self, operas: OperasClient, harvested: asyncio.Event) -> None:
        """Registration never ends the harvest: what is wrong with it is told at the end."""
        settings, world = self._settings, self._world
        registrar = Registrar(
            self._store,
            operas,
            batch_size=settings.operas.batch_size,
            breaker=Breaker("OPERAS", self._clock, threshold=1, patience_seconds=settings.paperbuzz.patience),
            stop=world.stop,
            tally=world.tally,
            clock=self._clock,
        )
        try:
            await until_stopped(registrar.run(harvested), world.stop)
        except DiskFailed:
            raise
        except StopRun as problem:
            self._problem = problem
            world.notice(f"registration waits in the ledger: {problem}")

    async def _report(self, reading: Reading, figures: Figures, has_work: bool) -> Report:
        """Write failures and summary, and sum up."""
        now, world, paths = self._world.clock.now(), self._world, self._job.paths
        if paths.failures:
            await self._store.write_failures(paths.failures)
        files = {"output": paths.output, "failures": paths.failures, "ledger": paths.ledger, "summary": paths.summary}
        if figures.pending and paths.output:
            files["output"] = partial_of(paths.output)
        report = Report(
            lines=reading.lines,
            duplicates=reading.duplicates,
            invalid=reading.invalid,
            blank=reading.blank,
            **{name: getattr(figures, name) for name in FIGURES},
            registration_pending=figures.registration_pending if self._job.register else 0,
            requests={"paperbuzz": world.tally.paperbuzz_requests, "operas": world.tally.operas_requests},
            retries=world.tally.retries,
            bytes=world.tally.bytes,
            budget_left=world.tally.budget_left,
            started_at=timestamp(self._started),
            finished_at=timestamp(now),
            duration_seconds=round((now - self._started).total_seconds(), 3),
            files={name: str(path) for name, path in files.items() if path},
            exit=self._exit(figures, has_work),
        )
        report = _checked(report)
        if paths.summary:
            await self._store.write(paths.summary, as_json(report))
        return report

    def _exit(self, figures: Figures, has_work: bool) -> Exit:
        """How the run ended: for a reason to stop, with registration in trouble, with too many failures, or well."""
        reason = self._world.stop.reason or self._problem
        if reason is not None:
            return Exit(reason.exit_code, reason.name, str(reason))
        limit = self._job.max_failures
        if limit is not None and figures.failures > limit:
            return Exit(3, "failures", f"Complete, but with {figures.failures:,} failures where {limit:,} are allowed.")
        if not has_work:
            return Exit(0, "complete", "All of this was done before; nothing was asked. Start over with --refetch.")
        failed = f" {_works(figures.failures)} failed; the failures file says why." if figures.failures else ""
        return Exit(0, "complete", f"Complete: every DOI is accounted for.{failed}")


def _works(number: int) -> str:
    return "1 work" if number == 1 else f"{number:,} works"


def _checked(report: Report) -> Report:
    """The report; if its accounting does not add up, this is how the run ended, whatever else happened."""
    broken = violations(report)
    if not broken:
        return report
    reason = f"The accounting does not add up: {'; '.join(broken)} does not hold. {REPORT_IT}"
    return replace(report, exit=Exit(PromiseBroken.exit_code, PromiseBroken.name, reason))


REPORT_IT = "Nothing was deleted; please report this with the summary and the ledger."

FIGURES = (
    *("works", "results", "failures", "pending", "gone", "outcomes", "failures_by_kind"),
    *("registered", "rejected"),
)


async def read_inputs(store: Store, inputs: tuple[str, ...], settings: Settings, world: World) -> Reading:
    """Enrol all inputs.

    Raises:
        InputUnusable: there is no DOI in them.
    """
    options = ListOptions(
        settings.input.doi_column, settings.input.url_column, settings.input.format, settings.input.encoding
    )
    now = timestamp(world.clock.now())
    lines = read_list(inputs, options, notice=world.notice, now=now, stdin=world.stdin)
    reading = await store.enrol(lines, lambda: world.stop.wished)
    if world.stop.reason:
        raise world.stop.reason
    if not reading.works:
        raise InputUnusable(
            f"there is no DOI in {', '.join(map(printable, inputs))}: of {reading.lines:,} lines {reading.invalid:,} "
            f"are no DOIs and {reading.blank:,} are empty. Nothing was asked."
        )
    if reading.dropped:
        world.notice(f"{reading.dropped:,} DOIs of the last reading are listed no more and were not asked yet; dropped")
    return reading


async def until_stopped(job: Coroutine[None, None, None], stop: Stop, grace_seconds: float = 10.0) -> None:
    """Run a job; after a stop it has some seconds left."""
    task = asyncio.create_task(job)
    wish = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_seconds)
    finally:
        wish.cancel()
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _all_of(jobs: Sequence[Coroutine[None, None, None]]) -> None:
    """Run jobs together; the first error that ends the run is raised as itself, not as a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error in a group that says most: one that ends the run, else the first."""
    leaves = [first_of(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, StopRun)), leaves[0])
