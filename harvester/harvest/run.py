"""The jobs: every part is built and connected here.

The way of one DOI through the files: `doilist` reads it, `store` enrols it in the `ledger`; `pipeline` hands it to
`fetch`, which asks through `paperbuzz`, `budget` and `transport`; `store` commits what came of it to `jsonl` and
`ledger`; `registrar` takes it from the outbox to OPERAS through `operas`; `report` sums up.
"""

import asyncio
import logging
from contextlib import AsyncExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from harvester.config.credentials import Secret, operas_account, require_email
from harvester.config.settings import Settings
from harvester.core.clock import DAY_SECONDS, timestamp
from harvester.core.errors import (
    CredentialsRefused,
    DiskFailed,
    GiveUp,
    InputMissing,
    InputUnusable,
    Misconfigured,
    PipeClosed,
    StopRun,
    TryAgain,
    Usage,
)
from harvester.core.model import Failure, Figures
from harvester.core.sanitize import printable
from harvester.core.stop import Stop, StoppableClock
from harvester.core.tasks import run_together, until_stopped
from harvester.harvest.fetcher import Fetcher
from harvester.harvest.job import Context, Job
from harvester.harvest.pipeline import Pipeline
from harvester.harvest.services import open_operas, open_paperbuzz
from harvester.harvest.summarize import checked, end_of_failed
from harvester.lists.reader import ListOptions, fingerprint, read_list
from harvester.nightly.revisit import Intervals
from harvester.operas.client import OperasClient
from harvester.operas.registrar import Registrar
from harvester.politeness.breaker import CircuitBreaker
from harvester.politeness.retry import RetryBudget
from harvester.reports.summary import Exit, Summary, as_json, broken_identities
from harvester.storage.ingest import Reading
from harvester.storage.ledger import Ledger
from harvester.storage.lock import lock
from harvester.storage.output_file import partial_of
from harvester.storage.paths import check_paths
from harvester.storage.store import Store

T = TypeVar("T")
log = logging.getLogger("harvester")


IN_FLIGHT_PER_REQUEST = 4
"""Works in hand for each request that may be under way: most of a failing work's time is spent in pauses."""


OUTAGE_THRESHOLD = 5
"""Different DOIs that fail in a row until the service is suspected."""


async def run(job: Job, settings: Settings, password: Secret | None, world: Context) -> Summary:
    """Harvest a list: the whole job, from its beginning or from where it was left.

    Raises:
        StopRun: the run could not begin, or had to end without a report.
    """
    require_email(settings)
    if job.register and not job.paths.ledger:
        raise Usage("registration needs a ledger, so that it can go on after a stop: name one with --ledger")
    check_paths(job.inputs, job.paths)
    failed_in = ledger_with_failures(job) if job.only_failed else None
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext():
        stdout = world.stdout if job.paths.output is None else None
        # What failed in a night is asked as the night would have asked it: the nights learn of it.
        is_night = failed_in is not None and is_of_nights(failed_in)
        async with Store(
            job.paths.ledger,
            job.paths.output,
            stdout=stdout,
            register=job.register,
            limits=limits_of(settings) if is_night else None,
            only_changed=is_night and settings.output.only_changed,
        ) as store:
            return await Run(job, settings, password, world, store).to_its_end()


def ledger_with_failures(job: Job) -> Path:
    """Where it stands which works failed."""
    ledger = job.paths.ledger
    if ledger is None:
        raise Usage("--only-failed needs a ledger, in which it stands what failed: name one with --ledger")
    if not ledger.is_file():
        raise InputMissing(f"there is no ledger {ledger}, and so nothing is known to have failed. Nothing was asked.")
    return ledger


def is_of_nights(ledger: Path) -> bool:
    """Whether a nightly harvest keeps its memory in a ledger."""
    with closing(Ledger(ledger, read_only=True)) as opened:
        return opened.file.get("night") is not None


def limits_of(settings: Settings) -> Intervals:
    """How often a nightly harvest may ask for a work, in days."""
    return Intervals(settings.nightly.min_interval / DAY_SECONDS, settings.nightly.max_interval / DAY_SECONDS)


class Run:
    """One run of a job, on an open store."""

    def __init__(self, job: Job, settings: Settings, password: Secret | None, world: Context, store: Store) -> None:
        self._job, self._settings, self._password = job, settings, password
        self._world, self._store = world, store
        self._clock = StoppableClock(world.clock, world.stop)
        self._fetching = Stop(world.stop)
        self._started = world.clock.now()
        self._problem: StopRun | None = None
        self._is_registration = False

    async def to_its_end(self) -> Summary:
        """Read, harvest, register, publish, report."""
        if self._job.only_failed and not self._job.inputs:
            return await self.over(await self._store.last_reading())
        return await self.over(await read_inputs(self._store, self._job.inputs, self._settings, self._world))

    async def over(self, reading: Reading) -> Summary:
        """Harvest, register, publish and report what a reading enrolled."""
        await self._register_with_one_service()
        await self._store.begin(
            source=self._settings.paperbuzz.base_url,
            refetch=self._job.refetch,
            retry_failed=self._job.retry_failed,
            only_failed=self._job.only_failed,
        )
        if self._job.register:
            await self._store.fill_outbox(harvested_only=True)
            if self._job.retry_failed:
                await self._store.retry_rejected()
        before = await self._store.figures()
        to_do = replace(before, pending=before.failures, failures=0) if self._job.only_failed else before
        self._show(to_do)
        to_register = before.registration_pending if self._job.register else 0
        has_work = bool(to_do.pending or to_register)
        if has_work:
            await self._work_recording_problem(to_do)
        after = await self._store.figures()
        self._show(after)
        if not after.pending:
            await self._store.publish()
        return await self._report(reading, after, has_work)

    async def registering(self) -> Summary:
        """Read, register, report."""
        self._is_registration = True
        reading = await read_inputs(self._store, self._job.inputs, self._settings, self._world)
        await self._register_with_one_service()
        await self._store.fill_outbox(harvested_only=False)
        before = await self._store.figures()
        self._show(before)
        if before.registration_pending:
            await self._work_recording_problem(replace(before, pending=0))
        return await self._report(reading, await self._store.figures(), bool(before.registration_pending))

    async def _register_with_one_service(self) -> None:
        if self._job.register:
            await self._store.registers_with(self._settings.operas.base_url)

    def _show(self, figures: Figures) -> None:
        """Let progress see what the ledger says."""
        self._world.tally.show(figures)
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
                if await self._authenticated(operas):
                    jobs.append(self._register(operas, harvested))
            if figures.pending:
                jobs.append(self._fetch(harvested))
            else:
                harvested.set()
            await run_together(jobs)

    async def _work_recording_problem(self, figures: Figures) -> None:
        """Work; what ends it is told in the report, unless the disk is what failed."""
        if self._job.paths.summary:
            await self._store.forget(self._job.paths.summary)
        try:
            await self._work(figures)
        except (DiskFailed, PipeClosed):
            raise
        except StopRun as problem:
            self._problem = problem

    async def _authenticated(self, operas: OperasClient) -> bool:
        """Whether OPERAS takes the credentials; where nobody watches the harvest goes on without."""
        try:
            await until_stopped(self._check_credentials(operas), self._world.stop, grace_seconds=0)
        except (CredentialsRefused, Misconfigured) as problem:
            if not self._job.unattended:
                raise
            self._problem = problem
            log.warning("registration waits in the ledger: %s", problem)
            return False
        return True

    async def _check_credentials(self, operas: OperasClient) -> None:
        """Wrong credentials are told before the first fetch; a service that is down is not waited for."""
        try:
            await operas.token()
        except (TryAgain, GiveUp) as error:
            self._world.warn(f"OPERAS does not answer ({error}); registration waits in the ledger")

    async def _fetch(self, harvested: asyncio.Event) -> None:
        """Fetch what is due; what ends it early (budget, outage) does not end registration."""
        settings, world = self._settings.paperbuzz, self._world
        clock = StoppableClock(world.clock, self._fetching)
        try:
            async with open_paperbuzz(
                settings,
                require_email(self._settings),
                clock=clock,
                tally=world.tally,
                wait=self._job.wait,
                stop=self._fetching,
                state=world.state,
                landing_urls=self._settings.operas.urls_from_metadata,
            ) as paperbuzz:
                fetcher = Fetcher(
                    paperbuzz.client,
                    CircuitBreaker("Paperbuzz", clock, threshold=OUTAGE_THRESHOLD, patience_seconds=settings.patience),
                    max_attempts=settings.max_attempts,
                    patience_seconds=settings.patience,
                    pause=paperbuzz.budget.pause,
                    tally=world.tally,
                    slots=paperbuzz.slots,
                    retries=RetryBudget(clock),
                    clock=clock,
                    random=world.random,
                    known_good=await self._store.known_good(),
                )
                await Pipeline(
                    self._store,
                    fetcher,
                    in_flight=settings.concurrency * IN_FLIGHT_PER_REQUEST,
                    stop=self._fetching,
                    tally=world.tally,
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
            breaker=CircuitBreaker("OPERAS", self._clock, threshold=1, patience_seconds=settings.paperbuzz.patience),
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
            world.warn(f"registration waits in the ledger: {problem}")

    async def _report(self, reading: Reading, figures: Figures, has_work: bool) -> Summary:
        """Write failures and summary, and sum up."""
        now, world, paths = self._world.clock.now(), self._world, self._job.paths
        if paths.failures:
            await self._store.write_failures(paths.failures)
        else:
            await self._tell_failures()
        files = {"output": paths.output, "failures": paths.failures, "ledger": paths.ledger, "summary": paths.summary}
        if figures.pending and paths.output and not paths.output.exists():
            files["output"] = partial_of(paths.output)
        report = Summary(
            lines=reading.lines,
            duplicates=reading.duplicates,
            invalid=reading.invalid,
            blank=reading.blank,
            figures=figures if self._job.register else replace(figures, registration_pending=0),
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
        report = checked(report, broken_identities(report, harvested=not self._is_registration))
        if paths.summary:
            await self._store.write(paths.summary, as_json(report))
        return report

    async def _tell_failures(self) -> None:
        """Where no file takes the failures they are told, so that each is accounted for."""

        def tell(failure: Failure) -> None:
            log.warning("%s: %s", failure.origin, printable(failure.message), extra={"doi": failure.doi or ""})

        await self._store.each_failure(tell)

    def _exit(self, figures: Figures, has_work: bool) -> Exit:
        """How the run ended: for a reason to stop, with registration in trouble, with too many failures, or well."""
        reason = self._fetching.reason or self._problem
        if reason is not None:
            return Exit(reason.exit_code, reason.name, str(reason))
        limit = self._job.max_failures
        if limit is not None and figures.failures > limit:
            return Exit(3, "failures", f"Complete, but with {figures.failures:,} failures where {limit:,} are allowed.")
        if self._job.only_failed:
            return end_of_failed(figures, has_work)
        if not has_work and self._is_registration:
            return Exit(0, "complete", "All of this was registered before; nothing was sent.")
        if not has_work and self._job.unattended:
            return Exit(0, "complete", "Nothing was left to be done; nothing was asked.")
        if not has_work:
            return Exit(0, "complete", "All of this was done before; nothing was asked. Start over with --refetch.")
        return Exit(0, "complete", "Complete: every DOI is accounted for.")


async def read_inputs(store: Store, inputs: tuple[str, ...], settings: Settings, world: Context) -> Reading:
    """Enrol all inputs.

    Raises:
        InputUnusable: there is no DOI in them.
    """
    options = ListOptions(
        settings.input.doi_column, settings.input.url_column, settings.input.format, settings.input.encoding
    )
    now = timestamp(world.clock.now())
    lines = read_list(inputs, options, warn=world.warn, now=now, stdin=world.stdin)
    reading = await store.enrol(lines, lambda: world.stop.requested, fingerprint=lambda: fingerprint(inputs, options))
    if world.stop.reason:
        raise world.stop.reason
    if not reading.works:
        raise InputUnusable(
            f"there is no DOI in {', '.join(map(printable, inputs))}: of {reading.lines:,} lines {reading.invalid:,} "
            f"are no DOIs and {reading.blank:,} are empty. Nothing was asked."
        )
    if reading.dropped:
        world.warn(f"{reading.dropped:,} DOIs of the last reading are listed no more and were not asked yet; left out")
    return reading
