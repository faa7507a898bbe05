"""Registration with OPERAS: beside a harvest, for a list alone, and what OPERAS holds."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, nullcontext

from harvester.core import failpoint
from harvester.core.errors import (
    CredentialsRefused,
    DiskFailed,
    GiveUp,
    LedgerLost,
    Misconfigured,
    ServiceDown,
    StopRun,
    TryAgain,
)
from harvester.core.model import Failure, PendingRegistration
from harvester.core.stop import StoppableClock
from harvester.core.tasks import until_stopped
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Account, Context, RegistrationJob
from harvester.harvest.services import open_operas
from harvester.harvest.summarize import Summarizer, complete, exit_of, problem_of, show
from harvester.operas.client import OperasClient
from harvester.operas.registrar import Registrar
from harvester.politeness.service import Service
from harvester.reports.summary import Exit, Summary
from harvester.storage.lock import lock
from harvester.storage.outbox import OutboxHook
from harvester.storage.paths import check_paths, own_files
from harvester.storage.store import Store

log = logging.getLogger("harvester")


class StoredOutbox:
    """The outbox of a store, for the registrar.

    Args:
        store: open; its writer thread does the work.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        """The first entries of the outbox."""
        return await self._store.call(self._store.outbox.waiting, limit)

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> int:
        """Take entries out of the outbox: OPERAS has them, or refuses them for a reason; returns how many stay in."""
        failpoint.hit("after-post")
        stay = await self._store.call(self._store.outbox.settle, acknowledged, rejected)
        failpoint.hit("settled")
        return stay


class Registration:
    """The registration of one run.

    Args:
        account: for which DOIs are registered.
        context: what is passed in from outside.
        store: its outbox is emptied.
        unattended: go on without registration if OPERAS rejects the account.

    Attributes:
        problem: what went wrong; None if nothing did.
    """

    def __init__(self, account: Account, context: Context, store: Store, *, unattended: bool = False) -> None:
        self.problem: StopRun | None = None
        self._account, self._context, self._store, self._unattended = account, context, store, unattended
        self._clock = StoppableClock(context.clock, context.stop)
        self._arrived = asyncio.Event()
        self._hook: OutboxHook | None = None
        self._operas: tuple[OperasClient, Service] | None = None

    async def claim(self) -> None:
        """Remember which OPERAS it is that acknowledges.

        Raises:
            Misconfigured: it was another one before.
        """
        await self._store.call(self._store.outbox.claim, self._account.limits.base_url)

    async def fill(self, *, harvested_only: bool, retry_rejected: bool = False) -> None:
        """Put works into the outbox that were never in it.

        Args:
            harvested_only: only those with a record, and with an empty one only if the account says so; otherwise all.
            retry_rejected: those that OPERAS refused as well.
        """
        empty_too = self._account.register_empty or not harvested_only
        await self._store.call(self._store.outbox.fill, harvested_only=harvested_only, empty_too=empty_too)
        if retry_rejected:
            await self._store.call(self._store.outbox.retry_rejected)

    async def follow(self) -> None:
        """From here on, put whatever is committed into the outbox."""
        empty_too = self._account.register_empty
        self._hook = await self._store.join(lambda _: OutboxHook(self._added, empty_too=empty_too))

    async def close(self) -> None:
        """Put nothing more into the outbox: the store may stay open for another harvest."""
        if self._hook is not None:
            hook, self._hook = self._hook, None
            await self._store.leave(hook)

    def _added(self, works: int) -> None:
        """More works wait; the registrar need not ask the ledger for that."""
        self._context.tally.registration_pending += works
        self._arrived.set()

    async def open(self, services: AsyncExitStack) -> bool:
        """Open the service; returns whether there will be registration.

        Raises:
            CredentialsRefused, Misconfigured: OPERAS rejects the account, and a human is present.
        """
        context = self._context
        operas, service = await services.enter_async_context(
            open_operas(self._account, clock=self._clock, tally=context.tally, stop=context.stop, state=context.state)
        )
        try:
            await until_stopped(self._check_credentials(operas), context.stop, grace_seconds=0)
        except (CredentialsRefused, Misconfigured) as problem:
            if not self._unattended:
                raise
            self.problem = problem
            log.warning("registration waits in the ledger: %s", problem)
            return False
        self._operas = operas, service
        return True

    async def _check_credentials(self, operas: OperasClient) -> None:
        """Wrong credentials are told before the first fetch; a service that is down is not waited for."""
        try:
            await operas.token()
        except (TryAgain, GiveUp) as error:
            self._context.warn(f"OPERAS does not answer ({error}); registration waits in the ledger")

    async def run(self, harvested: asyncio.Event) -> None:
        """Empty the outbox, until the harvest is over and nothing waits; what is wrong with it never ends the harvest.

        Args:
            harvested: set when nothing more will come.
        """
        assert self._operas is not None  # noqa: S101 - `open` comes first
        client, service = self._operas
        registrar = Registrar(
            StoredOutbox(self._store),
            client,
            batch_size=self._account.batch_size,
            breaker=service.breaker,
            stop=self._context.stop,
            tally=self._context.tally,
            clock=self._clock,
            pages=self._account.pages,
        )
        try:
            await until_stopped(registrar.run(harvested, self._arrived), self._context.stop)
        except (DiskFailed, LedgerLost):
            raise
        except StopRun as problem:
            self.problem = problem
            self._context.warn(f"registration waits in the ledger: {problem}")


async def register(job: RegistrationJob, context: Context) -> Summary:
    """Register a list with OPERAS, without asking anybody for records.

    Raises:
        StopRun: the run could not begin, or had to end without a summary.
    """
    check_paths(job.inputs, job.paths)
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext() as held:
        async with Store(job.paths.ledger, None, lock=held, stop=context.stop) as store:
            return await _register(job, context, store)


async def _register(job: RegistrationJob, context: Context, store: Store) -> Summary:
    started = context.clock.now()
    reading = await read_inputs(store, job.inputs, job.options, context, own=own_files(job.paths))
    registration = Registration(job.account, context, store)
    await registration.claim()
    await registration.fill(harvested_only=False)
    before = await store.call(store.ledger.figures)
    show(before, context.tally, registers=True)
    problem = None
    if before.registration_pending:
        problem = await problem_of(lambda: _empty_outbox(registration), store, job.paths)
    figures = await store.call(store.ledger.figures)
    reason = context.stop.reason or problem or registration.problem
    ending = exit_of(reason) if reason else _well_ended(before.registration_pending)
    return await Summarizer(store, job.paths, context, started, registers=True, harvests=False).write(
        reading, figures, ending
    )


async def _empty_outbox(registration: Registration) -> None:
    harvested = asyncio.Event()
    harvested.set()
    async with AsyncExitStack() as services:
        if await registration.open(services):
            await registration.run(harvested)


def _well_ended(registered: int) -> Exit:
    if not registered:
        return complete("All of this was registered before; nothing was sent.")
    return complete("Complete: every DOI is accounted for.")


async def holdings(account: Account, context: Context) -> list[dict[str, object]]:
    """What OPERAS holds for the account, sorted by DOI.

    Raises:
        StopRun: it cannot be had.
    """
    clock = StoppableClock(context.clock, context.stop)
    opened = open_operas(account, clock=clock, tally=context.tally, stop=context.stop, state=context.state)
    async with opened as (operas, _):
        try:
            rows = await until_stopped(operas.holdings(), context.stop, grace_seconds=0)
        except (TryAgain, GiveUp) as error:
            raise ServiceDown(f"OPERAS does not give its list: {error}. Try again later.") from None
    if context.stop.reason:
        raise context.stop.reason
    return sorted(rows or [], key=lambda row: str(row["raw"]))
