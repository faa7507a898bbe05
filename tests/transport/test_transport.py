"""Over real sockets on loopback: a request goes out as it is written, whatever comes back is one answer or error."""

import asyncio
import errno
import gzip
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from harvester.core.errors import ConnectionLost, NoResources, TimedOut, TooLarge, Unreachable
from harvester.transport.aiohttp import USER_AGENT, AiohttpTransport
from harvester.transport.messages import Request, Response

EMAIL = "jane.doe%40press.example"

Answer = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the way back."""

    head: bytes
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def target(self) -> str:
        return self.head.split(b" ")[1].decode("latin-1")

    async def reply(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Drop the connection with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class Server:
    """A server that says what a test tells it to, byte for byte."""

    answer: Answer
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, target: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{target}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self.answer(Exchange(head, len(self.heads), reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.gone.set()
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def ok(body: bytes = b"{}", *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def always(data: bytes) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(data)

    return answer


def once_then_close(data: bytes) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(data)
        exchange.writer.close()

    return answer


@asynccontextmanager
async def transport() -> AsyncIterator[AiohttpTransport]:
    async with AiohttpTransport(connections=4) as opened:
        yield opened


async def ask(server: Server, target: str = f"/v0/doi/10.1/x?email={EMAIL}", *, seconds: float = 5.0) -> Response:
    async with transport() as opened:
        return await opened.send(Request("GET", server.url(target), timeout_seconds=seconds))


@pytest.mark.parametrize(
    "target",
    [
        "/v0/doi/10.1/a%2F..%2Fb?email=x%40y.example",
        "/v0/doi/10.1//b///",
        "/v0/doi/10.1/a/../b/./c",
        "/v0/doi/10.1/a%3Fb%23c%25d?email=a%2Bb%40c.example",
        "/v0/doi/10.1/a+b?q=a+b",
        "/v0/doi/10.1/%3c%3C;:()%7e~'!*,=@&$",
        "//v0/doi",
    ],
)
async def test_a_url_stands_on_the_wire_byte_for_byte(target: str) -> None:
    async with serving(always(ok())) as server:
        await ask(server, target)
        assert server.heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


async def test_the_answer_comes_back_with_status_lower_case_headers_body_and_time() -> None:
    async with serving(always(b"HTTP/1.1 404 No\r\nX-A: 1\r\nX-a: 2\r\nContent-Length: 3\r\n\r\nabc")) as server:
        response = await ask(server)
    assert (response.status, response.headers["x-a"], response.body) == (404, "2", b"abc")
    assert response.elapsed_seconds > 0


async def test_a_body_goes_out_plain_with_its_length_and_the_headers_given() -> None:
    async def answer(exchange: Exchange) -> None:
        body = await exchange.reader.readexactly(4)
        await exchange.reply(ok(body))

    async with serving(answer) as server, transport() as opened:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer t"}
        response = await opened.send(Request("POST", server.url("/uriset"), headers, b"[{}]"))
        head = server.heads[0].decode().lower()
    assert response.body == b"[{}]"
    for line in ("content-length: 4", "authorization: bearer t", "accept: application/json"):
        assert f"\r\n{line}\r\n" in head
    assert "transfer-encoding" not in head
    assert "content-encoding" not in head
    assert f"user-agent: {USER_AGENT}" in head


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_here(status: int) -> None:
    async with serving(always(f"HTTP/1.1 {status} R\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".encode())) as server:
        response = await ask(server)
        assert (response.status, response.headers["location"], len(server.heads)) == (status, "/x", 1)


async def test_cookies_are_not_sent_back() -> None:
    async with serving(always(ok(b"{}", "Set-Cookie: session=1; Path=/"))) as server, transport() as opened:
        for _ in range(2):
            await opened.send(Request("GET", server.url().replace("127.0.0.1", "localhost")))
        assert len(server.heads) == 2
        assert not any(b"cookie" in head.lower() for head in server.heads)


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login jane password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with serving(always(ok())) as server:
        assert (await ask(server)).status == 200
        assert b"authorization" not in server.heads[0].lower()


async def test_a_compressed_body_comes_decompressed() -> None:
    async with serving(always(ok(gzip.compress(b'{"a":1}'), "Content-Encoding: gzip"))) as server:
        assert (await ask(server)).body == b'{"a":1}'


async def test_a_body_as_large_as_the_cap_is_taken_and_one_byte_more_is_not() -> None:
    async with serving(always(ok(b"x" * 1000))) as server, transport() as opened:
        assert len((await opened.send(Request("GET", server.url(), max_body_bytes=1000))).body) == 1000
        with pytest.raises(TooLarge, match="larger than 999 bytes") as caught:
            await opened.send(Request("GET", server.url(), max_body_bytes=999))
        assert caught.value.status == 200


async def test_a_gzip_bomb_is_stopped_at_the_cap_with_little_memory_and_its_connection_dropped() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    async with serving(always(ok(bomb, "Content-Encoding: gzip"))) as server, transport() as opened:
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge):
                await opened.send(Request("GET", server.url(), max_body_bytes=1_000_000))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await asyncio.wait_for(server.gone.wait(), 5)
    assert peak < 40_000_000


async def test_an_endless_body_is_stopped_at_the_cap() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.reply(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    async with serving(answer) as server, transport() as opened:
        with pytest.raises(TooLarge):
            await opened.send(Request("GET", server.url(), max_body_bytes=300_000))
        await asyncio.wait_for(server.gone.wait(), 5)


async def drip(exchange: Exchange) -> None:
    await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await exchange.reply(b"x")
        await asyncio.sleep(0.01)


async def drip_header(exchange: Exchange) -> None:
    await exchange.reply(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.reply(b"X-A: b\r\n")
        await asyncio.sleep(0.01)


async def silence(exchange: Exchange) -> None:
    await exchange.reader.read()


@pytest.mark.parametrize("answer", [drip, drip_header, silence])
async def test_an_answer_that_is_not_complete_in_time_is_a_timeout_however_it_drips(answer: Answer) -> None:
    async with serving(answer) as server:
        started = asyncio.get_running_loop().time()
        with pytest.raises(TimedOut, match=r"within 0\.1 s"):
            await ask(server, seconds=0.1)
        assert asyncio.get_running_loop().time() - started < 1
        await asyncio.wait_for(server.gone.wait(), 5)


async def reset_in_the_body(exchange: Exchange) -> None:
    await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    await asyncio.sleep(0.01)
    exchange.reset()


async def reset_in_a_chunk(exchange: Exchange) -> None:
    await exchange.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc")
    await asyncio.sleep(0.01)
    exchange.reset()


async def reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reset_in_the_body, "the connection broke off in the middle of the answer"),
        (reset_in_a_chunk, "the connection broke off in the middle of the answer"),
        (once_then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "broke off in the middle"),
        (once_then_close(b"HTTP/1.1 200 OK\r\nContent-Le"), "the server closed the connection without an answer"),
        (once_then_close(b""), "the server closed the connection without an answer"),
        (reset_at_once, "reset by peer|without an answer"),
        (once_then_close(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "broken HTTP"),
        (once_then_close(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"), "broken HTTP"),
        (once_then_close(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"), "broken HTTP"),
        (once_then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "broken HTTP|broke off"),
        (once_then_close(ok(b"this is no gzip", "Content-Encoding: gzip")), "broken HTTP|broke off"),
        (once_then_close(ok(b"this is no brotli", "Content-Encoding: br")), "broken HTTP|broke off"),
    ],
)
async def test_an_answer_that_is_broken_is_a_lost_connection_and_its_text_holds_neither_url_nor_address(
    answer: Answer, reason: str
) -> None:
    async with serving(answer) as server:
        with pytest.raises(ConnectionLost, match=reason) as caught:
            await ask(server)
    told = str(caught.value)
    assert told.isprintable()
    for secret in ("jane", "press.example", "10.1/x", "127.0.0.1"):
        assert secret not in told


async def test_nobody_listening_is_a_lost_connection() -> None:
    async with transport() as opened:
        with pytest.raises(ConnectionLost, match="no connection"):
            await opened.send(Request("GET", f"http://127.0.0.1:{unused_port()}/?email={EMAIL}"))


async def test_a_failed_tls_handshake_is_a_lost_connection() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is no TLS\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with transport() as opened:
        with pytest.raises(ConnectionLost) as caught:
            await opened.send(Request("GET", f"https://127.0.0.1:{port}/?email={EMAIL}"))
    listening.close()
    assert "jane" not in str(caught.value)


async def test_a_name_that_does_not_resolve_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such host jane.doe@press.example")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
    async with transport() as opened:
        with pytest.raises(ConnectionLost, match="name could not be resolved") as caught:
            await opened.send(Request("GET", "http://nowhere.invalid/"))
    assert "jane" not in str(caught.value)


async def close_after_each_answer(exchange: Exchange) -> None:
    """Keep the connection, it seems, and drop it at the next request, as an idle limit does."""
    if exchange.number % 2:
        await exchange.reply(ok())
    else:
        exchange.writer.close()


async def test_a_request_goes_out_once_and_a_dead_connection_is_an_attempt_that_failed() -> None:
    """Sending again is for whoever counts attempts, and not for the library."""
    async with serving(close_after_each_answer) as server, transport() as opened:
        await opened.send(Request("GET", server.url()))
        with pytest.raises(ConnectionLost):
            await opened.send(Request("GET", server.url()))
        assert (await opened.send(Request("GET", server.url()))).status == 200
        assert len(server.heads) == 3


async def test_a_post_never_goes_out_twice_by_itself() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reader.readexactly(2)
        await close_after_each_answer(exchange)

    async with serving(answer) as server, transport() as opened:
        await opened.send(Request("POST", server.url(), body=b"[]"))
        with pytest.raises(ConnectionLost):
            await opened.send(Request("POST", server.url(), body=b"[]"))
        assert len(server.heads) == 2


async def test_a_connection_that_stays_is_used_again() -> None:
    async def answer(exchange: Exchange) -> None:
        peers.add(exchange.writer.get_extra_info("peername"))
        await exchange.reply(ok())

    peers: set[tuple[str, int]] = set()
    async with serving(answer) as server, transport() as opened:
        for _ in range(3):
            await opened.send(Request("GET", server.url()))
    assert len(peers) == 1


async def test_a_cancelled_request_leaves_its_connection_closed_and_the_next_one_works() -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.number == 1:
            began.set()
            await drip(exchange)
        await exchange.reply(ok())

    began = asyncio.Event()
    async with serving(answer) as server, transport() as opened:
        task = asyncio.create_task(opened.send(Request("GET", server.url())))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)
        assert (await opened.send(Request("GET", server.url()))).status == 200


async def test_a_timeout_leaves_its_connection_closed_and_the_next_one_works() -> None:
    async def answer(exchange: Exchange) -> None:
        await (drip(exchange) if exchange.number == 1 else exchange.reply(ok()))

    async with serving(answer) as server, transport() as opened:
        with pytest.raises(TimedOut):
            await opened.send(Request("GET", server.url(), timeout_seconds=0.05))
        await asyncio.wait_for(server.gone.wait(), 5)
        assert (await opened.send(Request("GET", server.url()))).status == 200


# Answers that nobody asked for


@dataclass
class Kept:
    """Answers with the target of each request, and keeps the way back to the last one."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        self.writers.append(exchange.writer)
        await exchange.reply(ok(exchange.target.encode()))


@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_an_answer_that_waits_on_an_idle_connection_is_not_given_to_the_next_request(turns: int) -> None:
    """Whether it was read meanwhile or is still with the system (0 turns)."""
    kept = Kept()
    async with serving(kept) as server, transport() as opened:
        await opened.send(Request("GET", server.url("/1")))
        kept.writers[0].write(ok(b"nobody asked for this"))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert (await opened.send(Request("GET", server.url("/2")))).body == b"/2"
        assert len(set(kept.writers)) == 2


async def test_an_answer_before_the_first_request_of_a_connection_is_not_taken_for_the_answer_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greeted = asyncio.Event()
    connect = aiohttp.TCPConnector.connect

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"hello"))
        greeted.set()
        await reader.read()
        writer.close()

    async def late(*arguments: Any, **named: Any) -> Any:
        connection = await connect(*arguments, **named)
        await greeted.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        return connection

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    monkeypatch.setattr(aiohttp.TCPConnector, "connect", late)
    async with transport() as opened:
        with pytest.raises(ConnectionLost, match="before it was asked"):
            await opened.send(Request("GET", f"http://127.0.0.1:{port}/"))
    listening.close()


def peers_of(server_peers: list[int]) -> Answer:
    async def answer(exchange: Exchange) -> None:
        server_peers.append(exchange.writer.get_extra_info("peername")[1])
        await exchange.reply(ok())

    return answer


async def test_a_fresh_request_has_a_connection_of_its_own_that_is_closed_after_it() -> None:
    peers: list[int] = []
    async with serving(peers_of(peers)) as server, transport() as opened:
        for fresh in (False, True, False, True):
            await opened.send(Request("GET", server.url(), fresh=fresh))
        assert b"connection: close" in server.heads[1].lower()
    assert peers[0] == peers[2]
    assert len(set(peers)) == 3


async def test_without_reuse_each_request_has_a_connection_of_its_own() -> None:
    peers: list[int] = []
    async with serving(peers_of(peers)) as server, AiohttpTransport(connections=2, reuse=False) as opened:
        for _ in range(3):
            await opened.send(Request("GET", server.url()))
    assert len(set(peers)) == 3


async def test_after_an_answer_that_is_distrusted_no_connection_is_used_that_was_open_then() -> None:
    peers: list[int] = []
    both = asyncio.Barrier(2)

    async def answer(exchange: Exchange) -> None:
        if exchange.number <= 2:
            await both.wait()
        await peers_of(peers)(exchange)

    async with serving(answer) as server, transport() as opened:
        first, _ = await asyncio.gather(*(opened.send(Request("GET", server.url())) for _ in range(2)))
        first.distrust()
        for _ in range(2):
            await opened.send(Request("GET", server.url()))
    assert peers[2] == peers[3]
    assert len(set(peers)) == 3


# What this machine lacks


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_what_this_machine_lacks_for_a_connection_is_told_from_what_the_server_does(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    async with serving(always(ok())) as server, transport() as opened:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", no_socket)
            with pytest.raises(NoResources, match=os.strerror(number)):
                await opened.send(Request("GET", server.url()))
        assert (await opened.send(Request("GET", server.url()))).status == 200


async def test_no_thread_to_look_a_name_up_is_a_lack_of_this_machine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
    async with transport() as opened:
        with pytest.raises(NoResources, match="thread"):
            await opened.send(Request("GET", "http://nowhere.invalid/"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/"])
async def test_where_no_connection_could_be_made_nothing_was_asked(url: str) -> None:
    async with transport() as opened:
        with pytest.raises(Unreachable):
            await opened.send(Request("GET", url.format(port=unused_port())))
