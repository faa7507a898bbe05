"""Ledgers and stores with their parts at hand, for tests that look inside."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harvester.core.model import Blank, Failure, Figures, PendingRegistration, Work
from harvester.harvest.registration import StoredOutbox
from harvester.storage.database import Database, WorkState
from harvester.storage.ingest import Reading, enrol, last_reading
from harvester.storage.ledger import Ledger
from harvester.storage.store import Store


class OpenedLedger(Ledger):
    """A ledger together with its file."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.database = Database(path, read_only=read_only)
        super().__init__(self.database)

    def close(self) -> None:
        self.database.close()


class OpenedStore(Store):
    """A store with the steps that a run takes on its writer thread."""

    async def enrol(
        self,
        lines: Iterable[Work | Failure | Blank],
        is_stopped: Callable[[], bool] = lambda: False,
        *,
        fingerprint: Callable[[], str | None] = lambda: None,
        enrol_as: WorkState = WorkState.DUE,
    ) -> Reading:
        return await self.call(
            enrol,
            self.ledger,
            lines,
            is_stopped=lambda: is_stopped() or self.is_closing(),
            fingerprint=fingerprint,
            enrol_as=enrol_as,
        )

    async def last_reading(self) -> Reading:
        return await self.call(last_reading, self.database, self.ledger)

    async def figures(self) -> Figures:
        return await self.call(self.ledger.figures)

    async def known_good(self) -> list[str]:
        return await self.call(self.ledger.known_good, 3)

    async def fill_outbox(self, *, harvested_only: bool) -> int:
        return await self.call(self.outbox.fill, harvested_only=harvested_only)

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        return await StoredOutbox(self).waiting(limit)

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> int:
        return await StoredOutbox(self).settle(acknowledged, rejected)
