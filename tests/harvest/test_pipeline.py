"""From due to committed: each work once, never too much at risk, and an end that loses nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core.errors import DiskFailed, OutOfBudget, Stopped, StopRun
from harvester.core.model import DueWork, Failure
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.pipeline import (
    COMMIT_BYTES,
    COMMIT_EVERY,
    COMMIT_SECONDS,
    UNCOMMITTED,
    UNCOMMITTED_BYTES,
    Pipeline,
)
from harvester.records.result import Finished, Result
from harvester.transport.room import Place, Room
from tests.support import a_failure, a_result, in_virtual_time

T = TypeVar("T")


def now() -> float:
    return asyncio.get_running_loop().time()


def a_due(key: int) -> DueWork:
    return DueWork(key, f"10.5555/{key}", "list.txt:1")


class Ledger:
    """A store of works with the keys 1 to n, that writes down what is done to it.

    Args:
        works: how many there are.
        commit_seconds: how long a commit takes.
        fails: the commit with this number (from 1) raises DiskFailed.
    """

    def __init__(self, works: int, *, commit_seconds: float = 0.0, fails: int = 0, due_fails: bool = False) -> None:
        self.works = works
        self.commit_seconds, self.fails, self.due_fails = commit_seconds, fails, due_fails
        self.pages = 0
        self.batches: list[tuple[float, list[Finished]]] = []
        self.calls = 0
        self.committing = False
        self.suspects: list[list[int]] = []
        self.handed_out: list[tuple[list[int], list[int]]] = []
        """Each page, and what had been committed when it was handed out."""

    async def due(self, after: int, limit: int) -> list[DueWork]:
        await asyncio.sleep(0)
        self.pages += 1
        if self.due_fails and after:
            raise DiskFailed("the ledger cannot be read")
        last = min(self.works, after + limit)
        return [a_due(key) for key in range(after + 1, last + 1)]

    async def groups_of_suspects(self) -> list[list[DueWork]]:
        return [[a_due(key) for key in group] for group in self.suspects]

    async def hand_out(self, works: Sequence[DueWork], *, suspected: bool) -> None:  # noqa: ARG002
        await asyncio.sleep(0)
        self.handed_out.append(([due.work_id for due in works], self.committed))

    async def commit(self, finished: Sequence[Finished]) -> None:
        assert not self.committing, "one commit at a time"
        assert finished
        self.committing = True
        self.calls += 1
        await asyncio.sleep(self.commit_seconds)
        self.committing = False
        if self.calls == self.fails:
            raise DiskFailed("no space left")
        self.batches.append((now(), list(finished)))

    @property
    def committed(self) -> list[int]:
        return [due.work_id for _, batch in self.batches for due, _ in batch]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for _, batch in self.batches]


class Maker:
    """A fetcher that finishes works by a rule, and writes down what it was asked for.

    Args:
        seconds: how long a work takes, by its key.
        body: the record, by its key.
    """

    def __init__(
        self, seconds: Callable[[int], float] = lambda _: 0.01, body: Callable[[int], bytes] = lambda _: b"{}"
    ) -> None:
        self.seconds, self.body = seconds, body
        self.began: list[tuple[float, int]] = []
        self.made: list[int] = []
        self.busy = self.most_busy = 0
        self.on_made: Callable[[int], None] = lambda _: None

    async def fetch(self, due: DueWork) -> Result | Failure:
        self.began.append((now(), due.work_id))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await asyncio.sleep(self.seconds(due.work_id))
        finally:
            self.busy -= 1
        self.made.append(due.work_id)
        self.on_made(due.work_id)
        if due.work_id % 7 == 0:
            return a_failure(due.doi)
        return a_result(due.doi, paperbuzz=self.body(due.work_id))


class Run:
    """A pipeline of fakes."""

    def __init__(self, ledger: Ledger, maker: Maker, *, in_flight: int = 8, grace_seconds: float = 10.0) -> None:
        self.ledger, self.maker = ledger, maker
        self.stop = Stop()
        self.tally = Tally(pending=ledger.works)
        self.pipeline = Pipeline(
            ledger, maker, in_flight=in_flight, stop=self.stop, tally=self.tally, grace_seconds=grace_seconds
        )


def run(ledger: Ledger, maker: Maker, *, in_flight: int = 8) -> Run:
    async def go() -> Run:
        running = Run(ledger, maker, in_flight=in_flight)
        await running.pipeline.run()
        return running

    return virtually(go())


def virtually(work: Coroutine[Any, Any, T]) -> T:
    return in_virtual_time(asyncio.wait_for(work, 100_000))


# Each work once


@settings(max_examples=40, deadline=None)
@given(
    works=st.integers(0, 450),
    in_flight=st.integers(1, 40),
    seconds=st.lists(st.floats(0, 3), min_size=1, max_size=7),
    commit_seconds=st.floats(0, 5),
)
def test_every_due_work_is_fetched_and_committed_exactly_once(
    works: int, in_flight: int, seconds: list[float], commit_seconds: float
) -> None:
    """Promise G1, and G4: never more at risk than what may be uncommitted and what is under way."""
    ledger = Ledger(works, commit_seconds=commit_seconds)
    maker = Maker(lambda key: seconds[key % len(seconds)])
    at_risk = 0

    def look(_: int) -> None:
        nonlocal at_risk
        at_risk = max(at_risk, len(maker.made) - len(ledger.committed))

    maker.on_made = look
    done = run(ledger, maker, in_flight=in_flight)
    assert sorted(ledger.committed) == list(range(1, works + 1))
    assert Counter(key for _, key in maker.began) == Counter(range(1, works + 1))
    assert maker.most_busy <= in_flight
    assert at_risk <= UNCOMMITTED + in_flight
    assert all(size <= COMMIT_EVERY for size in ledger.sizes)
    assert (done.tally.pending, done.tally.failures, done.tally.results) == (0, works // 7, works - works // 7)


def test_what_is_committed_is_what_was_fetched_for_that_work() -> None:
    ledger = Ledger(50)
    run(ledger, Maker(lambda key: 1 / key))
    for _, batch in ledger.batches:
        for due, finished in batch:
            assert finished.doi == due.doi


def test_nothing_due_is_nothing_done() -> None:
    ledger = Ledger(0)
    run(ledger, Maker())
    assert not ledger.batches


def test_works_are_read_by_the_page_and_no_further_than_two_pages_ahead() -> None:
    async def look() -> tuple[int, int]:
        running = Run(Ledger(1_000_000), Maker(lambda _: 1.0), in_flight=4)
        task = asyncio.create_task(running.pipeline.run())
        await asyncio.sleep(20.5)
        running.stop.request()
        await task
        return running.ledger.pages, len(running.maker.began)

    assert virtually(look()) == (3, 21 * 4)


def test_a_page_is_known_to_be_in_hand_before_any_of_its_works_is_begun() -> None:
    async def look() -> tuple[int, int]:
        running = Run(Ledger(10), Maker(), in_flight=4)
        begun: list[int] = []

        async def hand_out(works: Sequence[DueWork], *, suspected: bool) -> None:  # noqa: ARG001
            begun.append(len(running.maker.began))
            await asyncio.sleep(5)
            begun.append(len(running.maker.began))

        running.ledger.hand_out = hand_out  # type: ignore[method-assign]
        await running.pipeline.run()
        return begun[0], begun[1]

    assert virtually(look()) == (0, 0)


def test_suspects_come_last_group_by_group_each_when_all_before_it_are_committed() -> None:
    async def go() -> Ledger:
        ledger = Ledger(100)
        ledger.suspects = [[101, 102, 103], [104], [105]]
        await Run(ledger, Maker(lambda key: 0.1 * (key % 7)), in_flight=8).pipeline.run()
        return ledger

    ledger = virtually(go())
    assert [page for page, _ in ledger.handed_out] == [list(range(1, 101)), [101, 102, 103], [104], [105]]
    assert [len(committed) for _, committed in ledger.handed_out] == [0, 100, 103, 104]
    assert sorted(ledger.committed) == list(range(1, 106))


def test_a_group_of_suspects_does_not_wait_for_a_batch_to_grow_old() -> None:
    async def go() -> float:
        ledger = Ledger(0)
        ledger.suspects = [[key] for key in range(1, 51)]
        await Run(ledger, Maker(lambda _: 0.01), in_flight=8).pipeline.run()
        return now()

    assert virtually(go()) < 1.0


def test_a_large_record_leaves_its_room_when_it_is_committed() -> None:
    class Large(Maker):
        async def fetch(self, due: DueWork) -> Result | Failure:
            result = await super().fetch(due)
            assert isinstance(result, Result)
            place = Place(room)
            await place.extend_to(2**20)
            return result._replace(place=place)

    room = Room(0)
    running = run(Ledger(5), Large())
    assert running.tally.results == 5


def test_a_stop_is_heard_while_suspects_wait_for_their_turn() -> None:
    async def go() -> tuple[float, list[int]]:
        ledger = Ledger(1)
        ledger.suspects = [[2]]
        running = Run(ledger, Maker(lambda _: 1_000.0), in_flight=2)
        task = asyncio.create_task(running.pipeline.run())
        await asyncio.sleep(5)
        running.stop.request()
        await task
        return now(), [key for _, key in running.maker.began]

    seconds, began = virtually(go())
    assert seconds <= 16
    assert began == [1]


def test_a_stop_that_comes_with_a_page_of_fewer_works_than_hands_ends_at_once() -> None:
    class StopsAtAPage(Ledger):
        stop: Stop

        async def due(self, after: int, limit: int) -> list[DueWork]:
            page = await super().due(after, limit)
            self.stop.request()
            return page

    async def go() -> float:
        ledger = StopsAtAPage(3)
        running = Run(ledger, Maker(), in_flight=8)
        ledger.stop = running.stop
        await running.pipeline.run()
        return now()

    assert virtually(go()) < 1


@pytest.mark.parametrize(
    ("record", "most"),
    [(b"{}", UNCOMMITTED + 8), (bytes(UNCOMMITTED_BYTES // 10), 12 + 8)],  # two of which are failures
    ids=["many records", "large ones"],
)
def test_a_slow_disk_slows_fetching_down(record: bytes, most: int) -> None:
    async def look() -> int:
        running = Run(Ledger(10_000, commit_seconds=1e6), Maker(body=lambda _: record), in_flight=8)
        task = asyncio.create_task(running.pipeline.run())
        await asyncio.sleep(1000)
        made = len(running.maker.made)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return made

    assert most - 8 <= virtually(look()) <= most


# Batches


def test_a_batch_is_committed_when_it_is_full() -> None:
    ledger = Ledger(COMMIT_EVERY * 3)
    run(ledger, Maker(lambda _: 0.0), in_flight=COMMIT_EVERY)
    assert ledger.sizes == [COMMIT_EVERY] * 3
    assert ledger.batches[0][0] < COMMIT_SECONDS


def test_a_batch_is_committed_when_it_holds_enough_bytes() -> None:
    ledger = Ledger(40)
    run(ledger, Maker(body=lambda _: bytes(COMMIT_BYTES // 4)), in_flight=1)
    assert max(ledger.sizes) <= 5
    assert len(ledger.sizes) >= 8


def test_a_batch_is_committed_when_its_first_finished_work_is_old_enough() -> None:
    """And not before: one every 0.3 s makes batches of four."""
    ledger = Ledger(20)
    run(ledger, Maker(lambda _: 0.3), in_flight=1)
    assert set(ledger.sizes[:-1]) == {4}
    times = [when for when, _ in ledger.batches]
    assert times[0] == pytest.approx(0.3 + COMMIT_SECONDS)


def test_a_lonely_finished_work_is_committed_though_nothing_follows_for_hours() -> None:
    ledger = Ledger(2)
    run(ledger, Maker(lambda key: 0.5 if key == 1 else 36_000), in_flight=2)
    assert [when for when, _ in ledger.batches] == pytest.approx([0.5 + COMMIT_SECONDS, 36_000])


def test_one_batch_gathers_while_the_other_is_written() -> None:
    ledger = Ledger(COMMIT_EVERY * 4, commit_seconds=10)
    run(ledger, Maker(), in_flight=50)
    assert ledger.sizes == [COMMIT_EVERY] * 4
    assert ledger.batches[-1][0] == pytest.approx(40, abs=1)


# Stopping


async def stopped_at(running: Run, seconds: float) -> float:
    """Run, stop after some seconds, and say when it was over."""
    task = asyncio.create_task(running.pipeline.run())
    await asyncio.sleep(seconds)
    running.stop.request()
    await task
    return now()


def test_after_a_stop_nothing_is_begun_and_answers_under_way_are_committed() -> None:
    """Promise G7."""

    async def go() -> tuple[float, Run]:
        running = Run(Ledger(1000), Maker(lambda _: 1.0), in_flight=8)
        return await stopped_at(running, 3.5), running

    ended, running = virtually(go())
    assert max(when for when, _ in running.maker.began) <= 3.5
    assert sorted(running.ledger.committed) == sorted(running.maker.made) == list(range(1, 33))
    assert ended == pytest.approx(4.0)
    assert running.tally.pending == 1000 - 32


def test_answers_that_do_not_come_within_the_grace_are_cut_off_and_stay_due() -> None:
    async def go() -> tuple[float, Run]:
        running = Run(Ledger(100), Maker(lambda key: 1.0 if key < 9 else 500.0), in_flight=8, grace_seconds=10)
        return await stopped_at(running, 5), running

    ended, running = virtually(go())
    assert ended == pytest.approx(15)
    assert sorted(running.ledger.committed) == list(range(1, 9))


def test_a_second_wish_ends_it_at_once() -> None:
    async def go() -> tuple[float, Run]:
        running = Run(Ledger(100), Maker(lambda _: 500.0), in_flight=8)
        task = asyncio.create_task(running.pipeline.run())
        await asyncio.sleep(5)
        running.stop.request()
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return now(), running

    ended, running = virtually(go())
    assert ended == pytest.approx(6)
    assert not running.ledger.batches
    assert running.maker.busy == 0


def test_not_even_a_work_that_lies_ready_is_begun_after_a_stop() -> None:
    async def go() -> Run:
        running = Run(Ledger(100), Maker(), in_flight=4)
        running.maker.on_made = lambda key: running.stop.request() if key == 9 else None
        await running.pipeline.run()
        return running

    running = virtually(go())
    stopped = next(began for began, key in running.maker.began if key == 9) + 0.01
    assert all(began < stopped for began, _ in running.maker.began)
    assert sorted(running.ledger.committed) == sorted(running.maker.made)


def test_a_stop_before_the_beginning_begins_nothing() -> None:
    async def go() -> Run:
        running = Run(Ledger(100), Maker())
        running.stop.request()
        await running.pipeline.run()
        return running

    running = virtually(go())
    assert not running.maker.began


@settings(max_examples=60, deadline=None)
@given(
    when=st.floats(0, 12),
    in_flight=st.integers(1, 12),
    commit_seconds=st.floats(0, 3),
    seconds=st.lists(st.floats(0, 2), min_size=1, max_size=5),
)
def test_whenever_it_stops_what_was_fetched_is_committed_and_nothing_twice(
    when: float, in_flight: int, commit_seconds: float, seconds: list[float]
) -> None:
    async def go() -> Run:
        ledger = Ledger(300, commit_seconds=commit_seconds)
        running = Run(ledger, Maker(lambda key: seconds[key % len(seconds)]), in_flight=in_flight)
        await stopped_at(running, when)
        return running

    running = virtually(go())
    assert sorted(running.ledger.committed) == sorted(running.maker.made)
    assert len(set(running.ledger.committed)) == len(running.ledger.committed)
    assert all(began <= when for began, _ in running.maker.began)


class Refusing(Maker):
    """A fetcher that meets a reason to end the run at one work, and then drops all that are not yet begun."""

    def __init__(self, at: int, reason: StopRun) -> None:
        super().__init__(lambda key: 0.5 if key % 2 else 1.0)
        self.at, self.reason = at, reason
        self.refused = False

    async def fetch(self, due: DueWork) -> Result | Failure:
        if due.work_id == self.at:
            self.refused = True
            raise self.reason
        if self.refused:
            raise Stopped
        return await super().fetch(due)


def test_a_reason_to_end_the_run_that_a_fetcher_meets_is_a_stop_with_that_reason() -> None:
    reason = OutOfBudget("used up")

    async def go() -> Run:
        running = Run(Ledger(1000), Refusing(100, reason), in_flight=8)
        await running.pipeline.run()
        return running

    running = virtually(go())
    assert running.stop.reason is reason
    assert sorted(running.ledger.committed) == sorted(running.maker.made)
    assert 92 <= len(running.ledger.committed) <= 107
    assert 100 not in running.ledger.committed


# Errors


def test_after_a_failed_commit_everything_ends_at_once_and_nothing_more_is_written() -> None:
    async def go() -> tuple[float, Run]:
        running = Run(Ledger(10_000, fails=3), Maker(lambda _: 0.05), in_flight=8)
        with pytest.raises(ExceptionGroup) as caught:
            await running.pipeline.run()
        assert caught.group_contains(DiskFailed)
        return now(), running

    ended, running = virtually(go())
    assert running.ledger.calls == 3
    assert len(running.ledger.batches) == 2
    assert running.maker.busy == 0
    assert running.tally.pending == 10_000 - len(running.ledger.committed)
    assert ended < 3


def test_a_failed_commit_ends_works_that_would_take_for_ever() -> None:
    async def go() -> float:
        running = Run(Ledger(100, fails=1), Maker(lambda key: 0.1 if key == 1 else 1e5), in_flight=8)
        with pytest.raises(ExceptionGroup):
            await running.pipeline.run()
        return now()

    assert virtually(go()) == pytest.approx(0.1 + COMMIT_SECONDS)


def test_an_error_in_reading_what_is_due_ends_everything() -> None:
    async def go() -> Run:
        running = Run(Ledger(5000, due_fails=True), Maker(), in_flight=8)
        with pytest.raises(ExceptionGroup) as caught:
            await running.pipeline.run()
        assert caught.group_contains(DiskFailed)
        return running

    assert virtually(go()).maker.busy == 0


def test_a_bug_in_a_fetcher_is_not_swallowed() -> None:
    class Buggy(Maker):
        async def fetch(self, due: DueWork) -> Result | Failure:
            if due.work_id == 50:
                raise ZeroDivisionError
            return await super().fetch(due)

    async def go() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await Run(Ledger(100), Buggy()).pipeline.run()
        assert caught.group_contains(ZeroDivisionError)

    virtually(go())
