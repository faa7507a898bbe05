"""Promises G7 and G6: a signal at any instant, two signals, signals where a service hangs; many starts at once.

Real processes against the sandbox, some at a time, each with a job, a folder and a sandbox of its own.
Larger: `HARVESTER_STOPS=1000 pytest tests/promises/test_stop.py`.
"""

import fcntl
import os
import pty
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TypeVar

import orjson
import pytest

from harvester.core.errors import InputMissing
from harvester.sandbox.faults.rates import parse_faults
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.sandbox.service import SERVICES
from harvester.verify.gather import gather
from tests.oracle import violations
from tests.tool import Tool, dois

T = TypeVar("T")

STOPS = int(os.environ.get("HARVESTER_STOPS", "40"))
LANES = 4
"""Jobs at a time."""

GRACE = 10.0
SLACK = 0.3
"""Seconds that a request may take from the tool's hands into the sandbox's log."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
COMMAND = ("run", "dois.txt", "-o", "out.jsonl", "--log-format", "json")


@dataclass
class Bench:
    """A job in a folder of its own, with a sandbox of its own.

    Args:
        tool: runs it.
        sandbox: what it asks.
        listed: DOIs of the list.
        register: whether they are registered as well.
    """

    tool: Tool
    sandbox: Sandbox
    listed: list[str]
    register: bool

    @property
    def command(self) -> tuple[str, ...]:
        return (*COMMAND, "--register") if self.register else COMMAND

    def start(self) -> "subprocess.Popen[str]":
        """Start the job; returns when it is at work, and so heeds signals."""
        lock = self.tool.folder / "out.ledger.lock"
        process = self.tool.start(*self.command)
        soon(lambda: lock.exists() and lock.read_text() == str(process.pid))
        return process

    def asked(self) -> list[LoggedRequest]:
        return [entry for entry in self.sandbox.log if entry.service != "sandbox"]

    def check_promises(self) -> None:
        """What is on disk holds at any time; before anything is written there is nothing to hold."""
        try:
            with gather(self.tool.folder / "out.jsonl", deep=True) as evidence:
                assert violations(evidence) == []
        except InputMissing:
            assert not self.asked()

    def check_complete(self) -> None:
        """The same command again ends well, with each DOI once."""
        self.sandbox.latency_seconds = 0
        self.sandbox.set_faults(parse_faults(""))
        process = self.tool(*self.command)
        assert process.returncode == 0, process.stderr
        assert sorted(record["doi"] for record in self.tool.lines("out.jsonl")) == self.listed
        assert self.tool.summary()["failures"] == 0
        if self.register:
            assert self.sandbox.operas.registered.keys() == set(self.listed)
        self.check_promises()


@contextmanager
def bench(
    folder: Path, count: int, *, register: bool = False, options: SandboxOptions | None = None
) -> Iterator[Bench]:
    folder.mkdir(parents=True, exist_ok=True)
    with run_in_thread(options or SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(folder, sandbox)
        tool.write("dois.txt", dois(count))
        try:
            yield Bench(tool, sandbox, dois(count), register)
        finally:
            tool.close()


def soon(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def at_the_same_time(count: int, work: Callable[[int], T]) -> list[T]:
    """Do some things in threads, and fail if one fails."""
    with ThreadPoolExecutor(LANES) as pool:
        return list(pool.map(work, range(count)))


# One signal


@dataclass(frozen=True)
class Stopped:
    """What one stop was like.

    Args:
        seconds: from the signal to the end.
        late: requests that began after the tool had said that it stops.
        results: with a result by then.
    """

    seconds: float
    late: list[LoggedRequest]
    results: int


def stop(bench: Bench, chance: Random) -> Stopped | None:
    """Start the job and stop it at a random moment; None if it was through before."""
    bench.sandbox.latency_seconds = chance.uniform(0.05, 0.3)
    number = chance.choice(SIGNALS)
    process = bench.start()
    time.sleep(chance.choice((0.05, 0.3, 1.0)) * chance.random())
    sent = time.time()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    seconds = time.time() - sent
    bench.check_promises()
    if process.returncode == 0:
        return None
    assert process.returncode == 128 + number, told
    summary = bench.tool.folder / "out.summary.json"
    heard = moment_of_stopping(told)
    late = [entry for entry in bench.asked() if entry.wall > heard + SLACK]
    return Stopped(seconds, late, orjson.loads(summary.read_bytes())["results"] if summary.exists() else 0)


def moment_of_stopping(told: str) -> float:
    """When the tool said that it stops, in seconds since 1970."""
    events = [orjson.loads(line) for line in told.splitlines() if line.startswith("{")]
    [event] = [event for event in events if event["message"].startswith("stopping")]
    return datetime.fromisoformat(event["time"]).timestamp()


@pytest.mark.timeout(120 + 3 * STOPS)
def test_a_signal_at_any_instant_ends_the_run_in_order_and_costs_no_request(tmp_path: Path) -> None:
    """Nothing is begun after it, what is under way is committed: in all runs together each DOI is asked for once."""

    def lane(number: int) -> list[Stopped]:
        chance = Random(number)
        stops: list[Stopped] = []
        options = SandboxOptions(size_scale=0.1, entry_seconds=0.01)
        with bench(tmp_path / str(number), 30 * STOPS // LANES, register=number % 2 == 1, options=options) as job:
            job.tool.extra["HARVESTER_OPERAS__BATCH_SIZE"] = "20"
            stops += filter(None, [stop(job, chance) for _ in range(STOPS // LANES)])
            job.check_complete()
            asked = Counter(entry.doi for entry in job.sandbox.log.of("paperbuzz"))
            assert asked == dict.fromkeys(job.listed, 1)
            posted = [entry for entry in job.sandbox.log.of("operas") if entry.method == "POST"]
            assert not [entry for entry in posted if entry.attempt > 1 or entry.status != 200]
        return stops

    stops = [each for stops in at_the_same_time(LANES, lane) for each in stops]
    assert len(stops) >= STOPS // LANES * LANES * 0.9
    assert [each.late for each in stops if each.late] == []
    assert max(each.seconds for each in stops) < GRACE
    print(f"{len(stops)} stops, the slowest {max(each.seconds for each in stops):.2f} s")  # noqa: T201 - shown with -s


def test_a_run_that_only_waits_ends_at_once(tmp_path: Path) -> None:
    reasons = ("outage", "retry-after", "retry", "budget", "operas")

    def case(number: int) -> None:
        reason = reasons[number]
        with bench(tmp_path / reason, 40, register=reason == "operas") as job:
            if reason in ("outage", "operas"):
                job.sandbox.set_outage("paperbuzz" if reason == "outage" else "operas")
            if reason == "retry-after":
                job.sandbox.set_faults(parse_faults("503-seconds=1,retry-after=600"))
            if reason == "retry":
                job.sandbox.set_faults(parse_faults("502=0.9"))
            if reason == "budget":
                job.tool.extra["HARVESTER_PAPERBUZZ__DAILY_BUDGET"] = "20"
            process = job.tool.start(*job.command, "--wait")
            soon(lambda: len(job.asked()) > 1)
            time.sleep(1.5)
            asked, sent = len(job.asked()), time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
            assert time.monotonic() - sent < GRACE  # there is nothing under way that the grace could be for
            assert len(job.asked()) - asked <= 1
            job.check_promises()
            assert job.tool.summary()["failures"] == 0
            for service in SERVICES:
                job.sandbox.set_outage(service, None)
            job.tool.extra["HARVESTER_PAPERBUZZ__DAILY_BUDGET"] = "0"
            job.check_complete()

    at_the_same_time(len(reasons), case)


# Where a service hangs


def test_the_grace_bounds_what_a_hanging_service_costs(tmp_path: Path) -> None:
    """Paperbuzz hangs, OPERAS hangs, both hang: none of them keeps a run from its end."""
    hanging = ("paperbuzz.hang=1", "operas.hang=1", "hang=1")

    def case(number: int) -> float:
        with bench(tmp_path / str(number), 40, register=number > 0) as job:
            job.tool.extra["HARVESTER_OPERAS__BATCH_SIZE"] = "5"
            process = job.start()
            soon(lambda: len(job.sandbox.operas.registered) > 0 or not job.register)
            job.sandbox.set_faults(parse_faults(hanging[number]))
            soon(lambda: any(entry.fault == "hang" for entry in job.sandbox.log))
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
            seconds = time.monotonic() - sent
            job.check_promises()
            job.check_complete()
            return seconds

    took = at_the_same_time(len(hanging), case)
    assert max(took) < 2 * GRACE


def test_a_second_signal_ends_a_run_at_once_and_loses_nothing_either(tmp_path: Path) -> None:
    def case(number: int) -> float:
        chance = Random(100 + number)
        first, second = chance.choice(SIGNALS), chance.choice(SIGNALS)
        with bench(tmp_path / str(number), 60, register=number % 2 == 1) as job:
            job.sandbox.latency_seconds = 0.05
            process = job.start()
            time.sleep(chance.uniform(0, 0.5))
            job.sandbox.latency_seconds = 60  # from here on each answer is longer under way than the grace
            time.sleep(0.3)
            process.send_signal(first)
            time.sleep(chance.uniform(0, 0.5))
            sent = time.monotonic()
            process.send_signal(second)
            code = process.wait(60)
            seconds = time.monotonic() - sent
            assert code in (128 + first, 128 + second)
            job.check_promises()
            job.check_complete()
            return seconds

    took = at_the_same_time(8, case)
    assert max(took) < GRACE / 2


# Where nobody reads


@contextmanager
def unread(kind: str) -> Iterator[tuple[int, int, Callable[[], None]]]:
    """A stream that somebody stopped reading: both its ends, and a function that stops the reading.

    Args:
        kind: `pipe`, or `terminal`, where the user types ^S.
    """
    if kind == "pipe":
        reader, writer = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: full all the sooner
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        stop_reading: Callable[[], None] = lambda: None  # noqa: E731 - nobody ever read
    else:
        reader, writer = pty.openpty()
        stop_reading = lambda: void(os.write(reader, b"\x13"))  # noqa: E731 - ^S
        threading.Thread(target=drained, args=(reader,), daemon=True).start()
    try:
        yield reader, writer, stop_reading
    finally:
        os.close(writer)
        if kind == "pipe":
            os.close(reader)


def void(_: object) -> None: ...


def drained(reader: int) -> None:
    """Read a terminal to its end, as its window does even after ^S."""
    with suppress(OSError):
        while os.read(reader, 65536):
            pass
    os.close(reader)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("pipe", ("--log-level", "debug")), ("terminal", ()), ("terminal", ("--log-format", "json"))],
)
def test_a_stderr_that_nobody_reads_holds_up_neither_the_harvest_nor_a_stop(
    kind: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    with bench(tmp_path, 1500, options=SandboxOptions(size_scale=0.1, faults=parse_faults("502=0.1,heal=1"))) as job:
        job.tool.extra |= {"HARVESTER_PAPERBUZZ__RATE": "200", "TERM": "xterm"}
        with unread(kind) as (_, stream, stop_reading):
            process = job.tool.start("run", "dois.txt", "-o", "out.jsonl", *flags, stderr=stream)
            soon(lambda: len(job.asked()) > 20)
            stop_reading()
            before = len(job.asked())
            soon(lambda: len(job.asked()) > before + 150)
            process.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            assert process.wait(60) == 143
            assert time.monotonic() - sent < GRACE / 2
        job.check_promises()
        assert job.tool.summary()["exit"]["code"] == 143


def test_a_reader_of_stdout_that_sleeps_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    with bench(tmp_path, 600) as job, unread("pipe") as (reader, stream, _):
        process = job.tool.start("run", "dois.txt", "-o", "-", "--ledger", "out.ledger", stdout=stream)
        soon(lambda: len(job.asked()) > 200)  # as many as may wait for the reader
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        assert process.wait(60) == 143
        assert time.monotonic() - sent < GRACE / 2
        again = job.tool("run", "dois.txt", "-o", "-", "--ledger", "out.ledger")
        assert again.returncode == 0
        lines = os.read(reader, 65536).decode().split("\n")[:-1] + again.stdout.splitlines()
        assert {orjson.loads(line)["doi"] for line in lines} == set(job.listed)


# Many starts


def test_of_twenty_starts_at_the_same_time_exactly_one_works(tmp_path: Path) -> None:
    with bench(tmp_path, 40) as job:
        job.sandbox.latency_seconds = 60  # whoever works has not finished when the last one starts
        runs = [job.tool.start(*job.command) for _ in range(20)]
        soon(lambda: sum(run.poll() is None for run in runs) == 1)
        refused = [run for run in runs if run.returncode is not None]
        assert [run.returncode for run in refused] == [11] * 19
        [working] = [run for run in runs if run.returncode is None]
        for run in refused:
            _, told = run.communicate(timeout=60)
            assert f"process {working.pid}" in told
            assert "Nothing was changed" in told
        working.send_signal(signal.SIGTERM)
        working.send_signal(signal.SIGTERM)
        assert working.wait(60) == 143
        asked = len(job.asked())
        job.check_complete()
        assert asked <= 2  # as many as one run begins with
        assert len(job.asked()) - asked == len(job.listed)


def test_a_start_beside_a_run_changes_no_file_and_asks_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, 100) as job:
        job.sandbox.latency_seconds = 0.05
        process = job.start()
        soon(lambda: len(job.asked()) > 20)
        process.send_signal(signal.SIGSTOP)  # so that whatever changes is not its doing
        try:
            time.sleep(0.3)
            before, asked = files(tmp_path), len(job.asked())
            for also in ((), ("--refetch",), ("--retry-failed",), ("--register",)):
                assert job.tool(*job.command, *also).returncode == 11
            assert job.tool("verify", "out.jsonl").returncode == 11
            assert files(tmp_path) == before
            assert len(job.asked()) == asked
        finally:
            process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
        job.check_complete()
        assert len(job.asked()) == len(job.listed)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
