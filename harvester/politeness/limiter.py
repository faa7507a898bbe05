"""How often a service may be asked: a rate for every window of time, a quota for every day, and pauses it asks for.

Theory. A request may start when three things agree:

1. no pause is in force: `Retry-After` applies to all tasks that ask a service, not only to the one that received it;
2. the rate: a leaky bucket, so that in any window of w seconds at most rate * w + burst requests start;
3. the quota: at most `daily` requests in any 24 hours, for all processes of the user together. Requests are deducted
   in blocks *before* they are sent, so that a crash can only waste what was deducted, never overspend. Any 24 hours
   contain the UTC day so far, so this one bound covers both.

The quota is asked last, at the very moment of sending: what it deducts is stamped with the time the request really goes
out. Whoever sends goes through `RateLimited`; nothing else has a way to the wire, so that retries, probes, redirects
and tokens count by construction.
"""

import asyncio
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from harvester.core.clock import Clock
from harvester.core.errors import OutOfBudget, Stopped
from harvester.core.stop import Stop
from harvester.politeness.quota import DailyQuota
from harvester.transport.messages import Request, Response, Transport


def default_burst(rate: float) -> float:
    """One fiftieth of a second's requests, at least one, so that no second exceeds the rate by more than 2 %.

    With less the rate would not be reached: timers are late by up to a millisecond, and what is late beyond the burst
    is lost; with a burst of one 89 requests a second went out of 100 (measured).
    """
    return max(1.0, rate / 50)


class RateLimiter:
    """Decides when a request to one service may start, for all who ask it in this process.

    Args:
        rate: requests a second.
        clock: for the quota and the pauses.
        burst: requests that may start at once; None for `default_burst`.
        quota: the daily quota; None for none.
        wait: whether to wait when the quota is used up; otherwise the run stops.
        stop: ends the run early; no request starts after it.
        on_wait: told what everybody waits for, in words, and "" when it is over.
        on_start: called for each request that may start, with what is left of the quota.
    """

    def __init__(
        self,
        rate: float,
        clock: Clock,
        *,
        burst: float | None = None,
        quota: DailyQuota | None = None,
        wait: bool = False,
        stop: Stop | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
        on_start: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._rate, self._burst = rate, burst or default_burst(rate)
        self._limiter = AsyncLimiter(self._burst, self._burst / rate)
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
            DiskFailed: the book of the quota cannot be used.
            Stopped: the run ends early.
        """
        # One at a time, first come first served. A new block may take a while, in which the rate must not save up: so
        # it comes before the rate, and nobody else may use the block up in between.
        async with self._turn:
            while True:
                if self._paused_until:
                    await self._pause_over()
                if self._stop.requested:
                    raise Stopped
                if self._quota is not None and not self._quota.held and not await self._quota.renew():
                    await self._quota_free(self._quota)
                    continue
                await self._limiter.acquire()
                if self._stop.requested:
                    raise Stopped
                if self._paused_until:
                    continue
                if self._quota is None or self._quota.take() or await self._take_of_new_block(self._quota):
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

    async def _take_of_new_block(self, quota: DailyQuota) -> bool:
        """Renew a block that expired while waiting for the rate, and take a request of the new one.

        The rate has agreed already. The renewal time is charged to it; otherwise the next requests would burst.

        Returns:
            False if the request may not start, and everything has to be asked again.
        """
        began = self._clock.monotonic()
        has_block = await quota.renew()
        elapsed = self._clock.monotonic() - began
        await self._limiter.acquire(min(self._burst, elapsed * self._rate))
        if self._stop.requested:
            raise Stopped
        return has_block and not self._paused_until and quota.take()

    async def _quota_free(self, quota: DailyQuota) -> None:
        free_at = await quota.free_at()
        if not self._wait:
            raise OutOfBudget(
                f"the daily budget of {quota.daily:,} requests is used up. What was harvested is kept; "
                f"give the same command again after {free_at:%Y-%m-%d %H:%M} UTC, or use --wait."
            )
        self._on_wait(f"the daily budget, free again at {free_at:%Y-%m-%d %H:%M} UTC")
        await self._clock.sleep(max(1.0, (free_at - self._clock.now()).total_seconds()))
        self._on_wait("")


class RateLimited:
    """A transport that asks a rate limiter before each request.

    Args:
        transport: sends.
        limiter: decides when.
    """

    def __init__(self, transport: Transport, limiter: RateLimiter) -> None:
        self._transport = transport
        self._limiter = limiter

    async def send(self, request: Request) -> Response:
        """Wait until the request may start, then send it; see `harvester.transport.messages.Transport`.

        Raises:
            OutOfBudget, DiskFailed, Stopped: see `RateLimiter.acquire`.
        """
        await self._limiter.acquire()
        return await self._transport.send(request)
