"""Promise G14: memory does not grow with the number of DOIs.

The peak of a whole process is measured, with a list of ten thousand DOIs and with one of a million: of a run that reads
its list and no more, of one that harvests until its daily budget is used up, and of one that goes on the next day. The
DOIs come in no order, which is the hard case for a ledger. Whole jobs of a million are measured by hand, see
`docs/performance.md`.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from tests.tool import Tool

FEW, MANY = 10_000, 1_000_000

BUDGET = 1_000
"""Requests after which a run ends."""

MOST_GROWTH = 1.2

PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A process of its own that is smaller than the tool: a child's peak is at least what its parent held."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both lists."""
    folder = tmp_path_factory.mktemp("lists")
    numbers = list(range(MANY))
    Random(1).shuffle(numbers)
    for size in (FEW, MANY):
        lines = (f"10.5555/ok-{number:07d}.of-a-usual-length\n" for number in numbers[:size])
        (folder / f"{size}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def harvester(folder: Path) -> Iterator[Tool]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(folder, sandbox, {"HARVESTER_PAPERBUZZ__DAILY_BUDGET": str(BUDGET)})
        yield tool
        tool.close()


def peak(harvester: Tool, size: int, *options: str, day: int = 1) -> int:
    """The most memory that a run over a list of a size ever held, in the unit of the system."""
    tool = [sys.executable, "-m", "harvester", "run", f"{size}.txt", "-o", f"{size}.jsonl", *options]
    command = [sys.executable, "-c", PEAK, *tool]
    environment = harvester.environment | {"XDG_STATE_HOME": str(harvester.folder / f"state-{size}-{day}")}
    done = subprocess.run(
        command, cwd=harvester.folder, env=environment, capture_output=True, text=True, check=True, timeout=110
    )
    code, most = map(int, done.stdout.split())
    assert code == (0 if "--dry-run" in options else 4)
    return most


def test_reading_a_million_dois_takes_hardly_more_memory_than_ten_thousand(harvester: Tool) -> None:
    assert peak(harvester, MANY, "--dry-run") < MOST_GROWTH * peak(harvester, FEW, "--dry-run")


@pytest.mark.parametrize("day", [1, 2])
def test_harvesting_from_a_million_and_going_on_with_it_does_neither(harvester: Tool, day: int) -> None:
    assert peak(harvester, MANY, day=day) < MOST_GROWTH * peak(harvester, FEW, day=day)
