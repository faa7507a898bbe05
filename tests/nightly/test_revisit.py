"""Which DOIs tonight: what a record tells, rates that are learnt, the choice, and how late events are in a world."""

import importlib.util
import os
import random
from collections.abc import Iterable
from math import ceil, exp
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.nightly.cohorts import (
    COHORTS,
    MAX_NEW_EVENTS,
    PRIOR_RATE,
    Rates,
    cohort_of,
    described,
    exposed_days,
    new_events,
    own_rate,
)
from harvester.nightly.revisit import (
    GIANT_EVENTS,
    Candidate,
    Intervals,
    NightForecast,
    Reason,
    Selection,
    VisitState,
    earliest,
    is_unreliable,
    observation,
    score,
    tonight,
)
from harvester.records.events import EventHistory, day_of, event_history
from tests.folders import DATA, SHARED

NOW = 20_000.0
ANSWERS = DATA / "paperbuzz-answers.jsonl"
SIMULATION = SHARED / "revisit_simulation.py"


def day(text: str) -> int:
    number = day_of(text)
    assert number is not None
    return number


def a_source(*days: tuple[str, int], count: int | None = None) -> dict[str, object]:
    total = sum(number for _, number in days) if count is None else count
    return {"events_count": total, "events_count_by_day": [{"date": date, "count": number} for date, number in days]}


def a_record(*sources: object, **metadata: object) -> dict[str, object]:
    return {"doi": "10.1/a", "altmetrics_sources": list(sources), "metadata": metadata}


def known(key: int, waited: float = 10.0, *, total: int = 5, **more: Any) -> Candidate:
    """A work with a record of some days ago, quiet for a hundred days before it."""
    recorded = NOW - waited
    history = EventHistory(total, 0, int(recorded) - 100, int(NOW) - 3000)
    return Candidate(
        key, **{"state": VisitState.OK, "asked": recorded, "recorded": recorded, "history": history, **more}
    )


def chosen(candidates: Iterable[Candidate], budget: int, **more: Any) -> Selection:
    return tonight(candidates, budget, NOW, more.pop("rates", Rates()), **more)


def keys(selection: Selection, reason: Reason | None = None) -> list[int]:
    return [pick.key for pick in selection.picks if reason in (None, pick.reason)]


# --- event_history


def test_what_was_asked_in_the_future_by_a_clock_that_was_wrong_is_asked_tonight() -> None:
    ahead = Candidate(1, VisitState.OK, 400.0, 400.0, EventHistory(3), 0)
    little = Candidate(2, VisitState.OK, 100.5, 100.5, EventHistory(3), 0)
    assert [pick.key for pick in tonight([ahead, little], 10, 100.0, Rates()).picks] == [1]


def test_a_history_sums_the_daily_counts_of_all_sources() -> None:
    record = a_record(
        a_source(("2026-11-01", 2), ("2026-11-18", 3)),
        a_source(("2026-11-20", 1)),
        issued={"date-parts": [[2026, 10, 5]]},
    )
    assert event_history(record, day("2026-11-21")) == EventHistory(6, 4, day("2026-11-20"), day("2026-10-05"))


def test_the_last_fortnight_is_fourteen_days_before_the_harvest() -> None:
    record = a_record(a_source(("2026-11-06", 1), ("2026-11-07", 10)))
    assert event_history(record, day("2026-11-21")).fortnight == 10


def test_the_count_of_a_source_goes_before_its_days() -> None:
    assert event_history(a_record(a_source(("2026-11-06", 1), count=7)), int(NOW)).total == 7


def test_days_stand_in_for_a_count_that_is_missing() -> None:
    source = a_source(("2020-01-01", 4))
    del source["events_count"]
    assert event_history(a_record(source), int(NOW)).total == 4


@pytest.mark.parametrize("odd", ["", "2026", "2026-13-01", "31.12.2020", None, 20201231, "2999-01-01"])
def test_an_event_without_a_day_that_can_be_counts_in_the_total_alone(odd: str) -> None:
    assert event_history(a_record(a_source((odd, 3))), int(NOW)) == EventHistory(3)


@pytest.mark.parametrize(
    ("metadata", "born"),
    [
        ({"issued": {"date-parts": [[2016, 1, 8]]}}, "2016-01-08"),
        ({"issued": {"date-parts": [[2016]]}, "created": {"date-parts": [[2016, 3, 1]]}}, "2016-03-01"),
        ({"published-online": {"date-parts": [[2015, 9, 2]]}, "issued": {"date-parts": [[2016, 1, 8]]}}, "2015-09-02"),
        ({"issued": {"date-parts": [[None]]}}, "2017-01-01"),
        ({"issued": {"date-parts": [[2016, 2, 31]]}}, "2017-01-01"),
        ({"issued": {"date-parts": [[2990, 1, 1]]}}, "2017-01-01"),
        ({"issued": "2016", "created": []}, "2017-01-01"),
        ({}, "2017-01-01"),
    ],
)
def test_an_article_is_as_old_as_its_metadata_say_or_its_first_event(metadata: dict[str, object], born: str) -> None:
    assert event_history(a_record(a_source(("2017-01-01", 1)), **metadata), int(NOW)).born == day(born)


def test_a_record_with_nothing_in_it_has_a_history_of_nothing() -> None:
    assert event_history({"doi": "10.1/a", "altmetrics_sources": []}, int(NOW)) == EventHistory(0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ODD_SOURCE = st.fixed_dictionaries({"events_count": JSON, "events_count_by_day": JSON | st.lists(JSON)})


@given(st.fixed_dictionaries({"altmetrics_sources": JSON | st.lists(ODD_SOURCE), "metadata": JSON}))
def test_no_record_is_too_odd(record: dict[str, object]) -> None:
    history = event_history(record, int(NOW))
    assert history.total >= 0
    assert history.fortnight >= 0


def test_recorded_answers_have_histories() -> None:
    answers = [orjson.loads(line) for line in ANSWERS.read_bytes().splitlines()]
    bodies = [orjson.loads(answer["body"]) for answer in answers if answer["body"].startswith('{"altmetrics')]
    histories = [event_history(body, int(NOW)) for body in bodies]
    assert EventHistory(14, 0, day("2017-09-01"), day("2017-01-01")) in histories
    assert EventHistory(0) in histories


# --- Rates


def test_before_anything_is_learnt_every_cohort_has_the_prior_rate() -> None:
    assert Rates().all() == pytest.approx((PRIOR_RATE,) * COHORTS)


def test_a_cohort_with_many_visits_has_the_rate_that_it_showed() -> None:
    rates = Rates()
    rates.learn(17, 20_000, 100_000)
    assert rates.rate(17) == pytest.approx(0.2, rel=0.01)


def test_a_cohort_never_visited_takes_after_those_that_share_its_levels() -> None:
    rates = Rates()
    hot = cohort_of(EventHistory(50, 20, 19_990, 19_900), 19_991.0, NOW)
    cold = cohort_of(EventHistory(0, 0, None, 10_000), 19_991.0, NOW)
    rates.learn(hot, 4_000, 1_000)
    rates.learn(cold, 10, 100_000)
    rather_hot = cohort_of(EventHistory(50, 20, 19_990, 19_970), 19_991.0, NOW)
    rather_cold = cohort_of(EventHistory(0, 0, None, 19_900), 19_991.0, NOW)
    assert rates.rate(rather_hot) > 20 * rates.rate(rather_cold)


def test_one_lucky_visit_makes_no_hot_cohort() -> None:
    rates = Rates()
    for cohort in range(COHORTS):
        rates.learn(cohort, 5, 1_000)
    before = rates.rate(3)
    rates.learn(3, MAX_NEW_EVENTS, 10)
    assert rates.rate(3) < 2 * before


def test_an_unlucky_cohort_is_not_starved_for_good() -> None:
    rates = Rates()
    for cohort in range(COHORTS):
        rates.learn(cohort, 0 if cohort == 3 else 5, 1_000)
    assert rates.rate(3) > 0.5 * rates.rate(4)


def test_what_was_learnt_fades() -> None:
    rates = Rates()
    rates.learn(3, 1_000, 1_000)
    for _ in range(300):
        rates.decay()
    rates.learn(3, 0, 1_000)
    assert rates.rate(3) < 0.3


def test_the_end_of_a_night_tells_at_once() -> None:
    rates = Rates()
    rates.learn(3, 1_000, 1_000)
    assert rates.rate(3) > PRIOR_RATE
    rates.decay()
    assert rates.all() == Rates.of_numbers(rates.numbers()).all()


def test_rates_survive_the_ledger() -> None:
    rates = Rates()
    rates.learn(3, 7, 11.5)
    rates.decay()
    again = Rates.of_numbers(orjson.loads(orjson.dumps(rates.numbers())))
    assert again.numbers() == rates.numbers()
    assert again.all() == rates.all()


def test_numbers_of_another_version_begin_anew() -> None:
    assert Rates.of_numbers([1.0, 2.0]).all() == Rates().all()


def test_fitting_has_settled_after_its_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, dice = Rates(), random.Random(3)
    for cohort in range(COHORTS):
        days = dice.expovariate(1 / 500)
        rates.learn(cohort, days * dice.expovariate(50), days)
    settled = rates.all()
    monkeypatch.setattr("harvester.nightly.cohorts.SWEEPS", 100)
    assert Rates.of_numbers(rates.numbers()).all() == pytest.approx(settled, rel=0.02)


def test_gains_are_bounded_both_ways() -> None:
    assert new_events(EventHistory(5), EventHistory(8)) == 3
    assert new_events(EventHistory(5), EventHistory(2)) == 0
    assert new_events(EventHistory(5), EventHistory(500)) == MAX_NEW_EVENTS
    assert new_events(None, EventHistory(4)) == 4


def test_a_visit_teaches_its_cohort_what_it_found() -> None:
    before = known(1, 10.0)
    assert before.history is not None
    assert observation(before, EventHistory(8), NOW) == (cohort_of(before.history, NOW - 10, NOW), 3, 10.0)
    assert observation(Candidate(1), EventHistory(8), NOW) is None


def test_cohorts_are_said_in_words() -> None:
    cohort = cohort_of(EventHistory(5, 0, 19_900, 18_000), 19_990.0, NOW)
    assert (
        described(cohort) == "4 to 31 events, 0 in the last fortnight, quiet for 30 or more days, 365 or more days old"
    )
    assert "age unknown" in described(cohort_of(EventHistory(0), 19_990.0, NOW))
    assert len({described(cohort) for cohort in range(COHORTS)}) == COHORTS


@given(
    st.integers(0, 10**6), st.integers(0, 10**4), st.none() | st.integers(0, 20_000), st.none() | st.integers(0, 20_000)
)
def test_every_history_has_a_cohort(total: int, fortnight: int, last_day: int | None, born: int | None) -> None:
    assert 0 <= cohort_of(EventHistory(total, fortnight, last_day, born), NOW - 3.5, NOW) < COHORTS


# --- score


def test_a_score_is_rate_times_days_squared() -> None:
    work = known(1, 10.0)
    told = score(work, Rates(), NOW)
    assert told is not None
    assert work.history is not None
    assert (told.exposed, told.waited) == (10.0, 10.0)
    assert told.rate == pytest.approx(own_rate(work.history, PRIOR_RATE))
    assert told.expected == told.rate * 10
    assert told.value == pytest.approx(told.rate * 10 * 10)


def test_a_work_is_held_to_its_cohort_until_its_own_fortnight_says_otherwise() -> None:
    assert own_rate(EventHistory(5, 0), 0.005) == pytest.approx(0.005, rel=0.02)
    assert own_rate(EventHistory(50, 14), 0.005) > 3 * 0.005
    assert own_rate(EventHistory(50, 14), 0.5) == pytest.approx(0.79, abs=0.01)
    assert own_rate(EventHistory(999, 900), 0.5) == own_rate(EventHistory(999, MAX_NEW_EVENTS), 0.5)


def test_the_score_that_is_explained_is_the_score_that_chose() -> None:
    works = [known(key, float(key), total=key) for key in range(2, 40)]
    by_score = sorted(works, key=lambda work: (-_value(work), work.key))
    assert keys(chosen(works, 9)) == [work.key for work in by_score[:9]]


def test_what_waited_longer_counts_more_than_what_promises_more() -> None:
    young = known(1, 50.0, history=EventHistory(5, 0, 19_900, int(NOW) - 10))  # 10 exposed days x 50 > 20 x 20
    assert keys(chosen([young, known(2, 20.0)], 1)) == [1]


def _value(candidate: Candidate) -> float:
    told = score(candidate, Rates(), NOW)
    assert told is not None
    return told.value


def test_a_new_article_had_only_its_own_days_for_events() -> None:
    assert exposed_days(EventHistory(0, born=int(NOW) - 3), NOW - 40, NOW) == 3
    assert exposed_days(EventHistory(0, born=int(NOW)), NOW - 40, NOW) == 0.5
    assert exposed_days(EventHistory(0), NOW - 40, NOW) == 40


def test_without_a_record_there_is_no_score() -> None:
    assert score(Candidate(1), Rates(), NOW) is None


# --- tonight


def test_never_harvested_ones_take_at_most_half_of_the_budget() -> None:
    selection = chosen([*(Candidate(key) for key in range(100)), *(known(key) for key in range(100, 200))], 20)
    assert keys(selection, Reason.NEW) == list(range(10))
    assert selection.count(Reason.SCORE) == 9
    assert selection.count(Reason.OLDEST) == 1
    assert selection.known == 200


def test_never_harvested_ones_take_all_when_nothing_else_is_due() -> None:
    assert keys(chosen((Candidate(key) for key in range(100)), 20)) == list(range(20))


def test_degraded_ones_come_next() -> None:
    degraded = [known(key, state=VisitState.DEGRADED, misses=1) for key in range(50, 60)]
    selection = chosen([*(known(key) for key in range(50)), *degraded], 30)
    assert keys(selection, Reason.DEGRADED) == list(range(50, 60))


def test_degraded_ones_leave_room_for_the_others() -> None:
    degraded = [known(key, state=VisitState.DEGRADED, misses=1) for key in range(100)]
    assert chosen([*degraded, *(known(key) for key in range(100, 200))], 30).count(Reason.DEGRADED) == 15


def test_what_is_degraded_for_good_falls_back_to_its_score() -> None:
    selection = chosen([known(1, 10.0, state=VisitState.DEGRADED, misses=6)], 10)
    assert selection.count(Reason.DEGRADED) == 0
    assert keys(selection) == [1]


def test_works_without_a_record_have_pauses_that_double() -> None:
    def due(misses: int) -> float:
        return earliest(Candidate(1, VisitState.FAILED, asked=0.0, misses=misses), Intervals(1.0, 90.0))

    assert [due(misses) for misses in (1, 2, 3, 7, 8, 1000)] == [1, 2, 4, 64, 90, 90]


def test_works_without_a_record_take_a_tenth_of_the_budget() -> None:
    failed = [Candidate(key, VisitState.EMPTY, asked=NOW - 50, misses=2) for key in range(100)]
    selection = chosen([*failed, *(known(key) for key in range(100, 200))], 30)
    assert keys(selection, Reason.RETRY) == [0, 1, 2]


def test_a_known_work_that_fails_now_waits_for_its_pause_too() -> None:
    assert not keys(chosen([known(1, 30.0, state=VisitState.FAILED, asked=NOW - 3, misses=3)], 10))
    assert keys(chosen([known(1, 30.0, state=VisitState.FAILED, asked=NOW - 4, misses=3)], 10)) == [1]


def test_nothing_is_asked_twice_within_the_shortest_interval() -> None:
    assert keys(chosen([known(1, 0.99), known(2, 1.0)], 10)) == [2]
    assert not keys(chosen([known(1, 2.0)], 10, intervals=Intervals(min_interval=3.0)))


def test_giants_rest_for_a_week() -> None:
    giants = [known(1, 6.9, total=GIANT_EVENTS + 1), known(2, 7.0, total=GIANT_EVENTS + 1)]
    assert keys(chosen([*giants, known(3, 6.9, total=GIANT_EVENTS)], 10)) == [2, 3]


def test_the_last_tenth_goes_to_the_oldest_whatever_their_score() -> None:
    rates = Rates()
    hot, cold = known(1, 5.0, total=50), known(2, 50.0, total=0)
    for candidate, events in ((hot, 10_000.0), (cold, 0.0)):
        assert candidate.history is not None
        rates.learn(cohort_of(candidate.history, NOW - 5, NOW), events, 10_000)
    works = [*(hot._replace(key=key) for key in range(100)), *(cold._replace(key=key) for key in range(100, 200))]
    selection = chosen(works, 20, rates=rates)
    assert keys(selection, Reason.SCORE) == list(range(18))
    assert keys(selection, Reason.OLDEST) == [100, 101]


def test_scores_that_are_not_trusted_decide_nothing() -> None:
    selection = chosen((known(key, float(key)) for key in range(1, 80)), 5, trusted=False)
    assert [pick[:2] for pick in selection.picks] == [(key, Reason.OLDEST) for key in (79, 78, 77, 76, 75)]


def test_what_is_overdue_goes_first_if_the_budget_can_afford_it() -> None:
    works = [known(1, 95.0), *(known(key) for key in range(2, 30))]
    assert chosen(works, 2).picks[0][:2] == (1, Reason.OVERDUE)
    assert chosen(works, 2, intervals=Intervals(1.0, 20.0)).count(Reason.OVERDUE) == 0


def test_expected_events_are_the_sum_over_the_picks() -> None:
    selection = chosen([known(1, 10.0), known(2, 20.0), Candidate(3)], 10)
    assert selection.expected == pytest.approx(PRIOR_RATE * 30, rel=0.02)


def test_a_budget_of_nothing_asks_nothing() -> None:
    assert not chosen([known(1), Candidate(2)], 0).picks


ANY = st.builds(
    Candidate,
    st.integers(0, 400),
    st.sampled_from(VisitState),
    st.none() | st.floats(NOW - 200, NOW),
    st.none() | st.floats(NOW - 200, NOW),
    st.none()
    | st.builds(EventHistory, st.integers(0, 3000), st.integers(0, 20), st.none() | st.integers(19_000, 20_000)),
    st.integers(0, 9),
)


@given(st.lists(ANY, unique_by=lambda c: c.key), st.integers(0, 60), st.booleans(), st.randoms(use_true_random=False))
def test_a_choice_keeps_to_its_bounds(works: list[Candidate], budget: int, trusted: bool, dice: random.Random) -> None:
    selection = chosen(works, budget, trusted=trusted)
    due = {work.key for work in works if earliest(work, Intervals()) <= NOW}
    assert len(selection.picks) == min(budget, len(due))  # no room is wasted, nothing is asked too soon
    assert set(keys(selection)) <= due
    assert len(set(keys(selection))) == len(selection.picks)
    dice.shuffle(works)
    assert chosen(works, budget, trusted=trusted) == selection  # the order of the ledger's rows plays no part


@pytest.mark.parametrize(
    ("nights", "worthless"),
    [
        ([], False),
        ([NightForecast(10, 49)], False),
        ([NightForecast(100, 30)], False),
        ([NightForecast(100, 20)], True),
        ([NightForecast(100, 390)], False),
        ([NightForecast(100, 410)], True),
        ([NightForecast(100, 0), NightForecast(100, 100)], False),
    ],
)
def test_a_prediction_is_worthless_when_far_off(nights: list[NightForecast], worthless: bool) -> None:
    assert is_unreliable(nights) is worthless


# --- A world: how late are events?

WARM_UP, NIGHTS, HISTORY = 30, 70, 60


class SimulatedWorld:
    """The events of some articles, day by day: sizes, decay with age, bursts, new articles."""

    def __init__(self, works: int, seed: int) -> None:
        self.days = HISTORY + WARM_UP + NIGHTS
        dice = random.Random(seed)
        self.born = [self._a_birth(dice) for _ in range(works)]
        self.events = [self._a_life(dice, born) for born in self.born]

    def _a_birth(self, dice: random.Random) -> float:
        return dice.uniform(0, self.days) if dice.random() < 0.1 else -dice.expovariate(1 / 900)

    def _a_life(self, dice: random.Random, born: float) -> list[int]:
        size = 0.0 if dice.random() < 0.55 else dice.lognormvariate(1.2, 1.6)
        burst, total, totals = 0.0, 0, [0]
        for today in range(self.days):
            burst *= 0.75
            age = today - born
            if age >= 0:
                burst += dice.lognormvariate(1.0, 1.0) if size and dice.random() < 0.0004 else 0.0
                total += _poisson(dice, size * (0.30 * (1 + age / 3) ** -1.35 + 0.0002) + 1.4e-4 + burst)
            totals.append(total)
        return totals

    def history(self, work: int, today: int) -> EventHistory:
        """What a record of the morning of this day tells."""
        totals, total = self.events[work], self.events[work][today]
        last = next((d for d in range(today - 1, -1, -1) if totals[d] < total), None)
        return EventHistory(total, total - totals[max(today - 14, 0)], last, ceil(self.born[work]))


def _poisson(dice: random.Random, mean: float) -> int:
    count, left = 0, dice.random()
    limit = exp(-min(mean, 600.0))
    while left > limit:
        count, left = count + 1, left * dice.random()
    return count


def mean_delay(world: SimulatedWorld, share: float, *, trusted: bool) -> float:
    """Days until an event is captured, under the product's policy, or oldest first."""
    works = range(len(world.born))
    budget, rates, dice = int(len(works) * share), Rates(), random.Random(1)
    records = [(day := HISTORY - dice.randrange(int(1 / share)), world.history(work, day)) for work in works]
    late = 0
    for today in range(HISTORY + 1, world.days + 1):
        candidates = [
            Candidate(work, VisitState.OK, day, day, told) for work, (day, told) in zip(works, records, strict=True)
        ]
        for pick in tonight(candidates, budget, today, rates, trusted=trusted).picks:
            told = world.history(pick.key, today)
            if observed := observation(candidates[pick.key], told, today):
                rates.learn(*observed)
            records[pick.key] = (today, told)
        rates.decay()
        if today > HISTORY + WARM_UP:
            late += sum(totals[today] - told.total for totals, (_, told) in zip(world.events, records, strict=True))
    return late / sum(totals[-1] - totals[HISTORY + WARM_UP] for totals in world.events)


@pytest.mark.parametrize("seed", [7, 11])
def test_in_a_small_world_events_are_captured_much_sooner_than_oldest_first(seed: int) -> None:
    world = SimulatedWorld(2_500, seed)
    assert mean_delay(world, 0.05, trusted=True) < 0.75 * mean_delay(world, 0.05, trusted=False)


def _simulation() -> Any:
    spec = importlib.util.spec_from_file_location("revisit_simulation", SIMULATION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(os.environ.get("HARVESTER_REVISIT") != "full", reason="takes minutes: HARVESTER_REVISIT=full")
@pytest.mark.skipif(not SIMULATION.exists(), reason="the simulation is not part of the project")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("share", "mark"), [(0.05, 5.0), (0.01, 35.0)])
def test_in_the_full_simulation_the_mean_delay_is_under_the_mark(share: float, mark: float) -> None:
    np: Any = pytest.importorskip("numpy")
    simulation = _simulation()

    ages, events = simulation.world(np.random.default_rng(7))
    seen, works = simulation.Seen(ages, events), np.arange(simulation.N)
    budget, rates, born = int(simulation.N * share), Rates(), (-ages).tolist()
    start = simulation.HISTORY
    last = start - np.random.default_rng(1).integers(1, int(1 / share) + 1, simulation.N)
    late = 0
    for today in range(start + 1, simulation.DAYS + 1):
        total, quiet, fortnight, _ = (column.tolist() for column in seen.features(today, last))
        recorded = last.tolist()
        candidates = [
            Candidate(
                work,
                VisitState.OK,
                day,
                day,
                EventHistory(events_so_far, recent, day - still if still < 400 else None, out),
            )
            for work, (day, events_so_far, still, recent, out) in enumerate(
                zip(recorded, total, quiet, fortnight, born, strict=True)
            )
        ]
        for pick in tonight(candidates, budget, today, rates).picks:
            found = EventHistory(int(seen.cum[today][pick.key]))
            if observed := observation(candidates[pick.key], found, today):
                rates.learn(*observed)
            last[pick.key] = today
        rates.decay()
        if today > start + simulation.WARM:
            late += int((seen.cum[today] - seen.cum[last, works]).sum())
    assert late / int(events[start + simulation.WARM :].sum()) < mark
