"""Batches go out one at a time; what is refused is bisected; nothing is lost, and no outage writes anything off."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harvester.core.clock import SystemClock
from harvester.core.errors import (
    ConnectionLost,
    CredentialsRefused,
    InvalidJson,
    MachineExhausted,
    NoResources,
    RedirectRefused,
    ServerBusy,
    ServerFailed,
    ServiceDown,
    TimedOut,
)
from harvester.core.model import Failure, PendingRegistration, Stage
from harvester.core.stop import Stop, StoppableClock
from harvester.core.tally import Tally
from harvester.operas.bisect import Send, bisect
from harvester.operas.client import OperasClient
from harvester.operas.registrar import LINGER_SECONDS, SMALLEST_FOR_TIME, Registrar
from harvester.operas.responses import BatchRefused
from harvester.politeness.breaker import CircuitBreaker
from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.operas.uriset import Holdings, Rejected
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.server import Sandbox
from harvester.transport.aiohttp import AiohttpTransport

PATIENCE = 600.0
Batch = list[tuple[str, tuple[str, ...]]]


class FakeClock:
    """Time that passes at once when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.is_stuck = False

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        self.seconds += seconds
        await asyncio.sleep(0)


class FakeOutbox:
    """The store, as far as registration goes."""

    def __init__(self, entries: Sequence[PendingRegistration] = ()) -> None:
        self.rows = {entry.work_id: entry for entry in entries}
        self.asked = 0
        self.acknowledged: list[PendingRegistration] = []
        self.rejected: list[tuple[PendingRegistration, Failure]] = []

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        self.asked += 1
        return list(self.rows.values())[:limit]

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> int:
        await asyncio.sleep(0)
        for entry in [*acknowledged, *(entry for entry, _ in rejected)]:
            del self.rows[entry.work_id]  # whoever is settled twice fails here
        self.acknowledged += acknowledged
        self.rejected += rejected
        return 0


class FakeOperas:
    """The server's own rules behind `register`, with faults as a test wants them.

    Args:
        fault: raises what goes wrong with a POST before the server carries it out.
        after: the same, after it was carried out.
        poison: DOIs for which the server fails, for no reason that could be known beforehand.
    """

    def __init__(
        self,
        fault: Callable[[Batch], None] = lambda _: None,
        after: Callable[[Batch], None] = lambda _: None,
        poison: Sequence[str] = (),
    ) -> None:
        self.store = Holdings()
        self.posts: list[Batch] = []
        self.fault, self.after, self.poison = fault, after, set(poison)
        self.in_flight = 0
        self.held_asked = 0

    async def register(self, entries: Sequence[PendingRegistration]) -> None:
        assert entries, "an empty batch is a 400"
        assert self.in_flight == 0, "two POSTs at once race"
        batch = [(entry.doi, entry.urls) for entry in entries]
        self.posts.append(batch)
        self.in_flight += 1
        await asyncio.sleep(0)
        self.in_flight -= 1
        self.fault(batch)
        try:
            self.store.post(
                [{"doi": doi, "url": ["bad"] if doi in self.poison else list(urls)} for doi, urls in batch], "me"
            )
        except Rejected as rejected:
            raise BatchRefused(f"OPERAS answers {rejected.status}: poison", status=rejected.status) from None
        self.after(batch)

    async def held(self, limit: int) -> list[str]:
        self.held_asked += 1
        self.fault([])
        return list(self.store.rows)[:limit]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.posts]


@dataclass
class Desk:
    """A registrar with all that it needs."""

    outbox: FakeOutbox
    operas: FakeOperas
    size: int = 100
    stop: Stop = field(default_factory=Stop)
    clock: FakeClock = field(default_factory=FakeClock)
    tally: Tally = field(default_factory=Tally)
    harvested: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *entries: PendingRegistration) -> None:
        """What a commit does that puts more into the outbox."""
        self.outbox.rows |= {entry.work_id: entry for entry in entries}
        self.tally.registration_pending += len(entries)
        self.arrived.set()

    def registrar(self) -> Registrar:
        clock = StoppableClock(self.clock, self.stop)
        return Registrar(
            self.outbox,
            self.operas,
            batch_size=self.size,
            breaker=CircuitBreaker("OPERAS", clock, threshold=1, patience_seconds=PATIENCE),
            stop=self.stop,
            tally=self.tally,
            clock=clock,
        )

    async def run(self) -> None:
        self.harvested.set()
        self.tally.registration_pending = len(self.outbox.rows)
        await self.registrar().run(self.harvested, self.arrived)


def entries(count: int, prefix: str = "10.5334") -> list[PendingRegistration]:
    return [
        PendingRegistration(n, f"{prefix}/{n}", (f"https://press.example/{prefix}/{n}",), f"dois.csv:{n}")
        for n in range(count)
    ]


def desk_of(
    waiting: Sequence[PendingRegistration], operas: FakeOperas | None = None, size: int = 100, *, known: bool = True
) -> Desk:
    """A desk whose entries' prefixes OPERAS knows, unless it does not."""
    operas = operas or FakeOperas()
    operas.store.prefixes |= {entry.doi.partition("/")[0] for entry in waiting} if known else set()
    return Desk(FakeOutbox(waiting), operas, size)


def down_for(posts: int, error: Callable[[], Exception]) -> Callable[[Batch], None]:
    """The first so many calls fail."""
    left = iter(range(posts))

    def fault(_: Batch) -> None:
        if next(left, None) is not None:
            raise error()

    return fault


# Bisecting, by itself


def course_of(batch: Sequence[PendingRegistration], bad: set[int]) -> tuple[list[Send], list[int], list[int]]:
    """What is sent if a batch with a bad entry is refused: sendings, accepted and rejected keys."""
    sent: list[Send] = []
    accepted: list[int] = []
    rejected: list[int] = []
    course = bisect(batch)
    send = next(course)
    while True:
        sent.append(send)
        keys = [entry.work_id for entry in send.entries]
        fine = not bad & set(keys)
        if fine:
            accepted += keys
        elif send.final and len(keys) == 1:
            rejected += keys
        try:
            send = course.send(fine)
        except StopIteration:
            return sent, accepted, rejected


batches = st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1))))


@given(batches)
def test_bisecting_settles_every_entry_exactly_once_and_rejects_the_bad_ones_alone(batch: tuple[int, set[int]]) -> None:
    n, bad = batch
    _, accepted, rejected = course_of(entries(n), bad)
    assert sorted(accepted) == sorted(set(range(n)) - bad)
    assert sorted(rejected) == sorted(bad)


@given(batches)
def test_bisecting_keeps_its_bound(batch: tuple[int, set[int]]) -> None:
    n, bad = batch
    sent, _, _ = course_of(entries(n), bad)
    assert len(sent) <= 2 * len(bad) * math.ceil(math.log2(n)) + 2


@given(batches)
def test_bisecting_sends_entries_in_their_order_and_the_whole_batch_twice_before_it_splits(
    batch: tuple[int, set[int]],
) -> None:
    n, bad = batch
    sent, accepted, _ = course_of(entries(n), bad)
    assert [len(send.entries) for send in sent][:2] == ([n, n] if bad else [n])
    assert accepted == sorted(accepted)


def test_a_batch_that_is_accepted_the_second_time_is_not_split() -> None:
    """As after a race of two accounts for a new prefix."""
    course = bisect(entries(8))
    assert next(course).entries == entries(8)
    assert course.send(False).entries == entries(8)
    with pytest.raises(StopIteration):
        course.send(True)


# The ways of a batch


async def test_what_waits_is_registered_in_batches_with_its_urls() -> None:
    desk = desk_of(entries(250))
    await desk.run()
    assert desk.operas.sizes == [100, 100, 50]
    assert desk.operas.store.rows["10.5334/249"].urls == ("https://press.example/10.5334/249",)
    assert desk.outbox.acknowledged == entries(250)
    assert (desk.tally.registered, desk.tally.rejected, desk.tally.registration_pending) == (250, 0, 0)


async def test_nothing_to_register_asks_nothing() -> None:
    desk = desk_of([])
    await desk.run()
    assert desk.operas.posts == []
    assert desk.operas.held_asked == 0


SOON = 10
"""How many bad entries may come before the first good one: an OPERAS that takes nothing of more counts as down."""


@settings(max_examples=40, deadline=None)
@given(batches)
@example((SOON, set(range(SOON))))
@example((20, set(range(SOON))))
async def test_bad_entries_cost_no_more_posts_than_promised_and_the_rest_is_registered(
    batch: tuple[int, set[int]],
) -> None:
    """G10, with the server's half-stored batches, in one batch, the checks that OPERAS works included."""
    n, bad = batch
    assume(min(set(range(n)) - bad, default=n) < min(n, SOON))
    desk = desk_of(entries(n), FakeOperas(poison=[f"10.5334/{key}" for key in bad]), size=n)
    await desk.run()
    assert sorted(entry.work_id for entry in desk.outbox.acknowledged) == sorted(set(range(n)) - bad)
    assert sorted(entry.work_id for entry, _ in desk.outbox.rejected) == sorted(bad)
    assert len(desk.operas.posts) <= 2 * len(bad) * (math.ceil(math.log2(n)) + 1) + 2
    assert (desk.tally.registered, desk.tally.rejected) == (n - len(bad), len(bad))


async def test_a_rejection_says_what_the_server_said() -> None:
    desk = desk_of(entries(3), FakeOperas(poison=["10.5334/1"]))
    await desk.run()
    ((entry, failure),) = desk.outbox.rejected
    assert entry == entries(3)[1]
    assert (failure.doi, failure.kind, failure.http_status, failure.stage) == (
        "10.5334/1",
        "rejected",
        500,
        Stage.REGISTER,
    )
    assert failure.message == "OPERAS answers 500: poison"
    assert failure.origin == "dois.csv:1"
    assert failure.failed_at == "2026-01-01T00:00:00.000Z"


async def test_what_operas_would_refuse_is_rejected_without_a_request() -> None:
    desk = desk_of(
        [PendingRegistration(1, "10.978.8898392/315", origin="dois.csv:1"), PendingRegistration(2, "10.1000/é")]
    )
    await desk.run()
    assert desk.operas.posts == []
    assert [failure.http_status for _, failure in desk.outbox.rejected] == [None, None]
    assert "four to nine digits" in desk.outbox.rejected[0][1].message


async def test_urls_are_cleaned_and_one_that_cannot_be_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    urls = ("https://a.org/a b", "https://a.org/a%20b", "no\x1b url of jane.canary@press.example")
    desk = desk_of([PendingRegistration(1, "10.5334/a", urls)])
    await desk.run()
    assert desk.operas.posts == [[("10.5334/a", ("https://a.org/a%20b",))]]
    assert desk.outbox.rejected == []
    assert "left out" in caplog.text
    assert "canary" not in caplog.text
    assert "\x1b" not in caplog.text


async def test_a_batch_that_was_stored_in_spite_of_an_error_is_sent_again_unchanged() -> None:
    desk = desk_of(entries(5), FakeOperas(after=down_for(1, lambda: ServerFailed("x", status=502))))
    await desk.run()
    assert desk.operas.sizes == [5, 5]
    assert desk.tally.registered == 5


# New prefixes


async def test_new_prefixes_cost_no_post_of_their_own() -> None:
    waiting = [PendingRegistration(n, f"10.{1000 + n}/x", (f"https://a.org/{n}",)) for n in range(600)]
    desk = desk_of(waiting, known=False)
    await desk.run()
    assert desk.operas.sizes == [100] * 6
    assert desk.tally.registered == 600


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(1000, 1004), st.integers(0, 40)), min_size=1), st.data())
async def test_no_good_entry_is_left_without_its_urls(dois: set[tuple[int, int]], data: st.DataObject) -> None:
    """Bad entries of any number of new prefixes, anywhere in the list: what is acknowledged is stored whole."""
    waiting = [
        PendingRegistration(n, f"10.{p}/{k}", (f"https://a.org/{p}/{k}",)) for n, (p, k) in enumerate(sorted(dois))
    ]
    bad = data.draw(st.sets(st.sampled_from([entry.doi for entry in waiting])))
    desk = desk_of(waiting, FakeOperas(poison=sorted(bad)), size=16, known=False)
    with suppress(ServiceDown):  # where too many bad ones come before the first that is accepted
        await desk.run()
        assert {entry.doi for entry, _ in desk.outbox.rejected} == bad
        assert len(desk.outbox.acknowledged) + len(bad) == len(waiting)
    assert {entry.doi for entry, _ in desk.outbox.rejected} <= bad
    for entry in desk.outbox.acknowledged:
        assert desk.operas.store.rows[entry.doi].urls == entry.urls


# Outages


GATEWAY = [
    lambda: ServerFailed("OPERAS answers 502", status=502),
    lambda: ConnectionLost("refused"),
    lambda: InvalidJson("odd"),
    lambda: RedirectRefused("to a page about maintenance", status=302),
]


@pytest.mark.parametrize("error", GATEWAY)
async def test_an_outage_is_waited_out_with_growing_pauses_and_the_batch_sent_unchanged(
    error: Callable[[], Exception],
) -> None:
    desk = desk_of(entries(100), FakeOperas(fault=down_for(6, error)))
    await desk.run()
    assert desk.operas.sizes == [100] * 7
    assert desk.clock.seconds == 1 + 2 + 4 + 8 + 16 + 32
    assert desk.outbox.rejected == []


async def test_a_pause_that_operas_asks_for_is_kept() -> None:
    def busy() -> Exception:
        return ServerBusy("OPERAS answers 429", status=429, retry_after=40)

    desk = desk_of(entries(100), FakeOperas(fault=down_for(2, busy)))
    await desk.run()
    assert desk.clock.seconds == 40 + 40


@pytest.mark.parametrize("error", GATEWAY)
async def test_an_outage_beyond_the_patience_ends_registration_and_loses_nothing(
    error: Callable[[], Exception],
) -> None:
    desk = desk_of(entries(100), FakeOperas(fault=down_for(10**6, error)))
    with pytest.raises(ServiceDown, match="Nothing is lost"):
        await desk.run()
    assert PATIENCE <= desk.clock.seconds <= PATIENCE + 1
    assert len(desk.outbox.rows) == 100
    assert desk.outbox.rejected == []


def refuse_all() -> Exception:
    return BatchRefused("OPERAS answers 500: our database is on holiday", status=500)


@pytest.mark.parametrize("posts", [1, 2, 3, 9, 10, 12, 15])
async def test_a_server_that_refuses_everything_for_a_while_costs_nobody_their_registration(posts: int) -> None:
    """It looks as if each entry were bad; that it also refuses what it took before gives it away."""
    desk = desk_of(entries(150), size=50)
    desk.operas.fault = lambda _: None if len(desk.operas.posts) <= 1 else outage([])
    outage = down_for(posts, refuse_all)
    await desk.run()
    assert desk.outbox.rejected == []
    assert len(desk.outbox.acknowledged) == 150


@pytest.mark.parametrize("held", [0, 3])
async def test_a_server_that_refuses_everything_from_the_start_ends_in_service_down(held: int) -> None:
    """Where this run has seen nothing accepted the account's own list gives a DOI to try, or shows the same trouble."""
    desk = desk_of(entries(50), FakeOperas(fault=down_for(10**6, refuse_all)))
    for n in range(held):
        desk.operas.store.post([{"doi": f"10.5334/held-{n}"}], "me")
    with pytest.raises(ServiceDown, match="on holiday"):
        await desk.run()
    assert desk.outbox.rejected == []
    assert len(desk.outbox.rows) == 50


async def test_a_server_that_still_lists_but_stores_nothing_more_is_found_out() -> None:
    desk = desk_of(entries(50))
    desk.operas.store.post([{"doi": "10.5334/held"}], "me")
    desk.operas.fault = lambda batch: down_for(1, refuse_all)(batch) if batch else None
    with pytest.raises(ServiceDown):
        await desk.run()
    assert desk.outbox.rejected == []


async def test_an_odd_doi_in_the_accounts_list_does_not_pass_for_an_outage() -> None:
    """The first one tried is refused as well, by itself; the next one is not."""
    desk = desk_of(entries(1), FakeOperas(poison=["10.5334/0"]))
    for n in range(3):
        desk.operas.store.post([{"doi": f"10.5334/held-{n}"}], "me")
    desk.operas.poison.add("10.5334/held-0")
    await desk.run()
    assert len(desk.outbox.rejected) == 1


async def test_a_list_of_nothing_but_bad_entries_comes_to_an_end_where_the_account_holds_something() -> None:
    desk = desk_of(entries(5), FakeOperas(poison=[entry.doi for entry in entries(5)]))
    desk.operas.store.post([{"doi": "10.5334/held"}], "me")
    await desk.run()
    assert len(desk.outbox.rejected) == 5


@pytest.mark.parametrize("count", [1, 5, 200])
async def test_an_operas_that_never_accepted_anything_rejects_nothing_however_short_the_list(count: int) -> None:
    """Nobody knows whether the entries are to blame. OPERAS is asked little, until our patience ends."""
    desk = desk_of(entries(count), FakeOperas(poison=[entry.doi for entry in entries(count)]))
    with pytest.raises(ServiceDown, match="never accepted anything"):
        await desk.run()
    assert desk.outbox.rejected == []
    assert PATIENCE <= desk.clock.seconds <= PATIENCE + 1
    assert len(desk.operas.posts) <= 60


@pytest.mark.parametrize("posts", [5, 20, 30])
async def test_an_operas_that_refuses_everything_at_first_costs_a_new_account_no_registration(posts: int) -> None:
    desk = desk_of(entries(50), FakeOperas(fault=down_for(posts, refuse_all)))
    await desk.run()
    assert desk.outbox.rejected == []
    assert len(desk.outbox.acknowledged) == 50


async def test_bad_entries_before_the_first_good_one_of_a_new_account_are_told_from_an_outage_by_it() -> None:
    desk = desk_of(entries(30), FakeOperas(poison=["10.5334/0", "10.5334/1"]), size=2)
    await desk.run()
    assert [entry.work_id for entry, _ in desk.outbox.rejected] == [0, 1]
    assert len(desk.outbox.acknowledged) == 28


async def test_what_this_machine_lacks_is_neither_an_entrys_fault_nor_that_of_operas() -> None:
    desk = desk_of(entries(5), FakeOperas(fault=down_for(10**6, lambda: NoResources("too many open files"))))
    with pytest.raises(MachineExhausted, match="too many open files"):
        await desk.run()
    assert len(desk.outbox.rows) == 5


async def test_refused_credentials_end_registration_at_once() -> None:
    desk = desk_of(entries(5), FakeOperas(fault=down_for(1, lambda: CredentialsRefused("no"))))
    with pytest.raises(CredentialsRefused):
        await desk.run()
    assert len(desk.operas.posts) == 1
    assert len(desk.outbox.rows) == 5


# Timeouts


async def test_one_timeout_means_unknown_and_the_batch_is_sent_again_unchanged() -> None:
    desk = desk_of(entries(100), FakeOperas(after=down_for(1, lambda: TimedOut("60 s"))))
    await desk.run()
    assert desk.operas.sizes == [100, 100]
    assert desk.tally.registered == 100


@pytest.mark.parametrize(
    "error", [TimedOut("60 s"), ServerFailed("OPERAS answers 504", status=504), ServerFailed("", status=524)]
)
async def test_a_batch_that_times_out_twice_is_halved_and_later_ones_stay_smaller(error: Exception) -> None:
    def slow(batch: Batch) -> None:
        if len(batch) > 40:
            raise error

    desk = desk_of(entries(200), FakeOperas(fault=slow))
    await desk.run()
    assert desk.operas.sizes == [100, 100, 50, 50, *[25] * 8]
    assert desk.tally.registered == 200


async def test_a_server_that_hangs_whatever_the_size_is_an_outage() -> None:
    desk = desk_of(entries(100), FakeOperas(fault=down_for(10**6, lambda: TimedOut("60 s"))))
    with pytest.raises(ServiceDown):
        await desk.run()
    assert min(desk.operas.sizes) == SMALLEST_FOR_TIME


async def test_after_a_server_that_hung_batches_are_still_of_a_useful_size() -> None:
    desk = desk_of(entries(100), FakeOperas(fault=down_for(12, lambda: TimedOut("60 s"))))
    await desk.run()
    assert set(desk.operas.sizes[12:]) == {SMALLEST_FOR_TIME}


# While the harvest goes on, and its end


async def until(condition: Callable[[], object]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def turns(count: int) -> None:
    """Let all others do what they can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_full_batches_go_out_at_once_and_the_rest_at_the_end_of_the_harvest() -> None:
    desk = desk_of([], size=10)
    task = asyncio.create_task(desk.registrar().run(desk.harvested, desk.arrived))
    desk.add(*entries(25))
    await until(lambda: len(desk.operas.posts) == 2)
    assert desk.clock.seconds < LINGER_SECONDS
    desk.harvested.set()
    await task
    assert desk.operas.sizes == [10, 10, 5]


async def test_a_batch_that_does_not_fill_up_goes_out_after_half_a_minute_of_waiting() -> None:
    """Counted from when the first of its entries was there, not from the batch before."""
    desk = desk_of([], size=10)
    task = asyncio.create_task(desk.registrar().run(desk.harvested, desk.arrived))
    desk.clock.seconds = since = 1_000.0
    await turns(10)
    desk.add(*entries(3))
    await until(lambda: desk.operas.posts)
    assert LINGER_SECONDS <= desk.clock.seconds - since <= LINGER_SECONDS + 5
    desk.harvested.set()
    await task
    assert desk.operas.sizes == [3]


async def test_the_outbox_is_not_asked_before_a_commit_fills_a_batch() -> None:
    desk = desk_of([], size=10)
    desk.clock.is_stuck = True
    task = asyncio.create_task(desk.registrar().run(desk.harvested, desk.arrived))
    await turns(50)
    for entry in entries(9):
        desk.add(entry)
        await turns(10)
    assert desk.outbox.asked == 0
    desk.add(PendingRegistration(9, "10.5334/9"))
    await until(lambda: desk.operas.posts)
    assert desk.outbox.asked == 1
    desk.harvested.set()
    await task
    assert desk.operas.sizes == [10]


async def test_a_stop_lets_the_post_in_flight_finish_and_settles_it_and_sends_no_other() -> None:
    desk = desk_of(entries(50), size=10)
    desk.operas.fault = lambda _: desk.stop.request() if len(desk.operas.posts) == 2 else None
    await desk.run()
    assert desk.operas.sizes == [10, 10]
    assert len(desk.outbox.acknowledged) == 20
    assert len(desk.outbox.rows) == 30


@pytest.mark.parametrize("posts", range(1, 14))
async def test_a_stop_in_the_middle_of_bisecting_loses_nothing_and_the_next_run_goes_on(posts: int) -> None:
    desk = desk_of(entries(32), FakeOperas(poison=["10.5334/13"]))
    desk.operas.fault = lambda _: desk.stop.request() if len(desk.operas.posts) == posts else None
    await desk.run()
    assert len(desk.operas.posts) == posts
    again = Desk(desk.outbox, desk.operas)
    desk.operas.fault = lambda _: None
    await again.run()
    assert [entry.work_id for entry, _ in desk.outbox.rejected] == [13]
    assert len(desk.outbox.acknowledged) == 31


async def test_a_stop_ends_the_pauses_of_an_outage() -> None:
    desk = desk_of(entries(5), FakeOperas(fault=down_for(10**6, lambda: ConnectionLost("x"))))

    desk.clock.is_stuck = True
    task = asyncio.create_task(desk.run())
    await until(lambda: desk.operas.posts)
    desk.stop.request()
    await asyncio.wait_for(task, 1)
    assert len(desk.outbox.rows) == 5


@pytest.mark.parametrize("steps", range(1, 60, 2))
async def test_cancellation_is_never_swallowed_and_a_later_run_registers_the_rest(steps: int) -> None:
    desk = desk_of(entries(40), FakeOperas(poison=["10.5334/5"]), size=10, known=False)
    task = asyncio.create_task(desk.run())
    for _ in range(steps):
        await asyncio.sleep(0)
    was_under_way = task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is was_under_way
    desk.operas.in_flight = 0
    await Desk(desk.outbox, desk.operas, size=10).run()
    assert len(desk.outbox.acknowledged) == 39
    assert [entry.work_id for entry, _ in desk.outbox.rejected] == [5]


# Over real sockets, against the sandbox


class QuickClock(SystemClock):
    """Real time, without the pauses."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


async def test_a_faulty_sandbox_gets_every_entry_registered_or_rejected_with_one_post_at_a_time() -> None:
    faults = Faults(rates={"operas.502": 0.1, "operas.stored-502": 0.1, "operas.reset": 0.1, "operas.500": 0.1})
    waiting = [
        *entries(150),
        *(PendingRegistration(200 + n, f"10.{1000 + n}/x", ("https://press.example/x",)) for n in range(5)),
    ]
    waiting.append(PendingRegistration(300, "10.123/short"))
    outbox, tally, clock, stop = FakeOutbox(waiting), Tally(), QuickClock(), Stop()
    harvested = asyncio.Event()
    harvested.set()
    options = SandboxOptions(faults=faults)
    async with Sandbox(options) as sandbox, AiohttpTransport(connections=2) as transport:
        client = OperasClient(transport, sandbox.operas_url, "demo@example.org", "sandbox", clock)
        breaker = CircuitBreaker("OPERAS", clock, threshold=1, patience_seconds=60)
        registrar = Registrar(
            outbox, client, batch_size=20, breaker=breaker, stop=stop, tally=tally, clock=StoppableClock(clock, stop)
        )
        await registrar.run(harvested, asyncio.Event())
        assert sandbox.posts_at_once.most == 1
        assert sandbox.operas.registered.keys() == {entry.doi for entry in waiting[:-1]}
    assert [entry.work_id for entry, _ in outbox.rejected] == [300]
    assert outbox.rows == {}
