"""A disk that fails on demand: `strace` stands between the tool and the kernel and refuses the n-th call of a kind."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zstandard

from harvester.sandbox.server import Sandbox
from tests.tool import Tool, dois, records

RECORDED, FAILED = dois(5), "10.5555/500-1"

LISTED = [*RECORDED, FAILED]
"""The DOIs of a small run: five with a record and one that always fails."""

BATCHES_OF_TWO = """
from harvester.harvest import pipeline
from harvester.cli import main

pipeline.COMMIT_EVERY = 2
main()
"""
"""The tool, with more commits for few DOIs."""

WHAT_NOW = re.compile("same command again|choose another|another disk|delete it")
"""Each message about a disk says one of these."""

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A disk's failure.

    Args:
        call: the system call that fails.
        error: the name of its error number.
        nth: which of these calls on a file of the job, counted from 1 in each thread.
        lasting: whether all later ones fail as well, as on a full disk.
    """

    call: str
    error: str
    nth: int = 1
    lasting: bool = False

    @property
    def name(self) -> str:
        """Told from all others, and fit for a folder."""
        return f"{self.call}-{self.error}-{self.nth}{'-on' if self.lasting else ''}"

    def __str__(self) -> str:
        return f"inject={self.call}:error={self.error}:when={self.nth}{'+' if self.lasting else ''}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended under a fault.

    Args:
        code: the exit code; None if it hung.
        errors: what it said.
        calls: system calls on the files of the job, in order, as `strace -y` writes them.
    """

    code: int | None
    errors: str
    calls: list[str]

    @property
    def was_hit(self) -> bool:
        return any("(INJECTED)" in call for call in self.calls)

    def complaints(self, files: list[Path]) -> list[str]:
        """What is wrong with how it ended, given that its disk failed."""
        return [
            *([f"it ended with {self.code}"] if self.code != 74 else []),
            *(["it shows a traceback"] if "Traceback" in self.errors else []),
            *(["it names no file"] if not any(str(path) in self.errors for path in files) else []),
            *(["it does not say what to do"] if not WHAT_NOW.search(self.errors) else []),
            *(f"after a failed sync it goes on: {call}" for call in self._after_failed_sync()),
        ]

    def _after_failed_sync(self) -> Iterator[str]:
        """What was done to one of our own files after a sync of it had failed; SQLite's are its own business."""
        given_up: set[str] = set()
        for call in self.calls:
            match = re.search(r" (write|fsync|fdatasync)\(\d+<(.*?)>", call)
            if not match or re.search(r"\.(ledger|sqlite)", match[2]):
                continue
            if match[2] in given_up:
                yield call
            if match[1] != "write" and "(INJECTED)" in call:
                given_up.add(match[2])


@dataclass(frozen=True, slots=True)
class Bench:
    """A job in a folder of its own.

    Args:
        tool: runs the job without a fault.
        output: name of the output.
        flags: more of the command.
    """

    tool: Tool
    output: str
    flags: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        return ("run", "dois.txt", "-o", self.output, "--quiet", *self.flags)

    @property
    def stem(self) -> str:
        return self.output.partition(".")[0]

    @property
    def files(self) -> list[Path]:
        """Everything that the job writes or renames, and the folder it is in."""
        beside = [f"{self.output}{more}" for more in ("", ".partial", ".1")]
        beside += [f"{self.stem}.ledger{more}" for more in ("", "-wal", "-shm", "-journal", ".lock")]
        beside += [f"{self.stem}.{what}{more}" for what in ("failures.jsonl", "summary.json") for more in ("", ".new")]
        return [self.tool.folder, *(self.tool.folder / name for name in beside)]

    def run(self) -> subprocess.CompletedProcess[str]:
        """The job without a fault."""
        return self.tool(*self.command)

    def under(self, fault: Fault, files: list[Path] | None = None) -> Ended:
        """The job on a disk that fails; only calls on some files count, by default on all of the job's."""
        calls = {fault.call, "write", "fsync", "fdatasync"}
        return self._traced(files or self.files, "-e", f"trace={','.join(sorted(calls))}", "-e", str(fault))

    def counted(self, calls: set[str], files: list[Path] | None = None) -> Counter[str]:
        """How many of these system calls a thread of the job makes at the most, without a fault."""
        ended = self._traced(files or self.files, "-e", f"trace={','.join(sorted(calls))}")
        assert ended.code == 0, ended.errors
        most: Counter[str] = Counter()
        for (_, call), count in Counter(re.findall(r"^(\d+) +(\w+)\(", "\n".join(ended.calls), re.MULTILINE)).items():
            most[call] = max(most[call], count)
        return most

    def _traced(self, files: list[Path], *options: str) -> Ended:
        trace = self.tool.folder / "trace"
        paths = [argument for path in files for argument in ("-P", str(path))]
        # `python -P`: the folder it runs in is no place to import from, or it would be looked at a hundred times.
        tool = [sys.executable, "-P", "-c", BATCHES_OF_TWO, *self.command]
        process = subprocess.Popen(
            [*STRACE, "-y", "-o", str(trace), *paths, *options, *tool],
            cwd=self.tool.folder,
            env=self.tool.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        code, errors = _end_of(process)
        calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
        trace.unlink()
        return Ended(code, errors, calls)

    @property
    def own_files(self) -> list[Path]:
        """The same without the folder, and without what SQLite writes."""
        return [path for path in self.files[1:] if ".ledger" not in path.name]

    def losses(self) -> list[str]:
        """What is wrong after the job ended well; empty if nothing is."""
        try:
            return self._losses()
        except (OSError, ValueError) as error:
            return [f"a file is missing or torn: {error}"]

    def _losses(self) -> list[str]:
        """What is lost, doubled, miscounted or unregistered."""
        finished = [str(record["doi"]) for record in unpacked(self.tool.folder / self.output)]
        finished += [failure["doi"] for failure in self.tool.lines(f"{self.stem}.failures.jsonl") if failure["doi"]]
        summary, registered = self.tool.summary(self.stem), dict(self.tool.sandbox.operas.registered)
        owed = RECORDED if "--register" in self.flags else []
        return [
            *(f"{doi} is there {count} times" for doi, count in Counter(finished).items() if count != 1),
            *(f"{doi} is lost" for doi in LISTED if doi not in finished),
            *(["the summary says something else"] if (summary["results"], summary["failures"]) != (5, 1) else []),
            *(f"{doi} is not registered" for doi in owed if doi not in registered),
        ]

    def archives(self) -> list[bytes]:
        """Old outputs that `--refetch` kept."""
        return [path.read_bytes() for path in self.tool.folder.glob(f"{self.output}.[0-9]")]

    def strays(self) -> list[str]:
        """Files in the folder that no run leaves behind; an old output is none."""
        ours = {"dois.txt", "state", self.output, *(f"{self.output}.{number}" for number in range(1, 4))}
        ours |= {f"{self.stem}.{what}" for what in ("failures.jsonl", "summary.json", "ledger", "ledger.lock")}
        return sorted({path.name for path in self.tool.folder.iterdir()} - ours)


def unpacked(path: Path) -> list[dict[str, object]]:
    """The records of an output, packed or not."""
    if path.suffix == ".jsonl":
        return list(records(path))
    frames = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()), read_across_frames=True)
    return [json.loads(line) for line in frames.read().split(b"\n")[:-1]]


def _end_of(process: subprocess.Popen[str]) -> tuple[int | None, str]:
    """Exit code and messages of a process in a session of its own; no code if it had to be killed."""
    with process:
        try:
            errors = process.communicate(timeout=DEADLINE_SECONDS)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[1]
        return process.returncode, errors


@contextmanager
def copy_of(bench: Bench, folder: Path, sandbox: Sandbox) -> Iterator[Bench]:
    """The same job in the same state, in another folder and with another OPERAS; a ledger stays with one Paperbuzz."""
    shutil.copytree(bench.tool.folder, folder)
    same = {"HARVESTER_PAPERBUZZ__BASE_URL": bench.tool.sandbox.paperbuzz_url}
    try:
        yield Bench(Tool(folder, sandbox, extra=bench.tool.extra | same), bench.output, bench.flags)
    finally:
        shutil.rmtree(folder)


STRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none")

NAMESPACE = ("unshare", "-m") if sys.platform == "linux" and os.geteuid() == 0 else ("unshare", "-Urm")
"""A place where this process alone sees what is mounted, and nothing stays behind."""


@cache
def why_no_faults() -> str:
    """Why no faults can be injected here; empty if they can."""
    return _why_not("strace", *STRACE, "-o", os.devnull, "-e", "trace=write", "-P", os.devnull, "true")


@cache
def why_no_small_disk() -> str:
    """Why nothing can be mounted here; empty if it can."""
    return _why_not("unshare", *NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/tmp")  # noqa: S108


def _why_not(needed: str, *command: str) -> str:
    if sys.platform != "linux" or not shutil.which(needed):
        return f"there is no {needed}"
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{needed} may not do it: {tried.stderr.strip()}" if tried.returncode else ""
