"""The quota while its book takes its time: the loop goes on, no block is lost, and none is granted twice."""

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harvester.core.clock import SystemClock
from harvester.core.errors import DiskFailed, Stopped
from harvester.core.limits import ServiceLimits
from harvester.core.stop import Stop
from harvester.core.threads import AbandonableThread
from harvester.politeness import book
from harvester.politeness.book import SqliteBook, book_of, quota_path
from harvester.politeness.limiter import RateLimiter
from harvester.politeness.quota import DAY_MINUTES, MARGIN_MINUTES, DailyQuota, Grant, block_of, requests_left
from harvester.politeness.state import file_by_spelling
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


# A stop is heard, whatever holds the file.


class Stopping:
    """A quota of a run that can be stopped."""

    def __init__(self, path: Path) -> None:
        self.stop = Stop()
        self.book = SqliteBook(path, DAILY, stop=self.stop)
        self.quota = DailyQuota(self.book, SystemClock(), block=BLOCK)


@contextmanager
def within_a_second() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 10, "a second, and what a busy machine takes; SQLite itself would wait for long"


async def test_a_stop_is_heard_while_another_process_holds_the_file(path: Path) -> None:
    run = Stopping(path)
    async with run.quota:
        with held_by_another_process(path):
            waiting = asyncio.create_task(run.quota.renew())
            await others_have_their_turn()
            with within_a_second():
                run.stop.request()
                with pytest.raises(Stopped):
                    await waiting
    assert spent_in(path) == 0


async def test_who_opens_or_looks_hears_a_stop_as_well(path: Path) -> None:
    run = Stopping(path)
    async with run.quota:
        pass
    with held_by_another_process(path):
        opening = asyncio.create_task(run.quota.__aenter__())
        looking = asyncio.create_task(requests_left(run.book, SystemClock(), within_seconds=0))
        await others_have_their_turn()
        with within_a_second():
            run.stop.request()
            for waiting in (opening, looking):
                with pytest.raises(Stopped):
                    await waiting


@pytest.mark.parametrize("is_stopped", [True, False])
async def test_the_end_of_a_run_waits_a_moment_for_the_file_and_then_tells_what_it_lost(
    path: Path, caplog: pytest.LogCaptureFixture, is_stopped: bool
) -> None:
    run = Stopping(path)
    await run.quota.__aenter__()
    await run.quota.renew()
    assert run.quota.take()
    with held_by_another_process(path):
        if is_stopped:
            run.stop.request()
        with within_a_second():
            await run.quota.__aexit__(None, None, None)
    assert re.search(r"(19|up to 20) requests .*could not be given back", caplog.text)
    assert spent_in(path) == BLOCK


async def test_a_file_that_breaks_at_the_end_loses_no_harvest(
    path: Path, quota: DailyQuota, caplog: pytest.LogCaptureFixture
) -> None:
    await quota.__aenter__()
    await quota.renew()
    with broken(path):
        await quota.__aexit__(None, None, None)
    assert "20 requests of the daily budget could not be given back" in caplog.text


async def test_a_lock_that_is_not_given_back_in_half_a_minute_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "BUSY_SECONDS", 0.001)
    await SqliteBook(path, DAILY).deduct(0, 1000)
    with (
        held_by_another_process(path),
        pytest.raises(DiskFailed, match="another program holds"),
    ):
        await SqliteBook(path, DAILY).deduct(1, 1000)


HANGS = """
import asyncio, time
from harvester.core.threads import AbandonableThread

async def main():
    asyncio.get_running_loop().run_in_executor(AbandonableThread(), time.sleep, 60)
    await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_a_process_ends_though_a_visit_hangs_in_the_disk() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS]) as process:
        assert process.wait(30) == 0


async def test_a_call_on_a_thread_that_may_be_abandoned_gives_its_result_or_its_error() -> None:
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(AbandonableThread(), divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(AbandonableThread(), divmod, 7, 0)


# Blocks.


@pytest.mark.parametrize(
    ("rate", "daily", "block"),
    [(10, 95_000, 10), (2, 95_000, 2), (0.5, 95_000, 1), (100_000, 95_000, 95), (100, 500, 1), (1000, 10**9, 1000)],
)
def test_a_block_is_a_second_and_a_thousandth_of_the_day_at_most(rate: float, daily: int, block: int) -> None:
    assert block_of(rate, daily) == block


async def test_five_crashes_at_a_high_rate_leave_the_day_almost_whole(path: Path) -> None:
    the_book, clock = SqliteBook(path, 95_000), FakeClock()
    for _ in range(5):
        await DailyQuota(the_book, clock, block=block_of(100_000, 95_000)).renew()
    assert await requests_left(the_book, clock, within_seconds=0) >= 0.99 * 95_000


# Where it is.

LIMITS = ServiceLimits("http://127.0.0.1:6443/v0/", rate=10, daily_budget=DAILY)


async def test_what_was_spent_under_another_spelling_is_counted(tmp_path: Path) -> None:
    for base_url in ("http://localhost:6443/v0/", "http://LOCALHOST:06443//v0/", "http://[::1]:6443/v0/./"):
        opened = book_of(replace(LIMITS, base_url=base_url), tmp_path)
        assert opened is not None
        await opened.deduct(10, 1000)
    last = book_of(LIMITS, tmp_path)
    assert last is not None
    assert await last.left(1000, 1000) == DAILY - 30


async def test_what_an_earlier_release_spent_is_taken_over_once(tmp_path: Path) -> None:
    """It had a file for each spelling, of which only that of the setting can be known."""
    before = file_by_spelling(tmp_path, "budget", LIMITS.base_url, ".sqlite")
    with closing(sqlite3.connect(before)) as db:
        db.execute("CREATE TABLE spent (minute INTEGER PRIMARY KEY, requests INTEGER NOT NULL) STRICT")
        db.execute("INSERT INTO spent VALUES (1000, 30), (1001, 7)")
        db.commit()
    for _ in range(2):
        opened = book_of(LIMITS, tmp_path)
        assert opened is not None
        assert await opened.left(1002, 1002) == DAILY - 37
        assert (await opened.deduct(0, 1002)).left == DAILY - 37
    assert spent_in(before) == 0


async def test_of_the_address_by_default_nothing_has_to_be_taken_over(tmp_path: Path) -> None:
    base_url = "https://api.paperbuzz.org/v0/"
    assert file_by_spelling(tmp_path, "budget", base_url, ".sqlite") == quota_path(tmp_path, base_url)


async def test_when_a_request_is_free_is_told_right_if_more_was_spent_than_may_be(path: Path) -> None:
    for minute, requests in ((1000, 5), (1010, 30), (1020, 5)):
        await SqliteBook(path, 1000).deduct(requests, minute)
    assert await SqliteBook(path, 6).free_at(1030) == 1010 + DAY_MINUTES + MARGIN_MINUTES
    assert await SqliteBook(path, 40).free_at(1030) == 1000 + DAY_MINUTES + MARGIN_MINUTES
    assert await SqliteBook(path, 4).free_at(1030) == 1020 + DAY_MINUTES + MARGIN_MINUTES


async def test_a_week_of_minutes_is_remembered_and_no_clock_shortens_that(path: Path) -> None:
    the_book = SqliteBook(path, 10**6)
    for minute in (1000, 1001, 1000 + 365 * DAY_MINUTES):
        await the_book.deduct(1, minute)
    assert spent_in(path) == 3


async def test_a_book_that_may_only_be_read_can_be_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await SqliteBook(path, DAILY).deduct(7, 1000)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _path, **options: real(f"file:{path}?mode=ro", uri=True, **options))
    assert await SqliteBook(path, DAILY).left(1000, 1000) == DAILY - 7
