"""The rate limiter: a rate for every window, a quota for every 24 hours, and pauses that hold for everybody.

No test here waits in real time: the rate runs on a loop whose time jumps, the quota on clocks that tests move by hand.

The quota is judged by two timelines (`UnsteadyClock`), because a clock that is set wrong tells the harvester nothing:

- *wall time*, as the user's clock showed it: at most `daily` in any 24 hours of it. What has once been more than a day
  old stays forgotten if the clock is set back afterwards (`REMEMBERED_SECONDS`).
- *counted time*, which goes on like true time and jumps forward with the clock but never back: at most `daily` in any
  24 hours of it. Where the clock only jumps back, or keeps still, this is true time itself.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harvester.core.clock import Clock
from harvester.core.errors import DiskFailed, OutOfBudget
from harvester.politeness.book import AHEAD_MINUTES, SqliteBook
from harvester.politeness.book import quota_path as path_of
from harvester.politeness.bucket import default_burst
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.quota import BLOCK_SECONDS, DAY_MINUTES, MARGIN_MINUTES, DailyQuota, requests_left
from harvester.sandbox.limits import DAY_SECONDS, busiest_window, quota_violations, rate_violations
from harvester.transport.gate import NotYet
from harvester.transport.messages import Request, Response, Transport
from tests.support import NOW, FakeClock, Gated, LoopClock, VirtualLoop

TICK = 1e-6
"""Seconds that rounding may cost: timers fire up to the clock's resolution early."""

REMEMBERED_SECONDS = 2 * DAY_SECONDS + 120
"""How old what was spent may be by the furthest time the clock ever showed, to count again after it is set back."""

FREE_MINUTES = DAY_MINUTES + MARGIN_MINUTES


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PassingLoop(VirtualLoop):
    """A virtual loop on which each look at the clock takes a nanosecond, as it does in life.

    The limiter may want to sleep for less than the clock can tell apart; if time stood still it would for ever.
    """

    looks = 0

    def time(self) -> float:
        self.looks += 1
        return super().time() + self.looks * 1e-9

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - its name is the loop's
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """At once and not on a thread: time on this loop would not wait for one."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except DiskFailed as error:
            done.set_exception(error)
        return done


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run some work on a loop of its own, in no wall time."""
    with asyncio.Runner(loop_factory=PassingLoop) as runner:
        return runner.run(work)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budget.sqlite"


def spent_in(path: Path) -> dict[int, int]:
    """What the quota's file holds: requests by minute, without empty minutes."""
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT minute, requests FROM spent WHERE requests > 0").fetchall())


async def a_quota(path: Path, daily: int, clock: Clock, *, block: int = 20) -> DailyQuota:
    """A quota that is open; where nobody closes it its process was killed."""
    return await DailyQuota(a_book(path, daily, clock), clock, block=block).__aenter__()


def a_book(path: Path, daily: int, clock: Clock) -> SqliteBook:
    """A book whose uptime agrees with a clock that is set now and then; where it is not, the time since 1970 does."""
    if isinstance(clock, UnsteadyClock):
        return SqliteBook(path, daily, uptime_ns=lambda: int(clock.uptime * 1e9), boot=lambda: bytes([clock.boots]))
    return SqliteBook(path, daily, uptime_ns=lambda: int(clock.now().timestamp() * 1e9))


async def take(quota: DailyQuota, most: int = 1) -> int:
    """Take requests until there are none left, or enough; returns how many there were."""
    taken = 0
    while taken < most and (quota.take() or (await quota.renew() and quota.take())):
        taken += 1
    return taken


async def start(limiter: RateLimiter) -> None:
    """Wait until a request may start; then it has been sent."""
    while True:
        await limiter.acquire()
        try:
            await limiter.enter()
        except NotYet:
            continue
        limiter.leave()
        return


async def starts_of(limiter: RateLimiter, count: int, workers: int = 1, work_seconds: float = 0.0) -> list[float]:
    """Let some workers start requests one after the other; returns when they did."""
    now = asyncio.get_running_loop().time
    starts: list[float] = []

    async def worker(share: int) -> None:
        for _ in range(share):
            await start(limiter)
            starts.append(now())
            await asyncio.sleep(work_seconds)

    shares = [count // workers + (number < count % workers) for number in range(workers)]
    await asyncio.gather(*(worker(share) for share in shares))
    return starts


# The rate.


@settings(deadline=None)
@given(
    rate=st.one_of(st.floats(0.2, 5000), st.sampled_from([0.2, 1, 3, 10, 100, 1000])),
    burst=st.one_of(st.none(), st.floats(1, 30), st.integers(1, 30)),
    workers=st.integers(1, 24),
    work=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
    pauses=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=4),
)
def test_no_window_ever_holds_more_than_the_rate_and_one_burst(
    rate: float, burst: float | None, workers: int, work: float, pauses: list[tuple[float, float]]
) -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(rate, LoopClock(), burst=burst)
        for at, seconds in pauses:
            asyncio.get_running_loop().call_later(at, limiter.pause, seconds)
        return await starts_of(limiter, 80, workers, work)

    times = in_virtual_time(starts())
    assert len(times) == 80
    assert not rate_violations(times, rate, burst or default_burst(rate), slack_seconds=TICK)


@settings(deadline=None)
@given(
    rate=st.floats(0.2, 5000), burst=st.one_of(st.none(), st.floats(1, 30)), workers=st.integers(1, 24)
)  # fmt: skip
def test_the_rate_that_was_set_is_reached(rate: float, burst: float | None, workers: int) -> None:
    async def starts() -> list[float]:
        return await starts_of(RateLimiter(rate, LoopClock(), burst=burst), 100, workers)

    ideal = (100 - (burst or default_burst(rate))) / rate
    assert in_virtual_time(starts())[-1] == pytest.approx(ideal, rel=1e-3, abs=1e-3)


def test_idle_time_is_not_saved_up_beyond_one_burst() -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(10, LoopClock(), burst=3)
        await asyncio.sleep(1000)
        return await starts_of(limiter, 10, 10)

    times = in_virtual_time(starts())
    assert [round(moment - 1000, 3) for moment in times] == [0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_a_waiting_request_that_is_cancelled_costs_the_others_nothing() -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(1, LoopClock())
        await start(limiter)
        waiting = [asyncio.create_task(start(limiter)) for _ in range(5)]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await starts_of(limiter, 2)

    assert in_virtual_time(starts()) == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (10, 1), (100, 2), (1000, 20)])
def test_the_burst_is_a_fiftieth_of_a_second_and_at_least_one(rate: float, burst: float) -> None:
    assert default_burst(rate) == burst


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on each visit to the quota's file takes a second."""
    real: Callable[..., sqlite3.Connection] = sqlite3.connect

    def slow(*arguments: Any, **options: Any) -> sqlite3.Connection:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PassingLoop)
        loop.looks += 10**9
        return real(*arguments, **options)

    return lambda: monkeypatch.setattr(sqlite3, "connect", slow)


def test_a_slow_disk_lets_no_burst_through(path: Path, slow_disk: Callable[[], None]) -> None:
    """While a block is deducted time passes; the requests behind it must not catch up at once."""

    async def starts() -> list[float]:
        quota = await a_quota(path, 1000, LoopClock(), block=5)
        slow_disk()
        return await starts_of(RateLimiter(10, LoopClock(), burst=1, quota=quota), 40, 4)

    assert not rate_violations(in_virtual_time(starts()), 10, 1, slack_seconds=TICK)


def test_nor_does_it_where_a_block_has_become_too_old_when_the_rate_agrees(
    path: Path, slow_disk: Callable[[], None]
) -> None:
    async def starts() -> list[float]:
        quota = await a_quota(path, 1000, LoopClock(), block=10)
        limiter = RateLimiter(10, LoopClock(), burst=1, quota=quota)
        first = await starts_of(limiter, 1)
        await asyncio.sleep(BLOCK_SECONDS + 1)
        slow_disk()
        return first + await starts_of(limiter, 40, 4)

    assert not rate_violations(in_virtual_time(starts()), 10, 1, slack_seconds=TICK)


# Pauses.


def test_a_pause_holds_for_everybody() -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(100, LoopClock())
        limiter.pause(30)
        return await starts_of(limiter, 20, 10)

    assert min(in_virtual_time(starts())) == pytest.approx(30)


@pytest.mark.parametrize("order", [(30, 20, 10), (10, 20, 30), (30, 30, 30)])
def test_pauses_do_not_add_up(order: tuple[int, ...]) -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(100, LoopClock())
        for seconds in order:
            limiter.pause(seconds)
        return await starts_of(limiter, 1)

    assert in_virtual_time(starts()) == pytest.approx([30])


def test_a_pause_that_grows_while_it_is_waited_for_is_waited_for_to_its_end() -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(100, LoopClock())
        limiter.pause(10)
        asyncio.get_running_loop().call_later(9, limiter.pause, 10)
        return await starts_of(limiter, 5, 5)

    assert min(in_virtual_time(starts())) == pytest.approx(19)


def test_a_pause_that_comes_while_requests_wait_for_the_rate_is_heeded() -> None:
    async def starts() -> list[float]:
        limiter = RateLimiter(1, LoopClock())
        asyncio.get_running_loop().call_later(2.5, limiter.pause, 60)
        return await starts_of(limiter, 10, 10)

    times = in_virtual_time(starts())
    assert times[:3] == pytest.approx([0, 1, 2], abs=TICK)
    assert times[3] >= 62.5


@settings(deadline=None)
@given(
    st.floats(0.5, 200), st.integers(1, 12), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=4)
)  # fmt: skip
def test_nothing_starts_within_a_pause_and_nothing_is_lost(
    rate: float, workers: int, pauses: list[tuple[float, float]]
) -> None:
    said: list[tuple[float, float, int]] = []

    async def starts() -> list[float]:
        loop = asyncio.get_running_loop()
        begun: list[int | None] = []
        limiter = RateLimiter(rate, LoopClock(), on_start=begun.append)

        def pause(seconds: float) -> None:
            said.append((loop.time(), seconds, len(begun)))
            limiter.pause(seconds)

        for at, seconds in pauses:
            loop.call_later(at, pause, seconds)
        return await starts_of(limiter, 60, workers)

    times = in_virtual_time(starts())
    assert len(times) == 60
    for at, seconds, before in said:
        assert all(moment >= at + seconds - TICK for moment in times[before:])


def test_who_waits_for_a_pause_says_so_and_when_it_is_over() -> None:
    said: list[str] = []
    clock = FakeClock()

    async def work() -> None:
        limiter = RateLimiter(10, clock, on_wait=said.append)
        await start(limiter)
        limiter.pause(5)
        await start(limiter)

    in_virtual_time(work())
    assert said == ["a pause the service asked for, 5 s", ""]
    assert clock.naps == [5]


# What a request costs.


def limited(wire: Transport, limiter: RateLimiter) -> RateLimited:
    """A transport behind a limiter, and behind its gate."""
    return RateLimited(Gated(limiter, wire), limiter)


class Wire:
    """Notes when each request goes out; answers 200, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times: list[float] = []
        self._error = error

    async def send(self, _request: Request) -> Response:
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.2)
        if self._error is not None:
            raise self._error
        return Response(200, {}, b"")


GET = Request("GET", "https://api.example/v0/")


def test_every_request_takes_exactly_one_and_goes_out_at_once(path: Path) -> None:
    wire, left = Wire(), list[int | None]()

    async def work() -> None:
        quota = await a_quota(path, 100, LoopClock(), block=7)
        sender = limited(wire, RateLimiter(5, LoopClock(), quota=quota, on_start=left.append))
        await asyncio.gather(*(sender.send(GET) for _ in range(30)))
        await quota.give_back()

    in_virtual_time(work())
    assert len(wire.times) == 30
    assert left == list(range(99, 69, -1))
    assert sum(spent_in(path).values()) == 30
    assert not rate_violations(wire.times, 5, 1, slack_seconds=TICK)


def test_a_request_that_fails_has_been_sent_and_counts(path: Path) -> None:
    async def work() -> int:
        quota = await a_quota(path, 10, LoopClock(), block=1)
        sender = limited(Wire(ConnectionResetError()), RateLimiter(5, LoopClock(), quota=quota))
        for _ in range(4):
            with pytest.raises(ConnectionResetError):
                await sender.send(GET)
        return quota.left

    assert in_virtual_time(work()) == 6


def test_a_request_that_is_cancelled_while_it_waits_costs_no_quota(path: Path) -> None:
    async def work() -> int:
        quota = await a_quota(path, 10, LoopClock(), block=1)
        sender = limited(Wire(), RateLimiter(1, LoopClock(), quota=quota))
        await sender.send(GET)
        waiting = [asyncio.create_task(sender.send(GET)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return quota.left

    assert in_virtual_time(work()) == 9


def test_the_quota_is_dated_by_when_the_request_goes_out_not_by_when_it_began_to_wait(path: Path) -> None:
    async def minutes() -> list[int]:
        clock, minutes = LoopClock(), list[int]()

        def started(_: int | None) -> None:
            minutes.append(int(clock.now().timestamp() // 60))

        limiter = RateLimiter(1 / 121, clock, quota=await a_quota(path, 10, clock, block=1), on_start=started)
        asyncio.get_running_loop().call_later(500, limiter.pause, 1000)
        await asyncio.gather(*(start(limiter) for _ in range(8)))
        return minutes

    started = in_virtual_time(minutes())
    assert len(set(started)) == 8
    assert spent_in(path) == dict.fromkeys(started, 1)


def test_nothing_is_deducted_while_everybody_pauses(path: Path) -> None:
    async def work() -> None:
        limiter = RateLimiter(10, LoopClock(), quota=await a_quota(path, 10, LoopClock(), block=5))
        limiter.pause(1000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(start(limiter), 500)

    in_virtual_time(work())
    assert spent_in(path) == {}


def test_without_a_quota_nothing_is_counted_and_what_is_left_is_unknown() -> None:
    left: list[int | None] = []

    async def work() -> int | None:
        limiter = RateLimiter(1000, LoopClock(), on_start=left.append)
        await starts_of(limiter, 3)
        return limiter.left

    assert in_virtual_time(work()) is None
    assert left == [None, None, None]


def test_a_used_up_quota_ends_the_run_and_says_when_to_come_again(path: Path) -> None:
    async def work() -> None:
        await starts_of(RateLimiter(1000, FakeClock(), quota=await a_quota(path, 3, FakeClock())), 4)

    with pytest.raises(OutOfBudget) as caught:
        in_virtual_time(work())
    for part in ("3 requests is used up", "kept", "same command again", "2026-11-22 03:56 UTC", "--wait"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 4


async def test_at_the_time_it_names_there_is_a_request_again_and_a_second_earlier_there_is_none(path: Path) -> None:
    clock = FakeClock()
    quota = await a_quota(path, 3, clock, block=1)
    await take(quota, 3)
    seconds = (await quota.free_at() - clock.now()).total_seconds()
    assert DAY_SECONDS < seconds <= DAY_SECONDS + MARGIN_MINUTES * 60
    clock.advance(seconds - 1)
    assert not await take(quota)
    clock.advance(1)
    assert await take(quota, 9) == 3


def test_with_wait_it_goes_on_as_soon_as_it_may_and_says_what_it_waits_for(path: Path) -> None:
    said: list[str] = []

    async def starts() -> list[float]:
        quota = await a_quota(path, 10, LoopClock(), block=4)
        return await starts_of(RateLimiter(1, LoopClock(), quota=quota, wait=True, on_wait=said.append), 35, 3)

    times = in_virtual_time(starts())
    assert len(times) == 35
    assert not quota_violations([NOW.timestamp() + moment for moment in times], 10)
    assert 3 * DAY_SECONDS <= times[-1] <= 3 * (DAY_SECONDS + MARGIN_MINUTES * 60) + 60
    assert "the daily budget, free again at 2026-11-22 03:56 UTC" in said
    assert said.count("") == len(said) // 2
    assert said[-1] == ""


# The quota's file.


async def test_two_that_share_a_file_share_the_quota(path: Path) -> None:
    first, second = [await a_quota(path, 50, FakeClock(), block=20) for _ in range(2)]
    assert await take(first, 15) + await take(second, 99) + await take(first, 99) == 50
    assert (first.left, second.left) == (0, 0)


async def test_another_service_has_a_file_of_its_own(tmp_path: Path) -> None:
    bases = ["https://api.example/v0/", "https://api.example/v1/", "http://127.0.0.1:8/v0/"]
    assert len({path_of(tmp_path, base) for base in bases}) == 3
    assert path_of(tmp_path, bases[0]) == path_of(tmp_path, bases[0])
    one, other = [await a_quota(path_of(tmp_path, base), 5, FakeClock()) for base in bases[:2]]
    assert await take(one, 9) == 5
    assert await take(other, 9) == 5


async def test_a_crash_wastes_at_most_one_block_and_never_overspends(path: Path) -> None:
    taken = 0
    for _ in range(3):
        taken += await take(await a_quota(path, 100, FakeClock(), block=20), 5)
    taken += await take(await a_quota(path, 100, FakeClock(), block=20), 999)
    assert taken == 100 - 3 * 15


async def test_what_is_left_of_a_block_is_returned_at_the_end_and_only_once(path: Path) -> None:
    quota = await a_quota(path, 100, FakeClock(), block=20)
    await take(quota, 5)
    await quota.give_back()
    await quota.give_back()
    assert sum(spent_in(path).values()) == 5
    assert (await a_quota(path, 100, FakeClock())).left == 95


async def test_a_block_returned_does_not_take_back_what_others_spent_in_the_same_minute(path: Path) -> None:
    first, second = [await a_quota(path, 100, FakeClock(), block=20) for _ in range(2)]
    await take(first, 5)
    await take(second, 20)
    await first.give_back()
    assert sum(spent_in(path).values()) == 25


async def test_what_is_left_counts_the_block_in_hand_and_the_others_blocks_not(path: Path) -> None:
    first = await a_quota(path, 100, FakeClock(), block=20)
    await take(first, 1)
    second = await a_quota(path, 100, FakeClock(), block=20)
    assert (first.left, second.left) == (99, 80)


async def test_a_lower_budget_than_was_spent_leaves_nothing_rather_than_less(path: Path) -> None:
    await take(await a_quota(path, 100, FakeClock()), 100)
    lower = await a_quota(path, 10, FakeClock())
    assert lower.left == 0
    assert not await take(lower)
    assert await take(await a_quota(path, 110, FakeClock()), 99) == 10


def elapse(clock: FakeClock) -> None:
    clock.advance(BLOCK_SECONDS + 1)


def suspend(clock: FakeClock) -> None:
    """Two minutes in which the monotonic clock stands still."""
    clock.jump(120)


def set_back(clock: FakeClock) -> None:
    clock.jump(-60)


@pytest.mark.parametrize("happens", [elapse, suspend, set_back])
async def test_a_block_that_has_become_old_is_given_back_and_a_new_one_taken(
    path: Path, happens: Callable[[FakeClock], None]
) -> None:
    clock = FakeClock()
    quota = await a_quota(path, 100, clock, block=20)
    booked = int(clock.now().timestamp() // 60)
    await take(quota, 3)
    happens(clock)
    assert not quota.take()
    assert await take(quota) == 1
    assert spent_in(path) == {booked: 3, int(clock.now().timestamp() // 60): 20}
    assert quota.left == 96


async def test_a_block_in_use_goes_to_the_file_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit costs an fsync; a thousand requests a second could not afford one each."""
    quota = await a_quota(path, 100, FakeClock(), block=20)
    connect = Mock(wraps=sqlite3.connect)
    monkeypatch.setattr(sqlite3, "connect", connect)
    assert await take(quota, 40) == 40
    assert connect.call_count == 2


async def test_every_visit_to_the_file_reaches_the_disk_before_anything_is_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Watched(sqlite3.Connection):
        def close(self) -> None:
            seen.append((self.execute("PRAGMA synchronous").fetchone()[0], self.in_transaction))
            super().close()

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, factory=Watched))
    quota = await a_quota(path, 100, FakeClock())
    await take(quota)
    await quota.free_at()
    await quota.give_back()
    full = 2
    assert len(seen) == 4
    assert all(level >= full and not open_still for level, open_still in seen)


async def test_the_folder_is_made(tmp_path: Path) -> None:
    assert await take(await a_quota(tmp_path / "a" / "b" / "budget.sqlite", 5, FakeClock()), 9) == 5


async def test_a_folder_that_cannot_be_made_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(DiskFailed, match=r"folder .*state for the daily budget and the rate cannot be made"):
        await a_quota(tmp_path / "state" / "budget.sqlite", 5, FakeClock())


@contextmanager
def corrupted(path: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    path.write_bytes(b"this was a database once" * 400)
    yield


@contextmanager
def of_somebody_else(path: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE spent (euro TEXT)")
    yield


@contextmanager
def replaced_by_a_folder(path: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    path.unlink()
    path.mkdir()
    yield


@contextmanager
def read_only(path: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a file without the right to write is opened; for root there is no such file."""
    real = sqlite3.connect
    patch.setattr(sqlite3, "connect", lambda _path, **options: real(f"file:{path}?mode=ro", uri=True, **options))
    yield


@contextmanager
def locked_for_ever(path: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    real = sqlite3.connect
    with closing(real(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        patch.setattr(sqlite3, "connect", lambda given, **options: real(given, **{**options, "timeout": 0}))
        yield


TROUBLES = [
    (corrupted, "not a database"),
    (of_somebody_else, "no such column"),
    (replaced_by_a_folder, "unable to open"),
    (read_only, "readonly"),
    (locked_for_ever, "locked"),
]


@pytest.mark.parametrize(("trouble", "said"), TROUBLES)
async def test_a_file_that_cannot_be_used_stops_everything_and_says_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Any, said: str
) -> None:
    quota = await a_quota(path, 100, FakeClock(), block=2)
    assert await take(quota, 2) == 2
    wire = Wire()
    with trouble(path, monkeypatch):
        with pytest.raises(DiskFailed, match=said) as caught:
            await limited(wire, RateLimiter(10, LoopClock(), quota=quota)).send(GET)
        with pytest.raises(DiskFailed, match=said):
            await take(await a_quota(path, 100, FakeClock()))
    assert not wire.times
    assert str(path) in str(caught.value)
    assert "mend it" in str(caught.value)
    assert caught.value.exit_code == 74


async def test_after_the_trouble_nothing_that_was_spent_is_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = await a_quota(path, 10, FakeClock(), block=4)
    await take(quota, 4)
    with monkeypatch.context() as patch, locked_for_ever(path, patch), pytest.raises(DiskFailed):
        await take(quota)
    assert await take(quota, 99) == 6


# Clocks that cannot be trusted.


class UnsteadyClock:
    """A `harvester.core.clock.Clock` as a real machine has it, and beside it the time that really passes.

    Attributes:
        wall: what the user's clock shows, in seconds since 1970.
        counted: true time that jumps forward with the clock, but never back; see this module's docstring.
        furthest: the latest time the clock ever showed.
        uptime: seconds since the machine was started.
        boots: how often it was started anew.
    """

    def __init__(self) -> None:
        self.wall = self.counted = self.furthest = NOW.timestamp()
        self._monotonic = self.uptime = 5000.0
        self.boots = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.run(seconds)

    def run(self, seconds: float) -> None:
        """The machine runs, all clocks agree."""
        self._monotonic += seconds
        self.suspend(seconds)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps, the monotonic clock with it."""
        self.counted += seconds
        self.uptime += seconds
        self._set(self.wall + seconds)

    def reboot(self, seconds: float) -> None:
        """The machine is off for some time; the monotonic clock starts anew."""
        self.suspend(seconds)
        self._monotonic = self.uptime = 0.0
        self.boots += 1

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.counted += max(0.0, seconds)
        self._set(self.wall + seconds)

    def _set(self, wall: float) -> None:
        self.wall = wall
        self.furthest = max(self.furthest, wall)


HOUR, MINUTE = 3600.0, 60.0
MOMENTS = st.sampled_from([0.01, 1.0, 30.0, 53.0, 54.0, 59.0, MINUTE, 61.0, 90.0, 113.0, 114.0, 2 * MINUTE, 3 * MINUTE])
"""Seconds about the time for which a block may be used, and about the edges of minutes."""

DAYS = st.builds(
    lambda minutes, seconds: DAY_SECONDS + minutes * MINUTE + seconds,
    st.integers(-3, 3),
    st.sampled_from([-7.0, -6.0, -1.0, -0.01, 0.0, 0.01, 1.0]),
)
"""Seconds about the time for which what was spent counts."""

SPANS = st.one_of(MOMENTS, DAYS, st.floats(0, 26 * HOUR), st.sampled_from([HOUR, 12 * HOUR, 23 * HOUR]))


class QuotaMachine(RuleBasedStateMachine):
    """Several processes on one file, some of which die, on a machine whose clock cannot be trusted."""

    def __init__(self) -> None:
        super().__init__()
        # In memory if there is such a place: this is about arithmetic, and each step would wait for the disk.
        memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
        self._folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self._path = Path(self._folder.name) / "budget.sqlite"
        self._clock = UnsteadyClock()
        self._sent: list[tuple[float, float]] = []
        self._remembered: list[float] = []
        self._quotas: list[DailyQuota] = []
        self._runner = asyncio.Runner(loop_factory=PassingLoop)

    def teardown(self) -> None:
        self._runner.close()
        self._folder.cleanup()

    @initialize(daily=st.integers(1, 20), block=st.integers(1, 25), processes=st.integers(1, 4))
    def begin(self, daily: int, block: int, processes: int) -> None:
        self._daily, self._block = daily, block
        self._quotas = [self._open() for _ in range(processes)]

    def _open(self) -> DailyQuota:
        return self._runner.run(a_quota(self._path, self._daily, self._clock, block=self._block))

    @rule(who=st.integers(0, 3), count=st.one_of(st.integers(1, 20), st.just(99)))
    def send(self, who: int, count: int) -> None:
        for _ in range(self._runner.run(take(self._quotas[who % len(self._quotas)], count))):
            self._sent.append((self._clock.wall, self._clock.counted))
            self._remembered.append(self._clock.wall)

    @rule(who=st.integers(0, 3))
    def crash(self, who: int) -> None:
        self._quotas[who % len(self._quotas)] = self._open()

    @rule(who=st.integers(0, 3))
    def give_back(self, who: int) -> None:
        self._runner.run(self._quotas[who % len(self._quotas)].give_back())

    @rule(seconds=SPANS)
    def time_passes(self, seconds: float) -> None:
        self._clock.run(seconds)

    @rule(seconds=st.sampled_from([-61.0, -1.0, -0.01, 0.0, 0.01, 1.0, 61.0]))
    def midnight_comes(self, seconds: float) -> None:
        self._clock.run((DAY_SECONDS - self._clock.wall % DAY_SECONDS + seconds) % DAY_SECONDS)

    @rule(seconds=SPANS)
    def the_machine_sleeps(self, seconds: float) -> None:
        self._clock.suspend(seconds)

    @rule(seconds=SPANS, in_order=st.booleans())
    def the_machine_starts_anew(self, seconds: float, in_order: bool) -> None:
        if in_order:
            for quota in self._quotas:
                self._runner.run(quota.give_back())
        self._clock.reboot(seconds)
        self._quotas = [self._open() for _ in self._quotas]

    @rule(seconds=SPANS)
    def the_clock_is_set_forward(self, seconds: float) -> None:
        self._clock.jump(seconds)

    @rule(seconds=SPANS)
    def the_clock_is_set_back(self, seconds: float) -> None:
        self._clock.jump(-seconds)
        old = self._clock.furthest - REMEMBERED_SECONDS
        # What is stamped more than a day ahead is found here, and counts from now on.
        self._open()
        ahead = self._clock.wall + AHEAD_MINUTES * MINUTE
        self._remembered = [wall for wall in self._remembered if old < wall <= ahead]

    @rule(sign=st.sampled_from([-1, 1]))
    def the_clock_is_wrong_by_a_year(self, sign: int) -> None:
        if sign > 0:
            self.the_clock_is_set_forward(365 * DAY_SECONDS)
        else:
            self.the_clock_is_set_back(365 * DAY_SECONDS)

    @rule()
    def two_days_after_all_of_it_all_of_it_is_free_whatever_the_clock_showed(self) -> None:
        for quota in self._quotas:
            self._runner.run(quota.give_back())
        for _ in range(2):
            self._open()
            self._clock.run(FREE_MINUTES * MINUTE)
        assert all(self._open().left == self._daily for _ in self._quotas)
        before = len(self._sent)
        self.send(0, self._daily + 1)
        assert len(self._sent) - before == self._daily

    @invariant()
    def never_more_than_daily_in_any_24_hours_however_the_clock_was_set(self) -> None:
        assert not self._sent or busiest_window([counted for _, counted in self._sent], DAY_SECONDS)[0] <= self._daily

    @invariant()
    def never_more_than_daily_in_any_24_hours_or_utc_day_on_the_users_clock(self) -> None:
        assert not self._remembered or not quota_violations(sorted(self._remembered), self._daily)

    @invariant()
    def what_is_left_is_between_nothing_and_all(self) -> None:
        assert all(0 <= quota.left <= self._daily for quota in self._quotas)


TestDailyQuota = QuotaMachine.TestCase
TestDailyQuota.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_a_clock_set_back_frees_nothing(path: Path) -> None:
    clock = UnsteadyClock()
    quota = await a_quota(path, 10, clock)
    assert await take(quota, 99) == 10
    clock.jump(-20 * HOUR)
    assert not await take(quota)
    clock.run(43 * HOUR)
    assert not await take(quota)
    assert await quota.free_at() > clock.now() + timedelta(hours=1)


@pytest.mark.parametrize("hours", [-400 * 24, -30, -20, -1])
async def test_a_clock_that_is_behind_for_a_while_frees_nothing_that_was_spent_before(path: Path, hours: int) -> None:
    clock = UnsteadyClock()
    assert await take(await a_quota(path, 10, clock), 99) == 10
    clock.jump(hours * HOUR)
    assert not await take(await a_quota(path, 10, clock))
    clock.run(2 * HOUR)
    assert not await take(await a_quota(path, 10, clock))
    clock.jump(-hours * HOUR)
    assert not await take(await a_quota(path, 10, clock))
    clock.run(22 * HOUR)
    assert not await take(await a_quota(path, 10, clock))
    clock.run(FREE_MINUTES * MINUTE - 24 * HOUR)
    assert await take(await a_quota(path, 10, clock), 99) == 10


@settings(deadline=None, max_examples=60)
@given(
    ahead=st.integers(0, 80) | st.integers(0, 500 * 24),
    visits=st.lists(st.floats(0.1, 60) | st.sampled_from([23, 24.01]), min_size=1, max_size=30),
)
def test_what_was_spent_by_a_clock_that_was_ahead_counts_for_a_day_and_for_two_at_most(
    ahead: int, visits: list[float]
) -> None:
    """At the time that is told there is a request again, and before it there is none."""

    async def work(path: Path) -> None:
        clock = UnsteadyClock()
        clock.jump(ahead * HOUR)
        assert await take(await a_quota(path, 10, clock), 99) == 10
        clock.jump(-ahead * HOUR)
        right = clock.wall
        for hours in visits:
            quota = await a_quota(path, 10, clock)
            if not quota.left:
                free = (await quota.free_at()).timestamp()
                assert DAY_SECONDS <= free - right <= 2 * DAY_SECONDS + 120
                assert not await take(quota)
                within = free - clock.wall
                left = await requests_left(a_book(path, 10, clock), clock, within_seconds=within - 60)
                assert left == 0
                assert await requests_left(a_book(path, 10, clock), clock, within_seconds=within + 60) == 10
            else:
                assert quota.left == 10
                assert clock.wall - right >= DAY_SECONDS
            clock.run(hours * HOUR)
        if clock.wall - right > 2 * DAY_SECONDS + 120:
            assert (await a_quota(path, 10, clock)).left == 10

    with tempfile.TemporaryDirectory() as folder:
        in_virtual_time(work(Path(folder) / "budget.sqlite"))


@pytest.mark.parametrize("hours", [15, 24, 26, 40])
async def test_a_clock_set_forward_and_back_is_no_second_budget(path: Path, hours: int) -> None:
    """As on a machine whose hardware clock keeps local time, before the time server has spoken."""
    clock = UnsteadyClock()
    assert await take(await a_quota(path, 10, clock), 99) == 10
    clock.run(10 * HOUR)
    clock.jump(hours * HOUR)
    await a_quota(path, 10, clock)
    clock.jump(-hours * HOUR)
    assert not await take(await a_quota(path, 10, clock))


@pytest.mark.parametrize("how", [UnsteadyClock.run, UnsteadyClock.suspend, UnsteadyClock.jump])
@pytest.mark.parametrize("seconds", [1.0, 60.0, 61.0, 121.0, 3600.0])
@pytest.mark.parametrize("second", [0.0, 59.9])
async def test_what_was_sent_counts_for_24_hours_however_long_its_block_lay_about(
    path: Path, how: Callable[[UnsteadyClock, float], None], seconds: float, second: float
) -> None:
    clock = UnsteadyClock()
    clock.run(MINUTE - clock.wall % MINUTE + second)
    quota = await a_quota(path, 20, clock)
    assert await take(quota, 1) == 1
    how(clock, seconds)
    assert await take(quota, 99) == 19
    clock.run(DAY_SECONDS - 0.01)
    assert await take(await a_quota(path, 20, clock), 99) <= 1
