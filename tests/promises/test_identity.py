"""Promises G2 and G6 when somebody touches the files: lock, ledger and output are known by what they are.

Whatever is deleted, replaced, edited, restored or rots, while a run goes on or between two: no run that lost a record
ends with 0, no two runs write beside each other, and there is a way back that works. The commands for backups are those
of the documents, run as they stand there.

`HARVESTER_FLIPS` says how many ledgers are damaged, 12 of each kind if it is not set; 300 take two minutes.
"""

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harvester.core.errors import StopRun
from harvester.nightly.job import nightly_job
from harvester.nightly.plan import plan
from harvester.nightly.run import nightly
from harvester.nightly.visits import visits_of
from harvester.recovery.recover import planned
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.storage.paths import paths_of
from harvester.storage.status import failures_of, status
from harvester.verify.checks import verdict
from harvester.verify.gather import gather
from tests.folders import ROOT
from tests.nightly.test_nightly import Nights
from tests.oracle import Input, violations
from tests.tool import Tool, dois
from tests.verify.test_verify import Desk

FLIPS = int(os.environ.get("HARVESTER_FLIPS", "12"))

LISTED = dois(60)

HOW_TO = (ROOT / "docs" / "how-to" / "nightly.md").read_text(encoding="utf-8")


@pytest.fixture
def slow(harvester: Tool, sandbox: Sandbox) -> Iterator[Tool]:
    """The tool, with a list that takes two seconds."""
    harvester.extra |= {"HARVESTER_PAPERBUZZ__RATE": "40", "HARVESTER_PAPERBUZZ__BURST": "1"}
    harvester.write("dois.txt", LISTED)
    yield harvester
    sandbox.latency_seconds = 0.0


RUN = ("run", "dois.txt", "-o", "out.jsonl", "--quiet")


def begun(tool: Tool) -> "subprocess.Popen[str]":
    """A run that has committed something."""
    process = tool.start(*RUN)
    partial = tool.folder / "out.jsonl.partial"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def held(tool: Tool) -> None:
    """Each DOI once, and all files as they should be."""
    with gather(tool.folder / "out.jsonl", deep=True) as evidence:
        assert violations(evidence, given=Input(LISTED)) == []


# While a run goes on


def test_two_runs_do_not_write_beside_each_other_though_the_lock_was_deleted(slow: Tool) -> None:
    first = begun(slow)
    (slow.folder / "out.ledger.lock").unlink()
    second = slow.start(*RUN)
    said = [each.communicate(timeout=60)[1] for each in (first, second)]
    assert first.returncode == 70
    assert "was deleted or replaced while this run went on" in said[0]
    assert second.returncode in (0, 11), said[1]
    assert slow(*RUN).returncode == 0
    held(slow)


def test_a_run_whose_ledger_is_deleted_says_so_and_there_is_a_way_back(slow: Tool) -> None:
    process = begun(slow)
    (slow.folder / "out.ledger").unlink()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 70, said
    assert "Nothing more was written" in said
    assert "Traceback" not in said
    assert slow("recover", "out.jsonl", "--yes").returncode == 0
    assert slow(*RUN).returncode == 0
    held(slow)


# Backups, by the commands of the how-to


def commands(section: str) -> list[str]:
    """The commands of a section, each as one line."""
    text = HOW_TO.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").removeprefix("$ ").split("\n$ ")]


SQLITE3 = """#!{python}
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(sys.argv[2])
"""
"""Stands for SQLite's command where it is not installed."""

HARVESTER = """#!/bin/sh
exec "{python}" -m harvester "$@"
"""


class Machine:
    """A folder in place of the machine that the how-to is about.

    Args:
        tool: its folder is the root, and it talks to a sandbox.
    """

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.home = tool.folder / "var" / "lib" / "harvester"
        self.home.mkdir(parents=True)
        for name in ("root", "bin"):
            (tool.folder / name).mkdir()
        self._program("harvester", HARVESTER)
        if shutil.which("sqlite3") is None:
            self._program("sqlite3", SQLITE3)
        tool.extra |= {"PATH": f"{tool.folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        tool.write("dois.txt", LISTED)
        (tool.folder / "harvester.toml").write_text(
            f'[input]\nfiles = ["{tool.folder}/dois.txt"]\n[output]\npath = "{self.home}/{{run_id}}.jsonl"\n'
            f'[ledger]\npath = "{self.home}/harvest.ledger"\n[nightly]\nmin_interval = "1 s"\n'
        )

    def _program(self, name: str, text: str) -> None:
        path = self.tool.folder / "bin" / name
        path.write_text(text.format(python=sys.executable))
        path.chmod(0o755)

    def type(self, command: str) -> str:
        """Run a command of the how-to, as root of this machine and without systemd; returns what it printed."""
        for said, meant in (
            (r"sudo (-u harvester )?", ""),
            (r"systemctl .*", "true"),
            ("-o harvester -g harvester ", ""),
            ("/var/lib/harvester", str(self.home)),
            ("/root/", f"{self.tool.folder}/root/"),
        ):
            command = re.sub(said, meant, command)
        done = subprocess.run(
            ["/bin/sh", "-ec", command], env=self.tool.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def night(self) -> "subprocess.Popen[str]":
        return self.tool.start("nightly", "--config", "harvester.toml", "--quiet")

    def outputs(self) -> list[Path]:
        return sorted(self.home.glob("*.jsonl*"))


@pytest.fixture
def machine(slow: Tool) -> Machine:
    return Machine(slow)


def test_a_backup_from_the_middle_of_a_night_can_be_restored_and_nights_go_on(machine: Machine) -> None:
    copy, *rest = commands("Back up and restore")
    night = machine.night()
    while not any(path.stat().st_size for path in machine.outputs() if path.name.endswith(".partial")):
        assert night.poll() is None, night.communicate()[1]
        time.sleep(0.02)
    machine.type(copy)
    assert night.wait(timeout=60) == 0
    [output] = [path for path in machine.outputs() if path.suffix == ".jsonl" and "failures" not in path.name]
    for command in rest:
        machine.type(command)
    machine.tool.extra["HARVESTER_PAPERBUZZ__RATE"] = "1000"
    night = machine.night()  # it finishes the one that the ledger knows, and then runs another
    assert night.wait(timeout=60) == 0, night.communicate()[1]
    assert sorted(record["doi"] for record in machine.tool.lines(str(output))) == LISTED
    with gather(machine.home / "harvest.ledger", deep=True) as evidence:
        assert violations(evidence) == []
    assert len([*machine.home.glob("*.report.txt")]) == 2


def test_a_ledger_that_is_damaged_has_the_way_back_of_the_how_to(machine: Machine) -> None:
    machine.tool.extra["HARVESTER_PAPERBUZZ__RATE"] = "1000"
    assert machine.night().wait(timeout=60) == 0
    [output] = [path for path in machine.outputs() if path.suffix == ".jsonl" and "failures" not in path.name]
    ledger = machine.home / "harvest.ledger"
    ledger.write_bytes(ledger.read_bytes()[:4096] + os.urandom(60_000))
    failed = machine.night()
    said = failed.communicate(timeout=60)[1]
    assert failed.returncode == 74
    assert "`harvester recover OUTPUT`" in said
    for command in commands("If the ledger is damaged"):
        machine.type(command.replace("2026-11-22.jsonl.zst", output.name))
    assert (machine.home / "harvest.ledger.1").exists()
    after = machine.night()
    assert after.wait(timeout=60) == 0, after.communicate()[1]
    with gather(ledger, deep=True) as evidence:
        assert violations(evidence) == []


# Rot


def flipped(path: Path, chance: random.Random) -> None:
    """Damage a file: one bit, one byte, or all that follows."""
    content = bytearray(path.read_bytes())
    place = chance.choice([index for index in range(len(content)) if content[index]])
    kind = chance.random()
    if kind < 0.1:
        del content[place:]
    elif kind < 0.3:
        content[place] = chance.randrange(256)
    else:
        content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def looks(ledger: Path, output: Path) -> Iterator[Callable[[], object]]:
    """Whatever one may do with a ledger without a run."""

    def check() -> None:
        with gather(ledger, deep=True) as evidence:
            verdict(evidence)

    def recover() -> None:
        with planned(paths_of(output, ledger), nightly=False, exclusive=False):
            pass

    yield lambda: status(ledger)
    yield lambda: list(failures_of(ledger))
    yield lambda: visits_of(ledger, LISTED[0])
    yield check
    yield recover


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as running:
        yield running


def test_no_damage_to_a_ledger_of_a_run_is_more_than_an_error_in_words(service: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    asyncio.run(Desk(tmp_path / "sound", service).run([*LISTED, "no doi"], budget=20))
    chance = random.Random(1)
    for number in range(FLIPS):
        desk = Desk(shutil.copytree(tmp_path / "sound", tmp_path / str(number)), service)
        flipped(desk.folder / "out.ledger", chance)
        for look in looks(desk.folder / "out.ledger", desk.output):
            with suppress(StopRun):
                look()
        with suppress(StopRun):
            asyncio.run(desk.run([*LISTED, "no doi"], budget=chance.choice([0, 22])))
        shutil.rmtree(desk.folder)


def test_no_damage_to_a_ledger_of_nights_is_more_than_an_error_in_words(service: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    sound = Nights(tmp_path / "sound", service)
    sound.listed(LISTED[:20])
    for _ in range(2):
        asyncio.run(sound.night())
    chance = random.Random(2)
    for number in range(FLIPS):
        folder = shutil.copytree(tmp_path / "sound", tmp_path / str(number))
        flipped(folder / "nights.ledger", chance)
        for look in looks(folder / "nights.ledger", folder / "2026-03-28.jsonl"):
            with suppress(StopRun):
                look()
        nights = Nights(folder, service)
        nights.clock.wall = sound.clock.wall
        for each in (
            plan(nightly_job(nights.settings), nights.context, LISTED[0]),
            nightly(nightly_job(nights.settings), nights.context),
        ):
            with suppress(StopRun):
                asyncio.run(each)
        shutil.rmtree(folder)
