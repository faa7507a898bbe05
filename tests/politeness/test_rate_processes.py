"""One rate for several processes, of which some are killed, stopped and started: real ones, over real sockets.

Each process writes down, under the lock, when its request was handed to the kernel. These times of all processes
together have to keep the rate in every window, to the request. What the server sees is later by what the machine takes.
"""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harvester.core.clock import SystemClock
from harvester.core.stop import Stop, StoppableClock
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.rate_file import RateFile
from harvester.sandbox.limits import rate_violations
from harvester.sandbox.server import Sandbox
from harvester.transport.messages import Request, Response
from tests.support import Gated
from tests.tool import SLACK_SECONDS, Tool, dois

SECONDS = float(os.environ.get("HARVESTER_RATE_SECONDS", "4"))
"""How long the processes are at work."""

RATE, BURST = 150.0, 3.0

WORKER = """
import asyncio, os, pathlib, struct, sys
from harvester.core.clock import SystemClock, uptime_ns
from harvester.core.errors import TryAgain
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.rate_file import RateFile
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request

folder, url, rate, burst = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
gate = os.open(folder / "gate.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class Watched(RateFile):
    def sent(self):
        os.write(gate, struct.pack("<qq", uptime_ns(), os.getpid()))
        super().sent()

async def main():
    with Watched(folder / "rate.bin", rate, burst) as bucket:
        limiter = RateLimiter(rate, SystemClock(), burst=burst, bucket=bucket)
        async with AiohttpTransport(limiter, connections=8) as transport:
            limited = RateLimited(transport, limiter)

            async def ask():
                while True:
                    try:
                        await limited.send(Request("GET", url))
                    except TryAgain:
                        pass

            await asyncio.gather(*(ask() for _ in range(8)))

asyncio.run(main())
"""


def gate_log(folder: Path) -> list[tuple[float, int]]:
    """When requests left, in seconds, in order, and from which process."""
    return [(ns / 1e9, pid) for ns, pid in struct.iter_unpack("<qq", (folder / "gate.log").read_bytes())]


def test_three_processes_keep_one_rate_though_they_are_killed_stopped_and_started(
    harvester: Tool, sandbox: Sandbox
) -> None:
    chance = random.Random(7)

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(harvester.folder), sandbox.paperbuzz_url, str(RATE), str(BURST)]
        harvester.started.append(subprocess.Popen(command, text=True))
        return harvester.started[-1]

    at_work = [start() for _ in range(3)]
    deadline = time.monotonic() + 60
    while not (harvester.folder / "gate.log").exists() or len({pid for _, pid in gate_log(harvester.folder)}) < 3:
        assert time.monotonic() < deadline, "they did not all come to work"
        time.sleep(0.02)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        place = chance.randrange(3)
        if chance.random() < 0.3:
            at_work[place].kill()
            at_work[place] = start()
        else:
            at_work[place].send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.01, 0.3))
            at_work[place].send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0.01, 0.2))
    for process in at_work:
        process.kill()
        process.wait()
    left = gate_log(harvester.folder)
    times = [moment for moment, _ in left]
    assert times == sorted(times)
    assert not rate_violations(times, RATE, BURST)
    assert len({pid for _, pid in left}) > 3
    assert len(times) > RATE * SECONDS / 4
    seen = sorted(entry.time for entry in sandbox.log.of("paperbuzz"))
    assert not rate_violations(seen, RATE, BURST, slack_seconds=SLACK_SECONDS)


def test_three_runs_of_the_tool_at_once_ask_no_faster_than_one(harvester: Tool, sandbox: Sandbox) -> None:
    rate, each = 40.0, 30
    harvester.extra["HARVESTER_PAPERBUZZ__RATE"] = str(rate)
    runs = []
    for place in range(3):
        harvester.write(f"{place}.txt", dois(3 * each)[place * each : (place + 1) * each])
        base_url = sandbox.paperbuzz_url.replace("127.0.0.1", ("127.0.0.1", "localhost", "LOCALHOST")[place])
        arguments = ("run", f"{place}.txt", "-o", f"{place}.jsonl", "--quiet", "--paperbuzz-base-url", base_url)
        runs.append(harvester.start(*arguments))
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    times = sorted(entry.time for entry in sandbox.log.of("paperbuzz"))
    assert len(times) == 3 * each
    assert times[-1] - times[0] >= (3 * each - 1) / rate - SLACK_SECONDS


class Wire:
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, _request: Request) -> Response:
        self.sent += 1
        return Response(200, {}, b"")


GET = Request("GET", "https://api.example/v0/")


@pytest.fixture
def held(tmp_path: Path) -> RateFile:
    """A bucket whose place is taken by somebody who does not go on."""
    bucket = RateFile(tmp_path / "rate.bin", 100, 2).__enter__()
    assert bucket.take() == 0
    return bucket


async def test_who_is_in_the_way_is_told_by_name_and_the_run_goes_on_when_it_is_gone(
    tmp_path: Path, held: RateFile, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    is_said = asyncio.Event()

    def say(reason: str) -> None:
        said.append(reason)
        is_said.set()

    wire = Wire()
    with RateFile(tmp_path / "rate.bin", 100, 2) as bucket:
        limiter = RateLimiter(100, QuickClock(), burst=2, bucket=bucket, on_wait=say)
        asking = asyncio.create_task(RateLimited(Gated(limiter, wire), limiter).send(GET))
        await is_said.wait()
        assert f"process {os.getpid()}" in said[0]
        assert "kill -CONT" in caplog.text
        assert wire.sent == 0
        held.sent()
        await asking
    assert wire.sent == 1
    assert said[-1] == ""


async def test_a_stop_is_heard_while_another_process_is_in_the_way(tmp_path: Path, held: RateFile) -> None:
    stop = Stop()
    wire = Wire()
    with RateFile(tmp_path / "rate.bin", 100, 2) as bucket:
        limiter = RateLimiter(100, StoppableClock(SystemClock(), stop), burst=2, bucket=bucket, stop=stop)
        asking = asyncio.create_task(RateLimited(Gated(limiter, wire), limiter).send(GET))
        await asyncio.sleep(0.01)
        stop.request()
        await asyncio.wait({asking}, timeout=0.5)
        assert asking.done()
    assert type(asking.exception()).__name__ == "Stopped"
    assert held.take() > 0
    assert wire.sent == 0


async def test_a_stop_is_heard_while_a_slow_rate_is_waited_for() -> None:
    stop = Stop()
    wire = Wire()
    limiter = RateLimiter(0.001, StoppableClock(SystemClock(), stop), stop=stop)
    limited = RateLimited(Gated(limiter, wire), limiter)
    await limited.send(GET)
    asking = asyncio.create_task(limited.send(GET))
    await asyncio.sleep(0.01)
    stop.request()
    await asyncio.wait({asking}, timeout=0.5)
    assert asking.done()
    assert type(asking.exception()).__name__ == "Stopped"
    assert wire.sent == 1


class QuickClock(SystemClock):
    """Its seconds take ten milliseconds."""

    def monotonic(self) -> float:
        return 100 * time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)
