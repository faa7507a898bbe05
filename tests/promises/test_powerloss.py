"""Promises G2 and G3 under power loss: whatever the disk looks like afterwards, the same command makes good of it.

The experiment. The life of a folder is recorded: a run that dies in the middle of a commit, the same command again, a
longer list, and `--refetch`. From the recording come the disks that a power loss at any point may leave behind
(`tests.promises.powerloss` has the theory). Each is judged twice, as it is found, and after the command that was cut
off was given once more:

- as found: the output, up to the length that the ledger knows, is whole and holds exactly the results of the ledger;
- afterwards: exit 0, each DOI once as a record or a failure, every line whole, nothing asked again that was done.

An experiment that cannot fail proves nothing: with any one of the store's safety measures taken out it has to find
something, although each of these runs ends well as long as the power stays on.

`HARVESTER_POWERLOSS_IMAGES` says how many images are drawn beside those at the extremes, 150 if it is not set; 4,000
take two minutes.
"""

import asyncio
import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import orjson
import pytest

from harvester.config.load import load
from harvester.core.clock import SystemClock
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Context, Mode
from harvester.harvest.run import run
from harvester.reports.summary import Summary
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.storage.paths import job_paths
from tests.folders import ROOT
from tests.jobs import harvest_job
from tests.promises.powerloss import (
    FOLDER,
    MUTANTS,
    SECTOR,
    STRACE,
    Chance,
    Disk,
    Enter,
    Everything,
    Image,
    Nothing,
    Operation,
    Recorder,
    Remove,
    Rename,
    Sync,
    Truncate,
    Write,
    images,
)
from tests.tool import Tool, dois

DRAWN = int(os.environ.get("HARVESTER_POWERLOSS_IMAGES", "150"))

MUTANTS_DRAWN = 100
"""A mutant is found out by one image in five on average, and by one in fourteen at worst."""

SEED = 11

FAILS = "10.5555/fault-wrong-doi"
"""Gets no record by its own fault: a 500 might be an outage, and would have the tool pause and probe."""

LISTS = {"short": [*dois(10), FAILS], "long": [*dois(16), FAILS]}
"""The DOIs of each list; one has no record, and each list has a line that is no DOI as well."""

BATCH = 3
"""Works that are committed together: few, so that there are many commits."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command in the life of the folder.

    Args:
        listed: the list it is given.
        refetch: whether it starts over.
        dies_after: appends to the output until it dies; 0 if it comes to its end.
    """

    listed: str
    refetch: bool = False
    dies_after: int = 0


LIFE = (Command("short", dies_after=2), Command("short"), Command("long"), Command("long", refetch=True))

Life = Sequence[Sequence[Operation]]


class Hurried(SystemClock):
    """The time of the machine, but nobody pauses for long between two attempts."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.01))


class Lab:
    """Where runs are recorded, and images written, recovered and judged.

    Args:
        folder: for all files.
        sandbox: what all runs talk to.
    """

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._folder, self._sandbox = folder, sandbox
        for name, listed in LISTS.items():
            self._list(name).write_text("\n".join([*listed, "not a doi", ""]), encoding="utf-8")

    def _list(self, name: str) -> Path:
        return self._folder / f"{name}.txt"

    @property
    def _state(self) -> Path:
        """What all runs share lies outside of the folder that is recorded: its power loss is another question."""
        return self._folder / "state"

    def tool(self, folder: Path) -> Tool:
        """The tool in a folder."""
        more = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self._state)}
        return Tool(folder, self._sandbox, {"HARVESTER_PAPERBUZZ__MAX_ATTEMPTS": "1", **more})

    def arguments(self, command: Command) -> list[str]:
        """What a person types."""
        refetch = ["--refetch"] if command.refetch else []
        return ["run", str(self._list(command.listed)), "-o", "out.jsonl", "--concurrency", "3", *refetch]

    # Recording

    def record(self, folder: Path, commands: Iterable[Command] = LIFE, mutant: str = "-") -> Life:
        """Live the life in a new folder, and write down what it does to that."""
        folder.mkdir()
        recorder = Recorder(folder)
        return [self._recorded(command, mutant, folder, recorder) for command in commands]

    def _recorded(self, command: Command, mutant: str, folder: Path, recorder: Recorder) -> list[Operation]:
        trace = self._folder / "trace"
        program = [sys.executable, "-m", "tests.promises.powerloss", str(BATCH), str(command.dies_after), mutant]
        done = subprocess.run(
            [*STRACE, trace, *program, *self.arguments(command)],
            cwd=folder,
            env=self.tool(folder).environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (9 if command.dies_after else 0), done.stderr
        return recorder.read(trace)

    # Judging

    def first_violation(self, life: Life, drawn: int = DRAWN) -> str | None:
        """Let the power fail in all ways, until something is wrong; the image that shows it is kept."""
        for image in images(life, drawn, SEED):
            if wrong := list(self._violations(image, LIFE[image.command])):
                kept = self.written(image, "violation")
                return f"after {image.point} operations, {image.fate} of what was pending survived: {wrong}; see {kept}"
        return None

    def _violations(self, image: Image, command: Command) -> Iterator[str]:
        disk = self.written(image, "disk")
        before = len(self._asked())
        try:
            found = inspect(self.written(image, "found"))
            yield from found.violations()
            summary = self._recover(command, disk)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run did not recover
            yield f"{type(error).__name__}: {error}"
            return
        if summary.exit.code:
            yield f"exit {summary.exit.code}: {summary.exit.reason}"
            return
        if not command.refetch or found.refetching:
            again = {doi for doi in self._asked()[before:] if doi in found.done}
            if len(again) > 1:  # one is asked again as known good, since the list has a DOI that fails
                yield f"{', '.join(sorted(again))} were done, and asked again"
        yield from wrong_at_the_end(disk, LISTS[command.listed])

    def _asked(self) -> list[str]:
        return [entry.doi for entry in self._sandbox.log]

    def _recover(self, command: Command, folder: Path) -> Summary:
        """Give the command again, within this process: that is twenty times as fast."""
        given = {
            "paperbuzz.base_url": self._sandbox.paperbuzz_url,
            "paperbuzz.email": "demo@example.org",
            "paperbuzz.rate": 100_000,
            "paperbuzz.daily_budget": 0,
            "paperbuzz.max_attempts": 1,
        }
        mode = Mode.REFETCH if command.refetch else Mode.RESUME
        listed, paths = [self._list(command.listed)], job_paths(str(folder / "out.jsonl"))
        job = harvest_job(load(None, {}, given).settings, listed, paths, mode=mode)
        streams = io.BytesIO(), io.BytesIO()
        context = Context(Hurried(), Random(SEED), Stop(), Tally(), lambda _: None, *streams, state=self._state)
        return asyncio.run(run(job, context))

    def written(self, image: Image, name: str) -> Path:
        """A fresh folder with the files of an image."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in image.files.items():
            (folder / file).write_bytes(content)
        return folder


@dataclass(frozen=True, slots=True)
class Found:
    """What an image says of itself, before anything is mended.

    Args:
        committed: the output, up to the length that the ledger knows.
        length: that length.
        results: DOIs with a record, by the ledger.
        failures: DOIs with a failure, by the ledger.
        refetching: whether a refetch is under way, by the ledger.
    """

    committed: bytes = b""
    length: int = 0
    results: frozenset[str] = frozenset()
    failures: frozenset[str] = frozenset()
    refetching: bool = False

    @property
    def done(self) -> frozenset[str]:
        return self.results | self.failures

    def violations(self) -> Iterator[str]:
        if len(self.committed) < self.length:
            yield f"{self.length} bytes are committed, {len(self.committed)} are there"
        yield from wrong_lines(self.committed, self.results)


def inspect(folder: Path) -> Found:
    """Look at an image, by other means than the tool's own; SQLite mends the ledger by that."""
    with closing(sqlite3.connect(folder / "out.ledger")) as db:
        if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return Found()
        known = dict(db.execute("SELECT key, value FROM meta"))
        states = db.execute("SELECT doi, state FROM work").fetchall()
    results, failures = (frozenset(doi for doi, state in states if state == wanted) for wanted in (1, 2))
    length = known.get("length", 0)
    outputs = [path for name in ("out.jsonl.partial", "out.jsonl") if (path := folder / name).exists()]
    committed = outputs[0].read_bytes()[:length] if outputs else b""
    return Found(committed, length, results, failures, bool(known.get("refetching")))


def wrong_lines(content: bytes, expected: Iterable[str]) -> Iterator[str]:
    """What is wrong with result lines that are to hold these DOIs, each once."""
    *lines, rest = content.split(b"\n")
    if rest:
        yield "the last line is torn"
    found = []
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield f"no JSON: {line[:60]!r}"
            continue
        found.append(record["doi"])
        if hashlib.sha256(line.partition(b'"paperbuzz":')[2][:-1]).hexdigest() != record["sha256"]:
            yield f"the record of {record['doi']} is not what its digest says"
    if sorted(found) != sorted(expected):
        yield f"there are {sorted(found)}, there should be {sorted(expected)}"


def wrong_at_the_end(folder: Path, listed: Iterable[str]) -> Iterator[str]:
    """What is wrong with the files of a complete run."""
    yield from wrong_lines((folder / "out.jsonl").read_bytes(), set(listed) - {FAILS})
    failures = [orjson.loads(line)["doi"] for line in (folder / "out.failures.jsonl").read_bytes().splitlines()]
    if sorted(failures, key=str) != [FAILS, None]:
        yield f"the failures are {failures}"
    if (folder / "out.jsonl.partial").exists():
        yield "a partial output is left"
    if (archive := folder / "out.jsonl.1").exists():
        yield from wrong_lines(archive.read_bytes(), set(LISTS["long"]) - {FAILS})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    skip_without_strace(folder)
    with run_in_thread(SandboxOptions()) as sandbox:
        yield Lab(folder, sandbox)


def skip_without_strace(folder: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: no run can be recorded")
    attempt = subprocess.run([*STRACE, folder / "trace", "true"], capture_output=True, text=True, check=False)
    if attempt.returncode:
        pytest.skip(f"strace cannot record here: {attempt.stderr.strip()}")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the life was recorded."""
    return tmp_path_factory.mktemp("lived") / "run"


@pytest.fixture(scope="module")
def life(lab: Lab, lived: Path) -> Life:
    return lab.record(lived)


# The promises


@pytest.mark.timeout(600 + DRAWN)
def test_after_a_power_loss_at_any_point_the_same_command_makes_good(lab: Lab, life: Life) -> None:
    assert lab.first_violation(life) is None


def test_the_real_process_recovers_as_well(lab: Lab, life: Life) -> None:
    for image in islice(images(life, DRAWN, SEED + 1), 40, None, (DRAWN + 200) // 8):
        command, disk = LIFE[image.command], lab.written(image, "disk")
        done = lab.tool(disk)(*lab.arguments(command))
        assert done.returncode == 0, done.stderr
        assert list(wrong_at_the_end(disk, LISTS[command.listed])) == []


@pytest.mark.parametrize("mutant", sorted(set(MUTANTS) - {"no truncation"}))
def test_a_safety_measure_that_is_missing_while_running_is_noticed(lab: Lab, tmp_path: Path, mutant: str) -> None:
    assert lab.first_violation(lab.record(tmp_path / "run", LIFE[:2], mutant), MUTANTS_DRAWN) is not None


def test_a_torn_tail_that_is_not_cut_off_is_noticed(lab: Lab, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTANTS["no truncation"])
    assert lab.first_violation(life, MUTANTS_DRAWN) is not None


# The model


def test_the_recording_is_complete(life: Life, lived: Path) -> None:
    disk = Disk()
    for operation in (operation for command in life for operation in command):
        disk.do(operation)
    assert disk.without_power(Everything()) == {path.name: path.read_bytes() for path in lived.iterdir()}


def test_there_is_an_image_for_every_point_and_both_extremes_for_every_sync() -> None:
    short: Life = [[Enter("a", 1), Write(1, 0, b"x")], [Sync(1), Write(1, 1, b"y"), Sync(FOLDER)]]
    found = [(image.command, image.point, image.fate) for image in images(short, 5, SEED)]
    assert found == [
        (0, 1, "Chance"),
        (0, 2, "Chance"),
        (1, 2, "Nothing"),
        (1, 2, "Everything"),
        (1, 3, "Chance"),
        (1, 4, "Chance"),
        (1, 4, "Nothing"),
        (1, 4, "Everything"),
        (1, 5, "Chance"),
    ]


def after(*operations: Operation) -> Disk:
    """A disk with one durable file `a`, after these operations."""
    disk = Disk()
    for operation in (Enter("a", 1), Write(1, 0, b"old"), Sync(1), Sync(FOLDER), *operations):
        disk.do(operation)
    return disk


def survivors(disk: Disk) -> list[dict[str, bytes]]:
    """What many power losses leave, each image once."""
    found = [disk.without_power(Chance(Random(seed))) for seed in range(300)]
    return [image for number, image in enumerate(found) if image not in found[:number]]


def test_what_was_synced_survives_anything() -> None:
    disk = after(Write(1, 3, b"new"), Truncate(1, 5), Rename("a", "b"), Sync(1), Sync(FOLDER))
    assert survivors(disk) == [{"b": b"oldne"}]


def test_the_sync_of_a_file_says_nothing_of_another_nor_of_its_name() -> None:
    disk = after(Enter("b", 2), Write(1, 0, b"new"), Write(2, 0, b"b"), Sync(2))
    assert disk.without_power(Nothing()) == {"a": b"old"}
    assert disk.without_power(Everything()) == {"a": b"new", "b": b"b"}


def test_names_survive_in_order() -> None:
    found = survivors(after(Enter("b", 2), Rename("a", "c"), Remove("b")))
    names = sorted(tuple(image) for image in found)
    assert names == [("a",), ("a", "b"), ("b", "c"), ("c",)]


def test_a_write_may_be_lost_torn_or_full_of_holes() -> None:
    found = {image["a"] for image in survivors(after(Write(1, 0, b"x" * 3 * SECTOR)))}
    full = {content for content in found if len(content) == 3 * SECTOR}
    x, nil = b"x" * SECTOR, bytes(SECTOR)
    assert b"old" in found
    assert {3 * x, x + 2 * nil, x + nil + x} <= full
    assert any(len(content.rstrip(b"\0")) % SECTOR for content in found - {b"old"})


def test_a_later_write_may_survive_an_earlier_one() -> None:
    found = {image["a"] for image in survivors(after(Write(1, 3, b"1"), Write(1, 4, b"2")))}
    assert {b"old", b"old1", b"old\x002", b"old12"} <= found
