"""The daily quota: how many requests a service may get in 24 hours, over all processes that share a book.

Theory. A book holds how many requests were spent in each minute. `DailyQuota` deducts them from it in blocks, *before*
they are sent: a crash can waste the rest of a block, but never spend more than the budget. Taking a request out of the
block in hand costs nothing. Only a block that is used up, or too old, needs a visit to the book.

A visit may take long: another process may hold the file. It is therefore awaited, and three rules keep the count right:

1. there is one visit at a time, and all who need a new block wait for the same one;
2. a visit goes on when the one who waits for it is cancelled, so that the block it deducts is not lost;
3. a block leaves the hand before it is given back, so that nobody can take from it meanwhile.

The end of a run waits for the book only a moment: what could not be given back counts as spent, and is less than a
second's requests.
"""

import asyncio
import logging
import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar

from harvester.core.clock import Clock
from harvester.core.errors import Stopped, StopRun
from harvester.core.text.wording import counted

log = logging.getLogger("harvester.quota")

T = TypeVar("T")

BLOCKS_A_DAY = 1000
"""A block is at most such a share of the daily budget, so that not even many crashes use it up."""

BLOCK_SECONDS = 60
"""A block that was deducted is used within this time or given back."""

DAY_MINUTES = 24 * 60

MARGIN_MINUTES = 2
"""How much longer than a day a minute's requests count: a block may be used up to a minute after it was deducted, and
minutes are counted whole. Errs on the side of the service."""

COUNTS_MINUTES = DAY_MINUTES + MARGIN_MINUTES
"""How long a minute's requests count."""

CLOSE_SECONDS = 0.9
"""How long the end of a run waits for the book."""


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

    async def left(self, minute: int, at: int) -> int:
        """How many requests may be sent at a later minute, by what was spent until this one; changes nothing."""
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
        self._visit: asyncio.Task[bool] | None = None

    async def __aenter__(self) -> Self:
        # A deduction and not a look: a book that cannot be written ends the run before anything is asked.
        self.left = (await self._book.deduct(0, minute_of(self._clock.now()))).left
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = asyncio.create_task(self._close())
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
        if not closing.done():
            closing.cancel()
            most = counted(self._block, "request")
            log.warning("the daily budget's file does not answer: up to %s could not be given back", most)

    @property
    def is_ready(self) -> bool:
        """Whether there is a block in hand that is not too old."""
        return self.held > 0 and self._clock.monotonic() <= self._held_until

    def take(self) -> bool:
        """Take one request out of the block in hand; False if there is none, or the block is too old."""
        if not self.held or self._clock.monotonic() > self._held_until:
            return False
        # Other minutes mean that the machine was suspended, while which the monotonic clock stands still, or that
        # somebody set the time.
        if minute_of(self._clock.now()) - self._held_minute not in (0, 1):
            self._held_until = -math.inf
            return False
        self.held -= 1
        self.left -= 1
        return True

    def put_back(self) -> None:
        """Undo the last `take()`, right after it: the request was not sent."""
        self.held += 1
        self.left += 1

    async def renew(self) -> bool:
        """Change the block in hand for a new one; False if the quota is used up."""
        if self._visit is None or self._visit.done():
            self._visit = asyncio.create_task(self._change_block())
        return await _finished(self._visit)

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

    async def _change_block(self) -> bool:
        """Whether there is a new block. It may be used up again when whoever waited for it goes on."""
        await self.give_back()
        minute, until = minute_of(self._clock.now()), self._clock.monotonic() + BLOCK_SECONDS
        grant = await self._book.deduct(self._block, minute)
        self.held, self._held_minute, self._held_until = grant.requests, minute, until
        self.left = grant.left + grant.requests
        return grant.requests > 0

    async def _close(self) -> None:
        """Give back what is left. An error here ends nothing: it costs less than a second's requests of the budget."""
        if self._visit is not None:
            with suppress(StopRun, Stopped):  # it was raised where somebody waited for the block
                await _finished(self._visit)
        unused = self.held
        try:
            await self.give_back()
        except (StopRun, Stopped) as error:
            log.warning("%s of the daily budget could not be given back: %s", counted(unused, "request"), error)


async def _finished(task: "asyncio.Task[T]") -> T:
    """What a task returns; the task goes on when the one who waits for it is cancelled."""
    await asyncio.wait({task})
    return task.result()


async def requests_left(book: QuotaBook, clock: Clock, *, within_seconds: float) -> int:
    """How many requests may be sent from now until so many seconds from now, by what was spent so far.

    What was spent a day ago is free again by then, bit by bit: a harvest at the same time each night finds the budget
    of the night before still spent when it begins, and free when it needs it.
    """
    now = minute_of(clock.now())
    return await book.left(now, now + int(within_seconds // 60))


def block_of(rate: float, daily: int) -> int:
    """How many requests to deduct at a time: at most a second's, and a thousandth of the budget; at least one."""
    return max(1, min(int(rate), daily // BLOCKS_A_DAY))


def minute_of(moment: datetime) -> int:
    """The whole minutes from 1970 until a moment."""
    return math.floor(moment.timestamp() / 60)
