"""Time is told in one form, and nobody sleeps past a stop."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.clock import SystemClock, timestamp
from harvester.core.errors import Interrupted, OutOfBudget, Stopped
from harvester.core.stop import Stop, StoppableClock
from tests.support import NOW, FakeClock, LoopClock, in_virtual_time


@pytest.fixture
def stop() -> Stop:
    return Stop()


def test_a_timestamp_is_utc_with_milliseconds() -> None:
    assert timestamp(NOW) == "2026-11-21T03:54:06.372Z"
    assert timestamp(NOW.astimezone(timezone(timedelta(hours=-8)))) == "2026-11-21T03:54:06.372Z"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 as Hypothesis wants it
def test_a_timestamp_reads_back_to_the_millisecond(moment: datetime) -> None:
    again = datetime.strptime(timestamp(moment), "%Y-%m-%dT%H:%M:%S.%f%z")
    assert timedelta(0) <= moment - again < timedelta(milliseconds=1)


@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))))  # noqa: DTZ001 the same
def test_timestamps_sort_as_time_does(moments: list[datetime]) -> None:
    assert [timestamp(m) for m in sorted(moments)] == sorted(timestamp(m) for m in moments)


async def test_the_machines_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now().tzinfo is UTC


async def test_sleep_lasts_as_long_as_asked_while_nobody_stops(stop: Stop) -> None:
    fake = FakeClock()
    await StoppableClock(fake, stop).sleep(7)
    assert fake.naps == [7]


async def test_nobody_falls_asleep_after_a_stop(stop: Stop) -> None:
    fake = FakeClock()
    stop.request()
    with pytest.raises(Stopped):
        await StoppableClock(fake, stop).sleep(7)
    assert fake.naps == []


def test_a_stop_wakes_whoever_sleeps_at_once() -> None:
    async def woken_after() -> float:
        stop, clock = Stop(), LoopClock()
        asyncio.get_running_loop().call_later(5, stop.request)
        with pytest.raises(Stopped):
            await StoppableClock(clock, stop).sleep(1000)
        return clock.monotonic()

    assert in_virtual_time(woken_after()) == pytest.approx(5, abs=0.01)


def test_a_cancelled_sleeper_leaves_nothing_behind() -> None:
    async def left_over() -> int:
        sleeper = asyncio.ensure_future(StoppableClock(LoopClock(), Stop()).sleep(1000))
        await asyncio.sleep(1)
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        await asyncio.sleep(1)
        return len(asyncio.all_tasks()) - 1

    assert in_virtual_time(left_over()) == 0


def test_of_several_reasons_to_stop_the_first_counts(stop: Stop) -> None:
    first = OutOfBudget("used up")
    stop.request(first)
    stop.request(Interrupted(15))
    assert stop.reason is first


def test_a_reason_may_follow_a_wish_without_one(stop: Stop) -> None:
    stop.request()
    stop.request(reason := Interrupted(2))
    assert stop.reason is reason
    assert reason.exit_code == 130
