"""Promise G13 in every command: one answer costs at most one failure, and what ended a run is not met first again.

Valid records in which everything is odd, and every fault of the sandbox at once, go through a run, two nights, another
try of what failed, and registration. Then there is a DOI that kills the process each time.

Larger: `HARVESTER_POISON_EXAMPLES=50 pytest tests/promises/test_poison.py`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harvester.core.doi import doi_path
from harvester.harvest.job import Mode
from harvester.harvest.registration import holdings, register
from harvester.harvest.run import run
from harvester.nightly.job import intervals
from harvester.nightly.retry import retry
from harvester.reports.summary import Summary
from harvester.sandbox.faults.rates import Faults, faults_of, parse_faults
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.service import ServiceName
from harvester.storage.paths import job_paths, ledger_paths
from harvester.verify.gather import gather
from tests.hostile import POISONS, hostile_records, record_of, scripted, sent_as
from tests.jobs import an_account, harvest_job, registration_job
from tests.nightly.test_nightly import Nights
from tests.oracle import violations
from tests.promises.test_hostile import NIGHTS
from tests.tool import PASSWORD, Tool, dois, records

GOOD = dois(20)
ODD = [f"10.5555/odd-{number}" for number in range(12)]


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        yield Nights(tmp_path, sandbox)


async def asked_again(nights: Nights, summary: Summary) -> Summary:
    """`harvester run --only-failed` on the ledger of the nights."""
    paths = job_paths(summary.files["output"], ledger=nights.settings.ledger.path)
    job = harvest_job(nights.settings, [], paths, mode=Mode.ONLY_FAILED)
    return await retry(job, intervals(nights.settings), nights.context, only_changed=False)


def assert_accounted_for(nights: Nights, summary: Summary, listed: Sequence[str], failing: int = 0) -> None:
    """Each DOI that was asked has its record, or a failure that names it; at most so many fail."""
    output = Path(summary.files["output"])
    failed = [failure["doi"] for failure in records(Path(summary.files["failures"]))]
    ended = [line["doi"] for line in records(output)] + failed
    assert len(ended) == len(set(ended)) == len(listed) - summary.figures.resting
    assert set(ended) <= set(listed)
    assert len(failed) <= failing
    assert (summary.exit.code, summary.figures.pending) == (0, 0)
    with gather(output, deep=True, ledger=nights.settings.ledger.path) as evidence:
        assert violations(evidence) == []


def served(of: dict[str, bytes]) -> dict[str, bytes]:
    """Answers with these records, and good ones for the rest of the list."""
    return {doi: sent_as(record, "plain") for doi, record in ({doi: record_of(doi) for doi in GOOD} | of).items()}


async def test_records_that_were_too_much_once_are_kept_by_runs_and_by_every_night(nights: Nights) -> None:
    poisoned = {f"10.5555/{name}": poison(f"10.5555/{name}") for name, poison in POISONS.items()}
    answers = served(poisoned)
    nights.listed(list(answers))
    with scripted(answers) as server:
        nights.more["paperbuzz.base_url"] = server.url
        for _ in range(3):
            assert_accounted_for(nights, await nights.night(), list(answers))
        job = harvest_job(nights.settings, [nights.folder / "dois.txt"], job_paths(str(nights.folder / "run.jsonl")))
        assert (await run(job, nights.context)).figures.results == len(answers)
    assert nights.warnings == []


@settings(
    max_examples=int(os.environ.get("HARVESTER_POISON_EXAMPLES", "3")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # to make an example smaller takes many nights
)
@given(st.data())
async def test_whatever_a_valid_record_holds_night_after_night_nothing_fails(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox, scripted(served({})) as server:
        nights = Nights(tmp_path_factory.mktemp("nights"), sandbox, more={"paperbuzz.base_url": server.url})
        nights.listed([*GOOD, *ODD])
        for _ in range(3):
            server.answers |= {doi_path(doi): sent_as(data.draw(hostile_records(doi)), "plain") for doi in ODD}
            assert_accounted_for(nights, await nights.night(), [*GOOD, *ODD])


def all_faults(service: ServiceName, share: float) -> Faults:
    """Every fault that the sandbox knows of a service, each at the same rate, so many in all."""
    names = faults_of(service)
    rates = [f"{service}.{name}={share / len(names)}" for name in names]
    return parse_faults(",".join([*rates, "retry-after=1,slow-seconds=0.1"]))


@pytest.mark.timeout(240)
async def test_every_fault_of_the_sandbox_costs_nights_at_most_a_failure_each(nights: Nights) -> None:
    listed = dois(150)
    nights.listed(listed)
    nights.more |= {"paperbuzz.timeout": 1.0, "paperbuzz.max_body": 2**21, "paperbuzz.patience": 36_000.0}
    for _ in range(2):
        nights.sandbox.set_faults(all_faults("paperbuzz", 0.3))
        summary = await nights.night()
        assert_accounted_for(nights, summary, listed, failing=50)
        nights.sandbox.set_faults(parse_faults(""))
        again = await asked_again(nights, summary)
        assert again.exit.code == 0
        assert again.figures.failures == 0


@pytest.mark.timeout(120)
async def test_every_fault_of_the_sandbox_leaves_registration_complete(nights: Nights) -> None:
    listed = dois(60)
    nights.listed(listed)
    nights.more |= {"operas.base_url": nights.sandbox.operas_url, "operas.email": "demo@example.org"}
    nights.more |= {"operas.rate": 500.0}
    nights.sandbox.set_faults(all_faults("operas", 0.4))
    lists, paths = [nights.folder / "dois.txt"], ledger_paths(nights.folder / "registration.ledger")
    summary = await register(registration_job(nights.settings, lists, paths, PASSWORD), nights.context)
    assert (summary.exit.code, summary.figures.registered) == (0, len(listed))
    nights.sandbox.set_faults(parse_faults(""))
    rows = await holdings(an_account(nights.settings, PASSWORD), nights.context)
    assert [row["raw"] for row in rows] == listed


# What ends a run

KILLER = "10.5555/ok-00004"

DEADLY = f"""
import os, signal
from harvester.cli import main
from harvester.providers import paperbuzz

read = paperbuzz.read_record

def deadly(doi, *arguments, **named):
    if doi == {KILLER!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(doi, *arguments, **named)

paperbuzz.read_record = deadly
main()
"""
"""harvester, where the record of one DOI kills the process, as a record that takes all memory would."""

MOST_CALLS = 8


def called(tool: Tool, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", DEADLY, *arguments],
        cwd=tool.folder,
        env=tool.environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def harvester(tmp_path: Path) -> Iterator[Tool]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(tmp_path, sandbox)
        yield tool
        tool.close()


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (("run", "dois.txt", "-o", "out.jsonl"), 80),
        (("nightly", "--config", "nights.toml"), 10),
    ],
    ids=["run", "nightly"],
)
def test_a_doi_that_kills_the_process_is_met_last_named_and_given_up(
    harvester: Tool, command: tuple[str, ...], count: int
) -> None:
    listed = dois(count)
    harvester.write("dois.txt", listed)
    harvester.write("nights.toml", NIGHTS)
    calls: list[subprocess.CompletedProcess[str]] = []
    left: list[int] = []
    while not calls or (calls[-1].returncode and len(calls) < MOST_CALLS):
        calls.append(called(harvester, *command))
        answered = {entry.doi for entry in harvester.sandbox.log.of("paperbuzz")} - {KILLER}
        left.append(len(listed) - 1 - len(answered))
    assert [call.returncode for call in calls] == [*[-signal.SIGKILL] * (len(calls) - 1), 0]
    assert len(calls) < MOST_CALLS
    assert left[3] == 0
    assert f"only {KILLER} (dois.txt:5) was in hand" in calls[-1].stderr
    [failure] = records(min(harvester.folder.glob("*.failures.jsonl")))
    assert (failure["doi"], failure["kind"]) == (KILLER, "internal")
    asked = [entry.doi for entry in harvester.sandbox.log.of("paperbuzz")]
    assert asked.count(KILLER) == len(calls) - 1


def test_an_orderly_end_leaves_nobody_suspected(harvester: Tool) -> None:
    harvester.write("dois.txt", dois(30))
    harvester.extra["HARVESTER_PAPERBUZZ__DAILY_BUDGET"] = "10"
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 4
    again = harvester("run", "dois.txt", "-o", "out.jsonl")
    assert "in hand" not in again.stderr
