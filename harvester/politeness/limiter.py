"""How often a service may be asked: a rate for every window of time, a quota for every day, and pauses it asks for.

Theory. A request may start when three things agree:

1. no pause is in force: `Retry-After` applies to all tasks that ask a service, not only to the one that received it;
2. the rate: a leaky bucket that all runs share, so that in any window of w seconds at most rate * w + burst requests
   start, whoever sends them (`harvester.politeness.bucket`);
3. the quota: at most `daily` requests in any 24 hours, for all processes of the user together. Requests are deducted
   in blocks *before* they are sent, so that a crash can only waste what was deducted, never overspend. Any 24 hours
   contain the UTC day so far, so this one bound covers both.

They are asked twice. `acquire` comes before the connection: it paces the requests, so that not too many get one, and it
does whatever may take long. `enter` and `leave` are the gate (`harvester.transport.gate`): with the connection in hand,
at the very moment of sending, the request takes its place in the bucket and in the quota. What waits for a connection
for a long time so neither leaves together with others nor is dated wrongly.

A connection that idles is dropped by the server after a while. So at most one request of a run waits at the gate beside
those that were on their way there, and none for longer than `PATIENCE_SECONDS`: then its connection is closed, and the
run waits until the way is free before it gets another one.

Whoever sends goes through `RateLimited`; nothing else has a way to the wire, so that retries, probes, redirects and
tokens count by construction.
"""

import asyncio
import logging
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from harvester.core.clock import Clock
from harvester.core.errors import OutOfBudget, Stopped
from harvester.core.stop import Stop
from harvester.core.tasks import until_stopped
from harvester.politeness.bucket import HELD, Bucket, LocalBucket, default_burst
from harvester.politeness.quota import DailyQuota
from harvester.transport.gate import NotYet
from harvester.transport.messages import Request, Response, Transport

log = logging.getLogger("harvester.limiter")

PATIENCE_SECONDS = 1.0
"""How long a request may wait at the gate with a connection in hand; servers drop an idle one after 2 s (P12)."""

EAGER_SECONDS = 0.1
"""How much earlier than the rate allows a request may get its connection, if that is not more than one request: what a
connection is late by is not lost then."""

SOONEST_RETRY_SECONDS = 0.001
LATEST_RETRY_SECONDS = 0.05
"""How soon, and how late at most, to try again while another process is about to send; that takes a tenth of a
millisecond."""

HELD_SECONDS = 1.0
"""From when on it is told that another process does not go on."""


class RateLimiter:
    """Decides when a request to one service may start: for all who ask it in this process, and with others.

    It is the `harvester.transport.gate.Gate` of that service.

    Args:
        rate: requests a second.
        clock: for the quota and the pauses; its sleep ends when the run does.
        burst: requests that may start at once; None for `default_burst`.
        bucket: where all who share the rate count their requests; None if nobody else does.
        quota: the daily quota; None for none.
        wait: whether to wait when the quota is used up; otherwise the run stops.
        stop: ends the run early; no request starts after it.
        on_wait: told what everybody waits for, in words, and "" when it is over.
        on_start: called for each request that was sent, with what is left of the quota.
    """

    def __init__(
        self,
        rate: float,
        clock: Clock,
        *,
        burst: float | None = None,
        bucket: Bucket | None = None,
        quota: DailyQuota | None = None,
        wait: bool = False,
        stop: Stop | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
        on_start: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        burst = burst or default_burst(rate)
        pace_burst = burst + min(1.0, rate * EAGER_SECONDS)
        self._rate = rate
        self._pacer = AsyncLimiter(pace_burst, pace_burst / rate)
        self._bucket = bucket or LocalBucket(rate, burst, clock.monotonic)
        self._clock = clock
        self._quota = quota
        self._wait = wait
        self._stop = stop or Stop()
        self._on_wait = on_wait
        self._on_start = on_start
        self._paused_until = 0.0
        """By the monotonic clock; 0 for no pause."""
        self._turn = asyncio.Lock()
        self._at_gate = asyncio.Lock()
        self._was_sent_back = False
        """Whether a request came too early to the gate, so that the next one makes sure before it sets out."""

    async def acquire(self) -> None:
        """Wait until one more request may get a connection, with which it then has to pass the gate.

        Raises:
            OutOfBudget: the daily quota is used up, and `wait` is off.
            DiskFailed: the book of the quota, or the file of the rate, cannot be used.
            Stopped: the run ends early.
        """
        # One at a time, first come first served: nobody else may use a new block up in between.
        async with self._turn:
            is_paced = False
            while True:
                if self._stop.requested:
                    raise Stopped
                if self._paused_until:
                    await self._pause_over()
                elif self._was_sent_back:
                    await self._way_free()
                elif self._at_gate.locked():
                    async with self._at_gate:  # nobody joins while somebody waits there
                        pass
                elif not is_paced:
                    await self._pace()
                    is_paced = True
                # Last, for what is deducted now has to be used soon.
                elif self._quota is not None and not self._quota.is_ready:
                    if not await self._quota.renew():
                        await self._quota_free(self._quota)
                else:
                    return

    async def _pace(self) -> None:
        if self._rate >= 1:
            await self._pacer.acquire()
        else:  # so slow a pace must not hold up a stop
            await until_stopped(self._pacer.acquire(), self._stop, grace_seconds=0)

    async def enter(self) -> None:
        """Wait at the gate until the request may be sent; see `harvester.transport.gate.Gate`.

        Raises:
            NotYet: it may not be sent soon enough.
            DiskFailed: the file of the rate cannot be used.
            Stopped: the run ends early.
        """
        if self._at_gate.locked() or self._take():
            await self._take_in_turn()

    def leave(self) -> None:
        """Note that the request was sent; see `harvester.transport.gate.Gate`."""
        self._bucket.sent()
        self._on_start(None if self._quota is None else self._quota.left)

    async def _take_in_turn(self) -> None:
        latest = self._clock.monotonic() + PATIENCE_SECONDS
        retry = SOONEST_RETRY_SECONDS
        async with self._at_gate:
            while wait := self._take():
                if wait == HELD:
                    wait, retry = retry, min(2 * retry, LATEST_RETRY_SECONDS)
                if self._clock.monotonic() + wait > latest:
                    raise self._sent_back()
                await self._clock.sleep(wait)

    def _take(self) -> float:
        """Take what a request needs to be sent; otherwise the seconds until it is worth trying again, or `HELD`."""
        if self._stop.requested:
            raise Stopped
        if self._paused_until or not (self._quota is None or self._quota.take()):
            raise self._sent_back()
        wait = self._bucket.take()
        if wait and self._quota is not None:
            self._quota.put_back()
        return wait

    def _sent_back(self) -> NotYet:
        self._was_sent_back = True
        return NotYet("the request has to wait, and not with a connection in hand")

    async def _way_free(self) -> None:
        """Wait, without a connection, until a request could pass the gate."""
        since, told = self._clock.monotonic(), False
        while (wait := self._bucket.ahead()) > EAGER_SECONDS:
            if wait == HELD and not told and self._clock.monotonic() - since >= HELD_SECONDS:
                told = True
                reason = f"{self._bucket.holder()}, which is about to ask the same service and does not go on"
                log.warning("waiting for %s: let it go on (kill -CONT), or end it", reason)
                self._on_wait(reason)
            elif wait != HELD and not told and wait > max(HELD_SECONDS, 2 / self._rate):
                told = True
                reason = f"the rate, which another run has used up for {wait:,.0f} s"
                log.warning("waiting for %s", reason)
                self._on_wait(reason)
            await self._clock.sleep(LATEST_RETRY_SECONDS if wait == HELD else wait - EAGER_SECONDS)
        self._was_sent_back = False
        if told:
            self._on_wait("")

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
        transport: sends; the limiter is its gate.
        limiter: decides when.
    """

    def __init__(self, transport: Transport, limiter: RateLimiter) -> None:
        self._transport = transport
        self._limiter = limiter

    async def send(self, request: Request) -> Response:
        """Wait until the request may start, then send it; see `harvester.transport.messages.Transport`.

        Raises:
            OutOfBudget, DiskFailed, Stopped: see `RateLimiter`.
        """
        while True:
            await self._limiter.acquire()
            try:
                return await self._transport.send(request)
            except NotYet:
                continue
