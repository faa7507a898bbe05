"""Each command, with each standard stream closed or full: it ends with the right code and in words.

Whoever prints data and cannot says so with 74. Whoever cannot say anything on stderr does its work all the same. All
commands with all streams: `HARVESTER_STREAMS=all pytest tests/cli/test_streams.py`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harvester.cli import COMMANDS
from harvester.core.errors import DiskFailed, PipeClosed
from harvester.sandbox.run import run_in_thread
from tests.tool import Tool, dois

NIGHTS = '[input]\nfiles = ["dois.txt"]\n[output]\npath = "nights/{run_id}.jsonl"\n[ledger]\npath = "nights/n.ledger"'


@dataclass(frozen=True)
class Case:
    """A command as it is typed.

    Args:
        arguments: of it.
        prints: whether it has data for stdout.
    """

    arguments: tuple[str, ...]
    prints: bool = True


CASES = (
    Case(("--help",)),
    Case(("--version",)),
    Case(("run", "dois.txt", "-o", "out.jsonl", "--refetch"), prints=False),
    Case(("run", "dois.txt", "-o", "other.jsonl", "--dry-run"), prints=False),
    Case(("run", "dois.txt", "-o", "-", "--quiet")),
    Case(("nightly", "-c", "n.toml"), prints=False),
    Case(("register", "dois.txt"), prints=False),
    Case(("registered",)),
    Case(("lists", "dois.txt")),
    Case(("check", "--offline")),
    Case(("status", "kept.jsonl")),
    Case(("plan", "-c", "n.toml")),
    Case(("history", "10.5555/ok-00000", "nights/n.ledger")),
    Case(("failures", "kept.jsonl")),
    Case(("verify", "kept.jsonl")),
    Case(("recover", "kept.jsonl")),
    Case(("config", "show")),
    Case(("schedule", "github-actions", "-c", "s.toml")),
    Case(("schema",)),
    Case(("completion", "bash")),
)

STREAMS = {
    "stdout closed": '"$@" >&-',
    "stdout full": '"$@" >/dev/full',
    "stderr closed": '"$@" 2>&-',
    "stderr full": '"$@" 2>/dev/full',
    "all closed": '"$@" <&- >&- 2>&-',
}
"""How a shell starts a command."""


@contextmanager
def a_folder(tmp_path: Path) -> Iterator[Tool]:
    """A folder in which every command has something to do."""
    with run_in_thread() as sandbox:
        tool = Tool(tmp_path, sandbox)
        tool.write("dois.txt", [*dois(3), "no doi"])
        (tmp_path / "nights").mkdir()
        tool.write("n.toml", [NIGHTS])
        tool.write("s.toml", ['[paperbuzz]\nemail = "you@press.example"', NIGHTS])
        assert tool("run", "dois.txt", "-o", "kept.jsonl", "--register", "--quiet").returncode == 0
        assert tool("nightly", "-c", "n.toml", "--quiet").returncode == 0
        yield tool
        tool.close()


def started(tool: Tool, case: Case, streams: str) -> subprocess.CompletedProcess[str]:
    shell = ["/bin/sh", "-c", STREAMS[streams], "sh", sys.executable, "-m", "harvester"]
    environment = tool.environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [*shell, *case.arguments],
        cwd=tool.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def cases(streams: str) -> list[Case]:
    """The commands for which these streams may make a difference; all of them where `HARVESTER_STREAMS` is set."""
    if os.environ.get("HARVESTER_STREAMS"):
        return [*CASES, Case(("demo", "--rate", "10000"), prints=False)]
    return [case for case in CASES if case.prints == ("stdout" in streams)]


def complaints(tool: Tool, case: Case, streams: str) -> list[str]:
    """What is wrong with how a command ended."""
    ended = started(tool, case, streams)
    fails = case.prints and ("stdout" in streams or streams == "all closed")
    wrong = [f"code {ended.returncode}"] if ended.returncode != (DiskFailed.exit_code if fails else 0) else []
    if fails and "stdout" in streams and "stdout" not in ended.stderr:
        wrong.append("it does not say what was wrong")
    if "Traceback" in ended.stderr or "Exception" in ended.stderr:
        wrong.append("a traceback")
    return [f"{streams}: {' '.join(case.arguments)}: {what}\n{ended.stderr}" for what in wrong]


@pytest.mark.parametrize("streams", STREAMS)
def test_every_command_ends_in_words_whatever_its_streams_are(streams: str, tmp_path: Path) -> None:
    with a_folder(tmp_path) as tool, ThreadPoolExecutor(2) as pool:
        wrong = [
            each for found in pool.map(lambda case: complaints(tool, case, streams), cases(streams)) for each in found
        ]
    assert not wrong, "\n".join(wrong)


def test_no_command_is_left_out() -> None:
    assert {case.arguments[0] for case in CASES if case.arguments[0][0] != "-"} == COMMANDS.keys() - {"sandbox", "demo"}


def test_records_for_a_closed_stdout_are_not_even_asked_for(tmp_path: Path) -> None:
    with run_in_thread() as sandbox:
        tool = Tool(tmp_path, sandbox)
        tool.write("dois.txt", dois(3))
        ended = started(tool, Case(("run", "dois.txt", "-o", "-")), "stdout closed")
        assert ended.returncode == DiskFailed.exit_code
        assert "Nothing was asked" in ended.stderr
        assert not list(sandbox.log)


def test_a_closed_stdout_is_told_even_if_there_is_nothing_to_print(tmp_path: Path) -> None:
    with run_in_thread() as sandbox:
        tool = Tool(tmp_path, sandbox)
        tool.write("dois.txt", dois(1))
        assert tool("run", "dois.txt", "-o", "out.jsonl").returncode == 0
        assert started(tool, Case(("failures", "out.jsonl")), "stdout closed").returncode == DiskFailed.exit_code


def test_a_file_of_ours_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What is written to such a stream would else stand in the ledger or in the output."""
    with run_in_thread() as sandbox:
        tool = Tool(tmp_path, sandbox, {"PYTHONFAULTHANDLER": "1"})
        tool.write("dois.txt", dois(30))
        assert started(tool, Case(("run", "dois.txt", "-o", "out.jsonl")), "all closed").returncode == 0
        assert tool("verify", "out.jsonl", "--deep").returncode == 0


@pytest.mark.parametrize("arguments", [("schema",), ("--help",), ("failures", "out.jsonl")])
def test_a_reader_that_went_away_is_told_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with run_in_thread() as sandbox:
        tool = Tool(tmp_path, sandbox)
        tool.write("dois.txt", [*dois(1), *["no doi"] * 2000])
        assert arguments[0] != "failures" or tool("run", "dois.txt", "-o", "out.jsonl").returncode == 0
        reader, writer = os.pipe()
        os.close(reader)
        process = tool.start(*arguments, stdout=writer)
        os.close(writer)
        said = process.communicate(timeout=60)[1]
        tool.close()
    assert (process.returncode, said) == (PipeClosed.exit_code, "")
