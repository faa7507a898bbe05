"""How many events a day are to be expected of works that are alike: learnt by cohort, as the nights go by.

Pure: numbers in, numbers out. Times are in days since 1970 UTC: 1.5 is noon on 2 January 1970. A *day* is a whole one.
What was tried is in docs/revisit.md.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import product
from math import prod
from operator import mul

from harvester.records.events import FORTNIGHT_DAYS, History

MAX_GAINED = 20
"""What one visit may teach about a cohort. Without it a single burst rules a cohort for months."""

SHORTEST_EXPOSURE_DAYS = 0.5

DECAY_A_NIGHT = 0.995
"""What is learnt loses half its weight in 139 nights."""

PRIOR_RATE = 0.005
"""Events a day and work before anything is learnt: the prior of revisit_simulation.py, 0.02 events in four days."""
PRIOR_DAYS = 4.0
PRIOR_EVENTS = 3.0
"""How many events' worth of doubt each factor carries."""
COHORT_EVENTS = 50.0
"""How many events a cohort needs before its own rate counts as much as the product of the factors."""
OWN_EVENTS = 5.0
"""How many events of its own fortnight a work needs to be believed as much as its cohort is; 2 to 15 do as well."""
SWEEPS = 8
"""Rounds of fitting the factors in turn; more of them change the rates by under 2 %."""

TOTAL_STEPS = (1, 4, 32)
QUIET_STEPS = (2, 5, 30)
AGE_STEPS = (7, 30, 365)
FORTNIGHT_STEPS = (1, 10)
NEVER_QUIET = 10_000
AGE_UNKNOWN = len(AGE_STEPS) + 1

SHAPE = (len(TOTAL_STEPS) + 1, len(QUIET_STEPS) + 1, len(AGE_STEPS) + 2, len(FORTNIGHT_STEPS) + 1)
"""Levels of a cohort: total events, quiet days, age in days or unknown, events of the last fortnight."""
COHORTS = prod(SHAPE)


def gained(before: History | None, after: History) -> int:
    """New events between two records, as far as one visit may teach. Fewer events than before are none gained."""
    return min(max(after.total - (before.total if before else 0), 0), MAX_GAINED)


def cohort_of(history: History, recorded: float, now: float) -> int:
    """The number of the cohort that a work belongs to `now`, given its record of `recorded`."""
    total, fortnight, last_day, born = history
    quiet = NEVER_QUIET if last_day is None else int(recorded) - last_day
    age = AGE_UNKNOWN if born is None else bisect_right(AGE_STEPS, now - born)
    level = bisect_right(TOTAL_STEPS, total) * SHAPE[1] + bisect_right(QUIET_STEPS, quiet)
    return (level * SHAPE[2] + age) * SHAPE[3] + bisect_right(FORTNIGHT_STEPS, fortnight)


def own_rate(history: History, typical: float) -> float:
    """Events a day of a work: those of its last fortnight, shrunk towards what is typical of its cohort."""
    return (min(history.fortnight, MAX_GAINED) + OWN_EVENTS) / (FORTNIGHT_DAYS + OWN_EVENTS / typical)


def exposed_days(history: History, recorded: float, now: float) -> float:
    """Days since the record in which the article was out, so that events could come."""
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
    """Events a day by cohort, learnt as the nights go by.

    Gained events and exposed days are kept for each cohort. Its rate is their quotient, held to what its levels
    suggest: a base rate times one factor each for total, quiet days, age and last fortnight, fitted in turn until they
    agree with the sums over each level (iterative proportional fitting). The fewer events a cohort has seen, the more
    the product counts.
    """

    def __init__(self) -> None:
        self._gained = [0.0] * COHORTS
        self._exposed = [0.0] * COHORTS
        self._fitted: tuple[float, ...] | None = None

    def learn(self, cohort: int, gained: float, days: float) -> None:
        """Takes in one visit to a work of this cohort: `lesson` has the three."""
        self._gained[cohort] += gained
        self._exposed[cohort] += days
        self._fitted = None

    def end_night(self) -> None:
        """Lets what was learnt so far count a little less."""
        self._gained = [value * DECAY_A_NIGHT for value in self._gained]
        self._exposed = [value * DECAY_A_NIGHT for value in self._exposed]
        self._fitted = None

    def rate(self, cohort: int) -> float:
        """Events a day."""
        return self.all()[cohort]

    def all(self) -> tuple[float, ...]:
        """The rates of all cohorts, fitted at the first call after something was learnt."""
        if self._fitted is None:
            self._fitted = tuple(
                (events + COHORT_EVENTS) / (days + COHORT_EVENTS / typical)
                for events, days, typical in zip(self._gained, self._exposed, self._products(), strict=True)
            )
        return self._fitted

    def numbers(self) -> list[float]:
        """All that was learnt, for the ledger."""
        return [*self._gained, *self._exposed]

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> "Rates":
        """The rates from what `numbers` gave; of another length, for an older set of cohorts, they begin anew."""
        rates = cls()
        if len(numbers) == 2 * COHORTS:
            rates._gained, rates._exposed = list(numbers[:COHORTS]), list(numbers[COHORTS:])
        return rates

    def _products(self) -> list[float]:
        events, days = self._gained, self._exposed
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
