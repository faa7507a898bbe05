"""Was the limit kept? Pure functions over the times at which requests started.

"In every window of w seconds at most rate·w + burst requests" is checked in one pass: with a(k) = k - rate·t(k), a
window from request i to request j breaks the rule exactly if a(j) - a(i) + 1 > burst, so the smallest a so far is all
that has to be remembered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class LimitViolation:
    """A window with too many requests.

    Args:
        start: time of its first request, in the seconds the times were given in.
        end: time of its last request.
        count: requests in it, both ends included.
        allowed: that might have been in it.
    """

    start: float
    end: float
    count: int
    allowed: float


def rate_violations(
    times: Sequence[float], rate: float, burst: float, *, slack_seconds: float = 0.0
) -> list[LimitViolation]:
    """For each request that stands at the end of a window with too many requests, the worst such window.

    Args:
        times: start of each request in seconds, ascending.
        rate: requests per second.
        burst: requests allowed beyond it.
        slack_seconds: by how much a window may have shrunk through scheduling: allowed is rate·(w + slack) + burst.
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
    """The most requests in any window of this length (start included, end excluded), and when it starts.

    Args:
        times: ascending.
        seconds: length of the window.
    """
    best, best_start, last = 0, 0.0, 0
    for first, start in enumerate(times):
        while last < len(times) and times[last] - start < seconds:
            last += 1
        if last - first > best:
            best, best_start = last - first, start
    return best, best_start


def per_utc_day(wall_times: Iterable[float]) -> dict[str, int]:
    """Requests in each UTC day, `2026-11-21` -> count; times are seconds since 1970."""
    counts: dict[str, int] = {}
    for moment in wall_times:
        day = datetime.fromtimestamp(moment, UTC).date().isoformat()
        counts[day] = counts.get(day, 0) + 1
    return counts


def quota_violations(wall_times: Sequence[float], quota: int) -> list[LimitViolation]:
    """UTC days, and the worst rolling 24 hours, with more requests than the quota.

    Args:
        wall_times: seconds since 1970, ascending.
        quota: requests a day.
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
