"""Errors of the system that nobody caught on their way are words with a code; a mistake of ours stays a traceback."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester.cli.foreseen import in_words
from harvester.core.errors import DiskFailed, PipeClosed
from harvester.sandbox.server import Sandbox
from tests.tool import Tool, dois

# One border


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a/b"), 74, "a/b"),
        (RuntimeError("Symlink loop from '/x/a'"), 74, "'/x/a'"),
        (OSError(errno.EUCLEAN, "Structure needs cleaning", b"h\xe4"), 74, "Structure needs cleaning"),
        (OSError(9999, None), 74, "9999"),
        (OSError(), 74, "OSError"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 74, "/x: Permission denied"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), 74, "temporarily"),
        (UnicodeEncodeError("utf-8", "h\udce4", 1, 2, "surrogates not allowed"), 78, "not UTF-8"),
        (ValueError("embedded null byte"), 78, "NUL"),
        (ValueError("embedded null character"), 78, "NUL"),
        (MemoryError(), 74, "memory"),
        (RecursionError("maximum recursion depth exceeded"), 70, "nested too deeply"),
        (sqlite3.OperationalError("disk I/O error"), 74, "disk I/O error"),
        (ExceptionGroup("some", [ExceptionGroup("more", [ValueError("embedded null byte")])]), 78, "NUL"),
        (PipeClosed("gone"), 4, "gone"),
    ],
)
def test_an_error_of_the_system_is_a_sentence_with_a_code(error: BaseException, code: int, told: str) -> None:
    known = in_words(error)
    assert known is not None
    assert known.exit_code == code
    assert told in str(known)


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("odd"), TypeError("odd"), KeyError("odd"), RuntimeError("odd"), AssertionError()),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ExceptionGroup("some", [TypeError("odd")]),
    ],
)
def test_a_mistake_of_ours_is_none(error: Exception) -> None:
    assert in_words(error) is None


# The command


def ended(tool: Tool, *arguments: str | bytes, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harvester", *arguments],
        cwd=cwd or tool.folder,
        env=tool.environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def loops(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "loop.jsonl").symlink_to("loop.jsonl")


def nul(folder: Path) -> None:
    (folder / "nul.toml").write_text('[input]\nfiles = ["a\\u0000b"]')
    (folder / "out.toml").write_text('[output]\npath = "a\\u0000b.jsonl"')


@pytest.mark.parametrize(
    ("spoil", "arguments", "codes"),
    [
        (loops, ["run", "loop", "-o", "out.jsonl"], {66, 74}),
        (loops, ["run", "dois.txt", "-o", "loop.jsonl"], {2}),
        (loops, ["run", "dois.txt", "-o", "out.jsonl", "--ledger", "loop"], {2}),
        (loops, ["run", "dois.txt", "-o", "out.jsonl", "-c", "loop"], {78}),
        (loops, ["status", "loop"], {66, 74}),
        (loops, ["verify", "loop.jsonl"], {66, 74}),
        (nul, ["run", "-c", "nul.toml", "-o", "out.jsonl"], {78}),
        (nul, ["run", "dois.txt", "-c", "out.toml"], {78}),
        (nul, ["run", "dois.txt", "-o", b"\xff.jsonl"], {2}),
        (nul, ["run", "dois.txt", "-o", "~nosuchuser/out.jsonl"], {78}),
        (nul, ["run", "dois.txt", "-o", "out.jsonl", "--rate", "1e-320"], {2}),
        (nul, ["run", "dois.txt", "-o", "out.jsonl", "--concurrency", "1000000"], {2}),
        (nul, ["run", "dois.txt", "-o", "out.jsonl", "--max-failures", "9" * 30], {0}),
    ],
)
def test_what_can_be_foreseen_has_its_code_and_no_traceback(
    spoil: Callable[[Path], None], arguments: list[str | bytes], codes: set[int], harvester: Tool, sandbox: Sandbox
) -> None:
    harvester.write("dois.txt", dois(1))
    spoil(harvester.folder)
    run = ended(harvester, *arguments)
    assert run.returncode in codes, run.stderr
    assert "Traceback" not in run.stderr
    assert run.returncode == 0 or not list(sandbox.log)


def test_a_folder_that_was_deleted_is_told(harvester: Tool) -> None:
    gone = harvester.folder / "gone"
    gone.mkdir()
    shell = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m harvester run dois.txt -o out.jsonl"
    environment = harvester.environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(["/bin/sh", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == DiskFailed.exit_code
    assert "was deleted" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_stop_that_comes_while_the_program_still_loads_leaves_no_traceback(harvester: Tool) -> None:
    code = """
import sys
from harvester.__main__ import main

class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == "harvester.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting)
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=harvester.environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (130, "")


def test_a_mistake_of_ours_says_what_to_send(harvester: Tool) -> None:
    code = (
        "import sys; from harvester.cli import main, status; status.read_status = None; sys.argv[1:] = ['status', 'x']"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; main()"],
        cwd=harvester.folder,
        env=harvester.environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "this is a bug in harvester" in run.stderr
    assert "Please report it" in run.stderr
    assert "Python 3" in run.stderr
    assert "Traceback" in run.stderr
