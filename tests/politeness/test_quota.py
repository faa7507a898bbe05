"""The quota while its book takes its time: the loop goes on, no block is lost, and none is granted twice."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harvester.core.clock import SystemClock
from harvester.core.errors import DiskFailed
from harvester.politeness.book import SqliteBook
from harvester.politeness.limiter import RateLimiter
from harvester.politeness.quota import DAY_MINUTES, MARGIN_MINUTES, DailyQuota, Grant, requests_left
from tests.support import FakeClock

DAILY, BLOCK = 100, 20

HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    """Another process has the file for itself, as long as it takes."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.stdin.close()
            assert holder.wait(30) == 0


async def others_have_their_turn() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


class Starter:
    """Starts requests of a quota."""

    def __init__(self, quota: DailyQuota) -> None:
        self._limiter = RateLimiter(1000, SystemClock(), quota=quota)

    async def start(self) -> None:
        await self._limiter.acquire()
        await self._limiter.enter()
        self._limiter.leave()


def spent_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT COALESCE(SUM(requests), 0) FROM spent").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budget.sqlite"


@pytest.fixture
def quota(path: Path) -> DailyQuota:
    return DailyQuota(SqliteBook(path, DAILY), SystemClock(), block=BLOCK)


async def test_the_loop_goes_on_while_another_process_holds_the_file(path: Path, quota: DailyQuota) -> None:
    async with quota:
        with held_by_another_process(path):
            waiting = asyncio.create_task(Starter(quota).start())
            await others_have_their_turn()
            assert not waiting.done()
        await waiting
        assert quota.left == DAILY - 1


async def test_who_is_cancelled_while_a_block_is_deducted_leaves_it_to_the_next(path: Path, quota: DailyQuota) -> None:
    async with quota:
        limiter = Starter(quota)
        with held_by_another_process(path):
            first = asyncio.create_task(limiter.start())
            await others_have_their_turn()
            first.cancel()
            second = asyncio.create_task(limiter.start())
            await others_have_their_turn()
        await second
        assert first.cancelled()
        assert spent_in(path) == BLOCK
    assert spent_in(path) == 1


async def test_a_run_that_is_cancelled_while_a_block_is_deducted_gives_all_of_it_back(
    path: Path, quota: DailyQuota
) -> None:
    is_open = asyncio.Event()
    may_ask = asyncio.Event()

    async def run() -> None:
        async with quota:
            is_open.set()
            await may_ask.wait()
            await Starter(quota).start()

    running = asyncio.create_task(run())
    await is_open.wait()
    with held_by_another_process(path):
        may_ask.set()
        await others_have_their_turn()
        running.cancel()
        await others_have_their_turn()
        assert not running.done()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert spent_in(path) == 0


async def test_two_who_need_a_block_at_once_get_one_between_them(path: Path, quota: DailyQuota) -> None:
    async with quota:
        assert all(await asyncio.gather(quota.renew(), quota.renew()))
        assert spent_in(path) == BLOCK


class SlowBook:
    """A book in memory; what is given back is taken when `is_free` is set, or refused if it `fails`."""

    daily = DAILY

    def __init__(self) -> None:
        self.spent = 0
        self.returned = 0
        self.is_free = asyncio.Event()
        self.fails = False

    async def deduct(self, wanted: int, _minute: int) -> Grant:
        granted = min(wanted, self.daily - self.spent)
        self.spent += granted
        return Grant(granted, self.daily - self.spent)

    async def give_back(self, unused: int, _minute: int) -> None:
        await self.is_free.wait()
        self.returned += unused
        if self.fails:
            raise DiskFailed("it is not known whether that was written")
        self.spent -= unused

    async def left(self, _minute: int, _at: int) -> int:
        return self.daily - self.spent

    async def free_at(self, minute: int) -> int:
        return minute + 1


async def test_what_is_being_given_back_cannot_be_taken_any_more() -> None:
    book = SlowBook()
    quota = DailyQuota(book, FakeClock(), block=BLOCK)
    await quota.renew()
    assert quota.take()
    returning = asyncio.create_task(quota.give_back())
    await others_have_their_turn()
    assert not quota.take()
    book.is_free.set()
    await returning
    assert (book.spent, book.returned) == (1, BLOCK - 1)


async def test_what_could_perhaps_not_be_given_back_is_not_given_back_twice() -> None:
    book = SlowBook()
    book.fails = True
    book.is_free.set()
    async with DailyQuota(book, FakeClock(), block=BLOCK) as quota:
        await quota.renew()
        with pytest.raises(DiskFailed):
            await quota.give_back()
    assert book.returned == BLOCK


@contextmanager
def broken(path: Path) -> Iterator[None]:
    content = path.read_bytes()
    path.write_bytes(b"this was a database once" * 400)
    try:
        yield
    finally:
        path.write_bytes(content)


async def test_a_book_that_failed_is_asked_again_by_the_next_who_needs_a_block(path: Path, quota: DailyQuota) -> None:
    async with quota:
        with broken(path), pytest.raises(DiskFailed):
            await quota.renew()
        assert await quota.renew()


async def test_a_block_that_was_not_granted_keeps_nobody_from_closing(path: Path, quota: DailyQuota) -> None:
    """What is wrong was said to whoever wanted the block; there is nothing to give back."""
    await quota.__aenter__()
    with broken(path):
        with pytest.raises(DiskFailed):
            await quota.renew()
        await quota.__aexit__(None, None, None)


async def test_to_look_what_is_left_makes_no_file(path: Path) -> None:
    assert await requests_left(SqliteBook(path, DAILY), FakeClock(), within_seconds=0) == DAILY
    assert not path.parent.exists()


@pytest.mark.parametrize(("minutes", "left"), [(0, 93), (DAY_MINUTES, 93), (DAY_MINUTES + MARGIN_MINUTES, 100)])
async def test_what_was_spent_is_left_again_when_it_counts_no_more(path: Path, minutes: int, left: int) -> None:
    clock, book = FakeClock(), SqliteBook(path, DAILY)
    async with DailyQuota(book, clock, block=7) as quota:
        await quota.renew()
        assert all(quota.take() for _ in range(7))
    assert await requests_left(book, clock, within_seconds=minutes * 60) == left
