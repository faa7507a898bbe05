"""A service as a whole: whoever sends over its transport is counted, limited and learned from."""

import asyncio
from pathlib import Path

import pytest

from harvester.core.errors import OutOfBudget, ServiceDown
from harvester.core.limits import ServiceLimits
from harvester.core.tally import Tally
from harvester.politeness.book import SqliteBook, book_of
from harvester.politeness.service import open_service
from harvester.transport.messages import Request, Response
from tests.support import FakeClock, gated

LIMITS = ServiceLimits("https://api.example/v0/", rate=1000, daily_budget=3, concurrency=50, patience=60)

GET = Request("GET", "https://api.example/v0/")


class Wire:
    """Answers everything with this status."""

    def __init__(self, status: int = 200) -> None:
        self._status = status

    async def send(self, _request: Request) -> Response:
        return Response(self._status, {}, b"", 0.1)


async def test_each_request_counts_under_the_name_of_the_service_and_against_its_budget(tmp_path: Path) -> None:
    tally = Tally()
    book = book_of(LIMITS, tmp_path)
    async with open_service(
        "one", LIMITS, gated(Wire()), title="One", clock=FakeClock(), tally=tally, book=book
    ) as service:
        assert tally.budget_left == 3
        for _ in range(3):
            await service.transport.send(GET)
        assert (tally.requests, tally.budget_left) == ({"one": 3}, 0)
        with pytest.raises(OutOfBudget):
            await service.transport.send(GET)
    assert tally.requests == {"one": 3}


async def test_a_service_without_a_budget_says_nothing_of_that_of_another() -> None:
    tally = Tally(budget_left=7)
    async with open_service("two", LIMITS, gated(Wire()), title="Two", clock=FakeClock(), tally=tally) as service:
        await service.transport.send(GET)
    assert (tally.requests, tally.budget_left) == ({"two": 1}, 7)


async def test_what_was_deducted_and_not_used_is_given_back_at_the_end_also_of_a_run_that_is_cancelled(
    tmp_path: Path,
) -> None:
    book, clock = SqliteBook(tmp_path / "budget.sqlite", 100_000), FakeClock()
    has_sent = asyncio.Event()

    async def run() -> None:
        async with open_service(
            "one", LIMITS, gated(Wire()), title="One", clock=clock, tally=Tally(), book=book
        ) as service:
            await service.transport.send(GET)
            has_sent.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await has_sent.wait()
    minute = int(clock.now().timestamp() // 60)
    assert await book.left(minute, minute) < 99_999
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await book.left(minute, minute) == 99_999


async def test_its_answers_teach_how_many_requests_may_be_under_way() -> None:
    async with open_service("one", LIMITS, gated(Wire(503)), title="One", clock=FakeClock(), tally=Tally()) as service:
        await service.transport.send(GET)
        async with service.slots:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(service.slots.__aenter__(), 0.01)


async def test_its_breaker_has_its_title_and_its_patience() -> None:
    async with open_service("one", LIMITS, gated(Wire()), title="The One", clock=FakeClock(), tally=Tally()) as service:
        service.breaker.trip("503")
        assert service.breaker.next_pause(at_least=60) == 60
        with pytest.raises(ServiceDown, match="The One has given no good answer"):
            service.breaker.next_pause(at_least=61)


def test_a_service_without_a_daily_budget_has_no_book(tmp_path: Path) -> None:
    assert book_of(ServiceLimits("https://api.example/v0/", rate=5), tmp_path) is None
