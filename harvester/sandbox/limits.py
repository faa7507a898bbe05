"""Whether rates and daily quotas were kept: pure functions over the times at which requests came.

The rule for rates is: in every window of w seconds at most rate·w + burst requests. It is checked in one pass. With
a(k) = k - rate·t(k), the window from request i to request j breaks the rule exactly if a(j) - a(i) + 1 > burst. So only
the smallest a so far has to be remembered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class LimitViolation:
    """A window with more requests than a limit allows.

    Args:
        start: when it begins, in the seconds in which the times were given. For a rate that is its first request.
        end: when it ends. For a rate that is its last request.
        count: requests in it, both ends included.
        allowed: how many there may be.
    """

    start: float
    end: float
    count: int
    allowed: float


def rate_violations(
    times: Sequence[float], rate: float, burst: float, *, slack_seconds: float = 0.0
) -> list[LimitViolation]:
    """Windows in which a rate was exceeded. Of several windows that end with the same request, the worst is given.

    Args:
        times: when each request came, in seconds, ascending.
        rate: requests per second.
        burst: requests allowed beyond the rate.
        slack_seconds: how much closer together requests may arrive than they were sent. rate·(w + slack) + burst
            requests are allowed.
    """
    depth = burst + rate * slack_seconds
    found = []
    lowest, lowest_at = float("inf"), 0
    for index, moment in enumerate(times):
        level = index - rate * moment
        if level < lowest:
            lowest, lowest_at = level, index
        count = index - lowest_at + 1
        allowed = rate * (moment - times[lowest_at]) + depth
        # The tolerance is for rounding: monotonic clocks are large numbers.
        if count > allowed + 1e-6:
            found.append(LimitViolation(times[lowest_at], moment, count, allowed))
    return found


def busiest_window(times: Sequence[float], seconds: float) -> tuple[int, float]:
    """The most requests in any window of this length, and when that window starts.

    Args:
        times: when each request came, in seconds, ascending.
        seconds: length of the window. Its start belongs to it, its end does not.
    """
    best, best_start, last = 0, 0.0, 0
    for first, start in enumerate(times):
        while last < len(times) and times[last] - start < seconds:
            last += 1
        if last - first > best:
            best, best_start = last - first, start
    return best, best_start


def per_utc_day(wall_times: Iterable[float]) -> dict[str, int]:
    """Count the requests of each UTC day. Times are seconds since 1970; the result is such as `{"2026-11-21": 3}`."""
    counts: dict[str, int] = {}
    for moment in wall_times:
        day = datetime.fromtimestamp(moment, UTC).date().isoformat()
        counts[day] = counts.get(day, 0) + 1
    return counts


def quota_violations(wall_times: Sequence[float], quota: int) -> list[LimitViolation]:
    """UTC days with more requests than the quota, and the busiest 24 hours if they have more.

    Args:
        wall_times: when each request came, in seconds since 1970, ascending.
        quota: requests allowed in a day.
    """
    found = []
    for day, count in per_utc_day(wall_times).items():
        if count > quota:
            start = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
            found.append(LimitViolation(start, start + DAY_SECONDS, count, quota))
    count, start = busiest_window(wall_times, DAY_SECONDS)
    if count > quota:
        found.append(LimitViolation(start, start + DAY_SECONDS, count, quota))
    return found
