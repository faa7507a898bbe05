"""The daily budget over several processes, some of which are killed: real ones, judged by the sandbox's log.

The sandbox itself kills a process, at a given request of it and before that one is answered: so that a slow machine
runs the same experiment. Each process sends an e-mail address of its own, by which the log tells them apart.
"""

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from harvester.politeness.quota import DAY_MINUTES, MARGIN_MINUTES
from harvester.sandbox.limits import rate_violations
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.server import Sandbox
from tests.tool import Tool, dois

WORKER = """
import asyncio, pathlib, sys
from harvester.core.clock import SystemClock
from harvester.core.errors import OutOfBudget
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.book import SqliteBook
from harvester.politeness.quota import DailyQuota
from harvester.politeness.rate_file import RateFile
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request

path, base, name = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
daily, block, concurrency = (int(number) for number in sys.argv[4:7])
rate, burst = (float(number) for number in sys.argv[7:9])

async def main():
    clock = SystemClock()
    numbers = iter(range(daily + 1))
    with RateFile(path.with_suffix(".rate"), rate, burst) as bucket:
        async with DailyQuota(SqliteBook(path, daily), clock, block=block) as quota:
            limiter = RateLimiter(rate, clock, burst=burst, bucket=bucket, quota=quota)
            async with AiohttpTransport(limiter, connections=concurrency) as transport:
                limited = RateLimited(transport, limiter)

                async def used_up():
                    try:
                        for number in numbers:
                            url = f"{base}doi/10.5555/{name}-{number}?email={name}@example.org"
                            await limited.send(Request("GET", url))
                    except OutOfBudget:
                        return True

                ends = await asyncio.gather(*(used_up() for _ in range(concurrency)))
    return 4 if all(ends) else 0

sys.exit(asyncio.run(main()))
"""


def sender(entry: LoggedRequest) -> str:
    """Which process it came from."""
    return unquote(entry.path).partition("?email=")[2].partition("@")[0]


def asked(sandbox: Sandbox) -> int:
    return len(sandbox.log.of("paperbuzz"))


def quota_file(tool: Tool) -> Path:
    (path,) = (tool.folder / "state").rglob("budget-*.sqlite")
    return path


def spent_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT COALESCE(SUM(requests), 0) FROM spent").fetchone()[0])


class Crew:
    """Four processes at work at a time; one that is killed is replaced.

    Args:
        sandbox: what they ask, and what kills them.
        start: starts the process with this number, under a name that the sandbox sees.
        kill_after: the request of a process at which it is killed, while there are kills left.
        kills: how many are killed in all.
    """

    def __init__(
        self, sandbox: Sandbox, start: "Callable[[int, str], subprocess.Popen[str]]", *, kill_after: int, kills: int
    ) -> None:
        self.codes: list[int] = []
        self.killed: list[str] = []
        self._start, self._kill_after, self._kills = start, kill_after, kills
        self._asked: Counter[str] = Counter()
        self._at_work: dict[str, subprocess.Popen[str]] = {}
        self._log = sandbox.log.begin
        sandbox.log.begin = self._begin  # type: ignore[method-assign]

    def _begin(self, entry: LoggedRequest) -> None:
        """Called in the sandbox's thread for each request."""
        self._log(entry)
        name = sender(entry)
        self._asked[name] += 1
        process = self._at_work.get(name)
        due = self._asked[name] >= self._kill_after and name not in self.killed
        if process is not None and due and len(self.killed) < self._kills:
            process.kill()
            self.killed.append(name)

    def work(self) -> None:
        """Until the last one has ended by itself."""
        for place in range(4):
            self._at_work[f"{place}-0"] = self._start(place, f"{place}-0")
        deadline = time.monotonic() + 100
        while self._at_work:
            assert time.monotonic() < deadline, "it did not come to an end"
            time.sleep(0.01)
            for name, process in list(self._at_work.items()):
                if process.poll() is None:
                    continue
                if process.returncode == -signal.SIGKILL:
                    place, generation = (int(number) for number in name.split("-"))
                    successor = f"{place}-{generation + 1}"
                    self._at_work[successor] = self._start(place, successor)
                else:
                    self.codes.append(process.returncode)
                del self._at_work[name]


def test_four_processes_and_eight_kills_never_ask_more_than_the_day_allows_nor_faster_than_the_rate(
    harvester: Tool, sandbox: Sandbox
) -> None:
    """At most what a kill finds deducted is wasted: its block, and what it had under way.

    All of them together keep the rate. A request may reach the log later than it started, but only those under way can
    do so, `concurrency` of each process: so many more than the burst may stand in a window of the log, however slow the
    machine is. (What is sent is judged to the request in `test_rate_processes.py`.)
    """
    daily, block, concurrency, rate, burst, kills = 450, 10, 4, 200.0, 3.0, 8
    numbers = [str(number) for number in (daily, block, concurrency, rate, burst)]

    def start(_place: int, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(harvester.folder / "budget.sqlite"), sandbox.paperbuzz_url, name]
        harvester.started.append(subprocess.Popen([*command, *numbers], cwd=harvester.folder, text=True))
        return harvester.started[-1]

    crew = Crew(sandbox, start, kill_after=20, kills=kills)
    crew.work()
    assert len(crew.killed) == kills
    assert crew.codes == [4] * 4
    assert daily - kills * (block + concurrency) <= asked(sandbox) <= daily
    assert spent_in(harvester.folder / "budget.sqlite") == daily
    times = [entry.time for entry in sandbox.log.of("paperbuzz")]
    assert not rate_violations(times, rate, burst + 4 * concurrency)


def test_four_runs_of_the_tool_and_four_kills_never_ask_more_than_the_day_allows(
    harvester: Tool, sandbox: Sandbox
) -> None:
    daily, block, concurrency, kills = 200, 10, 4, 4
    # The block follows from the rate, two a second; the burst makes them fast.
    harvester.extra |= {"HARVESTER_PAPERBUZZ__RATE": "2", "HARVESTER_PAPERBUZZ__BURST": "1000"}
    sandbox.latency_seconds = 0.02
    for place in range(4):
        harvester.write(f"{place}.txt", dois(4 * daily)[place * daily : (place + 1) * daily])

    def start(place: int, name: str) -> subprocess.Popen[str]:
        harvester.extra["HARVESTER_PAPERBUZZ__EMAIL"] = f"{name}@example.org"
        command = ("run", f"{place}.txt", "-o", f"{place}.jsonl", "--quiet", "--daily-budget", str(daily))
        return harvester.start(*command, "--concurrency", str(concurrency))

    crew = Crew(sandbox, start, kill_after=10, kills=kills)
    crew.work()
    assert len(crew.killed) == kills
    assert crew.codes == [4] * 4
    assert daily - kills * (block + concurrency) <= asked(sandbox) <= daily
    assert not sandbox.quota_violations(daily)


def test_a_used_up_budget_ends_every_run_with_4_until_it_is_free_again_and_then_the_same_command_goes_on(
    harvester: Tool, sandbox: Sandbox
) -> None:
    command = ("run", harvester.write("dois.txt", dois(45)), "-o", "out.jsonl", "--daily-budget", "30")
    for _ in range(2):
        run = harvester(*command)
        assert run.returncode == 4, run.stderr
        assert "daily budget of 30 requests is used up" in run.stderr
        assert "same command again after" in run.stderr
        assert asked(sandbox) == 30
        assert harvester.summary()["pending"] == 15
    with closing(sqlite3.connect(quota_file(harvester))) as db:
        db.execute("UPDATE spent SET minute = minute - ?", (DAY_MINUTES + MARGIN_MINUTES,))
        db.commit()
    run = harvester(*command)
    assert run.returncode == 0, run.stderr
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(45)
    assert set(Counter(entry.doi for entry in sandbox.log.of("paperbuzz")).values()) == {1}


def test_a_finished_run_has_spent_what_it_asked_and_not_a_request_more(harvester: Tool, sandbox: Sandbox) -> None:
    run = harvester("run", harvester.write("dois.txt", dois(7)), "-o", "out.jsonl", "--daily-budget", "100")
    assert run.returncode == 0, run.stderr
    assert spent_in(quota_file(harvester)) == asked(sandbox) == 7
    assert harvester.summary()["budget_left"] == 93


def test_a_stopped_run_gives_its_block_back(harvester: Tool, sandbox: Sandbox) -> None:
    sandbox.latency_seconds = 0.05
    harvester.write("dois.txt", dois(300))
    process = harvester.start("run", "dois.txt", "-o", "out.jsonl", "--daily-budget", "1000", "--concurrency", "4")
    deadline = time.monotonic() + 60
    while asked(sandbox) < 12:
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    # What was under way may have been given up before it reached the sandbox.
    assert asked(sandbox) <= spent_in(quota_file(harvester)) <= asked(sandbox) + 4


def test_a_budget_file_that_cannot_be_used_ends_the_run_with_74_and_asks_nothing(
    harvester: Tool, sandbox: Sandbox
) -> None:
    command = ("run", harvester.write("dois.txt", dois(7)), "-o", "out.jsonl", "--daily-budget", "5")
    harvester(*command)
    before = asked(sandbox)
    quota_file(harvester).write_bytes(b"this was a database once" * 400)
    run = harvester(*command)
    assert run.returncode == 74, run.stderr
    assert str(quota_file(harvester)) in run.stderr.replace("\n", "")
    assert "Traceback" not in run.stderr
    assert asked(sandbox) == before
