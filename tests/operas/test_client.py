"""What is sent to OPERAS and what its answers mean; what it would refuse is known beforehand."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.core.clock import SystemClock
from harvester.core.errors import (
    ConnectionLost,
    CredentialsRefused,
    HarvesterError,
    InvalidJson,
    Misconfigured,
    NotJson,
    RedirectRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    TryAgain,
)
from harvester.core.model import PendingRegistration
from harvester.core.urls.clean import clean_url
from harvester.operas.client import ALL_AT_ONCE, PAGE, OperasClient
from harvester.operas.responses import BatchRefused
from harvester.operas.validation import doi_refusal
from harvester.sandbox.operas.urlrules import doi_accepted, url_accepted
from harvester.sandbox.server import Sandbox
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request, Response
from tests.folders import DATA

EMAIL, PASSWORD = "jane.canary@press.example", "canary-pässword-1"
BASE = "https://operas.example/api/"
BASIC = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
ENTRY = PendingRegistration(1, "10.5334/bbc", ("https://press.example/bbc",))
OK = Response(200, {}, b"200\n")


def jwt(number: int = 1, lives_seconds: float = 86_400, issued: float = 1_000) -> str:
    def pack(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{pack({'alg': 'HS256'})}.{pack({'n': number, 'iat': issued, 'exp': issued + lives_seconds})}.c2ln"


def html(status: int, text: str = "", **headers: str) -> Response:
    return Response(status, headers, f"<!DOCTYPE HTML><title>{status}</title><p>{text}</p>".encode())


def listing(dois: list[str], more: bool = False) -> Response:
    rows: list[object] = [{"raw": doi, "urls": [], "last_checked": None} for doi in dois]
    return Response(200, {}, json.dumps({"data": rows} | ({"next": "http://elsewhere/"} if more else {})).encode())


class FakeClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class FakeOperas:
    """A transport that gives tokens by itself and answers the rest as a test says."""

    def __init__(self, answer: Callable[[Request], Response] = lambda _: OK) -> None:
        self.requests: list[Request] = []
        self.tokens = 0
        self.token_answer: Callable[[], Response] = lambda: Response(200, {}, jwt(self.tokens).encode())
        self.answer = answer
        self.clock = FakeClock()
        self.client = OperasClient(self, BASE, EMAIL, PASSWORD, self.clock)

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        if request.url.endswith("/get_token"):
            self.tokens += 1
            return self.token_answer()
        return self.answer(request)

    @property
    def last(self) -> Request:
        return self.requests[-1]


def always(answer: Response | Exception) -> Callable[[Request], Response]:
    def give(_: Request) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return give


# Requests


async def test_a_token_is_asked_for_with_basic_credentials() -> None:
    operas = FakeOperas()
    assert await operas.client.token() == jwt(1)
    assert (operas.last.method, operas.last.url, operas.last.body) == ("GET", BASE + "get_token", None)
    assert operas.last.headers == {"Authorization": f"Basic {BASIC}", "Accept": "application/json"}


async def test_a_batch_is_posted_as_plain_json_with_the_token_and_a_minute_of_time() -> None:
    operas = FakeOperas()
    await operas.client.register([ENTRY, PendingRegistration(2, "10.5334/no-url")])
    assert (operas.last.method, operas.last.url, operas.last.timeout_seconds) == ("POST", BASE + "uriset", 60)
    assert operas.last.headers == {
        "Authorization": f"Bearer {jwt(1)}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    assert isinstance(operas.last.body, bytes)
    assert json.loads(operas.last.body) == [
        {"doi": "10.5334/bbc", "url": ["https://press.example/bbc"]},
        {"doi": "10.5334/no-url", "url": []},
    ]


@pytest.mark.parametrize("base_url", ["https://operas.example/api", "https://operas.example/api/"])
async def test_the_base_url_may_end_with_a_slash_or_not(base_url: str) -> None:
    operas = FakeOperas()
    await OperasClient(operas, base_url, EMAIL, PASSWORD, operas.clock).register([ENTRY])
    assert [request.url for request in operas.requests] == [BASE + "get_token", BASE + "uriset"]


# Tokens


async def test_a_token_is_asked_for_once_however_many_wait_for_it() -> None:
    operas = FakeOperas()
    assert await asyncio.gather(*(operas.client.token() for _ in range(20))) == [jwt(1)] * 20
    assert operas.tokens == 1


async def test_a_token_is_renewed_at_four_fifths_of_its_life() -> None:
    operas = FakeOperas()
    await operas.client.token()
    await operas.clock.sleep(0.8 * 86_400 - 1)
    assert await operas.client.token() == jwt(1)
    await operas.clock.sleep(1)
    assert await operas.client.token() == jwt(2)


async def test_the_life_of_a_token_is_its_own_so_that_the_servers_clock_may_be_wrong() -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: Response(200, {}, jwt(operas.tokens, lives_seconds=100, issued=9e9).encode())
    await operas.client.token()
    await operas.clock.sleep(79)
    await operas.client.token()
    assert operas.tokens == 1


async def test_a_401_renews_the_token_once_and_sends_again() -> None:
    operas = FakeOperas(lambda request: html(401) if jwt(1) in request.headers["Authorization"] else OK)
    await operas.client.register([ENTRY])
    assert operas.tokens == 2
    assert len(operas.requests) == 4


async def test_several_requests_refused_with_one_token_renew_it_once() -> None:
    operas = FakeOperas(lambda request: html(401) if jwt(1) in request.headers["Authorization"] else OK)
    await operas.client.token()
    await asyncio.gather(*(operas.client.register([ENTRY]) for _ in range(5)))
    assert operas.tokens == 2


async def test_a_second_401_is_final() -> None:
    operas = FakeOperas(always(html(401, "Invalid user account.")))
    with pytest.raises(CredentialsRefused, match=r"Invalid user account.*\[operas\] email"):
        await operas.client.register([ENTRY])
    assert len(operas.requests) == 4


async def test_wrong_credentials_name_the_settings_to_check_and_are_not_tried_again() -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: html(401)
    with pytest.raises(CredentialsRefused) as refused:
        await operas.client.token()
    for name in ("[operas] email", "HARVESTER_OPERAS__PASSWORD", "password_file"):
        assert name in str(refused.value)
    assert operas.tokens == 1


async def test_an_account_that_is_not_approved_has_its_own_message() -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: html(401, "Account has not yet been approved.")
    with pytest.raises(CredentialsRefused, match="Ask OPERAS to approve it"):
        await operas.client.token()


def odd_token(payload: bytes) -> bytes:
    return b"eyJh." + base64.urlsafe_b64encode(payload).rstrip(b"=") + b".c2ln"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>welcome</html>", b"a.b", b"a.b.c.d", b"a.b c.d", b"a.!.c", "a.ü.c".encode(), b"\xff.a.b"),
        *map(
            odd_token, [b"", b"\xff", b"[]", b"7", b"{}", b'{"iat":1}', b'{"iat":"x","exp":2}', b'{"iat":[],"exp":2}']
        ),
        *map(odd_token, [b'{"iat":NaN,"exp":2}', b"[" * 5_000]),
    ],
)
async def test_what_is_no_token_is_never_used_as_one(body: bytes) -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: Response(200, {}, body)
    with pytest.raises(Misconfigured, match=r"\[operas\] base_url"):
        await operas.client.token()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 405])
async def test_a_redirect_or_a_404_in_place_of_a_token_means_a_wrong_base_url(status: int) -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: html(status, location="https://elsewhere.example/")
    with pytest.raises(Misconfigured, match=r"\[operas\] base_url"):
        await operas.client.token()


@pytest.mark.parametrize(("status", "kind"), [(500, ServerFailed), (502, ServerFailed), (503, ServerBusy)])
async def test_a_token_service_in_trouble_may_be_asked_again(status: int, kind: type[TryAgain]) -> None:
    operas = FakeOperas()
    operas.token_answer = lambda: html(status)
    with pytest.raises(kind) as trouble:
        await operas.client.token()
    assert trouble.value.status == status


# Batches


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_the_applications_own_refusal_of_a_batch_carries_status_and_words(status: int) -> None:
    operas = FakeOperas(always(html(status, 'Identifier "doi" is\n required.')))
    with pytest.raises(BatchRefused, match=r'Identifier "doi" is required\.') as refused:
        await operas.client.register([ENTRY])
    assert refused.value.status == status


@pytest.mark.parametrize("status", [201, 204, 403, 404, 405, 408, 429, 501, 502, 503, 504, 520, 521, 599])
async def test_any_other_answer_says_nothing_of_the_entries(status: int) -> None:
    """A gateway, a firewall or a host that moved: were it taken for a refusal, every DOI would be written off."""
    operas = FakeOperas(always(html(status)))
    with pytest.raises(TryAgain) as trouble:
        await operas.client.register([ENTRY])
    assert trouble.value.status == status


@pytest.mark.parametrize("body", [b"", b"<html>Sign in</html>", b'{"data": []}', b"2000", b'"200"'])
async def test_a_200_without_the_acknowledgement_acknowledges_nothing(body: bytes) -> None:
    with pytest.raises(NotJson):
        await FakeOperas(always(Response(200, {}, body))).client.register([ENTRY])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirected_post_is_no_registration_and_is_not_followed(status: int) -> None:
    operas = FakeOperas(always(html(status, location="http://operas.example/api/uriset")))
    with pytest.raises(RedirectRefused, match=r"http://operas.example/api/uriset.*\[operas\] base_url"):
        await operas.client.register([ENTRY])


@pytest.mark.parametrize("error", [TimedOut("x"), ConnectionLost("x")])
async def test_network_faults_pass_through_as_they_are(error: TryAgain) -> None:
    with pytest.raises(type(error)) as raised:
        await FakeOperas(always(error)).client.register([ENTRY])
    assert raised.value is error


# The list


def served(rows: list[str], cap: int = 10**9, moved: int = 0) -> Callable[[Request], Response]:
    """A list with at most `cap` rows a page, of which some stand elsewhere each time it is asked for."""

    def answer(request: Request) -> Response:
        query = parse_qs(urlsplit(request.url).query)
        page, size = int(query["page"][0]), min(int(query["per_page"][0]), cap)
        rows[:] = rows[moved:] + rows[:moved]
        chosen = rows[(page - 1) * size : page * size]
        return listing(chosen, page * size < len(rows)) if chosen or page == 1 else html(404)

    return answer


def names(count: int) -> list[str]:
    return [f"10.5334/{number}" for number in range(count)]


async def test_the_list_is_read_with_one_large_page() -> None:
    operas = FakeOperas(served(names(1_700)))
    rows = await operas.client.holdings()
    assert {row["raw"] for row in rows} == set(names(1_700))
    assert [request.url for request in operas.requests[1:]] == [f"{BASE}uriset?page=1&per_page={ALL_AT_ONCE}"]
    assert operas.last.headers["Accept"] == "application/json"


async def test_an_empty_account_holds_nothing() -> None:
    operas = FakeOperas(served([]))
    assert await operas.client.holdings() == []
    assert await operas.client.held(1) == []


async def test_some_dois_of_the_account_are_had_without_the_whole_list() -> None:
    operas = FakeOperas(served(names(3)))
    assert await operas.client.held(2) == names(2)
    assert operas.last.url == f"{BASE}uriset?page=1&per_page=2"


@pytest.mark.parametrize("fault", [html(504), html(500), TimedOut("x"), ConnectionLost("x"), Response(200, {}, b"{")])
async def test_where_one_page_fails_smaller_ones_are_read(fault: Response | Exception) -> None:
    pages = served(names(1_700))
    large = f"per_page={ALL_AT_ONCE}"
    operas = FakeOperas(lambda request: always(fault)(request) if large in request.url else pages(request))
    rows = await operas.client.holdings()
    assert sorted(str(row["raw"]) for row in rows) == sorted(names(1_700))


async def test_a_server_that_caps_its_pages_is_read_to_its_end_without_following_next() -> None:
    operas = FakeOperas(served(names(1_700), cap=100))
    assert len(await operas.client.holdings()) == 1_700
    assert all(request.url.startswith(BASE) for request in operas.requests)


async def test_rows_that_move_between_pages_are_found_in_later_passes_and_listed_once() -> None:
    operas = FakeOperas(served(names(1_700), cap=PAGE, moved=90))
    rows = [str(row["raw"]) for row in await operas.client.holdings()]
    assert sorted(rows) == sorted(names(1_700))


async def test_a_server_that_takes_no_notice_of_the_page_does_not_hold_us_for_ever() -> None:
    operas = FakeOperas(always(listing(names(5), more=True)))
    assert len(await operas.client.holdings()) == 5
    assert len(operas.requests) < 10


async def test_pages_without_end_are_told_and_not_read_for_ever() -> None:
    def another_page(request: Request) -> Response:
        return listing([f"10.5334/{request.url}-{number}" for number in range(5)], more=True)

    operas = FakeOperas(another_page)
    with pytest.raises(InvalidJson, match="its list has no end: 10 pages were read"):
        await operas.client.holdings()
    assert len(operas.requests) < 15


async def test_a_row_that_cannot_be_written_again_is_had_without_the_member_that_is_to_blame(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deep = b"[" * 300 + b"]" * 300
    body = b'{"data":[{"raw":"10.5334/a","urls":[],"x":%b},{"raw":"10.5334/b","urls":[]}]}' % deep
    rows = await FakeOperas(always(Response(200, {}, body))).client.holdings()
    assert rows == [{"raw": "10.5334/a", "urls": []}, {"raw": "10.5334/b", "urls": []}]
    assert "OPERAS nests x of 10.5334/a too deeply; it is left out" in caplog.text


async def test_an_answer_longer_than_any_token_is_none() -> None:
    operas = FakeOperas(served([]))
    operas.token_answer = lambda: Response(200, {}, jwt().encode() + b"A" * 100_000)
    with pytest.raises(Misconfigured, match="something that is none"):
        await operas.client.token()


async def test_a_list_that_is_not_where_it_should_be_is_not_an_empty_one() -> None:
    with pytest.raises(ServerFailed):
        await FakeOperas(always(html(404))).client.holdings()


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"7", b"{}", b'{"data": 7}', b'{"data": [7]}', b'{"data": [{"urls": []}]}', b"[" * 9_999]
)
async def test_a_list_of_another_form_is_an_error(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        await FakeOperas(always(Response(200, {}, body))).client.holdings()


# Secrets


ECHO = f"Environ: [('Authorization', 'Bearer {jwt(1)}'), ('Basic {BASIC}')] {PASSWORD} {BASIC} {jwt(2)} {EMAIL} \x1b[2J"
ECHOES = [
    html(status, ECHO * 20, location=f"http://{EMAIL}:x@h/?t={jwt(1)}") for status in (302, 400, 401, 413, 500, 503)
]
CALLS: list[Callable[[OperasClient], Awaitable[object]]] = [
    lambda client: client.token(),
    lambda client: client.register([ENTRY]),
    lambda client: client.holdings(),
    lambda client: client.held(3),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("echo", [*ECHOES, Response(200, {}, ECHO.encode())], ids=lambda echo: str(echo.status))
@pytest.mark.parametrize("cut", [0, 3_960, 4_000, 4_050])
@pytest.mark.parametrize("instead_of_the_token", [True, False])
async def test_no_error_shows_a_secret_that_the_server_repeats(
    call: Callable[[OperasClient], Awaitable[object]], echo: Response, cut: int, instead_of_the_token: bool
) -> None:
    """Canaries: the answer holds all our secrets, wherever reading it may stop."""
    echo = Response(echo.status, echo.headers, b"<p>" + b"<i>" * (cut // 3) + echo.body)
    operas = FakeOperas(always(echo))
    if instead_of_the_token:
        operas.token_answer = lambda: echo
    elif call is CALLS[0]:
        return
    with pytest.raises(HarvesterError) as raised:
        await call(operas.client)
    said = f"{raised.value!r} {raised.value} {operas.client!r} {operas.requests!r}"
    for secret in ("canary", PASSWORD, BASIC[:12], jwt(1)[:12], jwt(1).split(".")[1][:12]):
        assert secret not in said
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 900


async def test_no_half_of_a_secret_is_left_where_an_answer_is_cut() -> None:
    """Reading stops after 4,096 bytes, showing after 512 characters; secrets lie across both, at every offset."""
    for shown, hidden in [*((pad, 0) for pad in range(440, 512)), *((0, pad) for pad in range(3_990, 4_096))]:
        for secret in (EMAIL, PASSWORD, BASIC, jwt(1)):
            page = b"<" + b"-" * (hidden - 2) + b">" if hidden else b""
            operas = FakeOperas(always(Response(500, {}, page + f"{'x ' * (shown // 2)}{secret} {'y ' * 99}".encode())))
            with pytest.raises(BatchRefused) as raised:
                await operas.client.register([ENTRY])
            assert "canary" not in str(raised.value)
            assert secret[:8] not in str(raised.value)


# What OPERAS would refuse


def accepts() -> list[tuple[str, str, bool]]:
    """What the real server accepted and refused."""
    mine = DATA / "records" / "operas-accepts.jsonl"
    lines = map(json.loads, mine.read_bytes().splitlines())
    return [(line["kind"], line["value"], line["status"] == 200) for line in lines]


def test_all_seventy_two_answers_of_the_real_server_are_foreseen() -> None:
    """A DOI: taken or not. A URL: left as it is exactly if it is taken as it is."""
    assert len(accepts()) == 72
    for kind, value, accepted in accepts():
        foreseen = doi_refusal(value) is None if kind == "doi" else clean_url(value) == value
        assert foreseen is accepted, value


def test_what_becomes_of_a_url_that_was_refused_is_accepted() -> None:
    for kind, value, accepted in accepts():
        if kind == "url" and not accepted:
            cleaned = clean_url(value)
            assert cleaned is None or url_accepted(cleaned)


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://a.org/a b", "https://a.org/a%20b"),
        (" https://a.org/x\n", "https://a.org/x"),
        ('https://a.org/<x>[y]{z}|\\^`"', "https://a.org/%3Cx%3E%5By%5D%7Bz%7D%7C%5C%5E%60%22"),
        ("https://a.org/%20 %zz", "https://a.org/%20%20%zz"),
        ("https://a.org/x?q=a b#c d", "https://a.org/x?q=a%20b#c%20d"),
        ("https://a.org/ünï", "https://a.org/ünï"),
        ("https://a.org/\u2003x", "https://a.org/%E2%80%83x"),
        ("https://a.org/📖", "https://a.org/%F0%9F%93%96"),
        ("https://münchen.de/x", "https://münchen.de/x"),
        ("https://xn--mnchen-3ya.de/x", "https://münchen.de/x"),
        ("https://a.org#top", "https://a.org/#top"),
        ("https://a.org", "https://a.org"),
        ("https://a.org/a\0b\r\n", "https://a.org/a%00b"),
    ],
)
def test_a_url_is_made_acceptable_without_changing_what_it_names(url: str, cleaned: str) -> None:
    assert clean_url(url) == cleaned
    assert url_accepted(cleaned)


@pytest.mark.parametrize(
    "url",
    [
        *("", "nothing", "//a.org/x", "mailto:a@b.org", "https://", "https:///x", "https://a/x", "https://a.c/x"),
        *("https://a b.org/x", "https://a.org:x/", "https://a.org:1/", "https://xn--/x", "https://xn--ü.de/"),
        *("https://0.0.0.0/", "https://250.1.1.1/", "https://1.2.3/", "https://[::g]/", "https://[fe80::1%25a]/"),
        *("https://a.org/\ud800", "https://b<c@a.org/", "https://ex\u2003ample.org/", "https://📖.org/"),
    ],
)
def test_a_url_that_cannot_be_made_acceptable_is_none(url: str) -> None:
    assert clean_url(url) is None


places = st.sampled_from(
    ["https://a.org", "http://[::1]:80", "ftp://u:p@1.2.3.4", "https://xn--bcher-kva.ch", "http://x_y.de", ""]
)
tails = st.text() | st.text(st.sampled_from('/?#%[]<> "a\u2028é\x7f'))


@given(places, tails)
@example("https://a.org", "?\u1680")
def test_whatever_is_kept_of_any_url_is_accepted_and_stays_as_it_is(place: str, tail: str) -> None:
    """Held against the sandbox's rules, which were written without these."""
    cleaned = clean_url(place + tail)
    if cleaned is not None:
        assert url_accepted(cleaned)
        assert clean_url(cleaned) == cleaned


@given(st.from_regex(r"10\.\d{3,10}/\S{1,6}|.{0,12}", fullmatch=True))
def test_a_doi_passes_exactly_if_the_server_takes_it(doi: str) -> None:
    assert (doi_refusal(doi) is None) == doi_accepted(doi)


@pytest.mark.parametrize(
    "doi", ["10.978.8898392/315", "10.123/short", "10/gf4gqc", "10.1000/é", "10.5334/a\0", "10.5334/a\ud800"]
)
def test_a_doi_that_would_be_refused_is_known_beforehand_with_the_reason(doi: str) -> None:
    assert "four to nine digits" in str(doi_refusal(doi))


# Over real sockets, against the sandbox


async def test_the_sandbox_registers_and_lists_over_real_sockets() -> None:
    async with Sandbox() as sandbox, AiohttpTransport(connections=2) as transport:
        client = OperasClient(transport, sandbox.operas_url, "demo@example.org", "sandbox", SystemClock())
        assert await client.held(5) == []
        await client.register([ENTRY, PendingRegistration(2, "10.5334/x")])
        assert {row["raw"]: row["urls"] for row in await client.holdings()} == {
            "10.5334/bbc": ["https://press.example/bbc"],
            "10.5334/x": [],
        }
        with pytest.raises(BatchRefused):
            await client.register([PendingRegistration(3, "10.5334/y", ("no url",))])
        assert sandbox.operas.tokens_issued == 1


@pytest.mark.parametrize(
    ("email", "password", "message"),
    [
        ("demo@example.org", "wrong-canary", "does not accept e-mail and password"),
        ("nobody@example.org", "wrong-canary", "does not accept e-mail and password"),
        ("unapproved@example.org", "sandbox", "not been approved yet"),
    ],
)
async def test_the_sandbox_refuses_what_it_should(email: str, password: str, message: str) -> None:
    async with Sandbox() as sandbox, AiohttpTransport(connections=2) as transport:
        client = OperasClient(transport, sandbox.operas_url, email, password, SystemClock())
        with pytest.raises(CredentialsRefused, match=message) as refused:
            await client.token()
        assert "canary" not in str(refused.value)
