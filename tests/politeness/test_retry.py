"""How long to pause, what to try again, and how often."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core.errors import (
    ConnectionLost,
    InvalidJson,
    NotJson,
    Refused,
    ServerBusy,
    ServerFailed,
    Stopped,
    TimedOut,
    TryAgain,
)
from harvester.politeness.retry import BASE_SECONDS, CAP_SECONDS, LEAST, SHARE, RetryBudget, attempts, pause_seconds
from tests.support import LoopClock, in_virtual_time

NETWORK = [TimedOut("x"), ConnectionLost("x")]
SERVER = [ServerBusy("x", status=503), ServerFailed("x", status=502), NotJson("x", status=200)]

seeds = st.integers(0, 2**32).map(Random)
numbers = st.integers(1, 200)


def ceiling(attempt: int) -> float:
    return min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (attempt - 1))


@given(st.sampled_from(NETWORK), numbers, seeds)
def test_after_a_network_fault_the_pause_lies_anywhere_below_a_growing_ceiling(
    error: TryAgain, attempt: int, random: Random
) -> None:
    assert 0 <= pause_seconds(error, attempt, random) <= ceiling(attempt)


@given(st.sampled_from(SERVER), numbers, seeds)
def test_after_a_servers_trouble_at_least_half_the_ceiling_is_waited(
    error: TryAgain, attempt: int, random: Random
) -> None:
    assert ceiling(attempt) / 2 <= pause_seconds(error, attempt, random) <= ceiling(attempt)


@pytest.mark.parametrize("error", [*NETWORK, *SERVER])
def test_pauses_differ_from_one_another(error: TryAgain) -> None:
    random = Random(1)
    assert len({pause_seconds(error, 5, random) for _ in range(50)}) == 50


@given(st.floats(0.001, 10_000), numbers, seeds)
def test_the_server_is_never_asked_before_the_time_it_named(named: float, attempt: int, random: Random) -> None:
    error = ServerBusy("x", status=429, retry_after=named)
    assert pause_seconds(error, attempt, random) >= named


class Naps:
    """Sleeps no time and remembers how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def tried(
    errors: Sequence[BaseException | None],
    max_attempts: int = 5,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    before_sleep: Callable[[], None] = lambda: None,
) -> int:
    """Attempts made at something that fails with these errors in turn; None succeeds, the last repeats."""
    made = 0
    sleep = sleep or Naps().sleep
    async for attempt in attempts(max_attempts, sleep=sleep, random=Random(1), before_sleep=before_sleep):
        with attempt:
            made += 1
            error = errors[min(made, len(errors)) - 1]
            if error is not None:
                raise error
            return made
    raise AssertionError("attempts either return or raise")


async def test_what_succeeds_at_once_is_done_once_and_without_a_pause() -> None:
    naps = Naps()
    assert await tried([None], sleep=naps.sleep) == 1
    assert naps.seconds == []


async def test_what_may_pass_is_tried_until_it_passes() -> None:
    naps = Naps()
    assert await tried([TimedOut("x"), ServerBusy("x", status=503), None], sleep=naps.sleep) == 3
    assert len(naps.seconds) == 2


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (TimedOut("x"), 5),
        (ConnectionLost("x"), 5),
        (ServerFailed("x", status=502), 5),
        (ServerBusy("x", status=503), 5),
        (ServerFailed("x", status=500), 3),
    ],
)
async def test_a_plain_500_gets_fewer_attempts_than_other_faults_and_the_last_error_is_raised_itself(
    error: TryAgain, limit: int
) -> None:
    naps = Naps()
    with pytest.raises(type(error)) as raised:
        await tried([error], sleep=naps.sleep)
    assert raised.value is error
    assert len(naps.seconds) == limit - 1


async def test_fewer_attempts_than_three_hold_for_a_500_too() -> None:
    naps = Naps()
    with pytest.raises(ServerFailed):
        await tried([ServerFailed("x", status=500)], max_attempts=2, sleep=naps.sleep)
    assert len(naps.seconds) == 1


@pytest.mark.parametrize(
    "error", [Refused("x", status=404), InvalidJson("x"), Stopped(), ValueError("a bug"), asyncio.CancelledError()]
)
async def test_anything_else_is_raised_at_once_and_never_tried_again(error: BaseException) -> None:
    """Cancellation above all: a list of what not to retry would have swallowed it."""
    naps = Naps()
    with pytest.raises(type(error)):
        await tried([error], sleep=naps.sleep)
    assert naps.seconds == []


async def test_every_pause_is_counted_before_it_begins() -> None:
    order: list[str] = []

    async def sleep(_: float) -> None:
        order.append("sleep")

    with pytest.raises(TimedOut):
        await tried([TimedOut("x")], 3, sleep, lambda: order.append("counted"))
    assert order == ["counted", "sleep"] * 2


async def test_a_pause_can_be_cancelled() -> None:
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(tried([TimedOut("x")], sleep=sleep))
    await asleep.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_tasks_at_the_same_time_do_not_count_each_others_attempts() -> None:
    """A shared retrying object would mix them."""

    async def one(failures: int) -> int:
        errors: list[Exception | None] = [TimedOut("x")] * failures
        return await tried([*errors, None])

    assert await asyncio.gather(*map(one, range(5))) == [1, 2, 3, 4, 5]


# The retry budget


@settings(max_examples=20, deadline=None)
@given(
    fails=st.floats(0, 1),
    pause=st.floats(0.5, 5),
    askers=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_whenever_a_retry_is_sent_at_most_a_fifth_of_the_last_minute_were_retries(
    fails: float, pause: float, askers: int, seed: int
) -> None:
    async def go() -> list[tuple[float, bool]]:
        budget, chance, sent = RetryBudget(LoopClock()), Random(seed), []
        clock = LoopClock()

        async def ask() -> None:
            while clock.monotonic() < 200:
                budget.request()
                sent.append((clock.monotonic(), False))
                await clock.sleep(pause * (0.5 + chance.random()))
                while chance.random() < fails and clock.monotonic() < 200:
                    await budget.retry()
                    sent.append((clock.monotonic(), True))
                    await clock.sleep(pause * (0.5 + chance.random()))

        await asyncio.gather(*(ask() for _ in range(askers)))
        return sent

    sent = in_virtual_time(go())
    for number, (when, is_retry) in enumerate(sent):
        if is_retry:
            minute = [retry for at, retry in sent[: number + 1] if at > when - 60]
            assert sum(minute) <= max(LEAST, SHARE * len(minute))


def test_a_service_that_fails_always_sees_no_more_retries_than_the_least() -> None:
    async def go() -> float:
        budget = RetryBudget(LoopClock())
        budget.request()
        for _ in range(3 * LEAST):
            await budget.retry()
        return asyncio.get_running_loop().time()

    assert 120 <= in_virtual_time(go()) <= 125


def test_few_failures_are_tried_again_without_waiting() -> None:
    async def go() -> float:
        budget = RetryBudget(LoopClock())
        for _ in range(100):
            for _ in range(9):
                budget.request()
            await budget.retry()
        return asyncio.get_running_loop().time()

    assert in_virtual_time(go()) == 0


def test_a_retry_that_was_not_sent_after_all_costs_nothing() -> None:
    async def go() -> float:
        budget = RetryBudget(LoopClock())
        for _ in range(10 * LEAST):
            await budget.retry()
            budget.take_back()
        return asyncio.get_running_loop().time()

    assert in_virtual_time(go()) == 0
