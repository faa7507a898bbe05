"""How often a service may be asked: a rate for every window of time, a quota for every day, and pauses it asks for.

Theory. A request may start when three things agree:

1. nobody is told to wait: `Retry-After` speaks to all fetchers of a service, not to the task that met it (pitfall 10);
2. the rate: a leaky bucket, so that in any window of w seconds at most rate * w + burst requests start;
3. the quota: at most `daily` requests in any 24 hours. It is kept in a small SQLite file shared by all processes of the
   user that ask this service, and is deducted in blocks *before* the requests are sent, so that a crash can only waste
   what was deducted, never overspend. Any 24 hours contain the UTC day so far, so this one bound covers both.

The quota is asked last, at the very moment of sending: what it deducts is stamped with the time the request really goes
out. Whoever sends goes through `Metered`; nothing else has a way to the wire, so that retries, probes, redirects and
tokens count by construction.
"""

import asyncio
import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiolimiter import AsyncLimiter

from harvester.clock import Clock, Stop
from harvester.errors import DiskFailed, OutOfBudget, Stopped
from harvester.wire import Request, Response, Transport

BLOCK_SECONDS = 60
"""A block that was deducted is used within this time or given back."""

DAY_MINUTES = 24 * 60

MARGIN_MINUTES = 2
"""How much longer than a day a minute's requests count: a block may be used up to a minute after it was deducted, and
minutes are counted whole. Errs on the side of the service."""

KEPT_MINUTES = 3 * DAY_MINUTES
"""How long the file remembers a minute. Longer than it counts: a clock that is wrong by up to two days, as before the
time server has spoken, must not make it forget for good."""


def default_burst(rate: float) -> float:
    """A fiftieth of a second's requests, at least one: any second stays within two in a hundred of the rate.

    With less the rate would not be reached: timers are late by up to a millisecond, and what is late beyond the burst
    is lost; with a burst of one 89 requests a second went out of 100 (measured).
    """
    return max(1.0, rate / 50)


class Budget:
    """The budget of one service in one process.

    Args:
        rate: requests per second.
        clock: for the quota and the pauses.
        burst: requests that may start at once; None for `default_burst`.
        quota: the daily quota; None for none.
        wait: whether to wait when the quota is used up; otherwise the run stops.
        stop: the wish to end early; nobody may start after it.
        on_wait: told what everybody waits for, in words, and "" when it is over.
        on_start: called for each request that may start, with what is left of the quota.
    """

    def __init__(
        self,
        rate: float,
        clock: Clock,
        *,
        burst: float | None = None,
        quota: "Quota | None" = None,
        wait: bool = False,
        stop: Stop | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
        on_start: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        burst = burst or default_burst(rate)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._clock = clock
        self._quota = quota
        self._wait = wait
        self._stop = stop or Stop()
        self._on_wait = on_wait
        self._on_start = on_start
        self._paused_until = 0.0
        """By the monotonic clock; 0 for no pause."""
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until one more request may start; it has to start at once.

        Raises:
            OutOfBudget: the daily quota is used up, and `wait` is off.
            Stopped: the run ends early.
        """
        # One at a time, first come first served: what makes the block ready may take a while, in which the rate must
        # not save up; so it comes before the rate, and nobody else may use the block up in between.
        async with self._turn:
            while True:
                if self._paused_until:
                    await self._pause_over()
                if self._stop.wished:
                    raise Stopped
                if self._quota is not None and not self._quota.ready():
                    await self._quota_free(self._quota)
                    continue
                await self._limiter.acquire()
                if self._stop.wished:
                    raise Stopped
                if not self._paused_until and (self._quota is None or self._quota.take()):
                    break
        self._on_start(self.left)

    def pause(self, seconds: float) -> None:
        """Let nobody start for some seconds from now; pauses do not add up."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    @property
    def left(self) -> int | None:
        """Requests left in the daily quota; None without one."""
        return None if self._quota is None else self._quota.left

    async def _pause_over(self) -> None:
        while (seconds := self._paused_until - self._clock.monotonic()) > 0:
            self._on_wait(f"a pause the service asked for, {seconds:.0f} s")
            await self._clock.sleep(seconds)
            self._on_wait("")
        self._paused_until = 0.0

    async def _quota_free(self, quota: "Quota") -> None:
        free_at = quota.free_at()
        if not self._wait:
            raise OutOfBudget(
                f"the daily budget of {quota.daily:,} requests is used up. What was harvested is kept; "
                f"give the same command again after {free_at:%Y-%m-%d %H:%M} UTC, or use --wait."
            )
        self._on_wait(f"the daily budget, free again at {free_at:%Y-%m-%d %H:%M} UTC")
        await self._clock.sleep(max(1.0, (free_at - self._clock.now()).total_seconds()))
        self._on_wait("")


class Metered:
    """A transport that asks the budget before each request.

    Args:
        transport: what sends.
        budget: what decides when.
    """

    def __init__(self, transport: Transport, budget: Budget) -> None:
        self._transport = transport
        self._budget = budget

    async def send(self, request: Request) -> Response:
        """Wait for the budget, then send; see `harvester.wire.Transport`.

        Raises:
            OutOfBudget, Stopped: see `Budget.acquire`.
        """
        await self._budget.acquire()
        return await self._transport.send(request)


class Quota:
    """At most `daily` requests in any 24 hours, over all processes of the user that share the file.

    Args:
        path: the SQLite file; made if missing, with its folder.
        daily: requests.
        clock: wall time decides. Where it jumps back, what was spent in the future still counts.
        block: requests deducted at a time.

    Raises:
        DiskFailed: the file cannot be made.
    """

    def __init__(self, path: Path, daily: int, clock: Clock, *, block: int = 20) -> None:
        self.daily = daily
        self._path = path
        self._clock = clock
        self._block = block
        self._held = 0
        self._held_minute = 0
        self._held_until = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFailed(
                f"the folder {path.parent} for the daily budget cannot be made: {error.strerror}. "
                "Nothing was asked; mend it, or choose another with XDG_STATE_HOME."
            ) from error
        self.left = max(0, daily - self._book(0, self._minute())[1])

    def take(self) -> bool:
        """Take one request out of the quota; False if it is used up."""
        if self._held and self._minute() - self._held_minute not in (0, 1):
            # The machine was suspended, while which the monotonic clock stands still, or somebody set the time.
            self.give_back()
        if not self.ready():
            return False
        self._held -= 1
        self.left -= 1
        return True

    def ready(self) -> bool:
        """Have a block to take from, which may mean a visit to the file; False if the quota is used up."""
        if self._held and self._clock.monotonic() > self._held_until:
            self.give_back()
        if not self._held:
            self._held_minute = self._minute()
            self._held_until = self._clock.monotonic() + BLOCK_SECONDS
            self._held, spent = self._book(self._block, self._held_minute)
            self.left = max(0, self.daily - spent) + self._held
        return self._held > 0

    def give_back(self) -> None:
        """Return what is left of the block, at the end of a run or when the block has become too old."""
        if self._held:
            with self._opened() as db:
                db.execute(
                    "UPDATE spent SET requests = MAX(0, requests - ?) WHERE minute = ?", (self._held, self._held_minute)
                )
            self._held = 0

    def free_at(self) -> datetime:
        """When at least one more request may be sent."""
        with self._opened() as db:
            rows = db.execute(
                "SELECT minute FROM spent WHERE requests > 0 AND minute > ? ORDER BY minute LIMIT 1",
                (self._minute() - DAY_MINUTES - MARGIN_MINUTES,),
            ).fetchone()
        oldest = rows[0] if rows else self._minute()
        free = datetime.fromtimestamp((oldest + DAY_MINUTES + MARGIN_MINUTES) * 60, UTC)
        return max(free, self._clock.now() + timedelta(minutes=1))

    def left_within(self, seconds: float) -> int:
        """How many requests may be sent from now until so many seconds from now, by what was spent so far.

        What was spent a day ago is free again by then, bit by bit: a harvest at the same time each night finds the
        budget of the night before still spent when it begins, and free when it needs it.
        """
        counts_since = self._minute() + int(seconds // 60) - DAY_MINUTES - MARGIN_MINUTES
        with self._opened() as db:
            row = db.execute(
                "SELECT COALESCE(SUM(requests), 0) FROM spent WHERE minute > ?", (counts_since,)
            ).fetchone()
        return max(0, self.daily - int(row[0]))

    def _book(self, wanted: int, minute: int) -> tuple[int, int]:
        """Deduct up to `wanted` requests; returns how many, and how many are spent with them."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM spent WHERE minute <= ?", (minute - KEPT_MINUTES,))
            counted = "SELECT COALESCE(SUM(requests), 0) FROM spent WHERE minute > ?"
            spent = int(db.execute(counted, (minute - DAY_MINUTES - MARGIN_MINUTES,)).fetchone()[0])
            granted = max(0, min(wanted, self.daily - spent))
            if granted:
                db.execute(
                    "INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
                    (minute, granted),
                )
            db.execute("COMMIT")
        return granted, spent + granted

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

    def _minute(self) -> int:
        return math.floor(self._clock.now().timestamp() / 60)


def quota_path(state_folder: Path, base_url: str) -> Path:
    """The file of a service's quota: one for each base URL, so that a sandbox never spends the real budget."""
    return state_folder / f"budget-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.sqlite"
