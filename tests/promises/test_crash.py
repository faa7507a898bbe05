"""Promises G1 to G4 through kill -9: at each named place, in recovery, and at random instants.

A kill costs time, never a record: whatever was killed wherever, the same command again ends with each DOI exactly once.
Larger: `HARVESTER_CRASH_DOIS=200000 HARVESTER_CRASH_KILLS=1500 pytest tests/promises/test_crash.py`.
"""

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harvester.core.failpoint import FAILPOINTS, VARIABLE
from harvester.harvest.pipeline import UNCOMMITTED
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.verify.gather import gather
from tests.oracle import violations
from tests.tool import Tool, dois, spoil

DOIS = int(os.environ.get("HARVESTER_CRASH_DOIS", "20000"))
KILLS = int(os.environ.get("HARVESTER_CRASH_KILLS", "150"))
CONCURRENCY = 8
KILLED = -signal.SIGKILL


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as running:
        yield running


def run_until(harvester: Tool, place: str, *command: str) -> int:
    """Run with a failpoint; returns the exit code."""
    harvester.extra[VARIABLE] = place
    code = harvester(*command).returncode
    del harvester.extra[VARIABLE]
    return code


def check(harvester: Tool, sandbox: Sandbox, listed: Sequence[str], output: str, kills: int) -> None:
    """Each DOI once, registered, all files in their places, and no more repeats than kills explain."""
    with gather(harvester.folder / output, deep=True) as evidence:
        assert violations(evidence) == []
    assert sorted(work["doi"] for work in done_in(harvester, output)) == sorted(listed)
    assert set(sandbox.operas.registered) >= set(listed)
    answered = Counter(entry.doi for entry in sandbox.log.of("paperbuzz") if entry.status == 200)
    assert answered.total() - len(answered) <= kills * (CONCURRENCY + UNCOMMITTED)
    left = {path.name for path in harvester.folder.iterdir() if path.name.endswith((".partial", ".new"))}
    assert not left


def done_in(harvester: Tool, output: str) -> list[dict[str, Any]]:
    """The records of an output, unpacked by the tools people have, not by ours."""
    path = harvester.folder / output
    if path.suffix == ".jsonl":
        return harvester.lines(output)
    with (harvester.folder / "unpacked.jsonl").open("wb") as plain:
        subprocess.run(["gzip", "-dc", path], stdout=plain, check=True)  # noqa: S607 - wherever gzip is
    return harvester.lines("unpacked.jsonl")


@pytest.mark.parametrize(("passing", "output"), [(1, "out.jsonl"), (2, "out.jsonl.gz")])
@pytest.mark.parametrize("place", [name for name in FAILPOINTS if "truncate" not in name and name != "start-over"])
def test_a_kill_at_each_place_costs_nothing(
    harvester: Tool, sandbox: Sandbox, place: str, passing: int, output: str
) -> None:
    listed = dois(230)
    command = ["run", harvester.write("dois.txt", listed), "-o", output, "--register", "--quiet"]
    code = run_until(harvester, f"{place}:{passing}", *command)
    passed_once = place in ("enrol", "begin", "published")
    assert code == (0 if passed_once and passing > 1 else KILLED)
    assert harvester(*command).returncode == 0
    check(harvester, sandbox, listed, output, kills=1)


@pytest.mark.parametrize(
    "place", ["begin", "before-truncate", "after-truncate", "in-transaction", "mid-write", "enrol"]
)
@pytest.mark.parametrize("torn", ["mid-write", "after-sync"])
def test_a_recovery_may_be_killed_like_any_other_run(harvester: Tool, sandbox: Sandbox, torn: str, place: str) -> None:
    command = ["run", "dois.txt", "-o", "out.jsonl", "--register", "--quiet"]
    kills = 0
    for size, killed_at in ((230, torn), (231, place), (232, place)):
        listed = dois(size)  # a list that grows has to be read again
        harvester.write("dois.txt", listed)
        kills += run_until(harvester, killed_at, *command) == KILLED
    assert kills > 1
    assert harvester(*command).returncode == 0
    check(harvester, sandbox, listed, "out.jsonl", kills)


@pytest.mark.parametrize("place", ["start-over", "before-rename", "after-rename", "begin", "before-write", "published"])
def test_a_refetch_may_be_killed_and_goes_on(harvester: Tool, place: str) -> None:
    listed = dois(230)
    command = ["run", harvester.write("dois.txt", listed), "-o", "out.jsonl", "--register", "--quiet"]
    assert harvester(*command).returncode == 0
    old = (harvester.folder / "out.jsonl").read_bytes()
    assert run_until(harvester, place, *command, "--refetch") == KILLED
    assert harvester(*command, "--refetch").returncode == 0
    archived = [path for path in harvester.folder.glob("out.jsonl.*") if path.name != "out.jsonl.partial"]
    assert old in [path.read_bytes() for path in archived]
    assert {record["doi"] for record in harvester.lines("out.jsonl")} == set(listed)
    assert harvester("verify", "out.jsonl", "--deep").returncode == 0


@pytest.mark.parametrize("output", ["out.jsonl", "out.jsonl.gz"])
@pytest.mark.parametrize(
    "place",
    [
        *("begin", "before-rename", "after-rename", "before-write", "mid-write"),
        *("after-sync", "in-transaction", "after-commit", "published"),
    ],
)
def test_a_retry_may_be_killed_and_the_finished_output_keeps_its_name(
    harvester: Tool, sandbox: Sandbox, place: str, output: str
) -> None:
    listed = dois(30)
    command = ["run", harvester.write("dois.txt", listed), "-o", output, "--register", "--quiet"]
    spoil(sandbox, *listed[3:6])
    assert harvester(*command).returncode == 0
    spoil(sandbox)
    before = done_in(harvester, output)
    assert run_until(harvester, place, *command, "--retry-failed") == KILLED
    assert len(before) == 27
    assert done_in(harvester, output)[:27] == before
    assert harvester("verify", output, "--deep").returncode == 0
    assert harvester(*command, "--retry-failed").returncode == 0
    assert len(done_in(harvester, output)) == 30
    check(harvester, sandbox, listed, output, kills=1)


@pytest.mark.timeout(900)
def test_kills_at_random_instants_lose_nothing_double_nothing_and_cost_a_bounded_number_of_requests(
    harvester: Tool, sandbox: Sandbox
) -> None:
    chance = random.Random(7)
    listed = dois(DOIS)
    command = ["run", harvester.write("dois.txt", listed), "-o", "out.jsonl", "--register", "--quiet"]
    sandbox.latency_seconds = 0.02
    kills = 0
    while kills < KILLS:
        process = harvester.start(*command)
        try:
            assert process.wait(0.3 + chance.random() * 0.7) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    sandbox.latency_seconds = 0
    assert kills > KILLS // 2
    assert harvester(*command).returncode == 0
    check(harvester, sandbox, listed, "out.jsonl", kills)
    answered = Counter(entry.doi for entry in sandbox.log.of("paperbuzz") if entry.status == 200)
    print(f"{kills} kills, {answered.total() - len(answered)} repeats")  # noqa: T201 - shown with -s
