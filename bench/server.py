"""A Paperbuzz that answers as fast as one process can: `python -m bench.server --size median`.

It prints the port it listens on and serves until its standard input ends, so that it never outlives whoever started it.
Requests may come one after another on a connection, or several at once. Besides the API there are

- `GET /counts`: what was asked so far, as JSON, and when the first and the last record were asked for;
- `GET /times`: when each record was asked for, as a JSON list. Both in seconds of the monotonic clock;
- `GET /reset`: forget all that.

It knows nothing else of HTTP: no other method, no body of a request, no compression.
"""

import argparse
import asyncio
import sys
import time
from array import array
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote_to_bytes

import orjson

from bench.records import SIZES, Answers, Size, answer

try:
    from uvloop import new_event_loop
except ImportError:  # a third slower, and fast enough for trying things
    from asyncio import new_event_loop

HOST = "127.0.0.1"
RECORD = b"/v0/doi/"
STATUS = answer(b'{"version":"0.1","msg":"Don\'t panic","documentation_url":"https://paperbuzz.org"}')
MISSING = b"HTTP/1.1 404 NOT FOUND\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


class Desk:
    """Answers targets, and remembers when records were asked for.

    Args:
        answers: to requests for records.
        now: the monotonic clock.
    """

    def __init__(self, answers: Answers, now: Callable[[], float] = time.monotonic) -> None:
        self._answers, self._now = answers, now
        self._pages = {
            b"/v0/": lambda: STATUS,
            b"/counts": self._counts,
            b"/times": self._times,
            b"/reset": self._reset,
        }
        self._reset()

    def connected(self) -> None:
        """Count a connection."""
        self._connections += 1

    def to(self, target: bytes) -> bytes:
        """The whole answer to a GET for this target."""
        path = target.partition(b"?")[0]
        if path.startswith(RECORD):
            self._asked.append(self._now())
            return self._answers.to(unquote_to_bytes(path[len(RECORD) :]).decode("utf-8", "replace"))
        page = self._pages.get(path)
        return page() if page else MISSING

    def _reset(self) -> bytes:
        self._asked = array("d")
        self._connections = 0
        return answer(b"{}")

    def _counts(self) -> bytes:
        ends = (self._asked[0], self._asked[-1]) if self._asked else (None, None)
        counts = {"requests": len(self._asked), "connections": self._connections, "first": ends[0], "last": ends[1]}
        return answer(orjson.dumps(counts))

    def _times(self) -> bytes:
        return answer(orjson.dumps(self._asked.tolist()))


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        desk: answers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._desk.connected()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._desk.to(head.split(b" ", 2)[1]))


async def serve(size: Size) -> None:
    """Serve until standard input ends."""
    desk = Desk(Answers(size))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    server = await loop.create_server(lambda: Connection(desk), HOST, 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ended.wait()
    server.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.server")
    parser.add_argument("--size", choices=SIZES, default="median")
    size: Size = parser.parse_args().size
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(size))


if __name__ == "__main__":
    main()
