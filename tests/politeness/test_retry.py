"""How long to pause, what to try again, and how often."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core.errors import (
    ConnectionLost,
    GiveUp,
    InvalidJson,
    NotJson,
    Refused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    TryAgain,
)
from harvester.politeness.retry import (
    BASE_SECONDS,
    CAP_SECONDS,
    EARNED,
    LEAST,
    SHARE,
    RetryBudget,
    most_attempts,
    pause_seconds,
)
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


@pytest.mark.parametrize(
    ("error", "max_attempts", "limit"),
    [
        (None, 5, 5),
        (TimedOut("x"), 5, 5),
        (ConnectionLost("x"), 5, 5),
        (ServerFailed("x", status=502), 5, 5),
        (ServerBusy("x", status=503), 5, 5),
        (ServerFailed("x", status=500), 5, 3),
        (ServerFailed("x", status=500), 2, 2),
        (Refused("x", status=400), 5, 2),
        (InvalidJson("x"), 5, 2),
        (TimedOut("x"), 1, 1),
        (InvalidJson("x"), 1, 2),
    ],
)
def test_a_500_gets_fewer_attempts_than_other_faults_and_what_sounds_final_gets_two(
    error: TryAgain | GiveUp | None, max_attempts: int, limit: int
) -> None:
    assert most_attempts(error, max_attempts) == limit


# The retry budget


async def allowed(budget: RetryBudget) -> None:
    while not budget.take():
        await LoopClock().sleep(1)


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
                    await allowed(budget)
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
            await allowed(budget)
        return asyncio.get_running_loop().time()

    assert 120 <= in_virtual_time(go()) <= 125


def test_few_failures_are_tried_again_without_waiting() -> None:
    async def go() -> float:
        budget = RetryBudget(LoopClock())
        for _ in range(100):
            for _ in range(9):
                budget.request()
            await allowed(budget)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(go()) == 0


def test_a_retry_that_was_not_sent_after_all_costs_nothing() -> None:
    async def go() -> float:
        budget = RetryBudget(LoopClock())
        for _ in range(10 * LEAST):
            await allowed(budget)
            budget.take_back()
        return asyncio.get_running_loop().time()

    assert in_virtual_time(go()) == 0


def test_each_record_of_a_known_good_doi_allows_some_more_for_a_minute() -> None:
    async def go() -> tuple[int, int]:
        budget = RetryBudget(LoopClock())
        for _ in range(5):
            budget.earn()
        at_once = sum(budget.take() for _ in range(100))
        await asyncio.sleep(61)
        return at_once, sum(budget.take() for _ in range(100))

    assert in_virtual_time(go()) == (LEAST + 5 * EARNED, LEAST)
