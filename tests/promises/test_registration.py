"""Promise G10: each DOI is acknowledged or listed as rejected with the reason, one POST at a time, at a bounded cost.

The tool as a process of its own against the sandbox, whose OPERAS stores half of a batch that it refuses (O4, O12).
Larger: `HARVESTER_REGISTRATION_DOIS=10000 pytest tests/promises/test_registration.py`. That bisection by
itself keeps its bound is a property in test_registrar.
"""

import math
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harvester.core.failpoint import VARIABLE
from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.operas import uriset, urlrules
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.tool import Tool

DOIS = int(os.environ.get("HARVESTER_REGISTRATION_DOIS", "2000"))
KILLS = max(10, DOIS // 200)
BATCH = 100
EVERY = 100
"""One entry in so many is bad."""

MAX_BODY = 64 * 1024
PREFIXES = ("10.5555", "10.6001", "10.6002", "10.6003")

ANSWERED_BY_OTHERS = {
    "stored-reset": 0.02,
    "stored-502": 0.02,
    "reset": 0.01,
    "503": 0.01,
    "html200": 0.01,
    "redirect-other": 0.01,
    "truncated": 0.01,
}
"""Faults that say nothing about a batch: each costs one more POST, and some leave it stored all the same."""


@dataclass
class List:
    """A list to be registered.

    Args:
        urls: by DOI, in the order of the list.
        bad: DOIs that OPERAS will not take, those it is not even asked about included.
        unfit: of them, those whose form says so beforehand.
        attached: URLs that OPERAS has to show for a DOI, as far as there is no doubt.
        shared: a URL that many DOIs give; it belongs to one of them.
    """

    urls: dict[str, list[str]] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    unfit: set[str] = field(default_factory=set)
    attached: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shared: str = "https://press.example/everybody"

    @property
    def good(self) -> set[str]:
        """What has to be registered."""
        return self.urls.keys() - self.bad

    def write(self, tool: Tool) -> str:
        rows = [[doi, url] for doi, urls in self.urls.items() for url in urls or [""]]
        return tool.write("dois.csv", ["doi,url", *(f'{doi},"{url}"' for doi, url in rows)])


def listed(count: int, prefixes: Sequence[str] = PREFIXES) -> List:
    """DOIs with one URL, several, none, odd ones, one they share; one bad entry in `EVERY`, of each kind in turn."""
    made = List()
    for number in range(count):
        doi = f"{prefixes[number * len(prefixes) // count]}/ok-{number:05d}"
        urls, attached = a_doi_with_urls(doi, number, made.shared)
        if number % EVERY == EVERY // 2:
            doi, urls = a_bad_entry(doi, number // EVERY, made)
        made.urls[doi] = urls
        made.attached[doi] = attached
    return made


def a_doi_with_urls(doi: str, number: int, shared: str) -> tuple[list[str], tuple[str, ...]]:
    """What the list says, and what OPERAS makes of it: O4 and O7."""
    url = f"https://press.example/{doi}"
    return [
        ([url], (url,)),
        ([], ()),
        ([f"{url}//", f"{url}/pdf"], (url, f"{url}/pdf")),
        ([f"{url}/a b<c>d", f"{url}/a<c>{{d}}e"], (f"{url}/a%3Cc%3E%7Bd%7De",)),
        (["no address at all", f"https://one-label/{number}", url], (url,)),
        ([shared, url], (url,)),
        ([f"https://xn--bcher-kva.example/{number}"], (f"https://bücher.example/{number}",)),
    ][number % 7]


def a_bad_entry(doi: str, kind: int, made: List) -> tuple[str, list[str]]:
    """An entry that OPERAS refuses: for its DOI, for a URL, for its size; or one that it is never asked about."""
    prefix, _, name = doi.partition("/")
    doi, urls = [
        (f"{prefix}/{name}-refused", [f"https://press.example/{doi}"]),
        (doi, [f"https://press.example/{doi}", f"https://refused.example/{name}"]),
        (doi, [f"https://press.example/{name}/{'long' * (MAX_BODY // 4)}"]),
        (f"{prefix}/é{name}", []),
    ][kind % 4]
    made.bad.add(doi)
    if kind % 4 == 3:
        made.unfit.add(doi)
    return doi, urls


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses what nobody can foresee, too."""
    monkeypatch.setattr(
        uriset, "doi_accepted", lambda doi: urlrules.doi_accepted(doi) and not str(doi).endswith("-refused")
    )
    monkeypatch.setattr(
        uriset, "url_accepted", lambda url: urlrules.url_accepted(url) and "refused.example" not in str(url)
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread(SandboxOptions(max_body_bytes=MAX_BODY, token_lifetime_seconds=3, size_scale=0.1)) as running:
        yield running


@pytest.fixture
def harvester(tmp_path: Path, sandbox: Sandbox) -> Iterator[Tool]:
    tool = Tool(tmp_path, sandbox)
    tool.extra |= {
        "HARVESTER_OPERAS__RATE": "100000",
        "HARVESTER_OPERAS__BATCH_SIZE": str(BATCH),
        "HARVESTER_PAPERBUZZ__CONCURRENCY": "16",
    }
    yield tool
    tool.close()


def posts(sandbox: Sandbox) -> list[LoggedRequest]:
    """POSTs as OPERAS saw them."""
    return [entry for entry in sandbox.log.of("operas") if entry.method == "POST"]


def most_posts(sandbox: Sandbox, made: List, kills: int = 0, starts: int = 1) -> int:
    """The bound for a whole list.

    - Each batch of n entries with k bad ones: 2k(⌈log2 n⌉ + 1) + 2, where a batch without a bad one costs 1, not 2.
      With the bad ones `EVERY` apart a batch holds one or two; what they cost together does not depend on which.
    - Each further start: batches are made anew from what is left, so that there may be one more.
    - Each kill: the search for one bad entry begins anew; what was accepted or rejected on the way to it is not sent
      again, and the other bad entry of its batch has cost nothing yet.
    - Each POST that met a fault, or came too late for its token: one more.
    """
    sent = len(made.urls) - len(made.unfit)
    bad = len(made.bad - made.unfit)
    each = 2 * (math.ceil(math.log2(BATCH)) + 1)
    batches = math.ceil(len(made.urls) / BATCH) + starts - 1
    of_lists = bad * each + min(bad, batches) * 2 + max(0, batches - bad)
    disturbed = sum(1 for post in posts(sandbox) if post.fault or post.status in (0, 401))
    assert sent
    return of_lists + kills * (each + 2) + disturbed


def check(tool: Tool, sandbox: Sandbox, made: List, stem: str) -> None:
    """Each DOI on one side, never on both, never on none; with its URLs or with the reason."""
    told = [each for each in tool.lines(f"{stem}.failures.jsonl") if each["stage"] == "register"]
    failures = [each for each in told if each["kind"] != "url-left-out"]
    rejected = {each["doi"]: each for each in failures}
    held = sandbox.operas.registered
    assert len(failures) == len(rejected)
    assert rejected.keys() == made.bad
    assert held.keys() == made.good
    assert {each["kind"] for each in failures} <= {"rejected"}
    for doi, failure in rejected.items():
        assert (failure["http_status"] is None) == (doi in made.unfit)
        assert failure["http_status"] in (None, 413, 500)
        assert failure["message"]
    summary = tool.summary(stem)
    counts = [summary[name] for name in ("registered", "rejected", "registration_pending")]
    assert counts == [len(made.good), len(made.bad), 0]
    for doi, urls in held.items():
        assert set(urls) - {made.shared} == set(made.attached[doi]), doi
    assert sum(made.shared in urls for urls in held.values()) <= 1
    assert sandbox.posts_at_once.most == 1
    assert sandbox.strayed == 0


def sends_nothing_again(tool: Tool, sandbox: Sandbox, command: Sequence[str]) -> None:
    before = len(posts(sandbox))
    again = tool(*command)
    assert again.returncode == 0, again.stderr
    assert len(posts(sandbox)) == before


def killed_now_and_then(tool: Tool, command: Sequence[str], kills: int, longest: float) -> int:
    """Run a command again and again, each time killed after a while, until it ends; returns how often."""
    chance = random.Random(7)
    places = ["after-post", "settled", "in-transaction"]
    for number in range(kills):
        if number % 3 == 2:
            tool.extra[VARIABLE] = f"{places[number // 3 % 3]}:{number + 1}"
        process = tool.start(*command)
        tool.extra.pop(VARIABLE, None)
        try:
            assert process.wait(0.4 + chance.random() * longest) in (0, -9)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait() == 0:
            return number
    return kills


def test_each_doi_is_acknowledged_or_rejected_within_the_bound(harvester: Tool, sandbox: Sandbox) -> None:
    made = listed(DOIS)
    command = ["register", made.write(harvester)]
    run = harvester(*command)
    assert run.returncode == 0, run.stderr[-2000:]
    check(harvester, sandbox, made, "dois.registration")
    sent, most = len(posts(sandbox)), most_posts(sandbox, made)
    print(f"{len(made.urls)} DOIs, {len(made.bad)} bad, {sent} POSTs of {most}")  # noqa: T201 - shown with -s
    assert sent <= most
    sends_nothing_again(harvester, sandbox, command)


@pytest.mark.timeout(600)
def test_kills_faults_and_expired_tokens_change_nothing_of_that(harvester: Tool, sandbox: Sandbox) -> None:
    made = listed(DOIS)
    command = ["register", made.write(harvester), "--quiet"]
    # Each costs a pause of a second, so that a long list gets as many of them as a short one.
    rates = {f"operas.{name}": rate * min(1, 2000 / DOIS) for name, rate in ANSWERED_BY_OTHERS.items()}
    # A token that is refused costs none. Twice in a row it would be an account that is gone; so each heals at once.
    sandbox.set_faults(Faults(rates | {"operas.401": 0.06}, retry_after_seconds=0, heal_after=1))
    kills = killed_now_and_then(harvester, command, KILLS, 1.6)
    assert kills > 3
    run = harvester(*command)
    assert run.returncode == 0, run.stderr[-2000:]
    check(harvester, sandbox, made, "dois.registration")
    sent, most = len(posts(sandbox)), most_posts(sandbox, made, kills, kills + 1)
    print(f"{kills} kills, {sandbox.operas.tokens_issued} tokens, {sandbox.log.faults}, {sent} POSTs of {most}")  # noqa: T201
    assert sandbox.log.faults["operas 401"]
    assert sent <= most
    sandbox.set_faults(Faults())
    sends_nothing_again(harvester, sandbox, command)


def test_a_harvest_that_registers_holds_it_too_through_kills(harvester: Tool, sandbox: Sandbox) -> None:
    made = listed(DOIS // 2, PREFIXES[:1])
    command = ["run", made.write(harvester), "--url-column", "url", "-o", "out.jsonl", "--register", "--quiet"]
    kills = killed_now_and_then(harvester, command, 8, 1.5)
    run = harvester(*command)
    assert run.returncode == 0, run.stderr[-2000:]
    check(harvester, sandbox, made, "out")
    sent, most = len(posts(sandbox)), most_posts(sandbox, made, kills, kills + 1)
    print(f"{kills} kills, {sent} POSTs of {most}")  # noqa: T201 - shown with -s
    assert sent <= most
    assert harvester("verify", "out.jsonl").returncode == 0
    sends_nothing_again(harvester, sandbox, command)


@pytest.mark.parametrize("trouble", ["503", "refuse", "500 to everything", "a wrong 413"])
def test_an_outage_in_between_rejects_nobody(harvester: Tool, sandbox: Sandbox, trouble: str) -> None:
    """Not even one in which everything is answered as if it were refused."""
    made = listed(400)
    command = ["register", made.write(harvester), "--quiet"]
    harvester.extra |= {"HARVESTER_PAPERBUZZ__PATIENCE": "0.3", "HARVESTER_OPERAS__RATE": "40"}
    process = harvester.start(*command)
    wait_until(lambda: len(posts(sandbox)) > 5)
    if trouble in ("503", "refuse"):
        sandbox.set_outage("operas", "503" if trouble == "503" else "refuse")
    else:
        sandbox.set_faults(Faults({"operas.500" if trouble.startswith("500") else "operas.413": 1.0}))
    assert process.wait(60) == 69
    assert sum(each["http_status"] is not None for each in harvester.lines("dois.registration.failures.jsonl")) <= 3
    sandbox.set_outage("operas", None)
    sandbox.set_faults(Faults())
    harvester.extra["HARVESTER_OPERAS__RATE"] = "100000"
    assert harvester(*command).returncode == 0
    check(harvester, sandbox, made, "dois.registration")
    sends_nothing_again(harvester, sandbox, command)


def test_the_first_doi_of_a_new_prefix_stays_registered_bare_if_its_urls_are_refused(
    harvester: Tool, sandbox: Sandbox
) -> None:
    """The only one that is both: registering cannot be undone, and what OPERAS refuses are its URLs (O12)."""
    made = List({"10.5555/ok-1": ["https://refused.example/1"], "10.5555/ok-2": ["https://press.example/2"]})
    assert harvester("register", made.write(harvester)).returncode == 0
    assert sandbox.operas.registered == {"10.5555/ok-1": (), "10.5555/ok-2": ("https://press.example/2",)}
    (failure,) = harvester.lines("dois.registration.failures.jsonl")
    assert (failure["doi"], failure["kind"], failure["http_status"]) == ("10.5555/ok-1", "rejected", 500)


def test_prefixes_of_nothing_but_refused_dois_come_to_an_end_within_the_bound(
    harvester: Tool, sandbox: Sandbox
) -> None:
    made = List({f"10.{7000 + number}/{number}-refused": [] for number in range(20)})
    made.bad = set(made.urls)
    made.urls = {"10.5555/ok-1": [], **made.urls}
    made.attached["10.5555/ok-1"] = ()
    assert harvester("register", made.write(harvester)).returncode == 0
    check(harvester, sandbox, made, "dois.registration")
    assert len(posts(sandbox)) <= 2 * 20 * (math.ceil(math.log2(21)) + 1) + 2


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
