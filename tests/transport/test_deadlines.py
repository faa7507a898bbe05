"""One timer for many deadlines cuts off what is late, and nothing else."""

import asyncio
from collections.abc import Awaitable, Coroutine

import pytest

from harvester.transport.deadlines import DeadlineExceeded, Deadlines
from tests.support import in_virtual_time


async def kept(deadlines: Deadlines, seconds: float, work: Awaitable[object]) -> str:
    """How a work with a deadline ends, and when, by the event loop's clock."""
    try:
        with deadlines.within(seconds):
            await work
    except DeadlineExceeded:
        return f"late at {asyncio.get_running_loop().time():g}"
    return f"done at {asyncio.get_running_loop().time():g}"


async def all_kept(deadlines: Deadlines, *works: tuple[float, float]) -> list[str]:
    return await asyncio.gather(*(kept(deadlines, limit, asyncio.sleep(needed)) for limit, needed in works))


def test_who_is_late_is_cut_off_at_the_deadline_and_others_go_on() -> None:
    ended = in_virtual_time(all_kept(Deadlines(), (5, 9), (5, 1), (5, 5.5), (20, 9)))
    assert ended == ["late at 5", "done at 1", "late at 5", "done at 9"]


def test_a_shorter_deadline_that_comes_later_is_kept_as_well() -> None:
    assert in_virtual_time(all_kept(Deadlines(), (30, 99), (2, 99), (7, 99))) == [
        "late at 30",
        "late at 2",
        "late at 7",
    ]


async def one_after_the_other(deadlines: Deadlines) -> list[str]:
    return [await kept(deadlines, 5, asyncio.sleep(needed)) for needed in (4, 4, 99, 4, 99)]


def test_a_task_may_have_one_deadline_after_another() -> None:
    told = ["done at 4", "done at 8", "late at 13", "done at 17", "late at 22"]
    assert in_virtual_time(one_after_the_other(Deadlines())) == told


async def cancelled(deadlines: Deadlines, after: float) -> str:
    task = asyncio.create_task(kept(deadlines, 5, asyncio.sleep(99)))
    await asyncio.sleep(after)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"


@pytest.mark.parametrize("after", [1, 5])
def test_whoever_is_cancelled_by_somebody_else_is_not_late(after: float) -> None:
    assert in_virtual_time(cancelled(Deadlines(), after)) == "cancelled"


def seen_to_be_cancelled(after: float, *, before_the_timer: bool, tidying: float = 0) -> Coroutine[None, None, str]:
    """A work with a deadline at 5 that somebody cancels as well, and that may take a while to tidy up."""

    async def work() -> None:
        try:
            await asyncio.sleep(99)
        finally:
            await asyncio.sleep(tidying)

    async def watched() -> str:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[str]] = []
        if before_the_timer:
            loop.call_at(after, lambda: tasks[0].cancel())
        tasks.append(loop.create_task(kept(Deadlines(), 5, work())))
        await asyncio.sleep(0)
        if not before_the_timer:
            loop.call_at(after, tasks[0].cancel)
        try:
            return await tasks[0]
        except asyncio.CancelledError:
            return "cancelled"

    return watched()


@pytest.mark.parametrize("before_the_timer", [False, True])
def test_whoever_is_cancelled_at_the_deadline_by_somebody_else_too_is_not_late(before_the_timer: bool) -> None:
    assert in_virtual_time(seen_to_be_cancelled(5, before_the_timer=before_the_timer)) == "cancelled"


def test_a_deadline_while_a_cancelled_task_tidies_up_changes_nothing() -> None:
    assert in_virtual_time(seen_to_be_cancelled(4, before_the_timer=True, tidying=2)) == "cancelled"


def test_whoever_makes_something_else_of_being_late_is_not_left_cancelled() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def looked_at() -> int:
        with pytest.raises(ConnectionError):
            await kept(Deadlines(), 5, work())
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert in_virtual_time(looked_at()) == 0


async def answered_at_the_deadline(deadlines: Deadlines) -> tuple[str, str]:
    answer = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_at(5, answer.set_result, None)  # before the deadline's own timer, in the same turn
    first = await kept(deadlines, 5, answer)
    return first, await kept(deadlines, 5, asyncio.sleep(1))


def test_an_answer_at_the_deadline_leaves_nothing_behind() -> None:
    first, second = in_virtual_time(answered_at_the_deadline(Deadlines()))
    assert first in ("done at 5", "late at 5")
    assert second == "done at 6"
