"""Standard error that nobody reads: nobody waits, what is lost is counted, the last words have a bounded time."""

import asyncio
import logging
import os
import time
import warnings
from collections.abc import Iterator

import orjson
import pytest

from harvester.core.background import BackgroundWriter
from harvester.core.tally import Tally
from harvester.monitoring import logs, stderr
from harvester.monitoring.progress import progress
from harvester.monitoring.stderr import LIMIT_BYTES, Stderr
from tests.monitoring.test_progress import HandClock

PIPE_BYTES = 64 * 1024

log = logging.getLogger("harvester")


class Reader:
    """The other end of a pipe."""

    def __init__(self) -> None:
        self.descriptor, self.writer = os.pipe()
        self.background = BackgroundWriter(self.writer)

    def read(self) -> bytes:
        """All that was written and is still to be written."""
        content, is_all = b"", False
        os.set_blocking(self.descriptor, False)
        while True:
            try:
                content += os.read(self.descriptor, PIPE_BYTES)
            except BlockingIOError:
                if is_all:
                    return content
                is_all = self.background.flush(0.2)


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    logs.release()
    made.read()
    os.close(made.descriptor)
    os.close(made.writer)


def test_a_log_that_nobody_reads_holds_up_nothing_and_what_was_lost_is_told_later(reader: Reader) -> None:
    logs.configure(form="text", level="info", stream=Stderr(reader.background))
    line = "- " * 500
    for _ in range(1000):
        log.info(line)
    assert reader.background.waiting < LIMIT_BYTES + 2000
    kept = reader.read().count(b"\n")
    log.info("go on")
    lost, last = reader.read().decode().splitlines()
    assert lost.endswith(f"{1000 - kept:,} log lines left out here, because nobody read them in time")
    assert last.endswith("go on")


def test_a_loss_is_told_in_the_form_of_the_log(reader: Reader) -> None:
    logs.configure(form="json", level="info", stream=Stderr(reader.background))
    for _ in range(1000):
        log.info("- " * 500)
    reader.read()
    log.info("go on")
    events = [orjson.loads(line) for line in reader.read().splitlines()]
    assert [event["level"] for event in events] == ["warning", "info"]
    assert "log lines left out here" in events[0]["message"]


def test_last_words_wait_for_a_reader_and_not_for_one_that_sleeps(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stderr, "PATIENCE_SECONDS", 0.05)
    out = Stderr(reader.background)
    out.write("x" * 2 * PIPE_BYTES)
    begun = time.monotonic()
    out.last_words()
    assert time.monotonic() - begun < 2
    assert len(reader.read()) == 2 * PIPE_BYTES


def test_whoever_writes_there_is_made_harmless_but_a_bar_may_move_the_cursor(reader: Reader) -> None:
    out = Stderr(reader.background, encoding="latin-1")
    print("a\x1b[2J\u202e", file=out)
    out.control.write("\x1b[1A")
    out.last_words()
    assert reader.read() == b"a\\x1b[2J\\u202e\n\x1b[1A"


def test_a_warning_of_a_library_is_a_log_line(reader: Reader) -> None:
    logs.configure(form="json", level="info", stream=Stderr(reader.background))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old\x1b[2J", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    event = orjson.loads(reader.read())
    assert (event["logger"], event["level"]) == ("py.warnings", "warning")


async def test_a_bar_that_nobody_reads_is_not_painted_again_and_again(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock, tally = HandClock(), Tally(works=10_000)
    out = Stderr(reader.background, is_terminal=True)
    out.control.write("x" * 2 * PIPE_BYTES)
    before = reader.background.waiting
    async with progress(tally, clock, stream=out):
        for _ in range(200):
            tally.results += 1
            await clock.move(1)
            await asyncio.sleep(0)
        assert reader.background.waiting < before + 2000
    assert b"200/10,000 works" in reader.read()
