"""The sandbox answers recorded requests as the real servers answered them."""

import json
import time
from collections.abc import Iterator

import pytest

from harvester.sandbox.operas.tokens import issue
from harvester.sandbox.operas.urlrules import doi_accepted, url_accepted
from harvester.sandbox.options import Account, SandboxOptions, Shares
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.sandbox_replay import COPIED, RECORDED, Recorded, basic, get, read_jsonl, read_recorded, send

FULL = RECORDED / "recorded-answers.jsonl"
SOURCE = FULL if FULL.exists() else COPIED / "answers.jsonl"
CASES = [read_recorded(line) for line in read_jsonl(SOURCE)]

DEMO, EMPTY, OTHER = "demo@example.org", "empty@example.org", "other@example.org"
ACCOUNTS = (
    Account(DEMO),
    Account(EMPTY),
    Account(OTHER),
    Account("unapproved@example.org", approved=False),
    Account("unconfirmed@example.org", confirmed=False),
)
NO_REPLAY = {
    "am-setup250": "its body was a file that is not kept",
    "am-one-long": "its request was shortened when it was kept; see tests/sandbox/test_server.py",
    "pb-long5000": "its request was shortened when it was kept; see tests/sandbox/test_server.py",
    "am-list-after-valid": "recorded when the account had less than a page of rows",
    "am-list-after-repost": "recorded when the account had less than a page of rows",
}
"""Recorded requests that cannot be sent again, and why."""

OTHER_TOKENS = {
    "am-list-unapproved-token": "unapproved@example.org",
    "am-post-unapproved-token": "unapproved@example.org",
    "am-list-inactive-token": "unconfirmed@example.org",
    "am-list-ghost": "ghost@example.org",
    "am-other-get-after": OTHER,
    "am-other-get-foreign-url": OTHER,
    "am-other-post-existing": OTHER,
    "am-other-post-foreign-url": OTHER,
}
WITH_EMPTY = ("am-list-empty", "am-list-rawtoken", "am-page-empty-user", "am-other-get-foreign")
LOGINS = {
    "am-token-emailcase": (DEMO.upper(), "sandbox"),
    "am-token-emptypw": (DEMO, ""),
    "am-token-wrong": (DEMO, "wrong"),
    "am-token-unknown-user": ("nobody@example.org", "sandbox"),
    "am-token-unapproved": ("unapproved@example.org", "sandbox"),
    "am-token-post-unapproved": ("unapproved@example.org", "sandbox"),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    options = SandboxOptions(accounts=ACCOUNTS, shares=Shares(0, 0, 0, 0, 0))
    with run_in_thread(options) as running:
        _prepare(running)
        yield running


def _prepare(sandbox: Sandbox) -> None:
    """Register what the recorded answers show as registered."""
    rows = [row for case in CASES for row in _rows(case)]
    batch: list[dict[str, object]] = [{"doi": row["raw"], "url": row["urls"]} for row in rows]
    batch += [{"doi": f"10.5334/filler.{number}", "url": []} for number in range(150)]
    sandbox.operas.holdings.post(batch, DEMO)
    sandbox.operas.holdings.post([{"doi": doi} for doi in ("10.5334/bbc.1", "10.5334/glob.2")], OTHER)
    for origin in (1, 3):
        event: dict[str, object] = {"created_at": "2020-01-03T03:04:05+00:00", "origin": origin, "subject_id": "x"}
        sandbox.operas.events.append(event | {"doi": "10.5334/bbc.2"})


def _rows(case: Recorded) -> list[dict[str, object]]:
    if case.name.startswith("am-") and case.status == 200 and case.answer.startswith("{"):
        value = json.loads(case.answer)
        return value.get("data", []) if "data" in value else [value] if "raw" in value else []
    return []


def _credentials(sandbox: Sandbox, case: Recorded) -> None:
    """Put a real token or password where the recording says TOKEN or EMAIL:PASSWORD."""
    if case.user:
        case.headers["Authorization"] = basic(*LOGINS.get(case.name, (DEMO, "sandbox")))
    given = case.headers.get("Authorization", "")
    if "TOKEN" in given:
        case.headers["Authorization"] = given.replace("TOKEN", _token(sandbox, case.name))


def _token(sandbox: Sandbox, name: str) -> str:
    email = OTHER_TOKENS.get(name, EMPTY if name.startswith(WITH_EMPTY) and name != "am-other-get-after" else DEMO)
    if name == "am-list-expired":
        return sandbox.operas.token(email, exp=int(time.time()) - 1)
    if name == "am-list-wrongkey":
        return issue({"email": email}, b"another key")
    if name == "am-list-noexp":
        return sandbox.operas.token(EMPTY, exp=None)
    if name == "am-list-futureiat":
        return sandbox.operas.token(EMPTY, iat=int(time.time()) + 3_600)
    return sandbox.operas.token(email)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_as_the_real_server_did(sandbox: Sandbox, case: Recorded) -> None:
    """Status, kind of content, and for JSON the keys, and the DOI as the server understood it."""
    if case.name in NO_REPLAY:
        pytest.skip(NO_REPLAY[case.name])
    _credentials(sandbox, case)
    got = send(sandbox.port, case)
    assert got.status == case.status
    assert got.headers.get("content-type", "").partition(";")[0] == case.content_type.partition(";")[0]
    if case.method != "HEAD" and "content-encoding" not in got.headers:
        _same_shape(case, got.body)


def _same_shape(case: Recorded, body: bytes) -> None:
    if not case.content_type.startswith("application/json") or not case.answer:
        return
    try:
        expected, found = json.loads(case.answer), json.loads(body)
    except ValueError:
        return
    assert type(found) is type(expected)
    if not isinstance(expected, dict):
        return
    assert found.keys() == expected.keys()
    for name in ("doi", "message", "raw", "event_id", "msg"):
        assert found.get(name) == expected.get(name)
    if "metadata" in expected:
        assert bool(found["metadata"].keys() - {"crossref_url"}) == _knows(case, expected, "metadata", "crossref_url")


def _knows(case: Recorded, expected: dict[str, dict[str, object]], part: str, always: str) -> bool:
    # The sandbox knows every well-formed DOI here; the recorded server knew those it had been given.
    given_none = (
        "pb-hash-encoded",
        "pb-mixedcase-row",
        "pb-percent-end",
        "pb-percent-nonalnum",
        "pb-q-raw",
        "pb-uni-nfd",
    )
    return case.name in given_none or bool(expected[part].keys() - {always})


@pytest.mark.parametrize("line", read_jsonl(COPIED / "operas-accepts.jsonl"), ids=lambda line: str(line["value"])[:60])
def test_it_accepts_the_dois_and_urls_that_operas_accepts(line: dict[str, object]) -> None:
    rule = url_accepted if line["kind"] == "url" else doi_accepted
    assert rule(line["value"]) == (line["status"] == 200)


PAPERBUZZ_ANSWERS = RECORDED / "paperbuzz-answers.jsonl"


@pytest.mark.skipif(not PAPERBUZZ_ANSWERS.exists(), reason="the full recordings are not here")
def test_a_record_has_the_shape_of_the_recorded_ones(sandbox: Sandbox) -> None:
    for line in read_jsonl(PAPERBUZZ_ANSWERS):
        got = get(sandbox.port, f"/paperbuzz{line['path']}")
        assert got.status == line["status"], line["path"]
        assert got.headers["content-type"] == line["content_type"]
        if str(line["content_type"]) == "application/json":
            assert json.loads(got.body).keys() == json.loads(str(line["body"])).keys()


def test_every_part_of_a_source_has_the_recorded_keys(sandbox: Sandbox) -> None:
    """Also the keys of events and histograms, which differ between sources."""
    recorded = next(case for case in CASES if case.name == "pb-doi-plain")
    expected = json.loads(recorded.answer)["altmetrics_sources"][0]
    found = json.loads(get(sandbox.port, "/paperbuzz/v0/doi/10.5555/giant-1").body)["altmetrics_sources"]
    for source in found:
        assert source.keys() == expected.keys()
        assert source["source"].keys() == expected["source"].keys()
        extra = {"page_url"} if source["source_id"] == "wikipedia" else set()
        assert all(event.keys() == expected["events"][0].keys() | extra for event in source["events"])
        assert source["events_count_by_day"][0].keys() == expected["events_count_by_day"][0].keys()
