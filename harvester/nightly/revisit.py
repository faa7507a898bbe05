"""Which DOIs to ask tonight: works are ranked by the events that probably wait there, times the days they have waited.

Theory. The cost is lateness: the days that pass until an event is captured, summed over all events. A work that gets
`rate` events a day and was read `t` days ago has made us late by `rate · t²/2` event-days, and asking it ends that. If
rates are steady, it is best to ask where most lateness has gathered; visits are then as the square root of the rate.
Hence `score = rate · exposed · waited`: `waited` days since the record, `exposed` those in which the article was out.
For an article older than its record the two are one number, and the score is `rate · t²`.

Three traps, each measured in docs/revisit.md:

1. *A rate of its own for each cohort is noise* (`cohorts.py`). Events come in bursts: one lucky visit makes a cohort
   look hot, and one unlucky visit starves it. So the rate of a cohort is shrunk towards a product of four factors, one
   visit counts 20 events at most, and its own last fortnight moves a work only a little away from its cohort.
2. *An article that came out three days ago had three days for its events*, however old our record is.
3. *What is never asked is never learned.* A tenth of the budget goes to the oldest, whatever the scores say.

Pure: numbers in, numbers out. Times are in days since 1970 UTC: 1.5 is noon on 2 January 1970. A *day* is a whole one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappush, heapreplace
from typing import NamedTuple

from harvester.core.model import Outcome
from harvester.nightly.cohorts import Rates, cohort_of, exposed_days, new_events, own_rate
from harvester.records.events import EventHistory

GIANT_EVENTS = 1_000
"""The server caches answers with more events than this for a week (docs/sandbox.md): asking sooner is useless."""

GIANT_INTERVAL_DAYS = 7.0

SHARE_FOR_OLDEST = 0.1
"""Of the budget, whatever the scores say; see trap 3."""


class VisitState(StrEnum):
    """What the last answer about a work was."""

    NEW = "new"
    OK = Outcome.OK
    DEGRADED = Outcome.DEGRADED
    EMPTY = Outcome.EMPTY
    FAILED = "failed"


class Reason(StrEnum):
    """Why a work is asked tonight."""

    NEW = "never harvested"
    DEGRADED = "degraded"
    RETRY = "no record yet"
    OVERDUE = "longer ago than max_interval"
    SCORE = "score"
    OLDEST = "oldest"


class Candidate(NamedTuple):
    """A listed work, as the ledger knows it.

    Args:
        key: its id in the ledger. Of two works that are equal otherwise, the smaller id goes first.
        state: of the last answer.
        asked: when it was asked last, with or without success; None if never.
        recorded: when the last record with a history came, a degraded one included; None without one.
        history: of that record.
        misses: how many answers in a row were `state`, if that is degraded, empty or failed.
    """

    key: int
    state: VisitState = VisitState.NEW
    asked: float | None = None
    recorded: float | None = None
    history: EventHistory | None = None
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often a work may be asked, in days."""

    min_interval: float = 1.0
    max_interval: float = 90.0


@dataclass(frozen=True, slots=True)
class Score:
    """The rank of one work, part by part.

    Args:
        rate: its own events a day: those of its last fortnight, shrunk towards the rate of its cohort.
        exposed: days since the last record in which the article was out.
        waited: days since the last record.
        cohort: its number; `described` has it in words.
    """

    rate: float
    exposed: float
    waited: float
    cohort: int

    @property
    def expected(self) -> float:
        """How many events probably wait."""
        return self.rate * self.exposed

    @property
    def value(self) -> float:
        """The product: the higher, the sooner."""
        return self.rate * self.exposed * self.waited


class Pick(NamedTuple):
    """A work to ask tonight, why, and how many new events are expected of it (0 where there is no history)."""

    key: int
    reason: Reason
    expected: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Tonight's works, in the order to ask them.

    Args:
        picks: at most as many as the budget.
        known: how many candidates there were, those that may not be asked tonight included.
        trusted: whether the scores counted; otherwise the oldest go first.
    """

    picks: tuple[Pick, ...]
    known: int
    trusted: bool = True

    @property
    def expected(self) -> float:
        """New events that tonight should find in works with a history."""
        return sum(pick.expected for pick in self.picks)

    def count(self, reason: Reason) -> int:
        """How many are asked for this reason."""
        return sum(pick.reason is reason for pick in self.picks)


class NightForecast(NamedTuple):
    """New events expected of a night, and new events found. Only works with a history count; see `new_events`."""

    expected: float
    found: float


def observation(before: Candidate, after: EventHistory, now: float) -> tuple[int, float, float] | None:
    """The cohort, new events and days that a visit adds to `Rates.learn`; None if no record came before."""
    if before.history is None or before.recorded is None:
        return None
    cohort = cohort_of(before.history, before.recorded, now)
    return cohort, new_events(before.history, after), exposed_days(before.history, before.recorded, now)


def is_unreliable(nights: Sequence[NightForecast]) -> bool:
    """Whether the forecasts of the last nights were so wrong that tonight the oldest works should go first.

    They were if the nights found over four times as many events as expected, or under a quarter. Fewer than 50 events
    in all are too few to tell.
    """
    expected, found = sum(night.expected for night in nights), sum(night.found for night in nights)
    return max(expected, found) >= 50 and not expected / 4 <= found <= expected * 4


# --- Tonight


def score(candidate: Candidate, rates: Rates, now: float) -> Score | None:
    """The rank of one work, part by part; None without a record."""
    history, recorded = candidate.history, candidate.recorded
    if history is None or recorded is None:
        return None
    cohort = cohort_of(history, recorded, now)
    rate = own_rate(history, rates.rate(cohort))
    return Score(rate, exposed_days(history, recorded, now), now - recorded, cohort)


def earliest(candidate: Candidate, intervals: Intervals) -> float:
    """The time from which on a work may be asked again.

    1. Never asked: at once.
    2. `empty` or failed: after `min_interval`, then after 2, 4, 8 … times that, up to `max_interval`.
    3. Anything else: after `min_interval`.

    In cases 2 and 3 a giant waits at least seven days.
    """
    if candidate.asked is None:
        return 0.0
    wait = intervals.min_interval
    if candidate.state in (VisitState.EMPTY, VisitState.FAILED):
        wait = _doubled(candidate.misses, intervals)
    if candidate.history is not None and candidate.history.total > GIANT_EVENTS:
        wait = max(wait, GIANT_INTERVAL_DAYS)
    return candidate.asked + wait


def _doubled(misses: int, intervals: Intervals) -> float:
    """The pause after so many misses in a row: it doubles with each miss, from `min_interval` up to `max_interval`."""
    longest = max(intervals.max_interval, intervals.min_interval)
    return min(intervals.min_interval * 2.0 ** min(max(misses - 1, 0), 60), longest)


class _Best:
    """The entries of the highest values, at most `size`, so that memory stays flat. The smaller key wins a tie."""

    __slots__ = ("_heap", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, float]] = []

    def offer(self, value: float, key: int, expected: float = 0.0) -> None:
        heap = self._heap
        if len(heap) < self._size:
            heappush(heap, (value, -key, expected))
        elif heap and value >= heap[0][0] and (value, -key) > heap[0][:2]:
            heapreplace(heap, (value, -key, expected))

    def ordered(self) -> list[tuple[float, int, float]]:
        """Value, key, expected events: the highest first."""
        return [(value, -key, expected) for value, key, expected in sorted(self._heap, reverse=True)]


class _Groups:
    """The groups from which tonight's works are taken, filled in one pass: the best of each, as many as the budget."""

    def __init__(self, budget: int, now: float, rates: Rates, intervals: Intervals) -> None:
        self._now, self._intervals, self._rates = now, intervals, rates.all()
        self.new, self.degraded, self.retry = _Best(budget), _Best(budget), _Best(budget)
        self.scored, self.oldest = _Best(budget), _Best(budget)
        self.known = 0

    def sort(self, candidate: Candidate) -> None:
        """Put a candidate into its groups, if it may be asked at all.

        1. Never asked, or asked in the future, by a clock that was wrong then: in the order of their keys.
        2. Without a record so far, and due: the longest due first.
        3. Degraded, and due by the doubling pauses: the longest due first. Permanently degraded ones fall behind.
        4. With a record: by score, and by age. Those of case 3 take part here too.
        """
        self.known += 1
        key, state, asked, recorded, history, misses = candidate
        now = self._now
        if asked is None or asked > now + self._intervals.min_interval:
            return self.new.offer(0.0, key)
        if now < (due := earliest(candidate, self._intervals)):
            return None
        if history is None or recorded is None:
            return self.retry.offer(now - due, key)
        waited, exposed = now - recorded, exposed_days(history, recorded, now)
        expected = own_rate(history, self._rates[cohort_of(history, recorded, now)]) * exposed
        if state is VisitState.DEGRADED and (overdue := now - asked - _doubled(misses, self._intervals)) >= 0:
            self.degraded.offer(overdue, key, expected)
        self.scored.offer(expected * waited, key, expected)
        return self.oldest.offer(waited, key, expected)


class _Chosen:
    """Tonight's works while they are being chosen, each of them once."""

    def __init__(self, budget: int) -> None:
        self.picks: dict[int, Pick] = {}
        self._budget = budget

    @property
    def left(self) -> int:
        return self._budget - len(self.picks)

    def take(self, best: _Best, at_most: int, reason: Reason, at_least: float = float("-inf")) -> None:
        """Choose the best that are not chosen yet, with a value of `at_least` or more."""
        end = len(self.picks) + min(at_most, self.left)
        for value, key, expected in best.ordered():
            if len(self.picks) >= end or value < at_least:
                return
            if key not in self.picks:
                self.picks[key] = Pick(key, reason, expected)


def tonight(
    candidates: Iterable[Candidate],
    budget: int,
    now: float,
    rates: Rates,
    intervals: Intervals = Intervals(),
    *,
    trusted: bool = True,
) -> Selection:
    """Choose at most `budget` works to ask, in one pass. Memory grows with the budget, not with the candidates.

    1. Never harvested: at most half of the budget.
    2. Degraded and due: at most half of the rest.
    3. Without a record so far (`empty`, failed), and due: at most a tenth of the budget.
    4. Not read for `max_interval`, if the budget could read every work twice in that time.
    5. Nine tenths of what is left by score, the last tenth oldest first. If the scores are not `trusted`, all of it
       oldest first.
    6. If there is still budget left, it goes to works that the bounds of 1 to 3 kept out.
    """
    groups = _Groups(budget, now, rates, intervals)
    for candidate in candidates:
        groups.sort(candidate)
    chosen = _Chosen(budget)
    chosen.take(groups.new, (budget + 1) // 2, Reason.NEW)
    chosen.take(groups.degraded, (chosen.left + 1) // 2, Reason.DEGRADED)
    chosen.take(groups.retry, (budget + 9) // 10, Reason.RETRY)
    if groups.known <= budget * intervals.max_interval / 2:
        chosen.take(groups.oldest, chosen.left, Reason.OVERDUE, at_least=intervals.max_interval)
    if trusted:
        chosen.take(groups.scored, chosen.left - int(chosen.left * SHARE_FOR_OLDEST), Reason.SCORE)
    chosen.take(groups.oldest, chosen.left, Reason.OLDEST)
    chosen.take(groups.new, chosen.left, Reason.NEW)
    chosen.take(groups.degraded, chosen.left, Reason.DEGRADED)
    chosen.take(groups.retry, chosen.left, Reason.RETRY)
    return Selection(tuple(chosen.picks.values()), groups.known, trusted)
