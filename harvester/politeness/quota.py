"""The daily quota: how many requests a service may get in 24 hours, over all processes that share a book.

Theory. A book holds how many requests were spent in each minute. `DailyQuota` deducts them from it in blocks, *before*
they are sent: a crash can waste the rest of a block, but never spend more than the budget. Taking a request out of the
block in hand costs nothing. Only a block that is used up, or too old, needs a visit to the book.

A visit may take long: another process may hold the file. It is therefore awaited, and three rules keep the count right:

1. there is one visit at a time, and all who need a new block wait for the same one;
2. a visit goes on when the one who waits for it is cancelled, so that the block it deducts is not lost;
3. a block leaves the hand before it is given back, so that nobody can take from it meanwhile.
"""

import asyncio
import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar

from platformdirs import user_state_path

from harvester.core.clock import Clock
from harvester.core.errors import DiskFailed, StopRun
from harvester.core.limits import ServiceLimits

T = TypeVar("T")

BLOCK_SECONDS = 60
"""A block that was deducted is used within this time or given back."""

DAY_MINUTES = 24 * 60

MARGIN_MINUTES = 2
"""How much longer than a day a minute's requests count: a block may be used up to a minute after it was deducted, and
minutes are counted whole. Errs on the side of the service."""

KEPT_MINUTES = 3 * DAY_MINUTES
"""How long the file remembers a minute. Longer than it counts: before time synchronisation a clock may be wrong by two
days, and must not delete what still counts."""


class Grant(NamedTuple):
    """What a book answers to a deduction.

    Args:
        requests: how many were deducted, at most as many as were wanted.
        left: how many the book has left after it.
    """

    requests: int
    left: int


class QuotaBook(Protocol):
    """Where it is written how many requests of a daily budget were spent, and in which minute.

    A book has no clock of its own. Minutes are whole minutes since 1970, and those who share a book have to agree on
    them. What is deducted has to be durable before `deduct` returns. Errors are `StopRun`.
    """

    @property
    def daily(self) -> int:
        """Requests in any 24 hours."""
        ...

    async def deduct(self, wanted: int, minute: int) -> Grant:
        """Deduct up to `wanted` requests that will be sent from this minute on; 0 asks what is left."""
        ...

    async def give_back(self, unused: int, minute: int) -> None:
        """Return requests that were deducted in this minute and not sent."""
        ...

    async def left(self, minute: int) -> int:
        """How many requests may be sent in this minute, by what was spent so far; changes nothing."""
        ...

    async def free_at(self, minute: int) -> int:
        """From which minute on one request more may be sent, if that is not possible in this minute."""
        ...


class DailyQuota:
    """The share of a daily budget that one process holds; `async with` gives back what was not used.

    Args:
        book: what all processes share.
        clock: wall time decides. Where it jumps back, what was spent in the future still counts.
        block: requests deducted at a time.
    """

    def __init__(self, book: QuotaBook, clock: Clock, *, block: int = 20) -> None:
        self.daily = book.daily
        self.left = 0
        """Requests left in the budget, the block in hand included, when the book was last asked."""
        self.held = 0
        """What is left of the block in hand, however old that is."""
        self._book, self._clock, self._block = book, clock, block
        self._held_minute = 0
        self._held_until = 0.0
        self._visit: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # A deduction and not a look: a book that cannot be written ends the run before anything is asked.
        self.left = (await self._book.deduct(0, minute_of(self._clock.now()))).left
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _finished(asyncio.create_task(self._close()))

    def take(self) -> bool:
        """Take one request out of the block in hand; False if there is none, or the block is too old."""
        if not self.held or self._clock.monotonic() > self._held_until:
            return False
        # Other minutes mean that the machine was suspended, while which the monotonic clock stands still, or that
        # somebody set the time.
        if minute_of(self._clock.now()) - self._held_minute not in (0, 1):
            return False
        self.held -= 1
        self.left -= 1
        return True

    async def renew(self) -> bool:
        """Change the block in hand for a new one; False if the quota is used up."""
        if self._visit is None or self._visit.done():
            self._visit = asyncio.create_task(self._change_block())
        await _finished(self._visit)
        return self.held > 0

    async def give_back(self) -> None:
        """Return what is left of the block in hand.

        If that fails the block counts as spent: to return it again could return it twice.
        """
        unused, self.held = self.held, 0
        if unused:
            await self._book.give_back(unused, self._held_minute)

    async def free_at(self) -> datetime:
        """When one more request may be sent."""
        now = self._clock.now()
        free = datetime.fromtimestamp(await self._book.free_at(minute_of(now)) * 60, UTC)
        return max(free, now + timedelta(minutes=1))

    async def _change_block(self) -> None:
        await self.give_back()
        minute, until = minute_of(self._clock.now()), self._clock.monotonic() + BLOCK_SECONDS
        grant = await self._book.deduct(self._block, minute)
        self.held, self._held_minute, self._held_until = grant.requests, minute, until
        self.left = grant.left + grant.requests

    async def _close(self) -> None:
        if self._visit is not None:
            with suppress(StopRun):  # it was raised where somebody waited for the block
                await _finished(self._visit)
        await self.give_back()


async def _finished(task: "asyncio.Task[T]") -> T:
    """What a task returns; the task goes on when the one who waits for it is cancelled."""
    await asyncio.wait({task})
    return task.result()


async def requests_left(book: QuotaBook, clock: Clock, *, within_seconds: float) -> int:
    """How many requests may be sent from now until so many seconds from now, by what was spent so far.

    What was spent a day ago is free again by then, bit by bit: a harvest at the same time each night finds the budget
    of the night before still spent when it begins, and free when it needs it.
    """
    return await book.left(minute_of(clock.now()) + int(within_seconds // 60))


def minute_of(moment: datetime) -> int:
    """The whole minutes from 1970 until a moment."""
    return math.floor(moment.timestamp() / 60)


class SqliteBook:
    """A book for all processes of one machine: a small SQLite file. Each visit is made on a thread.

    Args:
        path: the file; made by the first deduction if it is missing, with its folder.
        daily: requests in any 24 hours.
    """

    def __init__(self, path: Path, daily: int) -> None:
        self.daily = daily
        self._path = path

    async def deduct(self, wanted: int, minute: int) -> Grant:
        """Deduct up to `wanted` requests; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be made, read or written.
        """
        return await asyncio.to_thread(self._deduct, wanted, minute)

    async def give_back(self, unused: int, minute: int) -> None:
        """Return requests that were not sent; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be written.
        """
        await asyncio.to_thread(self._give_back, unused, minute)

    async def left(self, minute: int) -> int:
        """How many requests may be sent in this minute; see `QuotaBook`. To look makes no file.

        Raises:
            DiskFailed: the file cannot be read.
        """
        return await asyncio.to_thread(self._left, minute)

    async def free_at(self, minute: int) -> int:
        """From which minute on one request more may be sent; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be read.
        """
        return await asyncio.to_thread(self._free_at, minute)

    def _deduct(self, wanted: int, minute: int) -> Grant:
        self._make_folder()
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM spent WHERE minute <= ?", (minute - KEPT_MINUTES,))
            left = self._left_by(db, minute)
            granted = min(wanted, left)
            if granted:
                db.execute(
                    "INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
                    (minute, granted),
                )
            db.execute("COMMIT")
        return Grant(granted, left - granted)

    def _give_back(self, unused: int, minute: int) -> None:
        with self._opened() as db:
            db.execute("UPDATE spent SET requests = MAX(0, requests - ?) WHERE minute = ?", (unused, minute))

    def _left(self, minute: int) -> int:
        if not self._path.exists():
            return self.daily
        with self._opened() as db:
            return self._left_by(db, minute)

    def _free_at(self, minute: int) -> int:
        with self._opened() as db:
            row = db.execute(
                "SELECT minute FROM spent WHERE requests > 0 AND minute > ? ORDER BY minute LIMIT 1",
                (minute - DAY_MINUTES - MARGIN_MINUTES,),
            ).fetchone()
        return (int(row[0]) if row else minute) + DAY_MINUTES + MARGIN_MINUTES

    def _left_by(self, db: sqlite3.Connection, minute: int) -> int:
        counted = "SELECT COALESCE(SUM(requests), 0) FROM spent WHERE minute > ?"
        (spent,) = db.execute(counted, (minute - DAY_MINUTES - MARGIN_MINUTES,)).fetchone()
        return max(0, self.daily - int(spent))

    def _make_folder(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFailed(
                f"the folder {self._path.parent} for the daily budget cannot be made: {error.strerror}. "
                "Nothing was asked; mend it, or choose another with XDG_STATE_HOME."
            ) from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = EXTRA")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS spent (minute INTEGER PRIMARY KEY, requests INTEGER NOT NULL) STRICT"
                )
                yield db
        except sqlite3.Error as error:
            raise DiskFailed(
                f"the daily budget's file {self._path} cannot be used: {error}. Nothing more was asked; mend it, "
                "or delete it if you know what was spent today."
            ) from error


def book_of(limits: ServiceLimits, state: Path | None) -> SqliteBook | None:
    """The book of a service on this machine; None if it has no daily budget.

    Args:
        limits: of the service.
        state: the folder; None for the user's state directory.
    """
    if not limits.daily_budget:
        return None
    return SqliteBook(quota_path(state or user_state_path("harvester"), limits.base_url), limits.daily_budget)


def quota_path(state_folder: Path, base_url: str) -> Path:
    """The file of a service's quota: one for each base URL, so that a sandbox never spends the real budget."""
    return state_folder / f"budget-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.sqlite"
