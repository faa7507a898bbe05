"""The HTTP client: a `Request` goes out, a `Response` or an error of ours comes back. No other file imports aiohttp.

Rules whose breach cost other people data:

- The URL is sent byte for byte (`encoded=True`); nothing is joined, normalised or redirected here.
- No cookies, no proxies and no `.netrc` from the environment, no session-wide credentials.
- The body is read as a stream with a cap on its decompressed size, and dropped unread beyond it. All bodies together
  take a bounded room, see `harvester.transport.room`.
- A request passes the gate with its connection in hand, and nothing is awaited between the gate and the write.
- When a connection turns out to be dead, aiohttp would send an idempotent request again by itself, past every limit. It
  is kept from that: such a failure is an attempt like any other, and whoever counts attempts tries again.
- An answer belongs to the request before it only if nothing was on the connection when the request was sent. What was
  there before is the answer to something else: such a connection is closed and not used.
"""

import asyncio
import errno
import io
import os
import re
import select
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from harvester.core.errors import ConnectionLost, NoResources, TimedOut, TooLarge, Unreachable
from harvester.core.text.sanitize import safe_line
from harvester.core.version import __version__
from harvester.transport.deadlines import Block, DeadlineExceeded, Deadlines
from harvester.transport.gate import Gate
from harvester.transport.messages import Request, Response
from harvester.transport.room import FREE_BYTES, Place, Room

KEEPALIVE_SECONDS = 1.5
"""Both servers drop an idle connection after 2 s without a word (P12)."""

DNS_CACHE_SECONDS = 300
"""One host is asked all the time; a lookup every 10 s, as is aiohttp's default, would be a storm."""

USER_AGENT = f"paperbuzz-harvester/{__version__}"

_deadline: ContextVar[Block] = ContextVar("deadline")
"""Of the attempt that a task makes."""

OF_THIS_MACHINE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAGAIN}
)
"""Errors of the system that mean that this machine has nothing left of which a connection is made."""


class AiohttpTransport:
    """Sends requests over pooled connections; an async context manager that owns its session.

    Args:
        gate: each request passes it right before it is sent; None for none.
        connections: connections at a time. It has to be at least as many as requests are sent at a time: otherwise the
            wait for a connection would count as time of the attempt.
        reuse: whether a connection carries one request after another. Without, each request has its own. With, there
            may be twice as many sockets: those that idle, and those of requests that are to have their own.
    """

    def __init__(self, gate: Gate | None = None, *, connections: int, reuse: bool = True) -> None:
        self._gate, self._connections, self._reuse = gate, connections, reuse
        self._room = Room()
        self._deadlines = Deadlines()

    async def __aenter__(self) -> Self:
        request_class = aiohttp.ClientRequest if self._gate is None else _gated(self._gate)
        single = _Connector(self._connections, reuse=False)
        self._single = _session(single, request_class, {"Connection": "close"})
        self._pool = _Connector(self._connections) if self._reuse else single
        self._pooled = _session(self._pool, request_class) if self._reuse else self._single
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pooled.close()
        await self._single.close()

    async def send(self, request: Request) -> Response:
        """Send the request once; see `harvester.transport.messages.Transport`."""
        try:
            with self._deadlines.within(request.timeout_seconds) as deadline:
                _deadline.set(deadline)
                return await self._exchange(request, deadline)
        except DeadlineExceeded as error:
            raise TimedOut(f"no complete answer within {request.timeout_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from error
        except RuntimeError as error:
            if "start new thread" not in str(error):  # in which a name is looked up
                raise
            raise NoResources(f"this machine can start no further thread: {error}") from error

    async def _exchange(self, request: Request, deadline: Block) -> Response:
        session = self._single if request.fresh else self._pooled
        started = time.monotonic()
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
        ) as answer:
            started = getattr(answer, "sent_at", started)  # neither the connection nor the gate is the service's doing
            body, place = await self._read_capped(answer, request.max_body_bytes, deadline)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status, headers, body, time.monotonic() - started, place, self._pool.distrust)

    async def _read_capped(
        self, answer: aiohttp.ClientResponse, cap: int, deadline: Block
    ) -> tuple[bytes, Place | None]:
        """The body, and the place that it takes in the room if it is large."""
        body, size, place = io.BytesIO(), 0, None
        while chunk := await self._next_chunk(answer, place):
            size += body.write(chunk)
            if size > cap:
                answer.close()
                raise TooLarge(f"the answer is larger than {cap:,} bytes", status=answer.status)
            if size > FREE_BYTES:
                del chunk  # it may have to wait for long
                place = place or Place(self._room)
                deadline.pause()
                await place.extend_to(size)
                deadline.go_on()
        return body.getvalue(), place

    async def _next_chunk(self, answer: aiohttp.ClientResponse, place: Place | None) -> bytes:
        try:
            return await answer.content.read(FREE_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            if place is None or not place.has_waited:
                raise
            place.leave()
            # The server saw a client that did not read, and need not wait for it.
            raise NoResources("the answer broke off while it waited for memory that other large answers had") from error


class _Connector(aiohttp.TCPConnector):
    """Gives out connections on which nothing waits to be read.

    Args:
        connections: at a time.
        reuse: whether a connection is kept for further requests.
    """

    def __init__(self, connections: int, *, reuse: bool = True) -> None:
        super().__init__(
            limit=connections,
            ttl_dns_cache=DNS_CACHE_SECONDS,
            force_close=not reuse,
            keepalive_timeout=KEEPALIVE_SECONDS if reuse else None,
        )
        self._generation = 0
        self._opened_in: WeakKeyDictionary[ResponseHandler, int] = WeakKeyDictionary()

    def distrust(self) -> None:
        """Use no connection again that is open now."""
        self._generation += 1

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as inherited
    ) -> Connection:
        """A new connection, or one that was used before and is clean."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101 - it has just been opened
            opened_in = self._opened_in.get(protocol)
            if opened_in is None:
                self._opened_in[protocol] = self._generation
                if not protocol.should_close:
                    return connection
                connection.close()
                raise ConnectionLost("the server sent an answer before it was asked")
            if opened_in == self._generation and not protocol.should_close and not _is_readable(protocol):
                return connection
            connection.close()


def _is_readable(protocol: ResponseHandler) -> bool:
    """Whether something waits on an idle connection: an answer that nobody asked for, or its end."""
    if protocol.transport is None:
        return True
    poll = select.poll()
    poll.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


def _session(
    connector: _Connector,
    request_class: type[aiohttp.ClientRequest],
    headers: Mapping[str, str] = MappingProxyType({}),
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        headers={"User-Agent": USER_AGENT, **headers},
        trust_env=False,
        request_class=request_class,
        middlewares=(_sent_once,),
    )


def _gated(gate: Gate) -> type[aiohttp.ClientRequest]:
    """The class of requests that pass a gate, between the connection and the write."""

    class GatedRequest(aiohttp.ClientRequest):
        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            """Write the request to a connection."""
            deadline = _deadline.get()
            deadline.pause()  # to wait for other runs is not the fault of what is asked
            await gate.enter()
            deadline.go_on()
            try:
                response = await super().send(conn)
                response.sent_at = time.monotonic()  # type: ignore[attr-defined]
                return response
            finally:
                # A loop of asyncio writes at once, and a request without a body is written by now. A body is written by
                # a task that was just made, and other loops write at the end of their turn.
                if not self.body and isinstance(self.loop, asyncio.BaseEventLoop):
                    gate.leave()
                else:
                    self.loop.call_soon(self.loop.call_soon, gate.leave)

    return GatedRequest


async def _sent_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the errors after which aiohttp would send an idempotent request again into one of ours."""
    try:
        return await send(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _lost(error) from error


def _lost(error: Exception) -> ConnectionLost:
    """Our error for one of aiohttp or of the system."""
    if isinstance(error, OSError) and error.errno in OF_THIS_MACHINE:
        return NoResources(f"this machine can open no further connection: {os.strerror(error.errno)}")
    kind = Unreachable if isinstance(error, aiohttp.ClientConnectorError) else ConnectionLost
    return kind(_reason(error))


def _reason(error: Exception) -> str:
    """What went wrong, in one line. The exception's own text may hold the URL, and with it the e-mail address."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the server's name could not be resolved"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection broke off in the middle of the answer"
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp's own words alone: it also cites a part of the answer, in which half a secret would not be recognised.
        return "the answer is broken HTTP: " + " ".join(re.split(r"""b['"]""", error.message)[0].split()).rstrip(":")
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection: " + safe_line(error.strerror or type(error.os_error).__name__, 150)
    return safe_line(f"{type(error).__name__}: {error}", 200)
