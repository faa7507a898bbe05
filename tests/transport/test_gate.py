"""The gate: with the connection in hand, and nothing is awaited between it and the write."""

import asyncio
import select
import socket
import time
from collections.abc import Callable
from typing import Literal

import pytest

from harvester.core.errors import ConnectionLost
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.gate import NotYet
from harvester.transport.messages import Request
from tests.transport.test_transport import always, ok, serving


class Watched:
    """A gate that finds out, while the loop stands still, whether the request is with its receiver.

    Args:
        listening: takes connections; nobody else does.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._accepted: socket.socket | None = None
        self.came: list[bytes] = []

    async def enter(self) -> None:
        if self._accepted is None:
            self._accepted, _ = self._listening.accept()
        assert not select.select([self._accepted], [], [], 0)[0], "it was sent before the gate"

    def leave(self) -> None:
        """Nothing can be sent while this waits for it."""
        assert self._accepted is not None
        self._accepted.settimeout(5)
        self.came.append(self._accepted.recv(100_000))
        self._accepted.close()


LOOPS = ["asyncio", "uvloop"]


def loop_of(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    factory: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip(name).new_event_loop
    return factory


@pytest.mark.parametrize("body", [None, b"x" * 60_000])
@pytest.mark.parametrize("loop", LOOPS)
def test_when_the_gate_is_left_the_bytes_are_with_the_kernel(loop: str, body: bytes | None) -> None:
    method: Literal["GET", "POST"] = "GET" if body is None else "POST"

    async def ask() -> Watched:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            gate = Watched(listening)
            async with AiohttpTransport(gate, connections=1) as transport:
                url = f"http://127.0.0.1:{listening.getsockname()[1]}/a"
                with pytest.raises(ConnectionLost):
                    await transport.send(Request(method, url, body=body, timeout_seconds=20))
        return gate

    with asyncio.Runner(loop_factory=loop_of(loop)) as runner:
        gate = runner.run(ask())
    assert [came.split(b" ")[:2] for came in gate.came] == [[method.encode(), b"/a"]]


class Turns:
    """A gate that counts how often the loop goes round between its two ends."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self._is_open = False

    async def enter(self) -> None:
        self.turns.append(0)
        self._is_open = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if self._is_open:
            self.turns[-1] += 1
            asyncio.get_running_loop().call_soon(self._turn)

    def leave(self) -> None:
        self._is_open = False


async def test_a_request_without_a_body_is_written_in_the_turn_in_which_it_passed_the_gate() -> None:
    gate = Turns()
    async with serving(always(ok())) as server, AiohttpTransport(gate, connections=1) as transport:
        for _ in range(3):
            await transport.send(Request("GET", server.url()))
    assert gate.turns == [0, 0, 0]


class Early:
    """A gate that lets nobody through the first time."""

    def __init__(self) -> None:
        self.entered = self.left = 0

    async def enter(self) -> None:
        self.entered += 1
        if self.entered == 1:
            raise NotYet

    def leave(self) -> None:
        self.left += 1


async def test_a_request_that_comes_too_early_is_not_sent_and_gives_its_connection_back() -> None:
    gate = Early()
    async with serving(always(ok())) as server, AiohttpTransport(gate, connections=1) as transport:
        with pytest.raises(NotYet):
            await transport.send(Request("GET", server.url()))
        assert server.heads == []
        assert gate.left == 0
        assert (await transport.send(Request("GET", server.url()))).status == 200
    assert len(server.heads) == gate.left == 1


class Slow:
    """A gate at which one waits."""

    async def enter(self) -> None:
        await asyncio.sleep(0.3)

    def leave(self) -> None:
        pass


async def test_the_time_at_the_gate_is_no_time_of_the_service() -> None:
    async with serving(always(ok())) as server, AiohttpTransport(Slow(), connections=1) as transport:
        began = time.monotonic()
        answer = await transport.send(Request("GET", server.url()))
        took = time.monotonic() - began
    assert took - answer.elapsed_seconds >= 0.3


async def test_the_gate_comes_after_the_connection() -> None:
    """A handshake that hangs is before it, however long it takes."""

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.close()

    gate = Turns()
    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with AiohttpTransport(gate, connections=1) as transport:
        with pytest.raises(ConnectionLost):
            await transport.send(Request("GET", f"https://127.0.0.1:{port}/"))
    listening.close()
    assert gate.turns == []


async def test_a_loop_of_asyncio_is_told_from_others() -> None:
    """What the transport relies on: who is no `BaseEventLoop` may write later."""
    assert isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
    uvloop = pytest.importorskip("uvloop")
    assert not issubclass(uvloop.Loop, asyncio.BaseEventLoop)
