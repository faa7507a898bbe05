"""Whether rates and quotas were kept, and how many requests overlapped."""

from hypothesis import given
from hypothesis import strategies as st

from harvester.sandbox.limits import busiest_window, per_utc_day, quota_violations, rate_violations
from harvester.sandbox.overlaps import Overlaps

TIMES = st.lists(st.integers(0, 400), max_size=40).map(lambda ticks: sorted(tick / 16 for tick in ticks))


def broken_by_hand(times: list[float], rate: float, burst: float) -> set[float]:
    """The ends of all windows that break the rule, straight from its wording."""
    return {
        times[last]
        for first in range(len(times))
        for last in range(first, len(times))
        if last - first + 1 > rate * (times[last] - times[first]) + burst + 1e-6
    }


@given(TIMES, st.sampled_from([0.5, 1.0, 4.0, 16.0]), st.sampled_from([1.0, 2.0, 5.5]))
def test_it_finds_exactly_the_windows_that_break_the_rule(times: list[float], rate: float, burst: float) -> None:
    assert {found.end for found in rate_violations(times, rate, burst)} == broken_by_hand(times, rate, burst)


@given(TIMES, st.sampled_from([0.5, 4.0]))
def test_the_window_it_names_holds_what_it_says(times: list[float], rate: float) -> None:
    for found in rate_violations(times, rate, 1.0):
        inside = [moment for moment in times if found.start <= moment <= found.end]
        assert len(inside) >= found.count > found.allowed


def test_slack_forgives_requests_that_scheduling_pushed_together() -> None:
    times = [0.0, 0.1, 0.2, 0.29, 0.39]
    assert rate_violations(times, 10, 1)
    assert not rate_violations(times, 10, 1, slack_seconds=0.02)


@given(TIMES, st.sampled_from([0.5, 3.0, 100.0]))
def test_the_busiest_window_is_the_busiest(times: list[float], seconds: float) -> None:
    by_hand = max((sum(start <= moment < start + seconds for moment in times) for start in times), default=0)
    assert busiest_window(times, seconds)[0] == by_hand


def test_days_are_utc_days() -> None:
    assert per_utc_day([86_399.9, 86_400.0, 86_401.0]) == {"1970-01-01": 1, "1970-01-02": 2}


def test_a_quota_kept_in_each_utc_day_may_be_broken_over_midnight() -> None:
    before, after = [86_000.0 + n for n in range(3)], [86_500.0 + n for n in range(3)]
    assert not quota_violations(before, 3)
    over = quota_violations(before + after, 3)
    assert [found.count for found in over] == [6]


def test_overlaps_remember_the_most_and_who_it_was() -> None:
    overlaps = Overlaps()
    first = overlaps.enter("a")
    overlaps.enter("b")
    assert (overlaps.most, overlaps.offenders) == (1, [])
    second = overlaps.enter("a")
    overlaps.leave(first)
    overlaps.leave(second)
    overlaps.enter("a")
    assert (overlaps.most, overlaps.offenders) == (2, ["a"])


def test_a_request_whose_client_has_gone_does_not_overlap() -> None:
    overlaps = Overlaps()
    overlaps.enter("a", lambda: False)
    assert overlaps.enter("a").count == 1
    assert overlaps.offenders == []
