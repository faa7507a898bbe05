"""Pings: said in the way of healthchecks.io, and whatever becomes of them, the night goes on."""

import asyncio
import logging

import pytest

from harvester.core.errors import ConnectionLost, HarvesterError, Stopped, TimedOut, TooLarge
from harvester.monitoring.healthchecks import TIMEOUT_SECONDS, Signal, ping, ping_request
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request, Response
from tests.support import in_virtual_time
from tests.transport.test_transport import Exchange, serving

URL = "https://hc-ping.example/6b9e-secret"


class Line:
    """A transport with one answer to everything.

    Args:
        answer: given, or raised.
        after_seconds: how long it takes.
    """

    def __init__(self, answer: int | BaseException = 200, after_seconds: float = 0.0) -> None:
        self.answer, self.after_seconds = answer, after_seconds
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        await asyncio.sleep(self.after_seconds)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return Response(self.answer, {}, b"OK")


@pytest.mark.parametrize(
    ("url", "signal", "told"),
    [
        (URL, "start", URL + "/start"),
        (URL, 0, URL),
        (URL, 3, URL + "/3"),
        (URL, 69, URL + "/69"),
        (URL, 143, URL + "/143"),
        (URL + "/", "start", URL + "/start"),
        (URL + "/", 0, URL + "/"),
        (URL + "?create=1&rid=%2Fa", "start", URL + "/start?create=1&rid=%2Fa"),
        (URL + "?create=1", 12, URL + "/12?create=1"),
        (URL + "?create=1", 0, URL + "?create=1"),
        (URL + "#top", 4, URL + "/4"),
        ("http://[::1]:8000", "start", "http://[::1]:8000/start"),
        ("http://localhost:8000/a%20b", 1, "http://localhost:8000/a%20b/1"),
    ],
)
def test_the_signal_is_the_last_part_of_the_path_and_the_query_stays(url: str, signal: Signal, told: str) -> None:
    assert ping_request(url, signal).url == told


def test_a_sentence_goes_along_without_addresses_tokens_or_control_characters() -> None:
    request = ping_request(URL, 12, "OPERAS refuses jane.doe@press.example \x1b[2J Bearer abc.def\n")
    assert request.method == "POST"
    assert request.headers == {"Content-Type": "text/plain; charset=utf-8"}
    assert request.body == rb"OPERAS refuses j***@press.example \x1b[2J Bearer ***\x0a"


@pytest.mark.parametrize("verdict", ["x" * 100_000, "a path h\udce4.jsonl"])
def test_no_sentence_is_too_long_or_too_odd_to_be_sent(verdict: str) -> None:
    body = ping_request(URL, 0, verdict).body
    assert body
    assert len(body) < 1_000


async def test_a_ping_that_arrives_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    await ping(line, URL, "start")
    assert [request.url for request in line.sent] == [URL + "/start"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (404, "it answers 404"),
        (301, "it answers 301"),
        (500, "it answers 500"),
        (ConnectionLost("the server's name could not be resolved"), "the server's name could not be resolved"),
        (TimedOut("no complete answer within 10 s"), "no complete answer within 10 s"),
        (TooLarge("the answer is larger than 65,536 bytes"), "the answer is larger"),
        (Stopped(), "failed: Stopped"),
        (HarvesterError("odd"), "odd"),
        (UnicodeError(f"label too long in {URL}"), "UnicodeError"),
        (RuntimeError(f"session is closed: {URL}"), "RuntimeError"),
    ],
)
async def test_a_ping_that_fails_is_a_warning_that_keeps_the_address_to_itself(
    answer: int | BaseException, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ping(Line(answer), URL, 0, "All is well.")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert said in record.getMessage()
    assert "hc-ping.example" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_a_slow_service_is_given_up_after_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    async def timed() -> float:
        started = asyncio.get_running_loop().time()
        await ping(Line(after_seconds=3600), URL, 0)
        return asyncio.get_running_loop().time() - started

    assert in_virtual_time(timed()) == TIMEOUT_SECONDS == 10
    assert "no answer within 10 s" in caplog.text


async def test_who_cancels_the_night_cancels_its_ping() -> None:
    task = asyncio.ensure_future(ping(Line(after_seconds=3600), URL, 0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_on_the_wire_it_is_one_post_with_the_sentence_as_its_body(caplog: pytest.LogCaptureFixture) -> None:
    bodies: list[bytes] = []

    async def answer(exchange: Exchange) -> None:
        bodies.append(await exchange.reader.readexactly(12))
        await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    async def free() -> None: ...

    async with serving(answer) as server, AiohttpTransport(connections=1) as transport:
        await ping(transport, server.url("/uuid?rid=%2F1"), 4, "Not finished")
    [head] = server.heads
    assert head.startswith(b"POST /uuid/4?rid=%2F1 HTTP/1.1\r\n")
    assert b"Content-Length: 12\r\n" in head
    assert bodies == [b"Not finished"]
    assert not caplog.records
