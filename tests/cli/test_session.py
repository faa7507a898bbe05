"""Records for stdout: a reader that sleeps is waited for until a stop, and no longer."""

import asyncio
import json
import os
import pty
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from harvester.cli import session
from harvester.cli.session import InterruptibleOutput
from harvester.core.errors import Interrupted, PipeClosed
from harvester.core.stop import Stop
from harvester.storage.output_file import Stdout

LINE = b'{"x":"' + b"y" * 1000 + b'"}\n'
MORE_THAN_A_PIPE = LINE * 200


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    os.close(reader)


async def test_a_stop_ends_the_wait_for_a_reader_that_sleeps(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STOP_CHECK_SECONDS", 0.02)
    stop = Stop()
    sink = Stdout(InterruptibleOutput(stop, ends[1]))  # type: ignore[arg-type] # it is a BinaryIO where it matters
    writing = asyncio.create_task(asyncio.to_thread(sink.append, MORE_THAN_A_PIPE))
    while select.select([], [ends[1]], [], 0)[1]:  # noqa: ASYNC110 - until the pipe is full
        await asyncio.sleep(0)
    assert not writing.done()
    stop.request(Interrupted(signal.SIGTERM))
    with pytest.raises(Interrupted):
        await asyncio.wait_for(writing, 5)
    os.read(ends[0], 2**20)


async def test_a_reader_that_reads_gets_everything_although_a_stop_was_requested(ends: tuple[int, int]) -> None:
    stop = Stop()
    stop.request(Interrupted(signal.SIGTERM))
    content = b""

    def read() -> None:
        nonlocal content
        while len(content) < len(MORE_THAN_A_PIPE):
            content += os.read(ends[0], 4096)

    reading = threading.Thread(target=read)
    reading.start()
    sink = Stdout(InterruptibleOutput(stop, ends[1]))  # type: ignore[arg-type] # as above
    assert await asyncio.to_thread(sink.append, MORE_THAN_A_PIPE) == len(MORE_THAN_A_PIPE)
    reading.join(5)
    assert content == MORE_THAN_A_PIPE


async def test_a_reader_that_went_away_ends_the_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(PipeClosed):
        Stdout(InterruptibleOutput(Stop(), writer)).append(LINE)  # type: ignore[arg-type] # as above
    os.close(writer)


async def test_on_a_terminal_records_are_escaped_and_are_the_same_json() -> None:
    """What the reader of a pipe gets are the bytes of the server; a terminal would obey some of them."""
    ours, theirs = pty.openpty()
    record = {"x": "\x9b31m\u202e\x7f", "y": "é 𝄞"}
    Stdout(InterruptibleOutput(Stop(), theirs)).append(f"{json.dumps(record, ensure_ascii=False)}\n".encode())  # type: ignore[arg-type] # as above
    shown = os.read(ours, 4096).decode().rstrip("\r\n")
    os.close(theirs)
    os.close(ours)
    assert shown.isprintable()
    assert json.loads(shown) == record
