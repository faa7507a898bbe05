"""How many events a day to expect of works that are alike: learned for each cohort, as the nights go by.

Pure: numbers in, numbers out. Times are in days since 1970 UTC: 1.5 is noon on 2 January 1970. A *day* is a whole one.
What was tried is in docs/revisit.md.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import product
from math import prod
from operator import mul

from harvester.records.events import FORTNIGHT_DAYS, EventHistory

MAX_NEW_EVENTS = 20
"""How many new events of one visit count at most. Without this bound a single burst rules a cohort for months."""

SHORTEST_EXPOSURE_DAYS = 0.5

DECAY_A_NIGHT = 0.995
"""What was learned loses half its weight in 139 nights."""

PRIOR_RATE = 0.005
"""Events a day of a work before anything is learned: 0.02 events in four days."""
PRIOR_DAYS = 4.0
PRIOR_EVENTS = 3.0
"""Strength of the prior of each factor, in events: a factor that rests on few events stays near 1."""
COHORT_EVENTS = 50.0
"""How many events a cohort needs until its own rate counts as much as the product of the factors."""
OWN_EVENTS = 5.0
"""How many events of its last fortnight a work needs until its own rate counts as much as that of its cohort. Anything
from 2 to 15 does as well."""
SWEEPS = 8
"""Rounds in which the factors are fitted in turn. More rounds change the rates by under 2 %."""

TOTAL_STEPS = (1, 4, 32)
QUIET_STEPS = (2, 5, 30)
AGE_STEPS = (7, 30, 365)
FORTNIGHT_STEPS = (1, 10)
NEVER_QUIET = 10_000
AGE_UNKNOWN = len(AGE_STEPS) + 1

SHAPE = (len(TOTAL_STEPS) + 1, len(QUIET_STEPS) + 1, len(AGE_STEPS) + 2, len(FORTNIGHT_STEPS) + 1)
"""Levels of a cohort: total events, quiet days, age in days or unknown, events of the last fortnight."""
COHORTS = prod(SHAPE)


def new_events(before: EventHistory | None, after: EventHistory) -> int:
    """New events between two records, at most `MAX_NEW_EVENTS`; 0 if there are fewer events than before."""
    return min(max(after.total - (before.total if before else 0), 0), MAX_NEW_EVENTS)


def cohort_of(history: EventHistory, recorded: float, now: float) -> int:
    """The number of the cohort that a work belongs to at the time `now`, by its record of the time `recorded`."""
    total, fortnight, last_day, born = history
    quiet = NEVER_QUIET if last_day is None else int(recorded) - last_day
    age = AGE_UNKNOWN if born is None else bisect_right(AGE_STEPS, now - born)
    level = bisect_right(TOTAL_STEPS, total) * SHAPE[1] + bisect_right(QUIET_STEPS, quiet)
    return (level * SHAPE[2] + age) * SHAPE[3] + bisect_right(FORTNIGHT_STEPS, fortnight)


def own_rate(history: EventHistory, typical: float) -> float:
    """Events a day of one work: those of its last fortnight, shrunk towards the rate that is typical of its cohort."""
    return (min(history.fortnight, MAX_NEW_EVENTS) + OWN_EVENTS) / (FORTNIGHT_DAYS + OWN_EVENTS / typical)


def exposed_days(history: EventHistory, recorded: float, now: float) -> float:
    """Days since the record during which the article was already out."""
    waited = now - recorded
    age = waited if history.born is None else now - history.born
    return max(min(waited, age), SHORTEST_EXPOSURE_DAYS)


def described(cohort: int) -> str:
    """A cohort in words, for `plan DOI`."""
    total, quiet, age, fortnight = _levels(cohort)
    ages = "age unknown" if age == AGE_UNKNOWN else f"{_span(AGE_STEPS, age)} days old"
    return (
        f"{_span(TOTAL_STEPS, total)} events, {_span(FORTNIGHT_STEPS, fortnight)} in the last fortnight, "
        f"quiet for {_span(QUIET_STEPS, quiet)} days, {ages}"
    )


def _span(steps: Sequence[int], level: int) -> str:
    if level == len(steps):
        return f"{steps[-1]} or more"
    low, high = (steps[level - 1] if level else 0), steps[level] - 1
    return str(low) if low == high else f"{low} to {high}"


def _levels(cohort: int) -> tuple[int, ...]:
    levels = []
    for size in reversed(SHAPE):
        cohort, level = divmod(cohort, size)
        levels.append(level)
    return tuple(reversed(levels))


def _members() -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each dimension and level, the cohorts that share it."""
    levels = [_levels(cohort) for cohort in range(COHORTS)]
    return tuple(
        tuple(tuple(c for c in range(COHORTS) if levels[c][axis] == level) for level in range(size))
        for axis, size in enumerate(SHAPE)
    )


MEMBERS = _members()


class Rates:
    """Events a day for each cohort, learned as the nights go by.

    New events and exposed days are summed for each cohort. The rate of a cohort is their quotient, shrunk towards what
    its levels suggest: a base rate times one factor each for total events, quiet days, age and last fortnight. The
    factors are fitted in turn until they agree with the sums over each level (iterative proportional fitting). The
    fewer events a cohort has seen, the more this product counts.
    """

    def __init__(self) -> None:
        self._events = [0.0] * COHORTS
        self._exposed = [0.0] * COHORTS
        self._fitted: tuple[float, ...] | None = None

    def copy(self) -> "Rates":
        """The same rates, to learn on."""
        return Rates.of_numbers(self.numbers())

    def learn(self, cohort: int, events: float, days: float) -> None:
        """Add one visit to a work of this cohort. `harvester.nightly.revisit.observation` makes the three arguments."""
        self._events[cohort] += events
        self._exposed[cohort] += days
        self._fitted = None

    def decay(self) -> None:
        """Let everything that was learned so far count a little less; called once a night."""
        self._events = [value * DECAY_A_NIGHT for value in self._events]
        self._exposed = [value * DECAY_A_NIGHT for value in self._exposed]
        self._fitted = None

    def rate(self, cohort: int) -> float:
        """Events a day."""
        return self.all()[cohort]

    def all(self) -> tuple[float, ...]:
        """The rates of all cohorts. They are fitted at the first call after something was learned."""
        if self._fitted is None:
            self._fitted = tuple(
                (events + COHORT_EVENTS) / (days + COHORT_EVENTS / typical)
                for events, days, typical in zip(self._events, self._exposed, self._products(), strict=True)
            )
        return self._fitted

    def numbers(self) -> list[float]:
        """Everything that was learned, to be stored in the ledger."""
        return [*self._events, *self._exposed]

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> "Rates":
        """The rates from what `numbers` returned. If that was another set of cohorts, learning starts anew."""
        rates = cls()
        if len(numbers) == 2 * COHORTS:
            rates._events, rates._exposed = list(numbers[:COHORTS]), list(numbers[COHORTS:])
        return rates

    def _products(self) -> list[float]:
        """For each cohort, the base rate times its four factors."""
        events, days = self._events, self._exposed
        base = (sum(events) + PRIOR_RATE * PRIOR_DAYS) / (sum(days) + PRIOR_DAYS)
        products = [base] * COHORTS
        sums = [[sum(events[c] for c in level) for level in levels] for levels in MEMBERS]
        for _, (levels, seen) in product(range(SWEEPS), list(zip(MEMBERS, sums, strict=True))):
            predicted = list(map(mul, products, days))
            for level, found in zip(levels, seen, strict=True):
                factor = (found + PRIOR_EVENTS) / (sum(predicted[c] for c in level) + PRIOR_EVENTS)
                for c in level:
                    products[c] *= factor
        return products
