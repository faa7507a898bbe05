"""How many requests are under way at a time: as many as the service serves without slowing down.

Theory. A service that is asked for more than it can serve at a time lets the rest wait: answers become slower, but no
more of them come. So the number of requests worth having under way is (L. Brakmo, L. Peterson, "TCP Vegas", 1995)

    limit * base / latency + headroom

where `base` is the latency of an idle service: as long as answers take that time the limit grows by its headroom, and
when they take twice as long half of the requests stood in a queue, and half of the limit is given up. Until answers
become slower for the first time the headroom is a quarter of the limit: then it takes 256 answers to learn that a
service takes fifty requests at a time; with a tenth it would take 564. Latencies are medians over as many answers as
are under way, which a few giant records do not move. Slower answers may also mean that the service itself has become
slower; so now and then half the limit is tried, and what is measured then is the new base.

429, 503 and timeouts say the same more clearly: the limit falls at once, once for all requests that were under way.
"""

import math
from asyncio import Future, get_running_loop
from collections import deque
from statistics import median
from types import TracebackType

from harvester.core.clock import Clock
from harvester.core.errors import TimedOut
from harvester.transport.messages import Request, Response, Transport

START = 2

FEWEST_ANSWERS = 10
"""A median of fewer says little."""

HEADROOM = 0.1
"""Share of the limit that is tried beyond what the service is known to take; at least half a request."""

FIRST_HEADROOM = 0.25
"""The same until answers become slower for the first time."""

SLOWER = 1.2
"""Answers count as slower from this factor on: medians of a few answers differ a little by chance."""

ANSWERS_FOR_A_BASE = 30

CUT = 0.85
"""What is left of the limit after a 429, a 503 or a timeout."""

BUSY = 0.8
"""Share of the limit that has to be in use for it to grow: otherwise the rate is what limits us."""

QUICK_SECONDS = 0.05
"""Answers within this time say more about our own machine than about the service, and never count as slow."""

WINDOWS_A_BASE = 60
"""Medians until the latency of the idle service is measured anew."""

OVERLOADED = frozenset({429, 503})


class ConcurrencyLimit:
    """The limit of one service, learned from its answers.

    Args:
        ceiling: the limit never goes beyond this.
        clock: measures over which time the answers came.
    """

    def __init__(self, ceiling: int, clock: Clock) -> None:
        self._ceiling, self._clock = ceiling, clock
        self._set_limit(min(START, ceiling))
        self._base = 0.0
        self._before = 0.0
        self._drained = False
        self._windows = 0
        self._ignored = 0
        self._headroom = FIRST_HEADROOM
        self._begin()

    def _set_limit(self, limit: float) -> None:
        self._limit = limit
        self.limit = max(1, min(self._ceiling, math.floor(limit + 1e-9)))
        """Requests that may be under way."""

    def answered(self, seconds: float) -> None:
        """Note an answer that came after this time."""
        self._ignored = max(0, self._ignored - 1)
        self._latencies.append(seconds)
        if len(self._latencies) >= self._window():
            self._learn()
            self._begin()

    def _window(self) -> int:
        """How many answers to learn from: as many as are under way now, or more to measure a base."""
        if self._before:
            return max(ANSWERS_FOR_A_BASE, self.limit) if self._drained else 2 * self.limit + 1
        return max(FEWEST_ANSWERS, self.limit)

    def overloaded(self) -> None:
        """Note that the service wants fewer requests, or did not answer at all."""
        if self._ignored:
            self._ignored -= 1
            return
        self._ignored = self.limit - 1
        self._headroom = HEADROOM
        self._set_limit(max(1.0, (self._before or self._limit) * CUT))
        self._before = 0.0
        self._begin()

    def _begin(self) -> None:
        self._latencies: list[float] = []
        self._since = self._clock.monotonic()

    def _learn(self) -> None:
        latency = max(QUICK_SECONDS, median(self._latencies))
        under_way = sum(self._latencies) / max(1e-9, self._clock.monotonic() - self._since)
        self._windows += 1
        if self._before and not self._drained:  # these were still in the queue
            self._drained = True
        elif self._before:
            self._set_limit(self._before)
            self._base, self._before = latency, 0.0
        elif not self._base or self.limit == 1:
            self._base = latency
            self._follow(latency, is_busy=True)
        elif self._windows % WINDOWS_A_BASE == 0:
            self._before, self._drained = self._limit, False
            self._set_limit(self._limit / 2)
        else:
            self._follow(latency, is_busy=under_way >= BUSY * self.limit)

    def _follow(self, latency: float, *, is_busy: bool) -> None:
        """Set the limit by a latency. It grows only while it is in use: otherwise nothing shows that more is served."""
        share = min(1.0, self._base / latency)
        if share < 1 / SLOWER:
            self._headroom = HEADROOM
        headroom = max(0.5, self._headroom * self._limit)
        most = float(self._ceiling) if is_busy else self._limit
        self._set_limit(max(1.0, min(most, self._limit * share + headroom)))


class LatencyObserved:
    """A transport that lets a limit learn from each answer.

    Args:
        transport: sends.
        concurrency: learns.
    """

    def __init__(self, transport: Transport, concurrency: ConcurrencyLimit) -> None:
        self._transport, self._concurrency = transport, concurrency

    async def send(self, request: Request) -> Response:
        """Send, and let the limit learn from it; see `harvester.transport.messages.Transport`."""
        try:
            response = await self._transport.send(request)
        except TimedOut:
            self._concurrency.overloaded()
            raise
        if response.status in OVERLOADED:
            self._concurrency.overloaded()
        else:
            self._concurrency.answered(response.elapsed_seconds)
        return response


class Slots:
    """As many slots as the limit allows; `async with slots:` waits for one, first come first served.

    Args:
        concurrency: the limit of requests, which may change at any time.
        works_per_request: works that one request may carry; each of them takes a slot.
    """

    def __init__(self, concurrency: ConcurrencyLimit, works_per_request: int = 1) -> None:
        self._concurrency, self._works_per_request = concurrency, works_per_request
        self._busy = 0
        self._line: deque[Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._line and self._busy < self._concurrency.limit * self._works_per_request:
            self._busy += 1
            return
        slot: Future[None] = get_running_loop().create_future()
        self._line.append(slot)
        try:
            await slot
        except BaseException:
            if slot.done() and not slot.cancelled():
                self._leave()  # it was given to us after we had been cancelled: the next one takes it
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._busy -= 1
        # More than one if the limit has grown, none if it has fallen.
        while self._line and self._busy < self._concurrency.limit * self._works_per_request:
            slot = self._line.popleft()
            if not slot.done():
                self._busy += 1
                slot.set_result(None)
