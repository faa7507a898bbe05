"""`harvester run`, as its users see it: processes, files and real sockets, against the sandbox."""

import gzip
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import jsonschema
import pytest
import zstandard

from harvester.records.schema import failure_schema, result_schema, summary_schema
from harvester.sandbox.faults.rates import parse_faults
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.tool import Tool, dois, spoil

LISTED = ["10.5555/ok-1", "https://doi.org/10.5555/OK-1", "doi:10.5555/quiet-2", "", "not a doi", "10.5555/500-3"]


def balanced(summary: dict[str, int]) -> bool:
    lines = summary["works"] + summary["duplicates"] + summary["invalid"] + summary["blank"]
    works = summary["results"] + summary["failures"] + summary["pending"]
    return summary["lines"] == lines and summary["works"] == works


def test_every_line_of_the_list_is_accounted_for(harvester: Tool) -> None:
    run = harvester("run", harvester.write("dois.txt", LISTED), "-o", "out.jsonl")
    assert run.returncode == 0, run.stderr
    summary = harvester.summary()
    assert balanced(summary)
    counted = {
        name: summary[name] for name in ("lines", "works", "duplicates", "invalid", "blank", "results", "failures")
    }
    assert counted == {
        "lines": 6, "works": 3, "duplicates": 1, "invalid": 1, "blank": 1, "results": 2, "failures": 1,
    }  # fmt: skip


def test_records_failures_and_summary_follow_their_schemas(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", LISTED), "-o", "out.jsonl")
    for name, schema in (("out.jsonl", result_schema()), ("out.failures.jsonl", failure_schema())):
        lines = harvester.lines(name)
        assert lines
        for line in lines:
            jsonschema.validate(line, {**schema, "additionalProperties": False})
    jsonschema.validate(harvester.summary(), {**summary_schema(), "additionalProperties": False})


def test_a_record_is_the_servers_own_bytes(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", dois(5)), "-o", "out.jsonl")
    lines = (harvester.folder / "out.jsonl").read_bytes().splitlines()
    for line, record in zip(lines, harvester.lines("out.jsonl"), strict=True):
        body = line.partition(b'"paperbuzz":')[2][:-1]
        assert hashlib.sha256(body).hexdigest() == record["sha256"]
        assert record["paperbuzz"]["doi"] == record["doi"]


def test_a_failure_names_file_line_and_reason(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", LISTED), "-o", "out.jsonl")
    failures = {failure["origin"]: failure for failure in harvester.lines("out.failures.jsonl")}
    assert failures["dois.txt:5"]["kind"] == "invalid-doi"
    assert failures["dois.txt:5"]["input"] == "not a doi"
    assert failures["dois.txt:6"]["kind"] == "http"
    assert failures["dois.txt:6"]["http_status"] == 500


def test_the_same_command_again_says_so_and_asks_nothing(harvester: Tool, sandbox: Sandbox) -> None:
    command = ("run", harvester.write("dois.txt", LISTED), "-o", "out.jsonl")
    harvester(*command)
    before, asked = (harvester.folder / "out.jsonl").read_bytes(), len(list(sandbox.log))
    run = harvester(*command)
    assert run.returncode == 0
    assert "nothing was asked" in run.stderr
    assert (harvester.folder / "out.jsonl").read_bytes() == before
    assert len(list(sandbox.log)) == asked


def test_new_dois_in_a_finished_list_are_added(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", dois(5)), "-o", "out.jsonl")
    harvester("run", harvester.write("dois.txt", dois(9)), "-o", "out.jsonl")
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(9)
    assert not (harvester.folder / "out.jsonl.partial").exists()


def test_refetch_starts_over_and_keeps_the_old_output(harvester: Tool) -> None:
    command = ("run", harvester.write("dois.txt", dois(5)), "-o", "out.jsonl")
    harvester(*command)
    old = (harvester.folder / "out.jsonl").read_bytes()
    assert harvester(*command, "--refetch").returncode == 0
    assert (harvester.folder / "out.jsonl.1").read_bytes() == old
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(5)


def test_failed_dois_are_asked_again_on_request(harvester: Tool, sandbox: Sandbox) -> None:
    spoil(sandbox, *dois(3))
    command = ("run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl")
    assert harvester(*command).returncode == 0
    assert harvester.summary()["failures_by_kind"] == {"doi-mismatch": 3}
    spoil(sandbox)
    assert harvester(*command, "--retry-failed").returncode == 0
    assert harvester.summary()["failures"] == 0
    assert harvester.summary()["results"] == 3


def some_that_heal(harvester: Tool) -> list[str]:
    """A run in which one DOI failed that would not do so again, and one that always will."""
    spoil(harvester.sandbox, "10.5555/ok-7")
    assert harvester("run", harvester.write("dois.txt", ["10.5555/ok-7"]), "-o", "out.jsonl").returncode == 0
    spoil(harvester.sandbox)
    listed = ["10.5555/ok-7", "10.5555/ok-1", "10.5555/ok-1", "", "not a doi", "10.5555/500-3"]
    assert harvester("run", harvester.write("dois.txt", listed), "-o", "out.jsonl").returncode == 0
    assert harvester.summary()["failures"] == 2
    return listed


def test_only_what_failed_is_asked_again_and_no_list_is_needed(harvester: Tool) -> None:
    some_that_heal(harvester)
    (harvester.folder / "dois.txt").unlink()
    asked = len(list(harvester.sandbox.log.of("paperbuzz")))
    dry = harvester("run", "--only-failed", "-o", "out.jsonl", "--dry-run")
    assert "2 works failed and would be asked again" in dry.stderr
    again = harvester("run", "--only-failed", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    probes = {"/v0/", "10.5555/ok-1"}  # whether the service is down, for nothing else succeeds
    entries = list(harvester.sandbox.log.of("paperbuzz"))[asked:]
    assert {entry.doi for entry in entries} - probes == {"10.5555/500-3", "10.5555/ok-7"}
    assert [record["doi"] for record in harvester.lines("out.jsonl")] == ["10.5555/ok-1", "10.5555/ok-7"]
    assert {failure["doi"] for failure in harvester.lines("out.failures.jsonl")} == {None, "10.5555/500-3"}
    assert balanced(harvester.summary())
    assert harvester.summary()["lines"] == 6
    assert harvester("verify", "out.jsonl").returncode == 0


def test_the_history_of_a_doi_with_a_record_does_not_say_that_nothing_is_known(harvester: Tool) -> None:
    listed = ["10.5555/ok-1", "10.5555/500-3"]
    assert harvester("run", harvester.write("dois.txt", listed), "-o", "out.jsonl").returncode == 0
    said = {doi: harvester("history", doi, "out.jsonl").stderr for doi in (*listed, "10.5555/ok-2")}
    assert "has a record of 2" in said["10.5555/ok-1"]
    assert "has no record yet, it failed" in said["10.5555/500-3"]
    assert "is not in this ledger" in said["10.5555/ok-2"]


def test_a_retry_leaves_the_finished_output_and_the_reasons_of_failures_in_place(harvester: Tool) -> None:
    """Also if it is stopped, or killed, in the middle."""
    listed = some_that_heal(harvester)
    output, failures = harvester.folder / "out.jsonl", harvester.lines("out.failures.jsonl")
    before = output.read_bytes()
    harvester.sandbox.set_outage("paperbuzz")
    process = harvester.start("run", harvester.write("dois.txt", listed), "-o", "out.jsonl", "--retry-failed")
    wait_for(lambda: (harvester.folder / "out.jsonl.partial").exists())
    assert (output.read_bytes(), harvester.summary()["failures"]) == (before, 2)
    process.kill()
    process.wait()
    assert output.read_bytes() == before
    assert harvester("verify", "out.jsonl", "--deep").returncode == 0
    assert json.loads(harvester("status", "out.jsonl", "--json").stdout)["failures"] == 2
    harvester.sandbox.set_outage("paperbuzz", None)
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    assert output.read_bytes() == before
    assert not (harvester.folder / "out.jsonl.partial").exists()
    assert harvester.lines("out.failures.jsonl") == failures
    assert harvester("run", "dois.txt", "-o", "out.jsonl", "--retry-failed").returncode == 0
    assert [record["doi"] for record in harvester.lines("out.jsonl")] == ["10.5555/ok-1", "10.5555/ok-7"]


def test_what_was_never_asked_stays_so_when_only_failed_ones_are_wanted(harvester: Tool) -> None:
    listed = some_that_heal(harvester)
    harvester.write("dois.txt", [*listed, "10.5555/ok-9"])
    again = harvester("run", "dois.txt", "--only-failed", "-o", "out.jsonl")
    assert again.returncode == 4, again.stderr
    assert "without --only-failed" in again.stderr
    assert harvester.summary()["pending"] == 1
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    assert [record["doi"] for record in harvester.lines("out.jsonl")][-1] == "10.5555/ok-9"


def test_failed_ones_stay_failed_until_they_have_another_outcome(harvester: Tool) -> None:
    some_that_heal(harvester)
    harvester.sandbox.set_outage("paperbuzz")
    harvester.extra["HARVESTER_PAPERBUZZ__PATIENCE"] = "1 s"
    again = harvester("run", "--only-failed", "-o", "out.jsonl")
    assert again.returncode == 69, again.stderr
    assert harvester.summary()["failures"] == 2
    assert balanced(harvester.summary())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-o", "nowhere.jsonl"], 66),
        (["-o", "-"], 2),
        (["-o", "out.jsonl", "--refetch"], 2),
        (["-o", "out.jsonl", "--retry-failed"], 2),
        (["-o", "{date}.jsonl"], 2),
        (["-o", f"{'n' * 300}.jsonl"], 74),
        (["-o", "out.jsonl", "--ledger", f"{'n' * 300}"], 74),
    ],
)
def test_only_failed_says_what_it_needs(harvester: Tool, arguments: list[str], code: int) -> None:
    told = harvester("run", "--only-failed", *arguments)
    assert told.returncode == code, told.stderr
    assert "Traceback" not in told.stderr
    assert not list(harvester.folder.glob("nowhere*"))


def killed_while_reading(harvester: Tool, listed: list[str]) -> None:
    harvester.extra["HARVESTER_FAILPOINT"] = "enrol:1"
    assert harvester("run", harvester.write("dois.txt", listed), "-o", "out.jsonl").returncode == -9
    del harvester.extra["HARVESTER_FAILPOINT"]


def test_where_no_list_was_read_to_its_end_nothing_is_known_to_have_failed(harvester: Tool) -> None:
    killed_while_reading(harvester, dois(20))
    told = harvester("run", "--only-failed", "-o", "out.jsonl")
    assert told.returncode == 66
    assert "never read to its end" in told.stderr
    assert not (harvester.folder / "out.jsonl").exists()


def test_invalid_lines_of_a_reading_that_was_cut_off_are_not_counted_twice(harvester: Tool) -> None:
    listed = some_that_heal(harvester)
    killed_while_reading(harvester, [*listed, "10.5555/ok-9"])
    assert harvester("run", "--only-failed", "-o", "out.jsonl").returncode in (0, 4)
    assert harvester.summary()["invalid"] == 1
    assert [failure["doi"] for failure in harvester.lines("out.failures.jsonl")].count(None) == 1


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst"])
def test_compressed_output_reads_as_one_file(harvester: Tool, ending: str) -> None:
    assert harvester("run", harvester.write("dois.txt", dois(250)), "-o", f"out.{ending}").returncode == 0
    packed = (harvester.folder / f"out.{ending}").read_bytes()
    if ending.endswith("gz"):
        plain = gzip.decompress(packed)
    else:
        plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True).read()
    assert plain.count(b"\n") == 250


def test_stdout_gets_records_and_nothing_else(harvester: Tool) -> None:
    run = harvester("run", "-", "-o", "-", given="\n".join(dois(3)))
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 3
    assert [path.name for path in harvester.folder.iterdir()] == ["state"]


def test_a_closed_pipe_ends_the_run_quietly(harvester: Tool) -> None:
    harvester.write("dois.txt", dois(2000))
    process = harvester.start("run", "dois.txt", "-o", "-")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 4
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "missing.txt", "-o", "out.jsonl"), 66, "missing.txt"),
        (("run", "none*.txt", "-o", "out.jsonl"), 66, "none*.txt"),
        (("run", "words.txt", "-o", "out.jsonl"), 65, "no DOI"),
        (("run", "dois.txt", "-o", "nowhere/out.jsonl"), 78, "does not exist"),
        (("run", "dois.txt", "-o", "out.csv"), 2, ".jsonl"),
        (("run", "dois.txt"), 2, "-o"),
        (("run", "dois.txt", "-o", "out.jsonl", "--config", "typo.toml"), 78, "rate"),
        (("run", "dois.txt", "-o", "out.jsonl", "--paperbuzz-base-url", "http://api.example"), 78, "https"),
        (("run", "columns.csv", "-o", "out.jsonl"), 65, "old_doi, new_doi"),
        (("status", "out.jsonl"), 66, "out.ledger"),
    ],
)
def test_bad_input_gets_a_clear_error_and_asks_nothing(
    harvester: Tool, sandbox: Sandbox, arguments: tuple[str, ...], code: int, said: str
) -> None:
    harvester.write("dois.txt", dois(2))
    harvester.write("words.txt", ["nothing", "here"])
    harvester.write("typo.toml", ["[paperbuzz]", "rates = 3"])
    harvester.write("columns.csv", ["old_doi,new_doi", "10.5555/a,10.5555/b"])
    run = harvester(*arguments)
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(sandbox.log)


def test_a_missing_e_mail_address_is_told_with_all_its_names(harvester: Tool) -> None:
    harvester.write("dois.txt", dois(2))
    harvester.without.append("HARVESTER_PAPERBUZZ__EMAIL")
    run = harvester("run", "dois.txt", "-o", "out.jsonl")
    assert run.returncode == 78
    assert "--email" in run.stderr
    assert "HARVESTER_PAPERBUZZ__EMAIL" in run.stderr


def test_an_output_of_somebody_else_is_never_touched(harvester: Tool) -> None:
    (harvester.folder / "out.jsonl").write_text("precious\n")
    run = harvester("run", harvester.write("dois.txt", dois(2)), "-o", "out.jsonl")
    assert run.returncode == 2
    assert (harvester.folder / "out.jsonl").read_text() == "precious\n"


def test_an_output_that_was_cut_behind_our_back_is_refused(harvester: Tool) -> None:
    command = ("run", harvester.write("dois.txt", dois(5)), "-o", "out.jsonl")
    harvester(*command)
    with (harvester.folder / "out.jsonl").open("rb+") as file:
        file.truncate(100)
    run = harvester(*command)
    assert run.returncode == 70
    assert "--refetch" in run.stderr


def test_a_second_run_at_the_same_time_exits_11_and_changes_nothing(harvester: Tool, sandbox: Sandbox) -> None:
    sandbox.latency_seconds = 0.2
    harvester.write("dois.txt", dois(100))
    first = harvester.start("run", "dois.txt", "-o", "out.jsonl")
    wait_for(lambda: len(list(sandbox.log)) > 3)
    second = harvester("run", "dois.txt", "-o", "out.jsonl")
    assert second.returncode == 11, second.stderr
    sandbox.latency_seconds = 0
    assert first.wait(60) == 0
    assert len(harvester.lines("out.jsonl")) == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_the_same_command_goes_on(harvester: Tool, sandbox: Sandbox, number: int) -> None:
    sandbox.latency_seconds = 0.05
    harvester.write("dois.txt", dois(400))
    process = harvester.start("run", "dois.txt", "-o", "out.jsonl")
    wait_for(lambda: len(list(sandbox.log)) > 20)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    summary = harvester.summary()
    assert balanced(summary)
    assert 0 < summary["results"] < 400
    sandbox.latency_seconds = 0
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(400)
    assert max(Counter(entry.doi for entry in sandbox.log).values()) == 1


def test_kill_9_at_any_instant_loses_nothing_and_doubles_nothing(harvester: Tool, sandbox: Sandbox) -> None:
    chance = random.Random(11)
    harvester.write("dois.txt", dois(3000))
    kills = 0
    while True:
        process = harvester.start("run", "dois.txt", "-o", "out.jsonl", "--register", "--quiet")
        try:
            code = process.wait(0.45 + chance.random() * 0.6) if kills < 10 else process.wait(100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        assert code == 0
        break
    assert kills > 2
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(3000)
    asked = len(list(sandbox.log.of("paperbuzz")))
    assert asked - 3000 <= kills * (8 + 200)
    assert len(sandbox.operas.registered) == 3000


def test_wrong_credentials_are_told_before_the_first_fetch(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_OPERAS__PASSWORD"] = "wrong-canary"
    run = harvester("run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl", "--register")
    assert run.returncode == 12
    assert "HARVESTER_OPERAS__PASSWORD" in run.stderr
    assert "canary" not in run.stderr
    assert not list(sandbox.log.of("paperbuzz"))


def test_an_account_that_is_not_approved_gets_its_own_message(harvester: Tool) -> None:
    harvester.extra["HARVESTER_OPERAS__EMAIL"] = "unapproved@example.org"
    run = harvester("run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl", "--register")
    assert run.returncode == 12
    assert "approved" in run.stderr


def test_what_was_harvested_is_registered_with_its_urls(harvester: Tool, sandbox: Sandbox) -> None:
    listed = [
        "doi,url",
        "10.5555/ok-1,https://press.example.org/1",
        "10.5334/ok-2,https://press.example.org/2",
        "10.5555/500-3,",
    ]
    run = harvester("run", harvester.write("dois.csv", listed), "-o", "out.jsonl", "--register")
    assert run.returncode == 0, run.stderr
    assert {doi: sorted(urls) for doi, urls in sandbox.operas.registered.items()} == {
        "10.5555/ok-1": ["https://press.example.org/1"],
        "10.5334/ok-2": ["https://press.example.org/2"],
    }
    assert harvester.summary()["registered"] == 2


def test_nothing_is_registered_unless_asked_for(harvester: Tool, sandbox: Sandbox) -> None:
    harvester("run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl")
    assert not sandbox.operas.registered
    assert not list(sandbox.log.of("operas"))


def test_a_doi_that_operas_refuses_is_a_result_and_a_rejection(harvester: Tool) -> None:
    harvester.extra["HARVESTER_OPERAS__REGISTER_EMPTY"] = "true"  # its record is empty
    run = harvester(
        "run", harvester.write("dois.txt", ["10.5555/ok-1", "10.978.8898392/315"]), "-o", "out.jsonl", "--register"
    )
    assert run.returncode == 0, run.stderr
    summary = harvester.summary()
    assert (summary["results"], summary["failures"], summary["registered"], summary["rejected"]) == (2, 0, 1, 1)
    rejected = [failure for failure in harvester.lines("out.failures.jsonl") if failure["stage"] == "register"]
    assert [failure["kind"] for failure in rejected] == ["rejected"]


def test_urls_of_the_record_are_registered_on_request(harvester: Tool, sandbox: Sandbox) -> None:
    run = harvester(
        "run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl", "--register", "--urls-from-metadata"
    )
    assert run.returncode == 0, run.stderr
    assert all(sandbox.operas.registered.values())


def test_an_outage_from_the_start_ends_with_69_and_writes_nothing_off(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_PAPERBUZZ__PATIENCE"] = "3 s"
    sandbox.set_outage("paperbuzz", "503")
    command = ("run", harvester.write("dois.txt", dois(200)), "-o", "out.jsonl")
    run = harvester(*command)
    assert run.returncode == 69, run.stderr
    summary = harvester.summary()
    assert (summary["pending"], summary["failures"]) == (200, 0)
    assert summary["requests"]["paperbuzz"] < 30
    sandbox.set_outage("paperbuzz", None)
    assert harvester(*command).returncode == 0
    assert len(harvester.lines("out.jsonl")) == 200


def test_every_fault_at_once_costs_no_doi_its_record(harvester: Tool, sandbox: Sandbox) -> None:
    """Passing faults are outlived; what the servers answer for good is a failure with its reason."""
    sandbox.set_faults(parse_faults("all=0.05,retry-after=0,slow-seconds=0.1"))
    harvester.write("dois.txt", dois(300))
    run = harvester("run", "dois.txt", "-o", "out.jsonl", "--register", "--concurrency", "16")
    summary = harvester.summary()
    assert run.returncode == 0, run.stderr
    assert balanced(summary)
    assert summary["pending"] == 0
    found = [record["doi"] for record in harvester.lines("out.jsonl")]
    failed = [failure["doi"] for failure in harvester.lines("out.failures.jsonl") if failure["stage"] == "fetch"]
    assert sorted(found + failed) == dois(300)


def test_no_secret_is_written_anywhere(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_LOG__LEVEL"] = "debug"
    sandbox.set_faults(parse_faults("all=0.05,retry-after=0,slow-seconds=0.1"))
    run = harvester("run", harvester.write("dois.txt", dois(100)), "-o", "out.jsonl", "--register")
    written = run.stdout + run.stderr
    for path in harvester.folder.rglob("*"):
        if path.is_file() and "state" not in path.parts:
            written += path.read_bytes().decode("latin-1")
    assert "demo@example.org" not in written
    assert "demo%40example.org" not in written
    assert "eyJ" not in written


def test_the_daily_budget_stops_the_run_and_says_when_to_come_again(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_PAPERBUZZ__DAILY_BUDGET"] = "50"
    harvester.write("dois.txt", dois(80))
    run = harvester("run", "dois.txt", "-o", "out.jsonl")
    assert run.returncode == 4, run.stderr
    assert "UTC" in run.stderr
    assert len(list(sandbox.log.of("paperbuzz"))) == 50
    assert harvester.summary()["results"] == 50


def test_the_rate_holds_in_every_window(harvester: Tool, sandbox: Sandbox) -> None:
    harvester("run", harvester.write("dois.txt", dois(60)), "-o", "out.jsonl", "--rate", "40")
    assert not sandbox.rate_violations(40, 1, slack_seconds=0.05)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(harvester: Tool, sandbox: Sandbox) -> None:
    run = harvester("run", harvester.write("dois.txt", dois(30)), "-o", "out.jsonl", "--dry-run", "--rate", "10")
    assert run.returncode == 0
    assert "30 works would be asked" in run.stderr
    assert not list(sandbox.log)
    assert [path.name for path in harvester.folder.iterdir()] == ["dois.txt"]


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


# What reviewers found


def test_registering_a_list_alone_ends_well_and_says_so_again(harvester: Tool, sandbox: Sandbox) -> None:
    listed = harvester.write("dois.txt", dois(3))
    assert harvester("register", listed).returncode == 0
    again = harvester("register", listed)
    assert again.returncode == 0
    assert "registered before" in again.stderr
    assert len(sandbox.operas.registered) == 3


def test_a_list_that_shrinks_does_not_unregister(harvester: Tool) -> None:
    harvester("register", harvester.write("dois.txt", dois(5)))
    harvester("register", harvester.write("dois.txt", dois(2)))
    posts = len(list(harvester.sandbox.log.of("operas")))
    assert harvester("register", harvester.write("dois.txt", dois(5))).returncode == 0
    assert len(list(harvester.sandbox.log.of("operas"))) == posts


def test_records_of_two_services_are_not_mixed(harvester: Tool) -> None:
    command = ["run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl"]
    assert harvester(*command).returncode == 0
    with run_in_thread(SandboxOptions()) as other:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = other.paperbuzz_url
        refused = harvester(*command)
        assert refused.returncode == 78
        assert "--refetch" in refused.stderr
        assert harvester(*command, "--refetch").returncode == 0
        assert len(list(other.log.of("paperbuzz"))) == 3


def test_two_runs_into_one_output_are_refused_whatever_their_ledgers(harvester: Tool, sandbox: Sandbox) -> None:
    sandbox.latency_seconds = 0.3
    command = ["run", harvester.write("dois.txt", dois(40)), "-o", "out.jsonl"]
    first = harvester.start(*command)
    while not (harvester.folder / "out.jsonl.partial").exists():
        time.sleep(0.02)
    second = harvester(*command, "--ledger", "other.ledger")
    assert second.returncode == 2
    assert "out.jsonl.partial" in second.stderr
    assert first.wait(60) == 0
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(40)


@pytest.mark.parametrize("flags", [["--failures", "dois.txt"], ["--ledger", "dois.txt"], ["--failures", "out.ledger"]])
def test_no_file_is_two_things(harvester: Tool, flags: list[str]) -> None:
    listed = harvester.write("dois.txt", dois(2))
    refused = harvester("run", listed, "-o", "out.jsonl", *flags)
    assert refused.returncode == 2
    assert (harvester.folder / listed).read_text() == "\n".join(dois(2)) + "\n"


def test_what_fails_in_a_pipe_is_told_on_stderr(harvester: Tool) -> None:
    run = harvester("run", "-", "-o", "-", "--quiet", given="10.5555/ok-1\n10.5555/500\nnot a doi\n")
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 1
    assert "-:2: the server answers 500" in run.stderr
    assert "-:3: " in run.stderr


def test_registration_from_a_pipe_needs_a_ledger(harvester: Tool, sandbox: Sandbox) -> None:
    run = harvester("run", "-", "-o", "-", "--register", given="10.5555/ok-1\n")
    assert run.returncode == 2
    assert "--ledger" in run.stderr
    assert not list(sandbox.log)


def test_what_waits_is_registered_although_the_budget_is_used_up(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_PAPERBUZZ__DAILY_BUDGET"] = "20"
    listed = harvester.write("dois.txt", dois(40))
    assert harvester("run", listed, "-o", "out.jsonl", "--register").returncode == 4
    assert len(sandbox.operas.registered) == 20
    assert harvester.summary()["registration_pending"] == 0


def test_no_request_is_begun_after_a_stop(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_PAPERBUZZ__RATE"] = "4"
    process = harvester.start("run", harvester.write("dois.txt", dois(100)), "-o", "out.jsonl")
    while len(list(sandbox.log.of("paperbuzz"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    asked = len(list(sandbox.log.of("paperbuzz")))
    assert process.wait(60) == 143
    assert len(list(sandbox.log.of("paperbuzz"))) <= asked + 1


def test_a_stop_ends_a_run_that_waits_for_standard_input(harvester: Tool) -> None:
    process = harvester.start("run", "-", "-o", "out.jsonl", stdin=subprocess.PIPE)
    while not (harvester.folder / "out.ledger").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


def test_wrong_credentials_leave_no_summary_that_says_all_is_well(harvester: Tool) -> None:
    listed = harvester.write("dois.txt", dois(2))
    assert harvester("run", listed, "-o", "out.jsonl").returncode == 0
    harvester.extra["HARVESTER_OPERAS__PASSWORD"] = "wrong"
    assert harvester("run", listed, "-o", "out.jsonl", "--register").returncode == 12
    assert harvester.summary()["exit"]["code"] == 12


def test_a_list_without_a_doi_leaves_nothing_but_the_lock(harvester: Tool) -> None:
    assert harvester("run", harvester.write("list.txt", ["nothing", "here"]), "-o", "out.jsonl").returncode == 65
    assert {path.name for path in harvester.folder.iterdir()} <= {"list.txt", "out.ledger.lock", "state"}


def test_a_reading_that_breaks_off_changes_nothing_that_is_told(harvester: Tool) -> None:
    whole = harvester.write("dois.txt", [*dois(5), "no doi"])
    harvester("run", whole, "-o", "out.jsonl")
    before = harvester("status", "out.jsonl", "--json").stdout
    (harvester.folder / "cut.gz").write_bytes(gzip.compress("\n".join(dois(3)).encode())[:-9])
    assert harvester("run", "cut.gz", "-o", "out.jsonl").returncode == 65
    assert harvester("status", "out.jsonl", "--json").stdout == before
    assert harvester("run", whole, "-o", "out.jsonl").returncode == 0
    assert len(harvester.lines("out.failures.jsonl")) == 1


def test_looking_leaves_no_files_behind(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", dois(3)), "-o", "out.jsonl")
    files = sorted(path.name for path in harvester.folder.iterdir())
    harvester("status", "out.jsonl")
    harvester("run", "dois.txt", "-o", "out.jsonl", "--dry-run")
    assert sorted(path.name for path in harvester.folder.iterdir()) == files


def test_a_missing_password_is_found_without_the_network(harvester: Tool) -> None:
    harvester.without.append("HARVESTER_OPERAS__PASSWORD")
    checked = harvester("check", "--offline", "--register")
    assert checked.returncode == 78
    assert "HARVESTER_OPERAS__PASSWORD" in checked.stdout


def test_a_closed_standard_input_is_no_bug(harvester: Tool) -> None:
    listed = harvester.write("dois.txt", dois(2))
    line = f"{sys.executable} -m harvester run {listed} -o out.jsonl <&-"
    run = subprocess.run(["/bin/bash", "-c", line], cwd=harvester.folder, env=harvester.environment, check=False)
    assert run.returncode == 0


def test_debug_logs_tell_of_each_attempt_that_fails(harvester: Tool) -> None:
    listed = harvester.write("dois.txt", ["10.5555/heals-502", "10.5555/ok-1"])
    run = harvester("run", listed, "-o", "out.jsonl", "--log-level", "debug")
    assert run.returncode == 0
    assert "attempt 1 failed: the server answers 502" in run.stderr


def test_failures_are_listed_from_the_ledger_and_can_be_chosen(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", LISTED), "-o", "out.jsonl")
    listed = harvester("failures", "out.jsonl").stdout
    assert listed == (harvester.folder / "out.failures.jsonl").read_text(encoding="utf-8")
    fetched = harvester("failures", "out.ledger", "--stage", "fetch").stdout
    assert [json.loads(line)["kind"] for line in fetched.splitlines()] == ["http"]
    assert harvester("failures", "out.jsonl", "--kind", "timeout").stdout == ""
    assert harvester("failures", "nowhere.jsonl").returncode == 66


def test_whoever_reads_data_may_go_away(harvester: Tool) -> None:
    harvester("run", harvester.write("dois.txt", ["no doi"] * 5000 + dois(1)), "-o", "out.jsonl")
    line = f"{sys.executable} -m harvester failures out.jsonl | head -n 1"
    shell = ["/bin/bash", "-c", line]
    run = subprocess.run(shell, cwd=harvester.folder, env=harvester.environment, capture_output=True, check=False)
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == b""


def test_a_password_that_is_no_text_is_refused_in_words(harvester: Tool) -> None:
    environment = {name.encode(): value.encode() for name, value in harvester.environment.items()}
    environment[b"HARVESTER_OPERAS__PASSWORD"] = b"can\xffary"
    command = [sys.executable, "-m", "harvester", "run", harvester.write("dois.txt", dois(1)), "-o", "o.jsonl"]
    run = subprocess.run(
        [*command, "--register"], cwd=harvester.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 78
    assert "HARVESTER_OPERAS__PASSWORD" in run.stderr
    assert "ary" not in run.stderr.replace("HARVESTER", "")


def test_check_names_a_folder_of_the_metrics_that_is_missing(harvester: Tool) -> None:
    harvester.extra["HARVESTER_METRICS__TEXTFILE"] = str(harvester.folder / "missing" / "harvester.prom")
    checked = harvester("check", "--offline")
    assert checked.returncode == 78
    assert "[metrics] textfile" in checked.stdout + checked.stderr
