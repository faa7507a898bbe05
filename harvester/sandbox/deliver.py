"""From a plain answer to bytes on the socket: the usual way, and the ways in which networks fail.

A fault on the socket writes to the transport itself. aiohttp is then handed a `Spent` response, which it has nothing to
send of, and closes what is left of the connection.
"""

import asyncio
import contextlib
import socket
import struct

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from harvester.sandbox.answer import Answer
from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.paperbuzz.service import COMPRESSED_FROM, gzip

ON_THE_SOCKET = frozenset(
    {
        "reset",
        "reset-mid",
        "close",
        "truncated",
        "drip",
        "hang",
        "loris",
        "endless",
        "stored-reset",
        "stored-hang",
    }
)
"""Faults that are played here."""

PIECES = 20
WATCH_SECONDS = 0.05
BUFFERED = 1024 * 1024


class Spent(web.Response):
    """Nothing is left to send: it has been written to the socket, or the socket is gone."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - as inherited
        """Send no headers."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no body."""


def spent() -> Spent:
    """A response for a connection that has been dealt with."""
    response = Spent()
    response.force_close()
    return response


def response_of(answer: Answer, request: web.BaseRequest, server: str, *, compress: bool) -> tuple[web.Response, int]:
    """The answer as aiohttp sends it, and the length of its body on the wire.

    Args:
        answer: what is to be said.
        request: for Accept-Encoding.
        server: value of the Server header.
        compress: whether this server compresses at all (A1: Paperbuzz does, OPERAS does not).
    """
    headers = {"Server": server, "Content-Type": answer.content_type, **answer.headers}
    body = answer.body
    if compress and _wants_gzip(request, answer):
        headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept-Encoding"
        body = answer.gzipped or gzip(body)
    closing = answer.close or not request.keep_alive
    headers["Connection"] = "close" if closing else "keep-alive"
    response = web.Response(status=answer.status, body=body, headers=headers)
    if closing:
        response.force_close()
    return response, len(body)


def _wants_gzip(request: web.BaseRequest, answer: Answer) -> bool:
    if len(answer.body) < COMPRESSED_FROM or "Content-Encoding" in answer.headers:
        return False
    return "gzip" in request.headers.get("Accept-Encoding", "").lower()


async def play(fault: str, request: web.BaseRequest, answer: Answer, server: str, faults: Faults) -> int:
    """Do to the connection what the fault says; returns the bytes of body that were sent.

    Args:
        fault: one of `ON_THE_SOCKET`.
        request: whose connection suffers.
        answer: the good answer, for those that send part of it.
        server: value of the Server header.
        faults: durations.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return 0
    assert isinstance(transport, asyncio.Transport)  # noqa: S101 - aiohttp has no other kind
    if fault in ("reset", "stored-reset"):
        reset(transport)
        return 0
    if fault == "close":
        transport.close()
        return 0
    if fault in ("hang", "stored-hang"):
        await _silence(transport, faults.hang_seconds)
        return 0
    return await _speak(fault, transport, answer, server, faults)


async def _speak(fault: str, transport: asyncio.Transport, answer: Answer, server: str, faults: Faults) -> int:
    body = answer.body
    if fault == "loris":
        await _trickle(transport, _head(answer, server, len(body)), faults.hang_seconds)
        return 0
    if fault == "endless":
        return await _endless(transport, _head(answer, server, None), faults.hang_seconds)
    transport.write(_head(answer, server, len(body) + (1_000 if fault == "truncated" else 0)))
    if fault == "drip":
        return await _pieces(transport, body, faults.slow_seconds)
    part = body if fault == "truncated" else body[: len(body) // 2]
    transport.write(part)
    if fault == "reset-mid":
        # What was written has to leave first: a reset discards what still waits.
        await asyncio.sleep(0.02)
        reset(transport)
    else:
        transport.close()
    return len(part)


def reset(transport: asyncio.Transport) -> None:
    """End the connection with RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _head(answer: Answer, server: str, length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} OK", f"Server: {server}", f"Content-Type: {answer.content_type}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


async def _silence(transport: asyncio.Transport, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end and not transport.is_closing():  # noqa: ASYNC110 - a transport signals no event
        await asyncio.sleep(WATCH_SECONDS)
    transport.close()


async def _trickle(transport: asyncio.Transport, head: bytes, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    # The last header never ends, however long the client waits.
    index = 0
    while loop.time() < end and not transport.is_closing():
        transport.write(head[index : index + 1] if index < len(head) - 4 else b"x")
        index += 1
        await asyncio.sleep(WATCH_SECONDS)
    transport.close()


async def _pieces(transport: asyncio.Transport, body: bytes, seconds: float) -> int:
    size = max(1, -(-len(body) // PIECES))
    sent = 0
    for start in range(0, len(body), size):
        if transport.is_closing():
            return sent
        piece = body[start : start + size]
        transport.write(piece)
        sent += len(piece)
        await asyncio.sleep(seconds / PIECES)
    transport.close()
    return sent


async def _endless(transport: asyncio.Transport, head: bytes, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    piece = b"0," * 32_768
    sent = 0
    transport.write(head + b'{"altmetrics_sources":[')
    while loop.time() < end and not transport.is_closing():
        if transport.get_write_buffer_size() < BUFFERED:
            transport.write(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.002)
    if not transport.is_closing():
        # An orderly end would make it a complete body.
        reset(transport)
    return sent
