"""Processes to measure: a command and what it cost, and the server that it talks to."""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from bench.records import Size
from bench.server import HOST

ROOT = Path(__file__).parent.parent
LAUNCH = Path(__file__).with_name("launch.py")

LOOK_SECONDS = 0.02
"""How often a running command is looked at by whoever waits for something to happen."""


class Failed(click.ClickException):
    """A command did not do what it was to do; nothing it cost means anything."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command cost.

    Args:
        started: seconds of the monotonic clock, the same that the server counts in.
        seconds: wall time, the start of the interpreter included.
        cpu: seconds in user and system mode, over all its processes.
        peak: bytes of memory, of its largest process.
    """

    started: float
    seconds: float
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server saw.

    Args:
        requests: for records.
        connections: that were opened, the one that asked for this included.
        first: when the first record was asked for, in seconds of the monotonic clock; None if none was.
        last: the same of the last one.
    """

    requests: int
    connections: int
    first: float | None
    last: float | None


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """The environment of a measured command: nothing of the user's settings, and a state folder of its own.

    Modules may be compiled once and for all, as those of an installed package are.
    """
    out = ("HARVESTER_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(out)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "XDG_STATE_HOME": str(folder / "state")} | extra


def measured(
    command: Sequence[str],
    folder: Path,
    extra: Mapping[str, str] | None = None,
    *,
    kill_when: Callable[[], bool] | None = None,
) -> Cost:
    """Run a command in a folder.

    Args:
        command: with its arguments.
        folder: where it runs; what it says goes into `said.txt` there.
        extra: environment.
        kill_when: asked again and again; the command is killed with SIGKILL when it is true.

    Raises:
        Failed: it ended with another exit code than 0, or before it was killed.
    """
    with tempfile.TemporaryDirectory() as aside, (folder / "said.txt").open("wb") as said:
        report = Path(aside) / "cost.json"
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), str(report), *command],
            cwd=folder,
            env=environment(folder, **(extra or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            if kill_when is not None:
                _kill_when(launcher, kill_when)
            launcher.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
        cost = orjson.loads(report.read_bytes())
    if cost["code"] != (0 if kill_when is None else -signal.SIGKILL):
        words = (folder / "said.txt").read_text(encoding="utf-8", errors="replace")
        raise Failed(f"{' '.join(command)} ended with {cost['code']}: {words[-2000:]}")
    return Cost(cost["started"], cost["ended"] - cost["started"], cost["user"] + cost["system"], cost["peak"])


def _kill_when(launcher: "subprocess.Popen[bytes]", is_time: Callable[[], bool]) -> None:
    while launcher.poll() is None:
        if is_time():
            launcher.terminate()  # which kills the command, and lives to report
            return
        time.sleep(LOOK_SECONDS)


class Server:
    """A running server.

    Args:
        port: on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://{HOST}:{port}/v0/"

    def counts(self) -> Counts:
        """What it saw since the last reset."""
        return Counts(**self._get("/counts"))

    def times(self) -> list[float]:
        """When each record was asked for, in seconds of the monotonic clock."""
        return [float(moment) for moment in self._get("/times")]

    def reset(self) -> None:
        """Let it forget what it saw."""
        self._get("/reset")

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        try:
            connection.request("GET", path)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def serving(size: Size) -> Iterator[Server]:
    """A server in a process of its own, for as long as the block runs.

    Raises:
        Failed: it did not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.server", "--size", size],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        port = process.stdout.readline().strip() if process.stdout else b""
        if not port:
            raise Failed("the server did not start")
        try:
            yield Server(int(port))
        finally:
            process.terminate()
