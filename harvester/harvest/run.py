"""One harvest: every part is built and connected here.

The way of one DOI through the rooms: `lists` reads it, `storage` enrols it in the ledger; the pipeline hands it to the
fetcher, which asks a provider under the limits of `politeness`; `storage` commits what came of it to the output and the
ledger; `operas` takes it from the outbox and registers it; `reports` sums up.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from harvester.config.credentials import require_email
from harvester.core.errors import (
    DiskFailed,
    InputMissing,
    LedgerLost,
    PromiseBroken,
    ServiceDown,
    Stopped,
    StopRun,
    Usage,
)
from harvester.core.model import Figures
from harvester.core.stop import Stop, StoppableClock
from harvester.core.tasks import run_together
from harvester.harvest.deaths import died_each_time, died_with
from harvester.harvest.fetcher import Fetcher
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Context, HarvestJob, Mode
from harvester.harvest.pipeline import Pipeline
from harvester.harvest.registration import Registration
from harvester.harvest.services import open_provider
from harvester.harvest.summarize import Summarizer, exit_of_harvest, problem_of, show
from harvester.harvest.suspects import WorksToAsk
from harvester.harvest.witnesses import KnownGood
from harvester.reports.summary import Summary
from harvester.storage.database import Database
from harvester.storage.hooks import CommitHook
from harvester.storage.ingest import Reading, last_reading
from harvester.storage.lock import lock
from harvester.storage.paths import check_paths, is_there, own_files, require_ledger
from harvester.storage.store import Store

IN_FLIGHT_PER_REQUEST = 4
"""Works in hand for each request that may be under way: most of a failing work's time is spent in pauses."""


async def run(job: HarvestJob, context: Context, *, hooks: Sequence[Callable[[Database], CommitHook]] = ()) -> Summary:
    """Harvest a list: the whole job, from its beginning or from where it was left.

    Args:
        job: what to do.
        context: what is passed in from outside.
        hooks: make whoever takes part in the commits, given the ledger's file.

    Raises:
        StopRun: the run could not begin, or had to end without a summary.
    """
    require_email(job.upstream.email)
    if job.account:
        require_ledger(job.paths)
    check_paths(job.inputs, job.paths)
    if job.mode is Mode.ONLY_FAILED:
        ledger_with_failures(job.paths.ledger)
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext() as held:
        stdout = context.stdout if job.paths.output is None else None
        async with Store(job.paths.ledger, job.paths.output, stdout=stdout, lock=held, stop=context.stop) as store:
            for make in hooks:
                await store.join(make)
            return await Harvest(job, context, store).run(await _read(job, context, store))


async def _read(job: HarvestJob, context: Context, store: Store) -> Reading:
    if job.mode is Mode.ONLY_FAILED and not job.inputs:
        return await store.call(last_reading, store.database, store.ledger)
    own = own_files(job.paths)
    return await read_inputs(store, job.inputs, job.options, context, own=own, enrol_as=job.enrol_as)


def ledger_with_failures(ledger: Path | None) -> Path:
    """The ledger that knows which works failed.

    Raises:
        Usage: none was named.
        InputMissing: there is none.
    """
    if ledger is None:
        raise Usage("--only-failed needs a ledger, in which it stands what failed: name one with --ledger")
    if not is_there(ledger):
        raise InputMissing(f"there is no ledger {ledger}, and so nothing is known to have failed. Nothing was asked.")
    return ledger


class Harvest:
    """One harvest of a job, on an open store whose list was read.

    Args:
        job: what to do.
        context: what is passed in from outside.
        store: open.
    """

    def __init__(self, job: HarvestJob, context: Context, store: Store) -> None:
        self._job, self._context, self._store = job, context, store
        self._fetching = Stop(context.stop)
        self._started = context.clock.now()
        unattended = job.unattended
        self._registration = Registration(job.account, context, store, unattended=unattended) if job.account else None

    async def run(self, reading: Reading) -> Summary:
        """Harvest, register, publish and sum up what a reading enrolled.

        Raises:
            StopRun: it could not begin, or had to end without a summary.
        """
        try:
            return await self._run(reading)
        finally:
            if self._registration:
                await self._registration.close()

    async def _run(self, reading: Reading) -> Summary:
        await self._prepare()
        before = await self._figures()
        if self._job.mode is Mode.ONLY_FAILED:
            before = replace(before, pending=before.failures, failures=0)
        self._show(before)
        has_work = bool(before.pending or (before.registration_pending and self._registration))
        problem = await self._problem_of_work(before) if has_work else None
        after = await self._figures()
        self._show(after)
        if not after.pending:
            problem = await self._publish() or problem
        reason = self._fetching.reason or problem or (self._registration.problem if self._registration else None)
        summarizer = Summarizer(
            self._store, self._job.paths, self._context, self._started, registers=self._registration is not None
        )
        return await summarizer.write(reading, after, exit_of_harvest(self._job, after, reason, has_work=has_work))

    async def _publish(self) -> StopRun | None:
        """Publish the output; returns why it is not: it is not what was written, or a stop came while it was read.

        Raises:
            LedgerLost: then nothing may be written any more, and no summary either.
        """
        try:
            await self._store.publish()
        except LedgerLost:
            raise
        except PromiseBroken as problem:
            return problem
        except Stopped:
            return self._context.stop.reason
        return None

    async def _problem_of_work(self, figures: Figures) -> StopRun | None:
        """Work; returns what ended it early. If a service was down, what was in hand is asked last the next time."""
        try:
            problem = await problem_of(lambda: self._work(figures), self._store, self._job.paths)
        except StopRun:
            with suppress(DiskFailed):
                await WorksToAsk(self._store).end()
            raise
        await WorksToAsk(self._store).end(last=isinstance(self._fetching.reason or problem, ServiceDown))
        return problem

    async def _prepare(self) -> None:
        """Make ledger, output and outbox agree with what is asked for."""
        job = self._job
        if self._registration:
            await self._registration.claim()
        await self._store.begin(
            service=job.upstream.name,
            source=job.upstream.limits.base_url,
            advice=job.advice_if_moved,
            refetch=job.mode is Mode.REFETCH,
            # A refetch that was cut off goes on, and may have failures of its own by now.
            retry_failed=job.mode is Mode.RETRY_FAILED or (job.mode is Mode.REFETCH and job.retry_failures),
            only_failed=job.mode is Mode.ONLY_FAILED,
        )
        await self._heed_death()
        if self._registration:
            await self._registration.fill(harvested_only=True, retry_rejected=job.retry_failures)
            await self._registration.follow()

    async def _heed_death(self) -> None:
        """If the last run died, tell what it had in hand; let works fail that were alone in hand too often."""
        in_hand, hopeless = await WorksToAsk(self._store).after_death()
        if in_hand:
            self._context.warn(died_with(in_hand))
        if hopeless:
            await self._store.commit([(due, died_each_time(due, self._context.clock.now())) for due in hopeless])

    async def _figures(self) -> Figures:
        return await self._store.call(self._store.ledger.figures)

    def _show(self, figures: Figures) -> None:
        show(figures, self._context.tally, registers=self._registration is not None)

    async def _work(self, figures: Figures) -> None:
        """Fetch what is due and register what is in the outbox, at the same time."""
        harvested = asyncio.Event()
        async with AsyncExitStack() as services:
            jobs = []
            if self._registration and await self._registration.open(services):
                jobs.append(self._registration.run(harvested))
            if figures.pending:
                jobs.append(self._fetch(harvested))
            else:
                harvested.set()
            await run_together(jobs)

    async def _fetch(self, harvested: asyncio.Event) -> None:
        """Fetch what is due; what ends it early (budget, outage) does not end registration."""
        context = self._context
        clock = StoppableClock(context.clock, self._fetching)
        try:
            async with open_provider(
                self._job.upstream,
                clock=clock,
                tally=context.tally,
                wait=self._job.wait,
                stop=self._fetching,
                state=context.state,
            ) as (provider, service):
                fetcher = Fetcher(
                    provider,
                    service,
                    tally=context.tally,
                    clock=clock,
                    random=context.random,
                    known_good=KnownGood(
                        self._job.upstream.reference_doi, await self._store.call(self._store.ledger.known_good)
                    ),
                )
                await Pipeline(
                    WorksToAsk(self._store),
                    fetcher,
                    in_flight=service.limits.concurrency * IN_FLIGHT_PER_REQUEST * provider.works_per_request,
                    stop=self._fetching,
                    tally=context.tally,
                ).run()
        except Stopped:
            pass  # before the first request; the stop itself says why
        finally:
            harvested.set()
