"""Faults of the connection: it is reset, closed, silent, slow, or never ends.

They write to the transport themselves, past aiohttp. Faults that only change the answer are in `bodies`.
"""

import asyncio
import contextlib
import socket
import struct

from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.messages import Answer

ON_THE_CONNECTION = frozenset(
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

UNDONE = frozenset({"reset", "close", "hang", "loris"})
"""Those of them that come before the stand-in is asked, so that a POST is not carried out. The others come after."""

PIECES = 20
"""The number of pieces in which `drip` sends a body."""

WATCH_SECONDS = 0.05
"""How often a silent connection is looked at: the client may have hung up."""

BUFFERED = 1024 * 1024
"""Bytes of an endless body that may wait for the client to read."""


async def play(fault: str, transport: asyncio.BaseTransport | None, answer: Answer, server: str, faults: Faults) -> int:
    """Do to the connection what the fault says.

    Args:
        fault: one of `ON_THE_CONNECTION`.
        transport: of the connection; None if the client has already gone.
        answer: the good answer, for faults that send a part of it.
        server: value of the Server header.
        faults: how long the faults last.

    Returns:
        How many bytes of the body were sent.
    """
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
        # What was written has to leave first, because a reset discards what still waits.
        await asyncio.sleep(0.02)
        reset(transport)
    else:
        transport.close()
    return len(part)


def reset(transport: asyncio.Transport) -> None:
    """End the connection with RST instead of FIN, as a crashed server does."""
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
    # The headers never end, however long the client waits: the last bytes are replaced by endless `x`.
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
        # If the connection ended in good order, the body would be complete.
        reset(transport)
    return sent
