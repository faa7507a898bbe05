"""How many attempts to make, how long to pause before another one, and which share of all requests may be retries.

tenacity drives the attempts; how long to rest between them is ours.

Network faults get full jitter: those who met the same fault at the same moment are spread over the whole pause. 429,
503 and other answers of a server in trouble get half-fixed jitter, because a full one can pause for almost nothing when
the server has just asked for less (M. Brooker, "Exponential Backoff and Jitter").
"""

from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

import tenacity

from harvester.core.clock import Clock
from harvester.core.errors import ConnectionLost, GiveUp, TimedOut, TryAgain

BASE_SECONDS = 1.0
CAP_SECONDS = 60.0

MAX_ATTEMPTS_500 = 3
"""A plain 500 may belong to one DOI for good (P11), so fewer attempts are worth it."""

CONFIRMED = 2
"""An answer that sounds final is believed when it came twice: a connection or a gateway may be to blame for it."""


SHARE = 0.2
"""The largest share of retries among all requests of a minute."""

LEAST = 10
"""Retries that are allowed in a minute in any case: otherwise a short list with one bad DOI would never end."""

EARNED = 2
"""Retries for which one record of a known-good DOI stands."""

WINDOW_SECONDS = 60.0


def pause_seconds(error: TryAgain | GiveUp | None, attempt: int, random: Random, *, heeds_server: bool = True) -> float:
    """Seconds to wait before another attempt.

    Args:
        error: with which the attempt before failed; None if it was not even sent.
        attempt: its number, from 1.
        random: spreads the pauses.
        heeds_server: wait no less than the server asked for (`retry_after`).
    """
    ceiling = min(CAP_SECONDS, BASE_SECONDS * 2 ** min(attempt - 1, 32))
    if isinstance(error, TimedOut | ConnectionLost):
        pause = random.uniform(0, ceiling)
    else:
        pause = ceiling / 2 + random.uniform(0, ceiling / 2)
    return max(pause, asked_pause(error)) if heeds_server else pause


def asked_pause(error: TryAgain | GiveUp | None) -> float:
    """Seconds that the server asked for with this error; 0 if it did not."""
    return (error.retry_after or 0.0) if isinstance(error, TryAgain) else 0.0


def most_attempts(error: TryAgain | GiveUp | None, max_attempts: int) -> int:
    """How many attempts a work gets whose last one ended with this error.

    Args:
        error: None if there was no attempt yet.
        max_attempts: as it is set.
    """
    if isinstance(error, GiveUp):
        return CONFIRMED
    return min(max_attempts, MAX_ATTEMPTS_500) if error and error.status == 500 else max_attempts


def until_ended(rest: Callable[[], Awaitable[None]]) -> tenacity.AsyncRetrying:
    """Repeats attempts until one of them returns something; an error of an attempt is raised as it is.

    It is made anew for each work: tasks that shared it would meet each other's attempts.

    Args:
        rest: waits before the next attempt. It decides for how long, since what happens to others meanwhile counts.
    """
    return tenacity.AsyncRetrying(retry=tenacity.retry_if_result(lambda ended: ended is None), sleep=lambda _: rest())


class RetryBudget:
    """Keeps retries to a fifth of all requests, so that an ailing server is never stormed.

    Whenever a retry is sent, the retries of the minute before it, this one included, are at most a fifth of all
    requests of that minute, or `LEAST`. Requests are counted by the second, and a second that lies in the minute only
    in part is left out: that allows a little less than the share, never more.

    Beyond that, each record that a known-good DOI gets allows `EARNED` retries within a minute: a server that gives it
    is not ailing, and DOIs that are broken for good would have to wait for each other.

    Args:
        clock: measures the minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._retries: deque[float] = deque()
        self._seconds: deque[list[int]] = deque()
        """Each second in which requests were sent, and how many: a minute has too many to remember each."""
        self._requests = 0
        self._earned: deque[float] = deque()

    def request(self) -> None:
        """Note a first attempt that is sent."""
        second = int(self._clock.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._forget()
            self._seconds.append([second, 0])
        self._seconds[-1][1] += 1
        self._requests += 1

    def earn(self) -> None:
        """Note that a known-good DOI had its record."""
        self._earned.extend([self._clock.monotonic()] * EARNED)

    def take(self) -> bool:
        """Whether another retry may be sent; if so it counts as sent."""
        self._forget()
        retries = len(self._retries) + 1
        if retries > max(LEAST, SHARE * (self._requests + retries)) + len(self._earned):
            return False
        self._retries.append(self._clock.monotonic())
        return True

    def take_back(self) -> None:
        """Undo the last `take()`: it was allowed, but not sent."""
        if self._retries:
            self._retries.pop()

    def _forget(self) -> None:
        """Drop what is older than the window."""
        since = self._clock.monotonic() - WINDOW_SECONDS
        while self._retries and self._retries[0] <= since:
            self._retries.popleft()
        while self._earned and self._earned[0] <= since:
            self._earned.popleft()
        while self._seconds and self._seconds[0][0] <= since:
            self._requests -= self._seconds.popleft()[1]
