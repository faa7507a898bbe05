"""The HTTP client: a `Request` goes out, a `Response` or an error of ours comes back. No other file imports aiohttp.

Rules whose breach cost other people data:

- The URL is sent byte for byte (`encoded=True`); nothing is joined, normalised or redirected here.
- No cookies, no proxies and no `.netrc` from the environment, no session-wide credentials.
- The body is read as a stream with a cap on its decompressed size, and dropped unread beyond it.
- When a connection turns out to be dead, aiohttp would send an idempotent request again by itself, past every limit. It
  is kept from that: such a failure is an attempt like any other, and whoever counts attempts tries again.
"""

import asyncio
import re
import time
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from harvester.core.errors import ConnectionLost, TimedOut, TooLarge
from harvester.core.sanitize import safe_line
from harvester.core.version import __version__
from harvester.transport.deadlines import DeadlineExceeded, Deadlines
from harvester.transport.messages import Request, Response

KEEPALIVE_SECONDS = 1.5
"""Both servers drop an idle connection after 2 s without a word (P12)."""

DNS_CACHE_SECONDS = 300
"""One host is asked all the time; a lookup every 10 s, as is aiohttp's default, would be a storm."""

LARGE_BYTES = 2 * 1024 * 1024
"""The part of a body beyond this size is read for one body at a time: otherwise a few bombs at once would take many
times the cap (G13). Records at the cap of events have about 400 kB."""

USER_AGENT = f"paperbuzz-harvester/{__version__}"


class AiohttpTransport:
    """Sends requests over pooled connections; an async context manager that owns its session.

    Args:
        connections: connections at a time. It has to be at least as many as requests are sent at a time: otherwise the
            wait for a connection would count as time of the attempt.
    """

    def __init__(self, *, connections: int) -> None:
        self._connections = connections
        self._large = asyncio.Lock()
        self._deadlines = Deadlines()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=DNS_CACHE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            headers={"User-Agent": USER_AGENT},
            trust_env=False,
            middlewares=(_sent_once,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Response:
        """Send the request once; see `harvester.transport.messages.Transport`."""
        try:
            with self._deadlines.within(request.timeout_seconds):
                return await self._exchange(request)
        except DeadlineExceeded as error:
            raise TimedOut(f"no complete answer within {request.timeout_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(_reason(error)) from error

    async def _exchange(self, request: Request) -> Response:
        started = time.monotonic()
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
        ) as answer:
            body = await self._read_capped(answer, request.max_body_bytes)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status, headers, body, time.monotonic() - started)

    async def _read_capped(self, answer: aiohttp.ClientResponse, cap: int) -> bytes:
        chunks: list[bytes] = []
        if not await _read(answer, chunks, 0, min(cap, LARGE_BYTES)) and cap > LARGE_BYTES:
            async with self._large:
                await _read(answer, chunks, sum(map(len, chunks)), cap)
        if sum(map(len, chunks)) > cap:
            answer.close()
            chunks.clear()
            raise TooLarge(f"the answer is larger than {cap:,} bytes", status=answer.status)
        return b"".join(chunks)


async def _read(answer: aiohttp.ClientResponse, chunks: list[bytes], size: int, most: int) -> bool:
    """Read on into `chunks`, which hold `size` bytes: True at the end, False once they hold more than `most`."""
    while size <= most:
        chunk = await answer.content.readany()
        if not chunk:
            return True
        chunks.append(chunk)
        size += len(chunk)
    return False


async def _sent_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the errors after which aiohttp would send an idempotent request again into one of ours."""
    try:
        return await send(request)
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(_reason(error)) from error


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
