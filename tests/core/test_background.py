"""A writer that never waits for its reader; whoever wants to wait says how long."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harvester.core.background import BackgroundWriter

MORE_THAN_A_PIPE = 256 * 1024


@dataclass
class Pipe:
    """A pipe, and a writer to it."""

    reader: int
    writer: int

    def read_all(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            content += os.read(self.reader, 65536)
        return content


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    for descriptor in (made.reader, made.writer):
        try:
            os.close(descriptor)
        except OSError as error:
            assert error.errno == errno.EBADF  # noqa: PT017 - a test closed it


def test_nobody_waits_for_a_reader_that_reads_nothing(pipe: Pipe) -> None:
    writer = BackgroundWriter(pipe.writer)
    content = os.urandom(MORE_THAN_A_PIPE)
    writer.put(content[:1000])
    writer.put(memoryview(content)[1000:])
    assert not writer.flush(0.05)
    assert writer.waiting > 0
    assert pipe.read_all(len(content)) == content
    assert writer.flush(5)
    assert writer.waiting == 0


def test_waiting_ends_although_the_reader_takes_a_little_now_and_then(pipe: Pipe) -> None:
    writer = BackgroundWriter(pipe.writer)
    writer.put(bytes(MORE_THAN_A_PIPE))
    done = threading.Event()

    def sip() -> None:
        while not done.wait(0.01):
            os.read(pipe.reader, 4096)

    sipping = threading.Thread(target=sip)
    sipping.start()
    begun = time.monotonic()
    writer.flush(patience_seconds=5, at_most_seconds=0.1)
    assert time.monotonic() - begun < 2
    done.set()
    sipping.join()


def test_a_reader_that_goes_away_is_an_error_and_holds_up_nothing(pipe: Pipe) -> None:
    os.close(pipe.reader)
    writer = BackgroundWriter(pipe.writer)
    writer.put(b"x" * 10_000)
    assert writer.flush(5)
    assert isinstance(writer.error, BrokenPipeError)


def test_a_descriptor_that_others_made_non_blocking_gets_everything(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    writer = BackgroundWriter(pipe.writer)
    writer.put(bytes(MORE_THAN_A_PIPE))
    assert len(pipe.read_all(MORE_THAN_A_PIPE)) == MORE_THAN_A_PIPE
    assert writer.flush(5)
    assert writer.error is None
