"""OPERAS in the sandbox: tokens, half-stored batches, lists without an order."""

import asyncio
import base64
import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.sandbox.messages import Request
from harvester.sandbox.operas.tokens import BadToken, issue, read
from harvester.sandbox.operas.uriset import Holdings, Rejected
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.sandbox_replay import Got, basic, get, post_json, send_raw

DEMO = "demo@example.org"
GOOD_URL, BAD_URL = "https://press.example.org/a", "no url"


def login(sandbox: Sandbox, email: str, spoken: str = "sandbox", method: str = "GET") -> Got:
    head = f"{method} /operas/api/get_token HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
    return send_raw(sandbox.port, f"{head}Authorization: {basic(email, spoken)}\r\n\r\n".encode())


def post(sandbox: Sandbox, batch: object, email: str = DEMO) -> int:
    return post_json(sandbox.port, "/operas/api/uriset", batch, sandbox.operas.token(email)).status


def listed(sandbox: Sandbox, query: str = "") -> dict[str, Any]:
    token = sandbox.operas.token(DEMO)
    value = json.loads(get(sandbox.port, f"/operas/api/uriset{query}", Authorization=f"Bearer {token}").body)
    assert isinstance(value, dict)
    return value


def test_a_token_is_given_bare_or_within_json(sandbox: Sandbox) -> None:
    got = login(sandbox, DEMO)
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    claims = json.loads(base64.urlsafe_b64decode(got.body.split(b".")[1] + b"=="))
    assert claims["sub"] == f"acct:{DEMO}"
    assert claims["exp"] - claims["iat"] == 86_400
    (data,) = json.loads(login(sandbox, DEMO, method="POST").body)["data"]
    assert read(data["token"], sandbox.operas.key, time.time())["email"] == DEMO


def test_an_unapproved_account_is_told_so_and_gets_none(sandbox: Sandbox) -> None:
    got = login(sandbox, "unapproved@example.org")
    assert got.status == 401
    assert b"Account has not yet been approved." in got.body
    assert "www-authenticate" not in got.headers
    assert login(sandbox, DEMO, "wrong").headers["www-authenticate"].startswith("Basic")


def test_a_refusal_echoes_the_headers_of_a_request_without_a_token(sandbox: Sandbox) -> None:
    got = get(sandbox.port, "/operas/api/uriset", X_Canary="sing")
    assert got.status == 401
    assert b"sing" in got.body


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("garbage", "Not enough segments"),
        ("x.y.z", "padding"),
        (issue({"email": DEMO}, b"other"), "Signature verification failed"),
        (issue({"email": DEMO, "exp": 1}, b"key"), "Signature has expired"),
    ],
)
def test_a_bad_token_is_refused_with_its_reason(token: str, message: str) -> None:
    with pytest.raises(BadToken, match=message):
        read(token, b"key", 2.0)


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_token_gives_back_what_was_put_in(claims: dict[str, str]) -> None:
    if "exp" not in claims:
        assert read(issue(claims, b"k"), b"k", 0) == claims


def test_tokens_expire_when_the_options_say(sandbox: Sandbox) -> None:
    token = sandbox.operas.token(DEMO, exp=int(time.time()) - 1)
    got = get(sandbox.port, "/operas/api/uriset", Authorization=f"Bearer {token}")
    assert got.status == 401
    assert b"Signature has expired" in got.body


@pytest.mark.parametrize(
    ("batch", "status"),
    [
        ([{"doi": "10.5334/a", "url": [GOOD_URL]}], 200),
        ([{"doi": "10.5334/a", "url": [], "extra": 1}], 200),
        ([{"doi": "10.5334/a"}], 200),
        ([{"doi": "10.5334/a", "url": ""}], 200),
        ([{"doi": "10.5334/a", "url": {GOOD_URL: 1}}], 200),
        ([{"doi": "10.5334/a b", "url": []}], 200),
        ([], 400),
        ({}, 400),
        (None, 400),
        ([{"url": [GOOD_URL]}], 400),
        ({"doi": "10.5334/a", "url": []}, 500),
        (["10.5334/a"], 500),
        ("10.5334/a", 500),
        (7, 500),
        ([{"doi": None}], 500),
        ([{"doi": 7}], 500),
        ([{"doi": "doi:10.5334/a"}], 500),
        ([{"doi": "10.5334/a\0"}], 500),
        ([{"doi": "10.5334/a", "url": None}], 500),
        ([{"doi": "10.5334/a", "url": GOOD_URL}], 500),
        ([{"doi": "10.5334/a", "url": [None]}], 500),
        ([{"doi": "10.5334/a", "url": [""]}], 500),
        ([{"doi": "10.5334/a", "url": [BAD_URL]}], 500),
    ],
)
def test_a_batch_is_judged_as_the_server_judges_it(batch: object, status: int) -> None:
    assert outcome(Holdings(), batch) == status


def outcome(holdings: Holdings, batch: object) -> int:
    try:
        holdings.post(batch, DEMO)
    except Rejected as rejected:
        return rejected.status
    return 200


def ten(bad_at: int, prefix_at: int | None = None) -> list[dict[str, object]]:
    batch: list[dict[str, object]] = [{"doi": f"10.5334/{n}", "url": [f"{GOOD_URL}/{n}"]} for n in range(10)]
    if prefix_at is not None:
        batch[prefix_at]["doi"] = f"10.7777/{prefix_at}"
    batch[bad_at]["url"] = [BAD_URL]
    return batch


@pytest.mark.parametrize("bad_at", [0, 4, 9])
def test_with_known_prefixes_a_bad_entry_leaves_nothing_stored(bad_at: int) -> None:
    holdings = Holdings(prefixes={"10.5334"})
    with pytest.raises(Rejected):
        holdings.post(ten(bad_at), DEMO)
    assert not holdings.rows


def test_with_a_new_prefix_the_entries_before_it_are_kept_and_it_stays_bare() -> None:
    """The measured case: bad at 9, new prefix at 5."""
    holdings = Holdings(prefixes={"10.5334"})
    with pytest.raises(Rejected):
        holdings.post(ten(9, prefix_at=5), DEMO)
    assert sorted(holdings.rows) == [*(f"10.5334/{n}" for n in range(5)), "10.7777/5"]
    assert holdings.rows["10.5334/4"].urls == (f"{GOOD_URL}/4",)
    assert (holdings.rows["10.7777/5"].urls, holdings.rows["10.7777/5"].prefix) == ((), None)


def test_a_repaired_batch_adds_what_was_lost_but_the_empty_prefix_stays() -> None:
    holdings = Holdings(prefixes={"10.5334"})
    batch = ten(9, prefix_at=5)
    with pytest.raises(Rejected):
        holdings.post(batch, DEMO)
    batch[9]["url"] = []
    holdings.post(batch, DEMO)
    assert len(holdings.rows) == 10
    assert holdings.rows["10.7777/5"].urls == (f"{GOOD_URL}/5",)
    assert holdings.rows["10.7777/5"].prefix is None


def test_a_single_entry_of_a_new_prefix_with_a_bad_url_is_stored_bare() -> None:
    holdings = Holdings()
    with pytest.raises(Rejected):
        holdings.post([{"doi": "10.5334/a", "url": [BAD_URL]}], DEMO)
    assert holdings.rows["10.5334/a"].urls == ()


def test_a_url_belongs_to_the_first_doi_and_loses_its_trailing_slashes() -> None:
    holdings = Holdings()
    holdings.post(
        [{"doi": "10.5334/a", "url": ["https://x.org/"]}, {"doi": "10.5334/b", "url": ["https://x.org"]}], DEMO
    )
    assert (holdings.rows["10.5334/a"].urls, holdings.rows["10.5334/b"].urls) == (("https://x.org",), ())


def test_dois_are_stored_case_sensitively_and_posting_again_changes_nothing() -> None:
    holdings = Holdings()
    batch = [{"doi": "10.5334/A", "url": [GOOD_URL]}, {"doi": "10.5334/a", "url": []}]
    holdings.post(batch, DEMO)
    before = dict(holdings.rows)
    holdings.post(batch, DEMO)
    assert holdings.rows == before
    assert len(before) == 2


def test_the_list_shows_other_rows_at_the_end_each_time_but_all_of_them_at_once(sandbox: Sandbox) -> None:
    dois = {f"10.5334/{n}" for n in range(1_000)}
    post(sandbox, [{"doi": doi} for doi in sorted(dois)])
    paged = [row["raw"] for page in range(1, 11) for row in listed(sandbox, f"?page={page}")["data"]]
    assert len(paged) == 1_000
    assert len(set(paged)) < 1_000
    assert {row["raw"] for row in listed(sandbox, "?per_page=100000")["data"]} == dois


def test_next_has_lost_the_port(sandbox: Sandbox) -> None:
    post(sandbox, [{"doi": f"10.5334/{n}"} for n in range(101)])
    assert listed(sandbox)["next"] == "http://test/operas/api/uriset?page=2"
    assert "next" not in listed(sandbox, "?page=2")


def test_per_page_0_looks_like_an_empty_account(sandbox: Sandbox) -> None:
    post(sandbox, [{"doi": "10.5334/a"}])
    assert listed(sandbox, "?per_page=0") == {"data": []}


def test_a_doi_that_ends_in_a_slash_is_stored_but_cannot_be_read_back(sandbox: Sandbox) -> None:
    post(sandbox, [{"doi": "10.5334/a/"}])
    token = sandbox.operas.token(DEMO)
    assert get(sandbox.port, "/operas/api/uriset/10.5334/a/", Authorization=token).status == 404
    assert "10.5334/a/" in sandbox.operas.registered


def test_a_chunked_or_unlabelled_body_is_refused(sandbox: Sandbox) -> None:
    token = sandbox.operas.token(DEMO)
    head = f"POST /operas/api/uriset HTTP/1.1\r\nHost: t\r\nAuthorization: {token}\r\nConnection: close\r\n"
    body = b'[{"doi": "10.5334/a"}]'
    chunked = f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
    assert send_raw(sandbox.port, chunked + body + b"\r\n0\r\n\r\n", "POST").status == 400
    plain = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    got = send_raw(sandbox.port, plain, "POST")
    assert (got.status, b"DOI list not found" in got.body) == (400, True)


def test_a_body_of_over_a_mebibyte_is_too_large(sandbox: Sandbox) -> None:
    assert post(sandbox, [{"doi": "10.5334/a", "url": [], "x": "y" * 1_100_000}]) == 413


async def test_two_posts_at_once_with_something_new_in_common_collide() -> None:
    async with Sandbox(SandboxOptions(entry_seconds=0.05)) as sandbox:
        token = sandbox.operas.token(DEMO)
        requests = [_post(token, "10.5334/a"), _post(token, "10.5334/b"), _post(token, "10.7777/c")]
        statuses = [answer.status for answer in await asyncio.gather(*map(sandbox.operas.answer, requests))]
        assert statuses == [200, 500, 200]
        assert (await sandbox.operas.answer(requests[1])).status == 200


def _post(token: str, doi: str) -> Request:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return Request("POST", "/api/uriset", "", headers, json.dumps([{"doi": doi}]).encode())


def test_who_hangs_up_does_not_undo_the_post() -> None:
    with run_in_thread(SandboxOptions(entry_seconds=0.2)) as sandbox:
        with pytest.raises(TimeoutError):
            _hang_up(sandbox)
        assert sandbox.operas.registered == {"10.5334/a": ()}


def _hang_up(sandbox: Sandbox) -> None:
    token, body = sandbox.operas.token(DEMO), b'[{"doi": "10.5334/a"}]'
    head = (
        f"POST /operas/api/uriset HTTP/1.1\r\nHost: t\r\nAuthorization: {token}\r\nContent-Type: application/json\r\n"
    )
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=0.1) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.recv(100)
