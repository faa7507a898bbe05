"""What we believe about Paperbuzz: how a DOI becomes a request, and an answer a record or an error that says why."""

import asyncio
import contextlib
import hashlib
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
import pytest
from aioresponses import aioresponses
from hypothesis import assume, example, given
from hypothesis import strategies as st
from yarl import URL

from harvester.core.clock import SystemClock
from harvester.core.doi import parse_doi
from harvester.core.errors import (
    DoiMismatch,
    GiveUp,
    HarvesterError,
    InvalidDoi,
    InvalidJson,
    NotJson,
    RedirectRefused,
    Refused,
    ServerBusy,
    ServerFailed,
    TryAgain,
    Unforeseen,
)
from harvester.core.limits import ServiceLimits
from harvester.providers import paperbuzz
from harvester.providers.paperbuzz import PaperbuzzProvider, check_status, follow, read_record
from harvester.records import lazy_json as jsonview
from harvester.records.comparable import comparable
from harvester.records.lazy_json import LEAST_BYTES, look_into
from harvester.transport.aiohttp import USER_AGENT, AiohttpTransport
from harvester.transport.messages import Request, Response, retry_after
from tests.folders import DATA, SHARED
from tests.hostile import POISONS, hostile_records, record_of
from tests.support import json_values

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
BASE = "https://api.paperbuzz.org/v0/"
RECORDED = {
    line["path"]: line for line in map(json.loads, (DATA / "paperbuzz-answers.jsonl").read_text("utf-8").splitlines())
}
ALL_RECORDED = SHARED / "data" / "records" / "paperbuzz-answers.jsonl"


def answer(body: bytes | object, status: int = 200, **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {"content-type": "application/json", **headers}, data, 0.25)


def recorded(path: str) -> Response:
    line = RECORDED[path]
    return Response(line["status"], {"content-type": line["content_type"]}, line["body"].encode())


def body(**members: object) -> dict[str, object]:
    return {"doi": "10.1/x", "altmetrics_sources": [], "metadata": {}, "open_access": {}, **members}


def source(count: object, name: str = "twitter") -> dict[str, object]:
    return {"source_id": name, "events_count": count}


# What a record tells


def test_a_recorded_answer_becomes_a_record_with_its_landing_urls() -> None:
    response = recorded("/v0/doi/10.5334/bbc?email=a%40b.org")
    record = read_record("10.5334/bbc", response, NOW, landing_urls=True)
    assert (record.outcome, record.truncated, record.status) == ("ok", False, 200)
    assert record.landing_urls == ("https://oa.org/l",)
    assert read_record("10.5334/bbc", response, NOW).landing_urls == (), "nobody wants them"
    assert record.body == response.body.rstrip(b"\n")


def test_with_one_look_a_record_is_read_and_made_comparable() -> None:
    response = recorded("/v0/doi/10.5334/bbc?email=a%40b.org")
    plain, compared = (read_record("10.5334/bbc", response, NOW, compares=wanted) for wanted in (False, True))
    assert plain.comparable is None, "nobody wants to compare"
    assert compared == plain._replace(comparable=comparable(json.loads(response.body), NOW))
    assert compared.comparable is not None
    assert compared.comparable.history.total == sum(compared.comparable.content.counts.values()) > 0


def test_a_doi_that_nobody_knows_is_empty() -> None:
    assert read_record("10.1000/unknown", recorded("/v0/doi/10.1000/unknown"), NOW).outcome == "empty"


def test_events_without_metadata_are_degraded() -> None:
    assert read_record("10.1000/nometa", recorded("/v0/doi/10.1000/nometa"), NOW).outcome == "degraded"


@pytest.mark.parametrize(("path", "asked"), [("a%23b", "10.1000/a#b"), ("e%CC%81", "10.1000/\xe9")])
def test_the_record_of_another_doi_is_refused(path: str, asked: str) -> None:
    """Fact P2: the server answers for what it made of the text, with 200."""
    with pytest.raises(DoiMismatch, match="not of the DOI asked for"):
        read_record(asked, recorded(f"/v0/doi/10.1000/{path}"), NOW)


def test_text_without_a_doi_is_answered_with_an_error_that_may_pass() -> None:
    with pytest.raises(ServerFailed) as caught:
        read_record("10.1/x", recorded("/v0/doi/notadoi"), NOW)
    assert caught.value.status == 500


@pytest.mark.skipif(not ALL_RECORDED.exists(), reason="the full recordings are not here")
def test_each_recorded_answer_is_a_record_or_an_error_of_ours() -> None:
    for line in map(json.loads, ALL_RECORDED.read_text("utf-8").splitlines()):
        response = Response(line["status"], {"content-type": line["content_type"]}, line["body"].encode())
        with contextlib.suppress(TryAgain, GiveUp):
            told = json.loads(line["body"])["doi"] if line["body"].startswith('{"alt') else "10.1/x"
            assert read_record(told, response, NOW).body == response.body.rstrip(b"\n")


ONLY_CROSSREF, METADATA = {"crossref_url": "u"}, {"crossref_url": "u", "DOI": "10.1/x"}
ONLY_OADOI, OPEN_ACCESS = {"oadoi_url": "u"}, {"oadoi_url": "u", "is_oa": False}


@pytest.mark.parametrize(
    ("metadata", "sources", "open_access", "outcome"),
    [
        (METADATA, [source(1)], OPEN_ACCESS, "ok"),
        (METADATA, [], OPEN_ACCESS, "ok"),
        (METADATA, [], ONLY_OADOI, "degraded"),
        (METADATA, [source(1)], ONLY_OADOI, "degraded"),
        (ONLY_CROSSREF, [source(1)], OPEN_ACCESS, "degraded"),
        (ONLY_CROSSREF, [source(1)], ONLY_OADOI, "degraded"),
        (ONLY_CROSSREF, [], ONLY_OADOI, "empty"),
        (ONLY_CROSSREF, [], OPEN_ACCESS, "empty"),
        (None, [], None, "empty"),
        ("text", [source(1)], [1], "degraded"),
    ],
)
def test_the_outcome_says_what_is_missing(
    metadata: object, sources: list[object], open_access: object, outcome: str
) -> None:
    """Fact P4."""
    content = body(metadata=metadata, altmetrics_sources=sources, open_access=open_access)
    assert read_record("10.1/x", answer(content), NOW).outcome == outcome


@pytest.mark.parametrize(
    ("doi", "named", "is_its_own"),
    [
        ("10.1/x", "10.1/X", True),
        ("10.1/x?utm_source=y", "10.1/x", False),
        ("10.1/x", "10.1/x.2", False),
        ("10.1/x", 7, True),
    ],
)
def test_metadata_that_name_another_work_count_as_none(
    doi: str, named: object, is_its_own: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Fact P13."""
    metadata = {"crossref_url": "x", "title": "T", "DOI": named, "URL": "https://press.example/1"}
    open_access = {"oadoi_url": "x", "is_oa": True}
    content = body(doi=doi, metadata=metadata, altmetrics_sources=[], open_access=open_access)
    record = read_record(doi, answer(content), NOW, landing_urls=True)
    assert record.outcome == ("ok" if is_its_own else "empty")
    assert bool(record.landing_urls) is is_its_own
    assert (f"metadata of {named} came with the record of {doi}" in caplog.text) is not is_its_own


@pytest.mark.parametrize(
    ("sources", "truncated"),
    [
        ([source(2499)], False),
        ([source(2500)], True),
        ([source(1250), source(1250, "reddit")], True),
        ([source(833, "wikipedia")], False),
        ([source(834, "wikipedia")], None),
        ([source(1999)], False),
        ([source(833), source(1, "wikipedia")], None),
        ([source(2009, "wikipedia")], None),
        ([source(2499), source(1, "wikipedia")], True),
        ([source("2500"), source(None), "text", None], False),
    ],
)
def test_truncated_is_true_at_the_cap_and_unknown_where_wikipedia_hides_it(
    sources: list[object], truncated: bool | None
) -> None:
    """Fact P6."""
    assert read_record("10.1/x", answer(body(altmetrics_sources=sources)), NOW).truncated is truncated


@pytest.mark.parametrize(
    ("metadata", "open_access", "urls"),
    [
        ({"URL": "https://a.example/1"}, {}, ("https://a.example/1",)),
        (
            {"URL": "https://a.example/1"},
            {"best_oa_location": {"url": "https://a.example/1"}},
            ("https://a.example/1",),
        ),
        ({}, {"best_oa_location": {"url_for_landing_page": None, "url": "HTTP://b.example"}}, ("HTTP://b.example",)),
        ({}, {"best_oa_location": {"url_for_landing_page": "", "url": "http://b.example"}}, ("http://b.example",)),
        ({"URL": "http://dx.doi.org/10.1/x"}, {"best_oa_location": {"url": "https://doi.org/10.1/x"}}, ()),
        (
            {"URL": "http://dx.doi.org/10.1/x", "resource": {"primary": {"URL": "https://press.example/x"}}},
            {"best_oa_location": {"url_for_landing_page": "https://doi.org/10.1/x", "url": "https://oa.example/x.pdf"}},
            ("https://press.example/x", "https://oa.example/x.pdf"),
        ),
        ({"URL": "javascript:alert(1)"}, {"best_oa_location": None}, ()),
        ({"URL": ["https://a.example"]}, {"best_oa_location": "https://a.example"}, ()),
    ],
)
def test_landing_urls_are_web_addresses_each_once(metadata: object, open_access: object, urls: tuple[str, ...]) -> None:
    record = read_record("10.1/x", answer(body(metadata=metadata, open_access=open_access)), NOW, landing_urls=True)
    assert record.landing_urls == urls


def test_only_the_doi_and_the_sources_have_to_be_there_and_more_may_be() -> None:
    """Fact P8."""
    assert read_record("10.1/x", answer({"doi": "10.1/x", "altmetrics_sources": []}), NOW).outcome == "empty"
    assert read_record("10.1/x", answer(body(new=[{"deep": 1}])), NOW).outcome == "empty"


# Fidelity (promise G12)

JSON = json_values(st.text())


@given(
    extra=JSON, indent=st.none() | st.integers(0, 4), ascii_only=st.booleans(), newline=st.sampled_from(["\n", "\r\n"])
)
def test_the_bytes_of_the_server_are_kept_but_for_line_ends(
    extra: object, indent: int | None, ascii_only: bool, newline: str
) -> None:
    text = json.dumps(body(extra=extra), indent=indent, ensure_ascii=ascii_only).replace("\n", newline) + newline
    sent = text.encode("utf-8", "surrogatepass")
    try:
        record = read_record("10.1/x", answer(sent), NOW)
    except InvalidJson:
        assume(False)
    assert record.body == bytes(byte for byte in sent if byte not in b"\r\n")
    assert json.loads(record.body) == json.loads(sent)


def test_what_looks_like_a_line_end_to_some_stays() -> None:
    sent = json.dumps(body(title="a\u2028b\u0085c\\n"), ensure_ascii=False).encode()
    assert read_record("10.1/x", answer(sent), NOW).body == sent


# Hostile bodies (promise G13)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"10.1/x"',
        b"{",
        b'{"doi":"10.1/x","altmetrics_sources":[',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":NaN}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":Infinity}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":1e400}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":' + b"9" * 5000 + b"}",
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":"\\ud800"}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":"\xed\xa0\x80"}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":"\xff"}',
        b'{"doi":"10.1/x","altmetrics_sources":[],"a":"\n"}',
        b'{"doi":"10.1/x","altmetrics_sources":[]}{}',
        b'{"doi":"10.1/x","altmetrics_sources":[]}\0',
        b'\xef\xbb\xbf{"doi":"10.1/x","altmetrics_sources":[]}',
        '{"doi":"10.1/x","altmetrics_sources":[]}'.encode("utf-16"),
        b'{"doi":"10.1/x","altmetrics_sources":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b'{"altmetrics_sources":[]}',
        b'{"doi":null,"altmetrics_sources":[]}',
        b'{"doi":["10.1/x"],"altmetrics_sources":[]}',
        b'{"doi":"10.1/x"}',
        b'{"doi":"10.1/x","altmetrics_sources":null}',
        b'{"doi":"10.1/x","altmetrics_sources":{}}',
        b"\x1f\x8b\x08\0\0",
    ],
    ids=lambda hostile: repr(hostile[:50]),
)
@pytest.mark.parametrize("padding", [0, LEAST_BYTES], ids=["built", "viewed"])
def test_a_hostile_body_costs_one_failure(hostile: bytes, padding: int) -> None:
    with pytest.raises(InvalidJson) as caught:
        read_record("10.1/x", answer(hostile + b" " * padding), NOW)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=200))
@example(b'{"doi":"\\u001b[2J","altmetrics_sources":[]}')
def test_whatever_the_bytes_they_are_no_record_and_no_crash(garbage: bytes) -> None:
    with pytest.raises((InvalidJson, DoiMismatch)) as caught:
        read_record("10.1/x", answer(garbage), NOW)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "told", ["10.1/x ", "10.1/x.", "https://doi.example/10.1/x", "10.1/x/", "10.1/xy", "", "\x1b[31m" + "x" * 9999]
)
def test_a_doi_that_is_only_like_the_one_asked_for_is_another(told: str) -> None:
    with pytest.raises(DoiMismatch) as caught:
        read_record("10.1/x", answer(body(doi=told)), NOW)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("told", ["10.1/X", "https://doi.org/10.1/x", "HTTP://DX.DOI.ORG/10.1/X", "doi:10.1/x"])
def test_letter_case_and_the_address_of_doi_org_make_no_other_doi(told: str) -> None:
    assert json.loads(read_record("10.1/x", answer(body(doi=told)), NOW).body)["doi"] == told


def test_an_answer_to_another_request_makes_the_connection_distrusted() -> None:
    distrusted: list[str] = []
    other = answer(body(doi="10.1/y"))._replace(distrust=lambda: distrusted.append("once"))
    with pytest.raises(DoiMismatch):
        read_record("10.1/x", other, NOW)
    assert distrusted == ["once"]


def test_of_two_dois_in_one_record_the_last_counts_as_for_most_readers() -> None:
    with pytest.raises(DoiMismatch):
        read_record("10.1/x", answer(b'{"doi":"10.1/x","altmetrics_sources":[],"doi":"10.1/y"}'), NOW)


# Statuses


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Refused) for status in (400, 413, 414, 431)),
        *((status, ServerBusy) for status in (429, 503)),
        *((status, ServerFailed) for status in (201, 204, 206, 401, 402, 403, 404, 405, 406, 410, 418, 422, 451)),
        *((status, ServerFailed) for status in (500, 501, 502, 504, 520, 530, 599, 999)),
        *((status, RedirectRefused) for status in (300, 302, 304, 308, 399)),
    ],
)
def test_each_status_says_what_to_do_next(status: int, error: type[TryAgain | GiveUp]) -> None:
    with pytest.raises(HarvesterError) as caught:
        check_status(answer(b"<h1>oops</h1>", status), NOW)
    assert type(caught.value) is error
    assert isinstance(caught.value, TryAgain | GiveUp)
    assert caught.value.status == status


@pytest.mark.parametrize("media_type", ["text/html", "text/html; charset=utf-8", "", "application/xml", "\x1b[2J"])
def test_200_that_is_not_labelled_as_json_is_something_in_between_and_may_pass(media_type: str) -> None:
    with pytest.raises(NotJson) as caught:
        read_record("10.1/x", Response(200, {"content-type": media_type}, b"{}"), NOW)
    assert str(caught.value).isprintable()
    with pytest.raises(NotJson):
        read_record("10.1/x", Response(200, {}, b"{}"), NOW)


@pytest.mark.parametrize("media_type", ["Application/JSON", "application/json; charset=utf-8", "application/hal+json"])
def test_json_may_be_labelled_in_several_ways(media_type: str) -> None:
    assert read_record("10.1/x", answer(body())._replace(headers={"content-type": media_type}), NOW).status == 200


# Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("²", None),
        ("9" * 30, 999_999_999),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        (format_datetime(NOW, usegmt=True), None),
        ("Sat, 21 Nov 2026 03:01:30 -0000", 90),
        ("Sat, 99 Nov 2026 03:01:30 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_says_nothing(text: str, seconds: float | None) -> None:
    assert retry_after(Response(503, {"retry-after": text}, b""), NOW) == seconds


def test_a_date_to_retry_after_is_read_against_the_servers_own_clock() -> None:
    server = NOW - timedelta(days=3)
    headers = {"retry-after": format_datetime(server + timedelta(seconds=30)), "date": format_datetime(server)}
    assert retry_after(Response(503, headers, b""), NOW) == 30


@given(text=st.text() | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d\d:\d\d:\d\d [+-]\d{4}"), date=st.text())
def test_retry_after_is_never_negative_and_never_a_crash(text: str, date: str) -> None:
    seconds = retry_after(Response(503, {"retry-after": text, "date": date}, b""), NOW)
    assert seconds is None or seconds > 0


def test_a_busy_answer_carries_the_pause_it_asks_for() -> None:
    with pytest.raises(ServerBusy) as caught:
        check_status(answer(b"", 429, **{"retry-after": "12"}), NOW)
    assert caught.value.retry_after == 12


# Redirects

ASKED = Request("GET", BASE + "doi/10.1/x?email=a%40b.org")


def redirect(location: str | None, status: int = 308) -> Response:
    return Response(status, {} if location is None else {"location": location}, b"")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v1/doi/10.1/x", "https://api.paperbuzz.org/v1/doi/10.1/x"),
        ("https://api.paperbuzz.org/v0/doi/10.1%2Fx", "https://api.paperbuzz.org/v0/doi/10.1%2Fx"),
        ("?email=a", BASE + "doi/10.1/x?email=a"),
    ],
)
def test_a_redirect_on_the_same_origin_is_followed(location: str, target: str) -> None:
    assert follow(ASKED, redirect(location)) == replace(ASKED, url=target)


@pytest.mark.parametrize(
    "location",
    [
        None,
        "http://api.paperbuzz.org/v0/",
        "https://evil.example/v0/",
        "//evil.example/v0/",
        "https://api.paperbuzz.org:8443/v0/",
        "https://api.paperbuzz.org.evil.example/",
        "https://api.paperbuzz.org@evil.example/",
        "https://jane@api.paperbuzz.org/",
        "https://api.paperbuzz.org\\@evil.example/",
        "https://[::1/",
        "https://evil.example]/",
        "https://\u2100.example/",
        "/v0/ü",
        "/v0/ x",
        "/v0/\x1b[2J",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ],
)
def test_a_redirect_elsewhere_is_refused(location: str | None) -> None:
    with pytest.raises(RedirectRefused) as caught:
        follow(ASKED, redirect(location))
    assert str(caught.value).isprintable()


@given(st.text(max_size=40) | st.from_regex(r"(https?:)?/{0,3}[\[\]@:\\a-z./#?]{0,20}", fullmatch=True))
def test_wherever_a_redirect_points_the_host_stays(location: str) -> None:
    try:
        target = follow(ASKED, redirect(location)).url
    except RedirectRefused:
        return
    assert URL(target, encoded=True).origin() == URL("https://api.paperbuzz.org")


# The client


class Script:
    """A transport that answers by a script, and remembers what it was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


LIMITS = ServiceLimits(BASE, rate=10, timeout=35, max_body=1000)


def a_provider(script: Script, email: str = "a+b@c.example") -> PaperbuzzProvider:
    return PaperbuzzProvider(script, LIMITS, email, SystemClock())


async def test_an_error_does_not_hold_the_body_it_is_about() -> None:
    """Works wait with their errors in hand, and a body may have 32 MiB."""
    broken = b'{"doi":"' + b"x" * 500
    with pytest.raises(InvalidJson) as raised:
        await a_provider(Script(Response(200, {"content-type": "application/json"}, broken))).record("10.1/x")
    error: BaseException = raised.value
    assert error.__cause__ is error.__context__ is None
    assert "read_record" not in [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


async def test_an_error_does_not_hold_the_view_of_a_record_while_which_the_next_one_would_be_built() -> None:
    with pytest.raises(DoiMismatch) as raised:
        await a_provider(Script(answer(body(doi="10.1/other", padding="x" * LEAST_BYTES)))).record("10.1/x")
    is_built = look_into(b"{}" + b" " * LEAST_BYTES, lambda following: isinstance(following, dict))
    assert is_built == (jsonview._parser is None), raised.value


async def test_three_redirects_are_followed_and_no_fourth() -> None:
    script = Script(*[redirect("/v0/a")] * 3, answer(body()))
    assert (await a_provider(script).record("10.1/x")).status == 200
    assert len(script.asked) == 4
    script = Script(redirect("/v0/a"))
    with pytest.raises(RedirectRefused):
        await a_provider(script).record("10.1/x")
    assert len(script.asked) == 4


async def test_one_call_is_one_request_with_address_and_headers_as_agreed() -> None:
    """The plus sign of an address would be a space, if it stood bare in a query."""
    url = URL(BASE + "doi/10.1234/a%3Fb?email=a%2Bb%40c.example", encoded=True)
    found = {"doi": "10.1234/a?b", "altmetrics_sources": [source(3)]}

    with aioresponses() as service:
        service.get(url, payload=found)
        async with AiohttpTransport(connections=1) as transport:
            record = await PaperbuzzProvider(transport, LIMITS, "a+b@c.example", SystemClock()).record("10.1234/a?b")
        (((method, asked), (call,)),) = service.requests.items()
    assert json.loads(record.body) == found
    assert (method, asked.raw_path, dict(asked.query)) == (
        "GET",
        "/v0/doi/10.1234/a%3Fb",
        {"email": "a+b@c.example"},
    )
    assert dict(call.kwargs["headers"]) == {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": USER_AGENT,
    }
    assert call.kwargs["allow_redirects"] is False


async def test_alive_asks_for_the_status_object() -> None:
    script = Script(recorded("/v0/"))
    await a_provider(script).alive()
    assert script.asked[0].url == BASE + "?email=a%2Bb%40c.example"


@pytest.mark.parametrize(
    "found", [answer({"hello": 1}), answer([]), answer(b"", 503), Response(200, {"content-type": "text/html"}, b"")]
)
async def test_what_is_not_the_status_object_is_not_alive(found: Response) -> None:
    with pytest.raises((TryAgain, GiveUp)):
        await a_provider(Script(found)).alive()


# The right record (promise G11)


def strictly_parsed(target: str) -> tuple[str, bytes, Mapping[str, str]]:
    """Host, DOI and query, as a server reads them that decodes nothing twice and normalises nothing."""
    scheme, _, rest = target.partition("://")
    host, _, rest = rest.partition("/")
    path, _, query = rest.partition("?")
    assert scheme == "https"
    assert target.isascii()
    assert not set(target) & set(" #\r\n\t")
    assert not {".", ".."} & set(path.split("/"))
    assert path.startswith("v0/doi/")
    return host, unquote_to_bytes(path.removeprefix("v0/doi/")), dict(parse_qsl(query, strict_parsing=True))


NASTY = st.sampled_from("/.?#%&+;=<>[]{}|\\^`\"'@!*$,~:()- ") | st.characters(codec="utf-8")
NAMES = st.builds(
    "10.{}/{}".format, st.integers(1000, 99999), st.lists(NASTY | st.sampled_from("ab0123"), min_size=1).map("".join)
)


@given(text=NAMES | st.text(), email=st.emails())
@example(text="10.1234/a/../../../b", email="a+b@c.example")
@example(text="10.1234/a?x=1&y#z", email="a&b=c@d.example")
@example(text="10.1234//evil.example/a", email="a@b.example")
@example(text="10.1234/100%", email="a%40b@c.example")
async def test_any_text_is_refused_or_asks_for_exactly_its_doi_on_the_same_host(text: str, email: str) -> None:
    try:
        doi = parse_doi(text)
    except InvalidDoi:
        return
    script = Script(answer({"doi": doi, "altmetrics_sources": []}))
    await a_provider(script, email).record(doi)
    (request,) = script.asked
    sent = URL(request.url, encoded=True)
    assert str(sent) == request.url
    assert request.url.endswith(sent.raw_path_qs)
    assert strictly_parsed(request.url) == ("api.paperbuzz.org", doi.encode(), {"email": email})


# What nobody foresaw, and large answers


class Answering:
    """A transport with one answer."""

    def __init__(self, response: Response) -> None:
        self.response = response

    async def send(self, request: Request) -> Response:  # noqa: ARG002 - whatever it is
        return self.response


def provider(body: bytes, **wanted: bool) -> PaperbuzzProvider:
    limits = ServiceLimits(BASE, rate=1, timeout=20, max_body=2**25)
    return PaperbuzzProvider(Answering(answer(body)), limits, "a@b.example", SystemClock(), **wanted)


async def test_an_error_that_nobody_foresaw_is_the_failure_of_the_doi_and_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("jane@press.example \x1b[2J")

    monkeypatch.setattr(paperbuzz, "comparable", broken)
    with pytest.raises(Unforeseen, match="its record cannot be read: ZeroDivisionError: j") as caught:
        await provider(record_of("10.5555/a"), compares=True).record("10.5555/a")
    assert caught.value.kind == "internal"
    assert str(caught.value).isprintable()
    assert "jane" not in str(caught.value)
    assert "10.5555/a" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("name", POISONS)
@pytest.mark.parametrize("compares", [False, True])
async def test_a_record_that_was_too_much_once_is_taken_and_what_is_kept_of_it_can_be_written(
    name: str, compares: bool
) -> None:
    found = await provider(POISONS[name]("10.5555/a"), compares=compares, landing_urls=True).record("10.5555/a")
    assert found.sha256 == hashlib.sha256(POISONS[name]("10.5555/a")).hexdigest()
    if found.comparable:
        content, history = found.comparable
        assert len(orjson.dumps([content.counts, [*history]])) < 30_000


@given(hostile_records("10.5555/a"))
async def test_what_is_kept_of_any_valid_record_can_be_written(record: bytes) -> None:
    found = await provider(record, compares=True, landing_urls=True).record("10.5555/a")
    assert found.comparable is not None
    orjson.dumps([found.comparable.content.counts, [*found.comparable.history], found.landing_urls])


async def test_a_large_answer_is_read_beside_the_event_loop() -> None:
    """What else there is to do is done meanwhile, such as hearing a signal."""
    record = record_of("10.5555/a", metadata=b'{"x":[%b1]}' % (b"[[],[]]," * 1_000_000))
    reading = asyncio.create_task(provider(record).record("10.5555/a"))
    longest, last = 0.0, time.perf_counter()
    while not reading.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    begun = time.perf_counter()
    await provider(record).record("10.5555/a")
    assert longest < (time.perf_counter() - begun) / 2


async def test_line_ends_are_no_part_of_the_digest_of_a_large_record() -> None:
    record = record_of("10.5555/a", metadata=b'{\r\n"x":\n"%b"}' % (b"a" * 2_000_000))
    found = await provider(record).record("10.5555/a")
    assert found.sha256 == hashlib.sha256(record.replace(b"\r", b"").replace(b"\n", b"")).hexdigest()
