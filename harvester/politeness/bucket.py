"""The rate as a leaky bucket, and what it means to share one.

Theory. A bucket holds one drop for each request that was sent, and leaks at the rate. A request may start while there
is room for its drop. One number is enough to know how full the bucket is: the time at which it will have run empty (the
"theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371). With

    cost = 1 / rate,   depth = (burst - 1) / rate

a request may start at time t if t >= empty_at - depth, and then empty_at = max(t, empty_at) + cost.

To look and to send are two moments, and between them a process can be stopped for a long time. So who looks keeps all
others out until its request was sent, and its drop falls at a time t' read *after* the write. Let request k be looked
at at a(k), written at s(k), and counted at c(k): a(k) <= s(k) <= c(k) <= a(k + 1). Then for any i < j

    s(j) >= a(j) >= empty_at(j - 1) - depth >= c(i) + (j - i) * cost - depth >= s(i) + (j - i) * cost - depth

so that j - i + 1 requests, from i to j, take at least (j - i) / rate - (burst - 1) / rate: **in any window of w seconds
at most rate * w + burst requests start**, whoever sends them. Runs with different rates share the time: a request of a
run at 1/s takes a second of it, one at 10/s a tenth.
"""

import math
from collections.abc import Callable
from typing import Protocol

SECOND_NS = 10**9

HELD = math.inf
"""What `Bucket.take` and `Bucket.ahead` answer while somebody else is about to send."""

LONGEST_NS = 2**61
"""More than 70 years: so that no setting, however small, gives a time that a file cannot hold."""


class Bucket(Protocol):
    """Where the requests to one service are counted, for all who share it.

    All times are in seconds. What several processes share is in `harvester.politeness.rate_file`. What lends a rate to
    several machines can stand behind the same three verbs.
    """

    def take(self) -> float:
        """Take the turn of a request that is to be sent at once.

        Returns:
            0 if it may be sent; then nobody else may until `sent`. Otherwise the seconds until it is worth asking
            again, or `HELD`.

        Raises:
            DiskFailed: it cannot be known.
        """
        ...

    def sent(self) -> None:
        """Note that the request which took its turn was sent. It counts from now on."""
        ...

    def ahead(self) -> float:
        """The seconds until a request might be sent, or `HELD`. Takes nothing.

        Raises:
            DiskFailed: it cannot be known.
        """
        ...

    def holder(self) -> str:
        """Who is about to send, for people."""
        ...


def default_burst(rate: float) -> float:
    """One fiftieth of a second's requests, at least one, so that no second exceeds the rate by more than 2 %.

    With less the rate would not be reached: timers are late by up to a millisecond, and what is late beyond the burst
    is lost; with a burst of one 89 requests a second went out of 100 (measured).
    """
    return max(1.0, rate / 50)


def cost_ns(rate: float) -> int:
    """The time that one request takes of the rate. Rounded up: errs on the side of the service."""
    return math.ceil(min(SECOND_NS / rate, LONGEST_NS))


def depth_ns(rate: float, burst: float) -> int:
    """How long before the bucket is empty a request may start."""
    return math.floor(min((burst - 1) * SECOND_NS / rate, LONGEST_NS))


class LocalBucket:
    """A bucket for one process.

    Args:
        rate: requests per second.
        burst: requests that may start at once, at least 1.
        monotonic: seconds since an arbitrary start.
    """

    def __init__(self, rate: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._cost, self._depth = cost_ns(rate), depth_ns(rate, burst)
        self._monotonic = monotonic
        self._empty_at: int | None = None
        self._is_held = False

    def take(self) -> float:
        """See `Bucket`."""
        if wait := self.ahead():
            return wait
        self._is_held = True
        return 0.0

    def sent(self) -> None:
        """See `Bucket`."""
        now = int(self._monotonic() * SECOND_NS)
        self._empty_at = max(now, self._empty_at or now) + self._cost
        self._is_held = False

    def ahead(self) -> float:
        """See `Bucket`."""
        if self._is_held:
            return HELD
        if self._empty_at is None:
            return 0.0
        return max(0, self._empty_at - self._depth - int(self._monotonic() * SECOND_NS)) / SECOND_NS

    def holder(self) -> str:
        """See `Bucket`."""
        return "this run"
