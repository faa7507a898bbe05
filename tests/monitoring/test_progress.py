"""Progress: pace over the last minute, one line for logs, a bar for terminals; it never ends a run."""

import asyncio
import io
import logging
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from harvester.core.tally import Tally
from harvester.monitoring import logs
from harvester.monitoring.progress import LINE_SECONDS, Throughput, progress, status_fields, status_line


class HandClock:
    """A clock that is moved by hand; sleepers wake when it passes them."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, waker))
        await waker

    async def move(self, seconds: float) -> None:
        self.time += seconds
        for when, waker in self._sleepers:
            if when <= self.time and not waker.done():
                waker.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class GoneTerminal(Terminal):
    def write(self, text: str, /) -> int:
        raise OSError(5, "Input/output error", text[:1])


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "harvester.progress"]


# Pace


def test_the_pace_is_that_of_the_last_minute(clock: HandClock) -> None:
    pace = Throughput(clock)
    for second in range(200):
        clock.time = float(second)
        pace.mark(second * 10 if second < 120 else 1200 + (second - 120) * 2)
    assert pace.rate == pytest.approx(2.0, abs=0.01)
    assert pace.seconds_left(100) == pytest.approx(50.0, abs=0.5)


def test_nothing_is_said_of_the_pace_before_there_is_one(clock: HandClock) -> None:
    pace = Throughput(clock)
    assert (pace.rate, pace.seconds_left(10)) == (0.0, None)
    pace.mark(5)
    pace.mark(6)
    assert (pace.rate, pace.seconds_left(10)) == (0.0, None)


def test_an_outage_lets_the_pace_fall_to_nothing_within_a_minute(clock: HandClock) -> None:
    pace = Throughput(clock)
    for second in range(0, 200, 10):
        clock.time = float(second)
        pace.mark(min(second, 100) * 10)
    assert pace.rate == 0.0
    assert pace.seconds_left(1) is None


def test_fewer_works_than_before_begin_a_new_measurement(clock: HandClock) -> None:
    pace = Throughput(clock)
    for second, done in ((0, 900), (10, 1000), (20, 0), (30, 50)):
        clock.time = float(second)
        pace.mark(done)
    assert pace.rate == 5.0


# The line


def test_the_line_tells_all_that_there_is_to_tell(clock: HandClock) -> None:
    pace = Throughput(clock)
    pace.mark(1000)
    clock.time = 10.0
    pace.mark(1234)
    tally = Tally(
        works=12_000,
        results=1200,
        failures=34,
        pending=10_766,
        registered=1100,
        registration_pending=100,
        budget_left=93_000,
        waiting_for="Paperbuzz\x1b[2J, without a good answer",
    )
    assert status_line(tally, pace) == (
        "1,234/12,000 works, 23.4/s, 7 min 40 s left, 34 failed, 1,100 registered, 100 to register, budget 93,000, "
        "waiting for Paperbuzz\\x1b[2J, without a good answer"
    )
    assert status_fields(tally, pace)["seconds_left"] == 460


def test_the_line_leaves_out_what_there_is_not(clock: HandClock) -> None:
    assert status_line(Tally(works=3, results=3), Throughput(clock)) == "3/3 works, 0.0/s"


# Without a terminal


async def test_without_a_terminal_there_is_an_event_every_thirty_seconds_and_one_at_the_end(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    tally = Tally(works=100, pending=100)
    with caplog.at_level(logging.INFO, logger="harvester"):
        async with progress(tally, clock, stream=io.StringIO()):
            await clock.move(LINE_SECONDS - 1)
            assert messages(caplog) == []
            tally.results, tally.pending = 60, 40
            await clock.move(1)
            assert messages(caplog) == ["60/100 works, 2.0/s, 20 s left"]
            await clock.move(10)
            tally.results, tally.pending = 100, 0
        assert messages(caplog)[1:] == ["100/100 works, 2.5/s"]
    assert vars(caplog.records[-1])["done"] == 100


async def test_what_earlier_runs_did_is_not_this_runs_pace(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    with caplog.at_level(logging.INFO, logger="harvester"):
        async with progress(tally, clock, stream=io.StringIO()):
            await clock.move(LINE_SECONDS)
            tally.works, tally.results, tally.pending = 2_000_000, 1_000_000, 1_000_000
            await clock.move(LINE_SECONDS)
    assert messages(caplog)[1].startswith("1,000,000/2,000,000 works, 0.0/s")


async def test_a_run_that_could_not_begin_shows_nothing(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="harvester"):
        async with progress(Tally(), clock, stream=io.StringIO()):
            pass
    assert messages(caplog) == []


async def test_quiet_shows_nothing_anywhere(
    clock: HandClock, terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="harvester"):
        async with progress(Tally(works=1), clock, quiet=True, stream=terminal):
            await clock.move(100)
    assert messages(caplog) == []
    assert terminal.getvalue() == ""


async def test_a_dumb_terminal_gets_lines(
    clock: HandClock, terminal: Terminal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with caplog.at_level(logging.INFO, logger="harvester"):
        async with progress(Tally(works=1), clock, stream=terminal):
            pass
    assert messages(caplog) == ["0/1 works, 0.0/s"]
    assert terminal.getvalue() == ""


# On a terminal


async def test_on_a_terminal_the_last_state_is_painted(clock: HandClock, terminal: Terminal) -> None:
    tally = Tally(works=7, pending=7)
    async with progress(tally, clock, stream=terminal):
        await clock.move(1)
        tally.results, tally.pending = 7, 0
    assert "100 %" in terminal.getvalue()
    assert "7/7 works" in terminal.getvalue().rsplit("100 %", 1)[1]


async def test_on_a_narrow_terminal_nothing_is_cut_off(
    clock: HandClock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    tally = Tally(works=7, budget_left=95_000, registered=3, waiting_for="Paperbuzz, without a good answer")
    async with progress(tally, clock, stream=terminal):
        pass
    assert "…" not in terminal.getvalue()
    for words in ("0/7 works", "3 registered", "95,000", "Paperbuzz", "answer"):
        assert words in terminal.getvalue()


async def test_without_colour_the_bar_has_none(
    clock: HandClock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with progress(Tally(works=2, results=1), clock, stream=terminal):
        pass
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    async with progress(Tally(works=2, results=1), clock, stream=plain):
        pass
    assert "\x1b[38" in terminal.getvalue()
    assert "\x1b[38" not in plain.getvalue()


async def test_log_lines_stand_above_the_bar_and_on_their_own_afterwards(clock: HandClock, terminal: Terminal) -> None:
    elsewhere = io.StringIO()
    logs.configure(form="text", level="info", stream=elsewhere)
    try:
        async with progress(Tally(works=2), clock, stream=terminal):
            logging.getLogger("harvester").warning("[red]slow[/red] today")
        logging.getLogger("harvester").warning("over")
    finally:
        logs.release()
    assert "warning: [red]slow[/red] today" in terminal.getvalue()
    assert [text[9:] for text in elsewhere.getvalue().splitlines()] == ["warning: over"]


async def test_a_terminal_that_goes_away_does_not_end_the_run(
    clock: HandClock,
    terminal: Terminal,  # noqa: ARG001 - for its environment
) -> None:
    done = False
    async with progress(Tally(works=2), clock, stream=GoneTerminal()):
        await clock.move(1)
        done = True
    assert done


async def test_an_error_of_the_run_itself_passes_through(clock: HandClock) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with progress(Tally(works=2), clock, stream=io.StringIO()):
            raise RuntimeError("mine")


def test_rich_is_loaded_only_when_a_bar_is_painted() -> None:
    code = "import sys, harvester.monitoring.progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
