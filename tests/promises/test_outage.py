"""A service that is away: what is asked of it meanwhile, that nobody's DOI pays for it, and how the run goes on.

Whole jobs against the real sandbox over real sockets, both on one event loop whose time a test owns (`LeapingLoop`):
ten minutes of an outage, or the hours of our patience, pass in a second or two.
"""

import asyncio
import io
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar, TypeVarTuple

import pytest

from harvester.config.load import load
from harvester.config.settings import Settings
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Context
from harvester.harvest.run import run
from harvester.politeness.breaker import LONGEST_PAUSE_SECONDS, OUTAGE_THRESHOLD
from harvester.politeness.retry import EARNED, LEAST, SHARE, WINDOW_SECONDS
from harvester.reports.summary import Summary
from harvester.sandbox.faults.rates import parse_faults
from harvester.sandbox.options import OutageKind, PlannedOutage, SandboxOptions
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.storage.paths import job_paths
from harvester.verify.gather import gather
from tests.jobs import harvest_job
from tests.oracle import violations
from tests.promises.test_run import wait_for
from tests.support import LoopClock
from tests.tool import PASSWORD, Tool, dois, records

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MINUTES = 60.0
DOWN = 10 * MINUTES
PATIENCE = 60 * MINUTES
CONCURRENCY = 8
STATUS_PAGE = "/v0/"
REFERENCE = Settings().paperbuzz.reference_doi
LITERALLY: "tuple[OutageKind, ...]" = ("503", "refuse")
KINDS = [*LITERALLY]
SLACK = 2.0
"""Seconds that the requests of a probe and the turns of others take."""


# Simulated time over real sockets


class LeapingSelector(selectors.DefaultSelector):
    """Time leaps ahead when nobody has anything to do, and stands still while a thread works.

    What was sent over the loopback may not have arrived yet when we look; so a leap is two seconds long at the most,
    and takes a real millisecond. Nothing times out in fact that would not in earnest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0
        self._unslept = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += 1e-6  # work takes some time, or a timer that is due by less than a float can tell is due for ever
        if self.threads:
            return super().select(None if timeout is None else min(timeout, 0.02))
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready or (super().select(0.02) if timeout is None else ready)
        leap = min(timeout, 2.0)
        self._unslept += leap
        if self._unslept >= 2.0:
            self._unslept = 0.0
            if ready := super().select(0.001):
                return ready
        self.now += leap
        return []


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop over real sockets and threads on which an hour passes in some seconds."""

    def __init__(self) -> None:
        self._leaping = LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        self._leaping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: object) -> None:
        self._leaping.threads -= 1


def now() -> float:
    return asyncio.get_running_loop().time()


def simulated(work: Awaitable[T], at_most: float = 24 * 60 * MINUTES) -> T:
    """Run some work in simulated time, by which sandbox and transport go as well."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=LeapingLoop) as runner:
        patch.setattr("harvester.sandbox.state.SystemClock", LoopClock)
        patch.setattr("harvester.transport.aiohttp.time", SimpleNamespace(monotonic=now))
        patch.setattr("harvester.politeness.rate_file.uptime_ns", lambda: int(now() * 1e9))
        return runner.run(asyncio.wait_for(work, at_most))


# A job and what is known of it


@dataclass
class Desk:
    """One job in a folder, to be run as often as one likes against one sandbox.

    Args:
        folder: for all files.
        sandbox: both services.
        listed: DOIs in the list.
        register: whether they are registered.
        settings: more flags.
    """

    folder: Path
    sandbox: Sandbox
    listed: Sequence[str]
    register: bool = False
    settings: "dict[str, object] | None" = None

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    async def run(self, seed: int = 1) -> Summary:
        """One run from its beginning to its end."""
        (self.folder / "dois.txt").write_text("\n".join(self.listed) + "\n", encoding="utf-8")
        given: dict[str, object] = {
            "paperbuzz.base_url": self.sandbox.paperbuzz_url,
            "paperbuzz.email": "demo@example.org",
            "paperbuzz.concurrency": CONCURRENCY,
            "paperbuzz.patience": f"{PATIENCE} s",
            "paperbuzz.daily_budget": 0,
            "operas.base_url": self.sandbox.operas_url,
        }
        context = Context(
            clock=LoopClock(),
            random=Random(seed),
            stop=Stop(),
            tally=Tally(),
            warn=lambda _: None,
            stdin=io.BytesIO(),
            stdout=io.BytesIO(),
            state=self.folder / "state",
        )
        settings = load(None, {}, given | (self.settings or {})).settings
        password = PASSWORD if self.register else None
        return await run(
            harvest_job(settings, [self.folder / "dois.txt"], job_paths(str(self.output)), password), context
        )

    def results(self) -> dict[str, dict[str, Any]]:
        """The records by DOI, each of which is there once."""
        found = list(records(self.output))
        by_doi = {record["doi"]: record for record in found}
        assert len(by_doi) == len(found)
        return by_doi

    def check_complete(self, summary: Summary) -> None:
        """Every DOI has its record, once; nothing was written off, and all promises hold."""
        assert (summary.exit.code, summary.figures.pending, summary.figures.failures) == (0, 0, 0), summary
        assert self.results().keys() == set(self.listed)
        assert (self.folder / "out.failures.jsonl").read_bytes() == b""
        self.check_promises()

    def check_promises(self) -> None:
        with gather(self.output, deep=True) as evidence:
            assert violations(evidence) == []

    def check_registered(self, summary: Summary) -> None:
        figures = summary.figures
        assert (figures.registered, figures.rejected, figures.registration_pending) == (len(self.listed), 0, 0)
        assert self.sandbox.operas.registered.keys() == set(self.listed)


def during(sandbox: Sandbox, service: str, start: float, end: float) -> list[LoggedRequest]:
    return [entry for entry in sandbox.log.of(service) if start <= entry.time < end]


def first_of_resent(entries: Iterable[LoggedRequest]) -> list[LoggedRequest]:
    """Without what aiohttp sent again by itself, which follows as soon as the rate allows."""
    kept: list[LoggedRequest] = []
    for entry in entries:
        if not kept or entry.key != kept[-1].key or entry.time - kept[-1].time > 0.5:
            kept.append(entry)
    return kept


def pauses(entries: Sequence[LoggedRequest]) -> list[float]:
    return [later.time - sooner.time for sooner, later in pairwise(entries)]


def pauses_between_probes(entries: Iterable[LoggedRequest]) -> list[float]:
    """Each probe begins with the status page."""
    return pauses(first_of_resent(entry for entry in entries if entry.key == STATUS_PAGE))


def they_double(pauses: Sequence[float], *, after: int = 0) -> bool:
    """Whether pauses grow from 1 s on (or another power) as far as they may, but for the requests between them."""
    expected = [min(LONGEST_PAUSE_SECONDS, 2.0 ** (after + number)) for number in range(len(pauses))]
    return all(wanted <= pause <= wanted + SLACK for pause, wanted in zip(pauses, expected, strict=True))


def probes_within(seconds: float) -> int:
    """How many probes fit into an outage: one at once, and then at pauses of 1, 2, 4 … 300 s."""
    pause, passed, probes = 1.0, 0.0, 0
    while passed <= seconds:
        probes += 1
        passed += pause
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
    return probes


REQUESTS_A_PROBE = 2
"""The status page and a DOI that is known to be good."""

RESENT = 2
"""aiohttp sends a GET again by itself when the connection is reset."""


def bearable(seconds: float, kind: OutageKind) -> int:
    """Requests that an outage may see: those that tell of it, those under way, and the probes."""
    distinct = OUTAGE_THRESHOLD + CONCURRENCY + REQUESTS_A_PROBE * probes_within(seconds)
    return distinct * (RESENT if kind == "refuse" else 1)


def options(**given: Any) -> SandboxOptions:
    return SandboxOptions(**{"size_scale": 0.1, "latency_seconds": 0.2} | given)


# Paperbuzz


@pytest.mark.parametrize("max_attempts", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_minutes_down_in_the_middle_cost_a_few_requests_and_no_doi_anything(
    tmp_path: Path, kind: OutageKind, max_attempts: int
) -> None:
    start, end = 15.0, 15.0 + DOWN

    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", start, DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(300), settings={"paperbuzz.max_attempts": max_attempts})
            desk.check_complete(await desk.run())
            asked = during(sandbox, "paperbuzz", start, end)
            assert 0 < len(asked) <= bearable(DOWN, kind)
            assert {entry.fault for entry in asked} == {"outage"}
            # An answer that was under way may end the first suspicion, so that the pauses begin twice.
            pauses = [pause for pause in pauses_between_probes(asked) if pause >= 2]
            assert probes_within(DOWN) - 1 <= len(pauses) + 2 <= probes_within(DOWN)
            assert they_double(pauses, after=1)
            back = [entry for entry in sandbox.log.of("paperbuzz") if entry.time >= end]
            assert back[0].time <= end + LONGEST_PAUSE_SECONDS + SLACK  # goes on by itself, at the next probe
            assert back[-1].time - back[0].time < 60  # and at full speed
            attempts = Counter(record["attempts"] for record in desk.results().values())
            assert attempts.total() - attempts[1] <= OUTAGE_THRESHOLD + CONCURRENCY
            assert max(attempts) <= 3

    simulated(story())


def test_a_last_attempt_that_meets_the_outage_is_not_the_fault_of_its_doi(tmp_path: Path) -> None:
    async def story() -> None:
        async with Sandbox(options(latency_seconds=0.05, outages=(PlannedOutage("paperbuzz", 0.25, DOWN),))) as sandbox:
            listed = ["10.5555/heals-502", *dois(2)]
            desk = Desk(tmp_path, sandbox, listed, settings={"paperbuzz.max_attempts": 2})
            desk.check_complete(await desk.run())

    simulated(story())


@pytest.mark.parametrize("kind", KINDS)
def test_ten_minutes_down_from_the_start_are_waited_out(tmp_path: Path, kind: OutageKind) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", 0, DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(100), settings={"paperbuzz.max_attempts": 1})
            desk.check_complete(await desk.run())
            asked = during(sandbox, "paperbuzz", 0, DOWN)
            assert 0 < len(asked) <= bearable(DOWN, kind)
            assert {entry.key for entry in asked if entry.time > 20} == {
                STATUS_PAGE,
                Settings().paperbuzz.reference_doi,
            }
            assert they_double(pauses_between_probes(asked))

    simulated(story())


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_stays_away_ends_the_run_with_69_after_our_patience(tmp_path: Path, kind: OutageKind) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", 0, PATIENCE + DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(100))
            summary = await desk.run()
            assert PATIENCE <= now() <= PATIENCE + 60
            figures = summary.figures
            assert (summary.exit.code, figures.pending, figures.failures, figures.results) == (69, 100, 0, 0)
            assert 0 < len(sandbox.log) <= bearable(PATIENCE, kind)
            assert they_double(pauses_between_probes(sandbox.log)[:-1])  # the last one ends with our patience
            desk.check_promises()
            await asyncio.sleep(DOWN)
            desk.check_complete(await desk.run())
            assert {record["attempts"] for record in desk.results().values()} == {1}

    simulated(story())


SILENT: "tuple[OutageKind, ...]" = ("400", "500", "json-error", "one-record")
"""Outages that do not look like one: a gateway refuses everything, or the status page answers all the while."""


@pytest.mark.parametrize("kind", SILENT)
@pytest.mark.parametrize(("listed", "start"), [(3, 0.0), (100, 5.0)])
def test_an_outage_that_sounds_like_bad_dois_costs_none_of_them_however_short_the_list(
    tmp_path: Path, kind: OutageKind, listed: int, start: float
) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", start, DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(listed))
            desk.check_complete(await desk.run())
            asked = during(sandbox, "paperbuzz", start, start + DOWN)
            assert 0 < len(asked) <= bearable(DOWN, kind) + probes_within(DOWN)  # the waiting DOI is asked for as well

    simulated(story())


@pytest.mark.parametrize(("kind", "listed"), [*((kind, 1) for kind in SILENT), ("500", 100)])
def test_one_that_stays_ends_the_run_with_69_and_nothing_written_off_as_it_says(
    tmp_path: Path, kind: OutageKind, listed: int
) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", 0, PATIENCE + DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(listed))
            summary = await desk.run()
            assert (summary.exit.code, summary.figures.failures, summary.figures.pending) == (69, 0, listed)
            assert "no DOI was written off" in summary.exit.reason
            assert "reference_doi" in summary.exit.reason
            await asyncio.sleep(DOWN)
            desk.check_complete(await desk.run())

    simulated(story())


def test_what_was_harvested_before_a_service_stays_away_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("paperbuzz", 10, PATIENCE + DOWN),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(200))
            summary = await desk.run()
            assert (summary.exit.code, summary.figures.failures) == (69, 0)
            assert 50 < summary.figures.results == 200 - summary.figures.pending
            desk.check_promises()
            asked = len(sandbox.log)
            await asyncio.sleep(DOWN)
            desk.check_complete(await desk.run())
            assert len(sandbox.log) - asked == summary.figures.pending

    simulated(story())


def test_after_each_outage_the_pauses_begin_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with Sandbox(options()) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(400))
            harvest = asyncio.ensure_future(desk.run())
            for kind in (*LITERALLY, *LITERALLY):
                good = sandbox.log.statuses["paperbuzz 200"]
                await until(lambda: sandbox.log.statuses["paperbuzz 200"] >= good + 60)  # noqa: B023 - awaited here
                start = now()
                sandbox.set_outage("paperbuzz", kind)
                await asyncio.sleep(DOWN)
                sandbox.set_outage("paperbuzz", None)
                asked = during(sandbox, "paperbuzz", start, now())
                assert 0 < len(asked) <= bearable(DOWN, kind)
                assert they_double(pauses_between_probes(asked))
            desk.check_complete(await harvest)

    simulated(story())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.1)


# OPERAS


def posts_and_tokens(sandbox: Sandbox, start: float, end: float) -> list[LoggedRequest]:
    return first_of_resent(during(sandbox, "operas", start, end))


@pytest.mark.parametrize("start", [0.0, 15.0], ids=["from the start", "in the middle"])
@pytest.mark.parametrize("kind", KINDS)
def test_registration_waits_for_operas_while_the_harvest_goes_on(
    tmp_path: Path, kind: OutageKind, start: float
) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("operas", start, DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(300), register=True, settings={"operas.batch_size": 50})
            summary = await desk.run()
            desk.check_complete(summary)
            desk.check_registered(summary)
            assert len(sandbox.log.of("paperbuzz")) == 300
            assert sandbox.log.of("paperbuzz")[-1].time < 40  # as long as 300 requests take at ten a second
            asked = posts_and_tokens(sandbox, start, start + DOWN)
            assert 0 < len(asked) <= probes_within(DOWN) + 2
            assert max(pauses(asked)) > 100
            assert they_double(pauses(asked)[-6:], after=len(pauses(asked)) - 6 - (start == 0))
            assert now() < start + DOWN + LONGEST_PAUSE_SECONDS + 60
            assert sandbox.posts_at_once.most == 1

    simulated(story())


@pytest.mark.parametrize("kind", KINDS)
def test_an_operas_that_stays_away_ends_a_finished_harvest_with_69_and_the_next_run_registers_all(
    tmp_path: Path, kind: OutageKind
) -> None:
    async def story() -> None:
        async with Sandbox(options(outages=(PlannedOutage("operas", 0, PATIENCE + DOWN, kind),))) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(200), register=True)
            summary = await desk.run()
            figures = summary.figures
            assert (summary.exit.code, figures.results, figures.pending, figures.failures) == (69, 200, 0, 0)
            assert (figures.registered, figures.rejected, figures.registration_pending) == (0, 0, 200)
            assert desk.results().keys() == set(desk.listed)  # published: the harvest is complete
            desk.check_promises()
            assert len(posts_and_tokens(sandbox, 0, now())) <= probes_within(PATIENCE) + 3
            await asyncio.sleep(DOWN)
            asked = len(sandbox.log.of("paperbuzz"))
            again = await desk.run()
            desk.check_complete(again)
            desk.check_registered(again)
            assert len(sandbox.log.of("paperbuzz")) == asked == 200

    simulated(story())


def test_an_operas_that_goes_away_half_way_is_not_told_again_what_it_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        async with Sandbox(options(entry_seconds=0.02)) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(300), register=True, settings={"operas.batch_size": 20})
            harvest = asyncio.ensure_future(desk.run())
            await until(lambda: len(sandbox.operas.registered) >= 100)
            sandbox.set_outage("operas", "refuse")
            summary = await harvest
            assert (summary.exit.code, summary.figures.results, summary.figures.pending) == (69, 300, 0)
            assert summary.figures.registered + summary.figures.registration_pending == 300
            assert summary.figures.registered in (len(sandbox.operas.registered), len(sandbox.operas.registered) - 20)
            sandbox.set_outage("operas", None)
            posts = sandbox.operas.posts
            again = await desk.run()
            desk.check_registered(again)
            assert sandbox.operas.posts - posts <= summary.figures.registration_pending / 20 + 1

    simulated(story())


def test_both_services_may_be_away_at_the_same_time(tmp_path: Path) -> None:
    outages = (PlannedOutage("paperbuzz", 10, DOWN, "refuse"), PlannedOutage("operas", 5 * MINUTES, DOWN, "503"))

    async def story() -> None:
        async with Sandbox(options(outages=outages)) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(300), register=True)
            summary = await desk.run()
            desk.check_complete(summary)
            desk.check_registered(summary)

    simulated(story())


# Retries


def most_retries_beyond_the_budget(log: Iterable[LoggedRequest]) -> float:
    """By how many a retry, when it was sent, exceeded what the minute before allows; probes are no retries."""
    minute: deque[tuple[float, str]] = deque()
    counts: Counter[str] = Counter()
    asked: set[str] = set()
    answered: set[str] = set()
    beyond = 0.0
    for entry in log:
        if entry.key == STATUS_PAGE or entry.key in answered:
            kind = "probe"
        else:
            kind = "retry" if entry.key in asked else "first"
        asked.add(entry.key)
        if entry.status == 200:
            answered.add(entry.key)
        minute.append((entry.time, kind))
        counts[kind] += 1
        while minute[0][0] <= entry.time - WINDOW_SECONDS:
            counts[minute.popleft()[1]] -= 1
        if kind == "retry":
            # A probe may also be a trial of the work that waits, which nothing tells from a retry here. And a record of
            # a known-good DOI allows some retries.
            allowed = max(LEAST, SHARE * len(minute)) + (1 + EARNED) * counts["probe"]
            beyond = max(beyond, counts["retry"] - allowed)
    return beyond


WAITING = 10
"""What retries and first attempts wait for their turns after they are counted shifts the minute by as many."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("faults", ["500=0.15,502=0.15", "500=0.1,502=0.1,reset=0.1"])
def test_an_ailing_service_is_never_stormed_with_retries(tmp_path: Path, faults: str, seed: int) -> None:
    async def story() -> None:
        ailing = parse_faults(f"{faults},heal=2")
        async with Sandbox(options(faults=ailing, seed=seed)) as sandbox:
            desk = Desk(tmp_path, sandbox, dois(500))
            desk.check_complete(await desk.run(seed))
            log = sandbox.log.of("paperbuzz")
            assert len(log) > 600
            assert most_retries_beyond_the_budget(log) <= WAITING

    simulated(story())


# Real processes and real seconds


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as running:
        yield running


@pytest.mark.parametrize("kind", LITERALLY)
def test_a_process_goes_on_by_itself_when_the_service_is_back(
    harvester: Tool, sandbox: Sandbox, kind: OutageKind
) -> None:
    sandbox.latency_seconds = 0.05
    process = harvester.start("run", harvester.write("dois.txt", dois(200)), "-o", "out.jsonl")
    wait_for(lambda: len(sandbox.log) > 20)
    sandbox.set_outage("paperbuzz", kind)
    wait_for(lambda: sandbox.log.faults["paperbuzz outage"] > OUTAGE_THRESHOLD)
    time.sleep(2.5)
    outage = sandbox.log.faults["paperbuzz outage"]
    sandbox.set_outage("paperbuzz", None)
    assert process.wait(60) == 0
    assert outage <= bearable(10, kind)
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(200)
    assert harvester("verify", "out.jsonl", "--deep").returncode == 0


def test_a_process_waits_where_nobody_listens_and_its_command_goes_on_where_somebody_does(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    away = Sandbox(SandboxOptions(port=port))
    away.port = port
    harvester = Tool(tmp_path, away, {"HARVESTER_PAPERBUZZ__PATIENCE": "2 s"})
    command = ("run", harvester.write("dois.txt", dois(100)), "-o", "out.jsonl", "--register")
    run = harvester(*command)
    assert run.returncode == 69, run.stderr
    assert "same command again" in run.stderr
    assert (harvester.summary()["pending"], harvester.summary()["failures"]) == (100, 0)
    with run_in_thread(SandboxOptions(port=port)) as back:
        assert harvester(*command).returncode == 0
        assert len(back.operas.registered) == 100
    assert sorted(record["doi"] for record in harvester.lines("out.jsonl")) == dois(100)


def test_a_process_leaves_registration_in_the_outbox_while_operas_is_away(harvester: Tool, sandbox: Sandbox) -> None:
    harvester.extra["HARVESTER_PAPERBUZZ__PATIENCE"] = "2 s"
    sandbox.set_outage("operas", "503")
    command = ("run", harvester.write("dois.txt", dois(100)), "-o", "out.jsonl", "--register")
    assert harvester(*command).returncode == 69
    summary = harvester.summary()
    assert (summary["results"], summary["registered"], summary["registration_pending"]) == (100, 0, 100)
    assert len(harvester.lines("out.jsonl")) == 100
    sandbox.set_outage("operas", None)
    assert harvester(*command).returncode == 0
    assert len(sandbox.operas.registered) == 100
    assert len(sandbox.log.of("paperbuzz")) == 100
