"""Fetching one work: who is to blame for a failure, the work or the service, and what that costs."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core.clock import Clock
from harvester.core.errors import (
    ConnectionLost,
    DoiMismatch,
    GiveUp,
    InvalidJson,
    MachineExhausted,
    NoResources,
    RedirectRefused,
    Refused,
    ServerBusy,
    ServerFailed,
    ServiceDown,
    Stopped,
    StopRun,
    TimedOut,
    TooLarge,
    TryAgain,
    Unreachable,
)
from harvester.core.limits import ServiceLimits
from harvester.core.model import DueWork, Failure, Outcome
from harvester.core.stop import Stop, StoppableClock
from harvester.core.tally import Tally
from harvester.harvest.fetcher import Fetcher
from harvester.harvest.witnesses import KnownGood
from harvester.politeness.breaker import CircuitBreaker
from harvester.politeness.concurrency import ConcurrencyLimit, Slots
from harvester.politeness.limiter import RateLimiter
from harvester.politeness.overload import Overload
from harvester.politeness.retry import RetryBudget
from harvester.politeness.service import Service
from harvester.providers.base import Record
from harvester.records.result import Result
from harvester.transport.messages import Request, Response
from tests.support import LoopClock, in_virtual_time

THRESHOLD = 5
PATIENCE = 3600.0
LATENCY = 0.1
PAGE = "the status page"
REFERENCE = "10.1/reference"

Fault = Callable[[], TryAgain | GiveUp]


def now() -> float:
    return asyncio.get_running_loop().time()


def busy(retry_after: float | None = None) -> Fault:
    return lambda: ServerBusy("the server answers 503", status=503, retry_after=retry_after)


def internal() -> ServerFailed:
    return ServerFailed("the server answers 500", status=500)


def lost() -> ConnectionLost:
    return ConnectionLost("no connection")


def redirected() -> RedirectRefused:
    return RedirectRefused("a redirect to 'https://maintenance.example' is not followed", status=302)


class Faulty:
    """A Paperbuzz that fails as it is told: for good for some DOIs, for a time for all.

    Args:
        bad: what is asked for and always fails, with its fault.
        outages: from when until when everything fails, in seconds, with the fault.
        page_stays: whether the status page answers during an outage.
        slow: what takes longer than the rest, with its seconds.
    """

    name = "paperbuzz"
    title = "Paperbuzz"
    works_per_request = 1

    def __init__(
        self,
        bad: dict[str, Fault] | None = None,
        outages: Iterable[tuple[float, float, Fault]] = (),
        *,
        page_stays: bool = False,
        slow: dict[str, float] | None = None,
    ) -> None:
        self.slow = slow or {}
        self.bad = bad or {}
        self.outages = list(outages)
        self.page_stays = page_stays
        self.asked: list[tuple[float, str]] = []
        self.fresh: defaultdict[str, list[bool]] = defaultdict(list)

    async def record(self, doi: str, *, fresh: bool = False) -> Record:
        self.fresh[doi].append(fresh)
        await self._answer(doi)
        seconds = self.slow.get(doi, LATENCY)
        return Record(b'{"doi":"%b"}' % doi.encode(), "0" * 64, Outcome.OK, False, (), 200, seconds)

    async def alive(self) -> None:
        await self._answer(PAGE)

    async def _answer(self, what: str) -> None:
        self.asked.append((now(), what))
        await asyncio.sleep(self.slow.get(what, LATENCY))
        fault = self.bad.get(what)
        for start, end, down in self.outages:
            if start <= now() < end and not (what == PAGE and self.page_stays):
                fault = down
        if fault:
            raise fault()

    def times(self, what: str) -> list[float]:
        return [when for when, asked in self.asked if asked == what]


class Generous(RetryBudget):
    """Retries without end: what they are limited to is told in tests/politeness/test_retry.py."""

    def _may_retry(self) -> bool:
        return True


class Unlimited(Slots):
    """Slots without end: what they are limited to is told in tests/politeness/test_concurrency.py."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


class Unhurried(RateLimiter):
    """Notes the pauses that it is asked for, in seconds."""

    def __init__(self, clock: Clock, pauses: list[float]) -> None:
        super().__init__(1, clock)
        self._pauses = pauses

    def pause(self, seconds: float) -> None:
        self._pauses.append(seconds)


class NoTransport:
    """The provider here needs none."""

    async def send(self, _request: Request) -> Response:
        raise AssertionError


class Harvest:
    """A fetcher and those who use it; `outcomes` and `ended` tell what came of it."""

    def __init__(self, service: Faulty, *, max_attempts: int = 5, known_good: str | None = None) -> None:
        self.service = service
        self.stop = Stop()
        self.tally = Tally()
        self.pauses: list[float] = []
        self.outcomes: dict[str, Result | Failure] = {}
        self.ended: StopRun | None = None
        self._max_attempts, self._known_good = max_attempts, known_good

    async def run(self, dois: Iterable[str], concurrency: int) -> None:
        clock = StoppableClock(LoopClock(), self.stop)
        self.breaker = CircuitBreaker("Paperbuzz", clock, threshold=THRESHOLD, patience_seconds=PATIENCE)
        service = Service(
            name="paperbuzz",
            transport=NoTransport(),
            limiter=Unhurried(clock, self.pauses),
            slots=Unlimited(ConcurrencyLimit(1, clock)),
            breaker=self.breaker,
            retries=Generous(clock),
            overload=Overload(clock),
            limits=ServiceLimits("https://api.example/v0/", 1, max_attempts=self._max_attempts, patience=PATIENCE),
        )
        fetcher = Fetcher(
            self.service,
            service,
            tally=self.tally,
            clock=clock,
            random=Random(1),
            known_good=KnownGood(REFERENCE, self._known_good),
        )
        todo = iter(list(dois))

        async def work() -> None:
            for doi in todo:
                if self.stop.requested:
                    return
                try:
                    self.outcomes[doi] = await fetcher.fetch(DueWork(len(self.outcomes), doi, "list.txt:1"))
                except Stopped:
                    return
                except StopRun as reason:
                    self.ended = self.ended or reason
                    self.stop.request(reason)

        await asyncio.gather(*(work() for _ in range(concurrency)))

    @property
    def failures(self) -> dict[str, Failure]:
        return {doi: outcome for doi, outcome in self.outcomes.items() if isinstance(outcome, Failure)}


def harvest(
    service: Faulty,
    dois: Iterable[str],
    *,
    concurrency: int = 1,
    max_attempts: int = 5,
    known_good: str | None = None,
) -> Harvest:
    harvested = Harvest(service, max_attempts=max_attempts, known_good=known_good)
    in_virtual_time(asyncio.wait_for(harvested.run(dois, concurrency), 100 * PATIENCE))
    return harvested


def some(count: int) -> list[str]:
    return [f"10.5555/{n}" for n in range(count)]


# A work's own fault


def test_a_good_doi_is_a_result_after_one_request() -> None:
    harvested = harvest(Faulty(), ["10.1/a"])
    result = harvested.outcomes["10.1/a"]
    assert isinstance(result, Result)
    assert (result.doi, result.attempts, result.http_status, result.elapsed_ms) == ("10.1/a", 1, 200, 100)
    assert harvested.tally.bytes == len(result.paperbuzz)
    assert harvested.tally.retries == 0


def test_a_fault_that_passes_costs_attempts_and_nothing_else() -> None:
    harvested = harvest(Faulty(outages=[(0, 0.5, lost)]), ["10.1/a"], known_good="10.1/c")
    result = harvested.outcomes["10.1/a"]
    assert isinstance(result, Result)
    assert result.attempts == len(harvested.service.asked) == harvested.tally.retries + 1


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_a_permanent_500_costs_its_own_doi_and_no_other(concurrency: int) -> None:
    dois = some(40)
    harvested = harvest(Faulty({dois[20]: internal}), dois, concurrency=concurrency)
    assert harvested.outcomes.keys() == set(dois)
    assert harvested.failures.keys() == {dois[20]}
    failure = harvested.failures[dois[20]]
    assert (failure.kind, failure.http_status, failure.origin, failure.input) == ("http", 500, "list.txt:1", dois[20])
    assert failure.attempts == len(harvested.service.times(dois[20])) == 3


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_third_of_bad_dois_is_no_outage_whatever_is_wrong_with_them(concurrency: int) -> None:
    dois = some(60)
    faults: list[Fault] = [
        internal,
        busy(),
        lost,
        redirected,
        lambda: TimedOut("late"),
        lambda: InvalidJson("bad", status=200),
        lambda: TooLarge("large", status=200),
        lambda: DoiMismatch("other", status=200),
        lambda: Refused("no", status=400),
    ]
    bad = {doi: faults[n % len(faults)] for n, doi in enumerate(dois[1::3])}
    harvested = harvest(Faulty(bad), dois, concurrency=concurrency)
    assert harvested.ended is None
    assert harvested.failures.keys() == bad.keys()
    assert harvested.outcomes.keys() == set(dois)
    assert all(failure.kind == bad[doi]().kind for doi, failure in harvested.failures.items())
    assert not harvested.breaker.outages


SURE = [
    lambda: DoiMismatch("other", status=200),
    lambda: Refused("no", status=400),
    lambda: InvalidJson("bad", status=200),
    lambda: TooLarge("large", status=200),
]


@pytest.mark.parametrize("fault", SURE)
def test_an_answer_that_sounds_final_is_asked_for_once_more_on_a_connection_of_its_own(fault: Fault) -> None:
    dois = some(40)
    service = Faulty({dois[20]: fault})
    harvested = harvest(service, dois, concurrency=4)
    assert harvested.failures.keys() == {dois[20]}
    assert harvested.failures[dois[20]].attempts == 2
    assert service.fresh[dois[20]] == [False, True]
    assert len(service.asked) <= len(dois) + 3  # one more attempt, and a good DOI before and after it at the most


@pytest.mark.parametrize("fault", SURE)
def test_an_answer_that_sounds_final_and_passes_is_nobodys_failure(fault: Fault) -> None:
    harvested = harvest(Faulty(outages=[(1.0, 1.35, fault)]), some(40), concurrency=4)
    assert not harvested.failures


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("fault", [*SURE, internal])
def test_a_list_of_nothing_but_bad_dois_ends_where_the_reference_doi_has_its_record(
    fault: Fault, concurrency: int
) -> None:
    dois = some(30)
    service = Faulty(dict.fromkeys(dois, fault))
    harvested = harvest(service, dois, concurrency=concurrency)
    assert harvested.failures.keys() == set(dois)
    assert harvested.ended is None
    assert not harvested.breaker.outages
    assert len(service.asked) <= 6 * len(dois)


@pytest.mark.parametrize("fault", [*SURE, internal])
def test_one_hopeless_doi_alone_is_a_failure_and_no_outage(fault: Fault) -> None:
    harvested = harvest(Faulty({"10.1/bad": fault}), ["10.1/bad"])
    assert harvested.failures.keys() == {"10.1/bad"}
    assert harvested.ended is None


def test_a_doi_that_fails_at_the_end_of_the_list_is_told_from_an_outage_by_a_good_one() -> None:
    service = Faulty({"10.1/bad": busy()})
    harvested = harvest(service, ["10.1/good", "10.1/bad"])
    assert harvested.failures.keys() == {"10.1/bad"}
    assert harvested.failures["10.1/bad"].attempts == 5
    assert (len(service.times(PAGE)), len(service.times("10.1/good"))) == (0, 3)


def test_a_known_good_doi_of_an_earlier_run_serves_as_well() -> None:
    service = Faulty({"10.1/bad": busy()})
    harvested = harvest(service, ["10.1/bad"], known_good="10.1/earlier")
    assert harvested.failures["10.1/bad"].attempts == len(service.times("10.1/bad")) == 5
    assert harvested.ended is None


def test_a_failing_status_page_alone_is_no_outage() -> None:
    """A gateway may hide it; what counts are the DOIs."""
    service = Faulty({"10.1/bad": internal, PAGE: internal})
    harvested = harvest(service, ["10.1/good", "10.1/bad", "10.1/too"])
    assert harvested.failures.keys() == {"10.1/bad"}
    assert harvested.ended is None


def test_lock_step_failures_of_as_many_bad_dois_as_make_an_outage_come_to_an_end() -> None:
    dois = some(THRESHOLD)
    harvested = harvest(Faulty(dict.fromkeys(dois, internal)), dois, concurrency=THRESHOLD, known_good="10.1/c")
    assert harvested.failures.keys() == set(dois)
    assert all(failure.attempts <= 5 for failure in harvested.failures.values())


def test_attempts_are_the_requests_that_were_made_for_a_work() -> None:
    service = Faulty({"10.1/a": internal})
    failure = harvest(service, ["10.1/a"]).failures["10.1/a"]
    assert failure.attempts == len(service.times("10.1/a")) == 3


def test_it_is_not_a_slow_doi_that_is_asked_for_to_know_whether_the_service_is_up() -> None:
    dois = some(40)
    service = Faulty(dict.fromkeys(dois[20::2], internal), slow={dois[19]: 4.0, dois[21]: 4.0})
    harvest(service, dois)
    assert len(service.times(dois[19])) == 1


# Retry-After


def test_a_pause_the_server_asks_for_is_everybodys_if_a_known_good_doi_fails_as_well() -> None:
    harvested = harvest(Faulty(outages=[(0, 0.25, busy(30))]), ["10.1/a"], known_good="10.1/c")
    assert harvested.pauses == [30]
    assert harvested.service.times("10.1/a")[1] >= 30


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_is_asked_for_one_doi_is_kept_for_that_one_alone(status: int, concurrency: int) -> None:
    dois = some(40)
    service = Faulty({dois[5]: lambda: ServerBusy("busy", status=status, retry_after=900)})
    harvested = harvest(service, dois, concurrency=concurrency)
    assert harvested.pauses == []
    assert harvested.ended is None
    assert harvested.failures.keys() == {dois[5]}
    assert all(later - sooner >= 900 for sooner, later in pairwise(service.times(dois[5])[:-1]))
    if concurrency > 1:
        assert all(service.times(doi)[-1] < 60 for doi in dois if doi not in harvested.failures and doi != dois[0])
    assert now_of(service) < 2 * PATIENCE


def now_of(service: Faulty) -> float:
    return service.asked[-1][0]


def test_a_pause_for_one_doi_that_is_longer_than_the_patience_is_its_failure_and_it_is_named() -> None:
    dois = some(40)
    service = Faulty({doi: busy(PATIENCE + 1) for doi in dois[5::10]})
    harvested = harvest(service, dois, concurrency=4)
    assert harvested.ended is None
    assert harvested.failures.keys() == service.bad.keys()
    failure = harvested.failures[dois[5]]
    assert "3,601 s" in failure.message
    assert failure.attempts == 2
    assert now_of(service) < 600


def test_dois_with_long_pauses_of_their_own_do_not_hold_up_the_others() -> None:
    """They would take up all places: only as many wait as may be asked for at a time."""
    dois = some(200)
    service = Faulty({doi: busy(PATIENCE) for doi in dois[:100]})
    harvested = harvest(service, dois, concurrency=8)
    assert harvested.failures.keys() == service.bad.keys()
    assert all(service.times(doi)[0] < PATIENCE for doi in dois[100:])


def test_a_pause_that_is_asked_for_in_answer_to_a_probe_counts_as_well() -> None:
    harvested = harvest(Faulty(outages=[(0, 100, busy(7))]), some(10), concurrency=5)
    assert len(harvested.pauses) > 3
    assert not harvested.failures


def test_a_pause_longer_than_the_patience_ends_the_run_if_it_is_everybodys() -> None:
    harvested = harvest(Faulty(outages=[(0, 9, busy(PATIENCE + 1))]), some(3))
    assert isinstance(harvested.ended, ServiceDown)
    assert "3,601 s" in str(harvested.ended)
    assert not harvested.outcomes


class LettingHalfThrough(Faulty):
    """A limiter that refuses every second request, whatever is asked for, and says how long to wait or not."""

    def __init__(self, seed: int, retry_after: float | None) -> None:
        super().__init__()
        self._random, self._retry_after = Random(seed), retry_after

    async def _answer(self, what: str) -> None:
        await super()._answer(what)
        if what != PAGE and self._random.random() < 0.5:
            raise ServerBusy("the server answers 429", status=429, retry_after=self._retry_after)


@pytest.mark.parametrize("retry_after", [None, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_limiter_that_lets_half_of_the_requests_through_writes_no_doi_off(
    seed: int, retry_after: float | None
) -> None:
    dois = some(400)
    harvested = harvest(LettingHalfThrough(seed, retry_after), dois, concurrency=8)
    assert harvested.ended is None
    assert harvested.outcomes.keys() == set(dois)
    assert not harvested.failures


@pytest.mark.parametrize("retry_after", [None, 30])
def test_dois_that_are_refused_each_time_while_no_other_is_fail_for_themselves(retry_after: float | None) -> None:
    dois = some(100)
    busy_ones = [dois[10], dois[50]]
    refused = lambda: ServerBusy("the server answers 429", status=429, retry_after=retry_after)  # noqa: E731
    harvested = harvest(Faulty(dict.fromkeys(busy_ones, refused)), dois, concurrency=4)
    assert harvested.ended is None
    assert harvested.failures.keys() == set(busy_ones)


# What this machine lacks


def lacking() -> NoResources:
    return NoResources("this machine can open no further connection: too many open files")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_what_this_machine_lacks_for_a_while_costs_no_doi_anything_but_time(concurrency: int) -> None:
    dois = some(50)
    harvested = harvest(Faulty(outages=[(0.25, 600, lacking)]), dois, concurrency=concurrency)
    assert harvested.outcomes.keys() == set(dois)
    assert not harvested.failures
    assert not harvested.breaker.since
    assert now_of(harvested.service) < 700


def test_a_doi_that_meets_it_again_and_again_while_others_do_not_is_not_to_blame() -> None:
    service = Faulty({"10.5555/3": lacking})
    harvested = harvest(service, some(5))
    assert isinstance(harvested.ended, MachineExhausted)
    assert not harvested.failures


def test_a_machine_that_stays_exhausted_ends_the_run_after_the_patience_and_says_what_to_do() -> None:
    harvested = harvest(Faulty(outages=[(0.25, 1e9, lacking)]), some(50), concurrency=8)
    assert isinstance(harvested.ended, MachineExhausted)
    assert harvested.ended.exit_code == 71
    for part in ("too many open files", "no DOI was written off", "ulimit -n", "same command again"):
        assert part in str(harvested.ended)
    assert PATIENCE <= now_of(harvested.service) <= PATIENCE + 60
    assert not harvested.failures


class Unplugged(Faulty):
    """No connection can be made for one DOI for half an hour; others have connections."""

    async def _answer(self, what: str) -> None:
        if what == "10.5555/3" and now() < 1800:
            self.asked.append((now(), what))
            raise Unreachable("no connection")
        await super()._answer(what)


def test_where_no_connection_can_be_made_nothing_was_asked_and_nothing_is_charged() -> None:
    harvested = harvest(Unplugged(), some(60), concurrency=4)
    assert not harvested.failures
    assert harvested.outcomes.keys() == set(some(60))


# An outage


@pytest.mark.parametrize("fault", [lost, internal, busy(), redirected, lambda: TimedOut("late"), *SURE])
@pytest.mark.parametrize("concurrency", [1, 2, 4, 8, 32])
def test_an_outage_in_the_middle_costs_no_work_anything_but_time(fault: Fault, concurrency: int) -> None:
    dois = some(300)
    start = 0.5 if concurrency > 8 else 3.05
    harvested = harvest(Faulty(outages=[(start, 1000, fault)]), dois, concurrency=concurrency)
    assert harvested.ended is None
    assert harvested.outcomes.keys() == set(dois)
    assert not harvested.failures
    assert harvested.breaker.outages
    assert harvested.tally.waiting_for == ""


@pytest.mark.parametrize("concurrency", [1, 4, 8])
def test_an_outage_behind_a_status_page_that_answers_costs_nothing_either(concurrency: int) -> None:
    dois = some(100)
    harvested = harvest(Faulty(outages=[(1, 1000, internal)], page_stays=True), dois, concurrency=concurrency)
    assert harvested.outcomes.keys() == set(dois)
    assert not harvested.failures


def test_it_goes_on_by_itself_when_the_service_is_back() -> None:
    harvested = harvest(Faulty(outages=[(1, 1000, busy())]), some(100), concurrency=8)
    good = [when for when, what in harvested.service.asked if when >= 1000 and what != PAGE]
    assert len(harvested.outcomes) == 100
    assert good[0] < 1000 + 300 + 3 * LATENCY


def test_a_work_that_sleeps_through_an_outage_is_not_charged_for_it() -> None:
    """What it had spent before the outage was proven is given back."""
    bad = some(1)[0]
    harvested = harvest(Faulty({bad: lost}, outages=[(0, 1.35, busy(10))]), some(THRESHOLD), concurrency=THRESHOLD)
    assert harvested.breaker.outages
    assert harvested.failures.keys() == {bad}
    assert harvested.failures[bad].attempts == len(harvested.service.times(bad)) == 1 + 5


@pytest.mark.parametrize("fault", [lost, internal, busy(), redirected])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_service_that_is_down_from_the_start_ends_the_run_after_the_patience(fault: Fault, concurrency: int) -> None:
    harvested = harvest(Faulty(outages=[(0, 1e9, fault)]), some(50), concurrency=concurrency)
    assert isinstance(harvested.ended, ServiceDown)
    assert not harvested.outcomes
    assert PATIENCE < harvested.service.asked[-1][0] < PATIENCE + 200
    assert harvested.tally.waiting_for == ""


EVERYTHING = [internal, busy(), lost, redirected, *SURE]


@pytest.mark.parametrize("fault", EVERYTHING)
@pytest.mark.parametrize("known_good", [None, "10.1/c"])
@pytest.mark.parametrize(("works", "concurrency"), [(1, 1), (3, 1), (3, 8), (200, 1), (200, 8)])
def test_a_status_page_alive_with_all_dois_failing_writes_off_none_whatever_the_error(
    fault: Fault, known_good: str | None, works: int, concurrency: int
) -> None:
    service = Faulty(outages=[(0, 1e9, fault)], page_stays=True)
    harvested = harvest(service, some(works), concurrency=concurrency, known_good=known_good)
    assert isinstance(harvested.ended, ServiceDown)
    assert "no DOI was written off" in str(harvested.ended)
    assert ("reference_doi" in str(harvested.ended)) is (known_good is None)
    assert not harvested.outcomes


@pytest.mark.parametrize("fault", [internal, *SURE])
@pytest.mark.parametrize("concurrency", [1, 2, 8])
@pytest.mark.parametrize("length", [0.3, 1.0, 2.0, 4.0])
def test_a_service_that_comes_and_goes_costs_no_work_anything_but_time(
    fault: Fault, concurrency: int, length: float
) -> None:
    ups_and_downs = [(0.5 + 2 * length * n, 0.5 + 2 * length * n + length, fault) for n in range(100)]
    dois = some(100)
    harvested = harvest(Faulty(outages=ups_and_downs), dois, concurrency=concurrency)
    assert harvested.ended is None
    assert not harvested.failures
    assert harvested.outcomes.keys() == set(dois)


def test_in_an_outage_one_at_a_time_probes_with_growing_pauses() -> None:
    service = Faulty(outages=[(1, 1e9, busy())])
    harvest(service, some(100), concurrency=8)
    probes = service.times(PAGE)
    gaps = [later - earlier - 2 * LATENCY for earlier, later in pairwise(probes)]
    assert gaps == pytest.approx([2, 4, 8, 16, 32, 64, 128, 256, *[300] * (len(gaps) - 9), gaps[-1]])
    assert len([when for when, _ in service.asked if when > probes[0]]) < 2 * len(probes)


def test_while_everybody_waits_it_is_said_what_for() -> None:
    async def look() -> str:
        harvested = Harvest(Faulty(outages=[(0, 50, lost)]))
        running = asyncio.create_task(harvested.run(some(8), 8))
        await asyncio.sleep(10)
        said = harvested.tally.waiting_for
        await running
        assert harvested.tally.waiting_for == ""
        return said

    assert in_virtual_time(look()).startswith("Paperbuzz, without a good answer since 2026-")


# Stopping


@pytest.mark.parametrize("when", [0.5, 30.0, 500.0])
def test_a_stop_while_waiting_ends_at_once_and_leaves_the_works_due(when: float) -> None:
    async def stopped() -> tuple[float, Harvest]:
        harvested = Harvest(Faulty(outages=[(0, 1e9, lost)]))
        running = asyncio.create_task(harvested.run(some(8), 8))
        await asyncio.sleep(when)
        harvested.stop.request()
        await running
        return now(), harvested

    ended, harvested = in_virtual_time(stopped())
    assert ended <= when + 3 * LATENCY
    assert not harvested.outcomes


def test_a_cancellation_is_no_failure() -> None:
    async def cancelled() -> Harvest:
        harvested = Harvest(Faulty())
        running = asyncio.create_task(harvested.run(some(8), 8))
        await asyncio.sleep(LATENCY / 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return harvested

    assert not in_virtual_time(cancelled()).outcomes


# All of it

FAULTS = st.sampled_from([lost, internal, busy(), busy(3), redirected, *SURE])


@settings(max_examples=60, deadline=None)
@given(
    bad=st.dictionaries(st.integers(1, 39), FAULTS, max_size=12),
    outages=st.lists(st.tuples(st.floats(0, 60), st.floats(30, 500), FAULTS), max_size=2),
    concurrency=st.integers(1, 10),
    page_stays=st.booleans(),
)
def test_whatever_happens_good_dois_are_results_and_bad_ones_failures(
    bad: dict[int, Fault], outages: list[tuple[float, float, Fault]], concurrency: int, page_stays: bool
) -> None:
    """However outages and bad DOIs meet: nothing is written off for an outage, nothing is forgotten."""
    dois = some(40)
    service = Faulty(
        {dois[n]: fault for n, fault in bad.items()},
        [(start, start + length, fault) for start, length, fault in outages],
        page_stays=page_stays,
    )
    harvested = harvest(service, dois, concurrency=concurrency, known_good="10.1/good")
    assert harvested.ended is None
    assert harvested.outcomes.keys() == set(dois)
    assert harvested.failures.keys() == service.bad.keys()
    requests = Counter(what for _, what in service.asked)
    assert all(outcome.attempts <= requests[doi] for doi, outcome in harvested.outcomes.items())
    assert harvested.tally.waiting_for == ""
