"""Promise G8: a disk that fails ends the run with 74 and a message, and costs nothing that the next run does not mend.

Theory. A run is a sequence of system calls on the files of its job. What is promised about a failing disk has to hold
whichever of them fails, so each is made to fail in a run of its own (`strace` answers it in the kernel's place), and
the same is asked every time:

1. the run ends by itself, with 74; it names the file, says what to do, and shows no traceback. It may end with 0 if
   the call did not matter, but then the job has to be complete;
2. a file of ours that could not be synced is neither written nor synced again: the kernel may have dropped what it
   held, and the second sync would say that all is well;
3. the same command on a sound disk ends with 0; then every DOI is there exactly once, with a record or a failure,
   registered if that was asked for, an archived output is whole, and nothing is left behind.

It is done from four beginnings: nothing there; a run that a full disk cut off, with a torn line at its end; a complete
run with `--refetch`; a complete run whose list has grown. A few calls of each kind are enough for every day; with
HARVESTER_STORAGE_FAULTS=all it is each of them, which takes most of an hour of two cores.

A real full disk is a tmpfs of a few hundred KiB; there a write may also be cut short, which `strace` cannot do.
"""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from harvester.politeness.book import quota_path
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.failing_disk import (
    LISTED,
    NAMESPACE,
    WHAT_NOW,
    Bench,
    Fault,
    copy_of,
    unpacked,
    why_no_faults,
    why_no_small_disk,
)
from tests.tool import Tool

ALL = os.environ.get("HARVESTER_STORAGE_FAULTS") == "all"

FEW = 2
"""Calls of one kind that are made to fail each day, at a quarter and three quarters of the run."""

PROCESSES = 3

KINDS = [
    Fault("pwrite64", "ENOSPC", lasting=True),  # SQLite's writes
    Fault("pwrite64", "EIO"),
    Fault("write", "ENOSPC", lasting=True),  # all other writes
    Fault("write", "EIO"),
    Fault("fdatasync", "EIO"),
    Fault("fsync", "EIO"),  # of folders, and of a file that was cut
    Fault("rename", "ENOSPC"),  # over an old file of ours
    Fault("renameat2", "ENOSPC"),  # to a name that is free
    Fault("ftruncate", "EIO"),
    Fault("openat", "ENOSPC"),
    Fault("close", "EIO"),
    Fault("pread64", "EIO"),
    Fault("newfstatat", "EIO"),
    Fault("unlink", "EIO"),
    Fault("lseek", "EIO"),
    Fault("mmap", "ENOMEM"),  # the ledger's shared memory
    Fault("flock", "ENOLCK"),
    Fault("fcntl", "EIO"),  # SQLite's locks
]

Factory = pytest.TempPathFactory

needs_strace = pytest.mark.skipif(bool(why_no_faults()), reason=why_no_faults() or "it works")
needs_small_disk = pytest.mark.skipif(bool(why_no_small_disk()), reason=why_no_small_disk() or "it works")


@pytest.fixture
def harvester(tmp_path: Path, sandbox: Sandbox) -> Tool:
    return Tool(tmp_path, sandbox, extra={"HARVESTER_PAPERBUZZ__MAX_ATTEMPTS": "1"})


# Each call in turn


def nothing_there(tool: Tool) -> Bench:
    tool.write("dois.txt", [*LISTED, "not a doi"])
    return Bench(tool, "out.jsonl.zst", ("--register",))


def a_run_cut_off(tool: Tool) -> Bench:
    tool.write("dois.txt", [*LISTED, "not a doi"])
    assert Bench(tool, "out.jsonl").under(Fault("write", "ENOSPC", 2, lasting=True)).code == 74
    with (tool.folder / "out.jsonl.partial").open("ab") as file:
        file.write(b'{"v":1,"doi":"10.5555/ok-0')
    return Bench(tool, "out.jsonl", ("--register",))


def a_complete_run(tool: Tool) -> Bench:
    tool.write("dois.txt", [*LISTED, "not a doi"])
    assert Bench(tool, "out.jsonl").run().returncode == 0
    return Bench(tool, "out.jsonl", ("--refetch",))


def a_grown_list(tool: Tool) -> Bench:
    tool.write("dois.txt", LISTED[:2])
    assert Bench(tool, "out.jsonl.zst").run().returncode == 0
    tool.write("dois.txt", [*LISTED, "not a doi"])
    return Bench(tool, "out.jsonl.zst")


@contextmanager
def fresh_copy(begun: Bench, folder: Path) -> Iterator[Bench]:
    with run_in_thread(SandboxOptions()) as sandbox, copy_of(begun, folder, sandbox) as job:
        yield job


def spread(count: int, few: int) -> list[int]:
    """The numbers from 1 to `count`; or so many of them, evenly."""
    return [1 + count * (2 * step + 1) // (2 * few) for step in range(few)] if count > few else [*range(1, count + 1)]


def faults_in(job: Bench, kinds: list[Fault], files: list[Path] | None = None) -> list[Fault]:
    """What to let fail in a run of this job, judged by a run in which nothing does."""
    counts = job.counted({kind.call for kind in kinds}, files)
    return [replace(kind, nth=nth) for kind in kinds for nth in spread(counts[kind.call], sys.maxsize if ALL else FEW)]


def complaints_about(fault: Fault, begun: Bench, folder: Path) -> tuple[bool, list[str]]:
    """Run a job under a fault, and again without; returns whether the fault was met, and all that was wrong."""
    kept = [(begun.tool.folder / begun.output).read_bytes()] if "--refetch" in begun.flags else []
    with fresh_copy(begun, folder / fault.name) as job:
        ended = job.under(fault)
        wrong = job.losses() if ended.code == 0 else ended.complaints(job.files)
        wrong += after_another_run(job)
        wrong += ["the old output is not whole" for old in kept if old not in job.archives()]
    return ended.was_hit, [f"{fault}: {complaint}\n{ended.errors}" for complaint in wrong]


def after_another_run(job: Bench) -> list[str]:
    """What is wrong after the same command on a sound disk."""
    run = job.run()
    if run.returncode:
        return [f"the next run ended with {run.returncode}: {run.stderr}"]
    return [*job.losses(), *(f"{name} was left behind" for name in job.strays())]


@needs_strace
@pytest.mark.timeout(3600 if ALL else 300)
@pytest.mark.parametrize("beginning", [nothing_there, a_run_cut_off, a_complete_run, a_grown_list])
def test_whichever_call_fails_the_run_says_so_and_the_next_one_mends_it(
    beginning: Callable[[Tool], Bench], harvester: Tool, tmp_path_factory: Factory
) -> None:
    begun, folder = beginning(harvester), tmp_path_factory.mktemp("copies")
    with fresh_copy(begun, folder / "sound") as job:
        faults = faults_in(job, KINDS)
    with ThreadPoolExecutor(PROCESSES) as pool:
        tried = list(pool.map(lambda fault: complaints_about(fault, begun, folder), faults))
    wrong = [*chain(*(complaints for _, complaints in tried))]
    assert not wrong, "\n".join(wrong)
    met = Counter(fault.call for fault, (was_met, _) in zip(faults, tried, strict=True) if was_met)
    assert set(met) == {fault.call for fault in faults}
    assert met.total() >= 0.8 * len(faults)


def own_files(job: Bench) -> list[Path]:
    return job.own_files


def the_folder(job: Bench) -> list[Path]:
    return [job.tool.folder]


@needs_strace
@pytest.mark.parametrize(("call", "of"), [("fdatasync", own_files), ("fsync", the_folder)])
def test_each_failed_sync_of_ours_ends_the_run_at_once(
    call: str, of: Callable[[Bench], list[Path]], harvester: Tool, tmp_path_factory: Factory
) -> None:
    begun, folder = nothing_there(harvester), tmp_path_factory.mktemp("copies")
    with fresh_copy(begun, folder / "sound") as job:
        count = job.counted({call}, of(job))[call]
    wrong = []
    for nth in range(1, count + 1):
        with fresh_copy(begun, folder / str(nth)) as job:
            wrong += job.under(Fault(call, "EIO", nth), of(job)).complaints(job.files)
    assert count > 3
    assert not wrong


# A full disk

SMALL_DISK = """
mount -t tmpfs -o size="$1" none small || exit 1
shift
"$@" 2>first
echo $? >codes
mount -o remount,size=64m small
"$@" 2>second
echo $? >>codes
cp -r small kept
"""
"""A run on a disk that is too small, and again when it has been made larger."""

PLACEHOLDERS = {
    "output and ledger": (["-o", "small/out.jsonl"], [160, 500]),
    "output": (
        ["-o", "small/out.jsonl", "--ledger", "out.ledger", "--failures", "out.failures.jsonl"],
        [8, 1000],
    ),
    "packed output": (["-o", "small/out.jsonl.zst", "--ledger", "out.ledger"], [120]),
    "ledger": (["-o", "out.jsonl", "--ledger", "small/out.ledger"], [160, 220]),
}
"""What is on the small disk, and its sizes in KiB: it becomes full early and late."""


@needs_small_disk
@pytest.mark.parametrize(
    ("place", "kib"), [(place, kib) for place, (_, sizes) in PLACEHOLDERS.items() for kib in sizes]
)
def test_a_full_disk_ends_the_run_and_with_more_room_it_is_completed(place: str, kib: int, harvester: Tool) -> None:
    folder, listed, arguments = (
        harvester.folder,
        [f"10.5555/quiet-{number:03d}" for number in range(400)],
        PLACEHOLDERS[place][0],
    )
    (folder / "small").mkdir()
    harvester.write("dois.txt", listed)
    command = [sys.executable, "-m", "harvester", "run", "dois.txt", "--quiet", *arguments]
    in_namespace = [*NAMESPACE, "sh", "-c", SMALL_DISK, "sh", f"{kib}k", *command]
    subprocess.run(in_namespace, cwd=folder, env=harvester.environment, timeout=60, check=True)
    said = (folder / "first").read_text(encoding="utf-8")
    assert (folder / "codes").read_text(encoding="ascii").split() == ["74", "0"], said
    assert "small/out" in said
    assert WHAT_NOW.search(said)
    assert "Traceback" not in said
    output = arguments[1].replace("small", "kept")
    assert sorted(str(record["doi"]) for record in unpacked(folder / output)) == listed
    assert not [*folder.rglob("*.partial"), *folder.rglob("*.new"), *folder.rglob("*-wal")]


def test_a_stdout_that_takes_no_more_ends_the_run(harvester: Tool) -> None:
    harvester.write("dois.txt", LISTED)
    with Path("/dev/full").open("wb") as full:
        process = harvester.start("run", "dois.txt", "-o", "-", "--quiet", stdout=full)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 74
    assert said.startswith("harvester: cannot write to stdout: No space left on device.")
    assert "Traceback" not in said
    assert "Exception" not in said


# The daily budget


BUDGETED = {"HARVESTER_PAPERBUZZ__MAX_ATTEMPTS": "1", "HARVESTER_PAPERBUZZ__DAILY_BUDGET": "100000"}


@contextmanager
def a_budgeted_run(folder: Path) -> Iterator[Bench]:
    """A job with a daily budget, with nothing there."""
    folder.mkdir()
    with run_in_thread(SandboxOptions()) as sandbox:
        yield nothing_there(Tool(folder, sandbox, extra=BUDGETED))


@pytest.fixture
def budgeted(tmp_path: Path) -> Iterator[Bench]:
    with a_budgeted_run(tmp_path / "job") as job:
        yield job


def budget_files(job: Bench) -> list[Path]:
    """The file of the daily budget, and its journal."""
    path = quota_path(job.tool.folder / "state" / "harvester", job.tool.sandbox.paperbuzz_url)
    return [path, path.with_name(path.name + "-journal")]


def file_for_folder(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_bytes(b"")


def folder_for_file(path: Path) -> None:
    path.mkdir(parents=True)


def no_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 100)


@pytest.mark.parametrize("spoil", [file_for_folder, folder_for_file, no_database])
def test_without_a_usable_daily_budget_nothing_is_asked(spoil: Callable[[Path], None], budgeted: Bench) -> None:
    path = budget_files(budgeted)[0]
    spoil(path)
    run = budgeted.run()
    assert run.returncode == 74
    assert str(path.parent) in run.stderr
    assert WHAT_NOW.search(run.stderr)
    assert not budgeted.tool.sandbox.log.times("paperbuzz")[0]


@needs_strace
def test_without_room_for_the_daily_budget_nothing_is_asked(budgeted: Bench) -> None:
    ended = budgeted.under(Fault("pwrite64", "ENOSPC", lasting=True), budget_files(budgeted))
    assert not ended.complaints(budget_files(budgeted))
    assert not budgeted.tool.sandbox.log.times("paperbuzz")[0]


def spent(job: Bench) -> int:
    """What the file of the daily budget says."""
    with closing(sqlite3.connect(budget_files(job)[0])) as db:
        return int(db.execute("SELECT SUM(requests) FROM spent").fetchone()[0])


def overspending(fault: Fault, folder: Path) -> list[str]:
    """Run a job under a fault of the daily budget's file, and again without; returns all that was wrong."""
    with a_budgeted_run(folder / fault.name) as job:
        ended = job.under(fault, budget_files(job))
        wrong = [] if ended.code == 0 else ended.complaints(budget_files(job))
        wrong += after_another_run(job)
        asked = len(job.tool.sandbox.log.times("paperbuzz")[0])
        wrong += [f"{asked} requests were sent, {spent(job)} counted"] if asked > spent(job) else []
    return [f"{fault}: {complaint}\n{ended.errors}" for complaint in wrong]


@needs_strace
@pytest.mark.timeout(3600 if ALL else 300)
def test_whatever_fails_at_the_daily_budget_it_is_not_overspent(budgeted: Bench, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind.call in ("pwrite64", "fdatasync", "openat", "unlink")]
    faults = faults_in(budgeted, kinds, budget_files(budgeted))
    with ThreadPoolExecutor(PROCESSES) as pool:
        wrong = [*chain(*pool.map(lambda fault: overspending(fault, tmp_path), faults))]
    assert not wrong, "\n".join(wrong)
    assert len(faults) >= FEW * len(kinds)
