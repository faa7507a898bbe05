"""The breaker: many different DOIs that fail in a row are an outage, one that fails often is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.errors import ServiceDown
from harvester.politeness.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, CircuitBreaker
from tests.support import FakeClock


def a_breaker(
    clock: FakeClock | None = None, *, threshold: int = 3, patience_seconds: float = 3600.0
) -> CircuitBreaker:
    return CircuitBreaker("Paperbuzz", clock or FakeClock(), threshold=threshold, patience_seconds=patience_seconds)


def test_it_opens_at_the_threshold_of_different_dois() -> None:
    breaker = a_breaker()
    for doi in ("10.1/a", "10.1/b"):
        breaker.failed(doi, "500")
        assert not breaker.is_open
    breaker.failed("10.1/c", "500")
    assert breaker.is_open


def test_one_doi_may_fail_as_often_as_it_likes() -> None:
    breaker = a_breaker()
    for _ in range(100):
        breaker.failed("10.1/a", "500")
    assert not breaker.is_open


def test_a_good_record_in_between_clears_all_suspicion() -> None:
    breaker = a_breaker()
    breaker.failed("10.1/a", "500")
    breaker.failed("10.1/b", "500")
    breaker.succeeded()
    breaker.failed("10.1/c", "500")
    breaker.failed("10.1/d", "500")
    assert not breaker.is_open


def test_it_closes_with_a_good_record_and_can_open_again() -> None:
    clock = FakeClock()
    breaker = a_breaker(clock)
    breaker.trip("503")
    since = breaker.since
    clock.advance(10)
    breaker.succeeded()
    closed = not breaker.is_open
    breaker.trip("503")
    assert closed
    assert breaker.is_open
    assert breaker.since > since


def test_it_says_since_when_it_is_open_however_often_it_is_tripped() -> None:
    clock = FakeClock()
    breaker = a_breaker(clock)
    breaker.trip("503")
    since = breaker.since
    clock.advance(10)
    breaker.trip("timeout")
    assert breaker.since == since


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    breaker = a_breaker(patience_seconds=1e9)
    breaker.trip("503")
    pauses = [breaker.next_pause() for _ in range(12)]
    assert pauses[:4] == [FIRST_PAUSE_SECONDS * 2**n for n in range(4)]
    assert pauses[-1] == pauses[-2] == LONGEST_PAUSE_SECONDS
    breaker.succeeded()
    breaker.trip("503")
    assert breaker.next_pause() == FIRST_PAUSE_SECONDS


def test_a_pause_that_was_asked_for_is_kept_and_one_beyond_the_patience_ends_the_run() -> None:
    breaker = a_breaker(patience_seconds=100)
    breaker.trip("429")
    assert breaker.next_pause(at_least=60) == 60
    with pytest.raises(ServiceDown):
        breaker.next_pause(at_least=101)


@given(patience=st.floats(0.5, 100_000))
def test_the_last_pause_ends_with_the_patience_and_then_the_run_does(patience: float) -> None:
    clock = FakeClock()
    breaker = a_breaker(clock, patience_seconds=patience)
    breaker.trip("503")
    opened = clock.monotonic()
    try:
        for _ in range(10_000):
            clock.advance(breaker.next_pause())
    except ServiceDown:
        assert clock.monotonic() - opened == pytest.approx(patience, abs=0.002)
    else:
        pytest.fail("it goes on for ever")


def test_the_end_of_patience_says_since_when_why_and_what_to_do() -> None:
    clock = FakeClock()
    breaker = a_breaker(clock, patience_seconds=60)
    breaker.trip("timeout")
    clock.advance(61)
    breaker.still_down("the server answers 503")
    with pytest.raises(ServiceDown) as caught:
        breaker.next_pause()
    for part in ("Paperbuzz", breaker.since, "the server answers 503", "give the same command again"):
        assert part in str(caught.value)


def test_patience_is_counted_from_the_opening_not_from_the_first_suspicion() -> None:
    clock = FakeClock()
    breaker = a_breaker(clock, patience_seconds=60)
    breaker.failed("10.1/a", "500")
    clock.advance(1000)
    breaker.trip("503")
    clock.advance(59)
    assert breaker.next_pause() == 1


def test_the_wall_clock_may_jump() -> None:
    clock = FakeClock()
    breaker = a_breaker(clock, patience_seconds=60)
    breaker.trip("503")
    clock.jump(1e6)
    assert breaker.next_pause() == FIRST_PAUSE_SECONDS
