"""Faults: which, how often, and what they look like on the wire."""

import gzip
import http.client
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.errors import Usage
from harvester.sandbox.faults.bodies import bomb
from harvester.sandbox.faults.rates import FAULTS, TIMEOUTS, Faults, faults_of, parse_faults
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.sandbox_replay import Got, get, post_json

QUICK = Faults(slow_seconds=0.1, hang_seconds=0.2, bomb_bytes=3_000_000)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread(SandboxOptions(faults=QUICK)) as running:
        yield running


def ask(sandbox: Sandbox, name: str) -> Got:
    return get(sandbox.port, f"/paperbuzz/v0/doi/10.5555/fault-{name}?email=a%40b.org")


def test_all_spreads_its_share_evenly_over_what_a_service_knows() -> None:
    faults = parse_faults("all=0.3")
    for service in ("paperbuzz", "operas"):
        table = faults.table(service)
        assert sum(rate for _, rate in table) == pytest.approx(0.3)
        assert {name for name, _ in table} == set(faults_of(service))
    assert not TIMEOUTS & {name for name, _ in faults.table("paperbuzz")}


def test_faults_can_be_set_for_one_service_and_with_their_settings() -> None:
    faults = parse_faults("429=0.1, operas.500=0.2, heal=2, retry-after=7, sticky=1")
    assert faults.table("paperbuzz") == [("429", 0.1)]
    assert faults.table("operas") == [("429", 0.1), ("500", 0.2)]
    assert (faults.heal_after, faults.retry_after_seconds, faults.sticky) == (2, 7, True)


@pytest.mark.parametrize(
    "text", ["429", "429=often", "nonsense=0.1", "429=1.5", "429=0.6,500=0.6", "paperbuzz.413=0.1"]
)
def test_what_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        parse_faults(text)


@given(st.text(min_size=1), st.integers(1, 5))
def test_a_fault_depends_on_nothing_but_seed_service_key_and_try(key: str, attempt: int) -> None:
    faults = parse_faults("all=0.5")
    assert faults.pick(1, "paperbuzz", key, attempt) == faults.pick(1, "paperbuzz", key, attempt)


def test_rates_are_kept() -> None:
    faults = parse_faults("429=0.1,reset=0.02")
    drawn = Counter(faults.pick(1, "paperbuzz", f"10.1234/{n}", 1) for n in range(20_000))
    assert drawn["429"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert drawn["reset"] / 20_000 == pytest.approx(0.02, abs=0.005)


def test_sticky_faults_stay_and_healing_ones_end() -> None:
    sticky, healing = parse_faults("429=0.5,sticky=1"), parse_faults("429=1,heal=2")
    for number in range(50):
        drawn = {sticky.pick(1, "paperbuzz", f"10.1234/{number}", attempt) for attempt in range(1, 6)}
        assert len(drawn) == 1
    assert [healing.pick(1, "operas", "x", attempt) for attempt in (1, 2, 3)] == ["429", "429", None]


@pytest.mark.parametrize(
    ("name", "status"),
    [("429", 429), ("500", 500), ("502", 502), ("503", 503), ("504", 504), ("redirect-loop", 302), ("html200", 200)],
)
def test_a_fault_of_the_answer_shows_as_its_status_and_as_html(sandbox: Sandbox, name: str, status: int) -> None:
    got = ask(sandbox, name)
    assert got.status == status
    assert got.headers["content-type"].startswith("text/html")
    assert "retry-after" not in got.headers


def test_retry_after_comes_in_both_forms(sandbox: Sandbox) -> None:
    assert ask(sandbox, "429-seconds").headers["retry-after"] == "1"
    assert ask(sandbox, "503-seconds").headers["retry-after"] == "1"
    assert ask(sandbox, "429-date").headers["retry-after"].endswith("GMT")


@pytest.mark.parametrize("name", ["reset", "reset-mid"])
def test_a_reset_is_a_reset(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(ConnectionResetError):
        ask(sandbox, name)


@pytest.mark.parametrize("name", ["close", "hang", "loris"])
def test_nothing_comes_before_the_connection_ends(sandbox: Sandbox, name: str) -> None:
    with pytest.raises((http.client.BadStatusLine, http.client.IncompleteRead, ConnectionError)):
        ask(sandbox, name)


def test_a_truncated_answer_is_shorter_than_it_says(sandbox: Sandbox) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(sandbox, "truncated")


@pytest.mark.parametrize("name", ["drip", "slow"])
def test_a_slow_answer_is_right_all_the_same(sandbox: Sandbox, name: str) -> None:
    started = time.monotonic()
    assert json.loads(ask(sandbox, name).body)["doi"] == f"10.5555/fault-{name}"
    assert time.monotonic() - started >= 0.09


def test_an_endless_body_is_long(sandbox: Sandbox) -> None:
    with pytest.raises(ConnectionError):
        ask(sandbox, "endless")
    assert [entry.body_bytes for entry in sandbox.log if entry.fault == "endless"][-1] > 1_000_000


@pytest.mark.parametrize("name", ["bad-json", "bom", "not-utf8"])
def test_a_spoiled_record_cannot_be_read(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json.loads(ask(sandbox, name).body.decode("utf-8"))


@pytest.mark.parametrize("name", ["nan", "surrogate", "deep", "huge-number", "escape", "charset"])
def test_a_hostile_record_has_its_doi_and_something_else(sandbox: Sandbox, name: str) -> None:
    got = ask(sandbox, name)
    assert f'"doi":"10.5555/fault-{name}"'.encode() in got.body
    inserted = {"nan": b"NaN", "surrogate": b"\\ud800", "deep": b"[" * 10_000, "huge-number": b"7" * 5_000}
    assert inserted.get(name, b"") in got.body


def test_another_doi_is_answered(sandbox: Sandbox) -> None:
    assert json.loads(ask(sandbox, "wrong-doi").body)["doi"] != "10.5555/fault-wrong-doi"


def test_the_bomb_is_small_and_unfolds_to_its_size(sandbox: Sandbox) -> None:
    got = ask(sandbox, "gzip-bomb")
    assert len(got.body) < 20_000
    assert len(gzip.decompress(got.body)) > QUICK.bomb_bytes
    assert len(bomb(300_000_000)) < 400_000


def test_bad_gzip_is_none(sandbox: Sandbox) -> None:
    got = ask(sandbox, "bad-gzip")
    assert got.headers["content-encoding"] == "gzip"
    with pytest.raises(zlib.error):
        zlib.decompress(got.body, 31)


def test_a_redirect_on_the_same_origin_leads_to_the_record(sandbox: Sandbox) -> None:
    location = ask(sandbox, "redirect-same").headers["location"]
    again = get(sandbox.port, location.removeprefix("http://test"))
    assert json.loads(again.body)["doi"] == "10.5555/fault-redirect-same"


def test_who_follows_a_redirect_to_another_host_is_counted(sandbox: Sandbox) -> None:
    assert "://localhost:" in ask(sandbox, "redirect-other").headers["location"]
    before = sandbox.strayed
    get(sandbox.port, "/_elsewhere/paperbuzz/v0/doi/x")
    assert sandbox.strayed == before + 1


def test_a_healing_doi_fails_once(sandbox: Sandbox) -> None:
    path = "/paperbuzz/v0/doi/10.5555/heals-503"
    assert [get(sandbox.port, path).status for _ in range(3)] == [503, 200, 200]


def test_every_fault_of_paperbuzz_can_be_called_by_name(sandbox: Sandbox) -> None:
    for name, (services, _) in FAULTS.items():
        expected = name if "paperbuzz" in services else None
        assert sandbox.planned_fault("paperbuzz", f"10.5555/fault-{name}", 1) == expected


@pytest.mark.parametrize("name", ["stored-reset", "stored-hang", "stored-502"])
def test_a_post_may_be_carried_out_without_an_answer(name: str) -> None:
    with run_in_thread(SandboxOptions(faults=Faults({f"operas.{name}": 1.0}, hang_seconds=0.1))) as sandbox:
        token = sandbox.operas.token("demo@example.org")
        entries = [{"doi": "10.5334/a", "url": []}]
        if name == "stored-502":
            assert post_json(sandbox.port, "/operas/api/uriset", entries, token).status == 502
        else:
            with pytest.raises((ConnectionError, http.client.BadStatusLine)):
                post_json(sandbox.port, "/operas/api/uriset", entries, token)
        assert "10.5334/a" in sandbox.operas.registered


@pytest.mark.parametrize(("name", "status"), [("401", 401), ("413", 413), ("500", 500), ("502", 502)])
def test_a_post_refused_by_a_fault_is_not_carried_out(name: str, status: int) -> None:
    with run_in_thread(SandboxOptions(faults=Faults({f"operas.{name}": 1.0}))) as sandbox:
        token = sandbox.operas.token("demo@example.org")
        assert post_json(sandbox.port, "/operas/api/uriset", [{"doi": "10.5334/a"}], token).status == status
        assert not sandbox.operas.registered
