"""One service, with everything that keeps it from being hurt, in one object."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from harvester.core.clock import Clock
from harvester.core.limits import ServiceLimits
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.politeness.breaker import OUTAGE_THRESHOLD, CircuitBreaker
from harvester.politeness.bucket import Bucket
from harvester.politeness.concurrency import ConcurrencyLimit, LatencyObserved, Slots
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.overload import Overload
from harvester.politeness.quota import DailyQuota, QuotaBook, block_of
from harvester.politeness.retry import RetryBudget
from harvester.transport.gate import Gate
from harvester.transport.messages import Transport


@dataclass(frozen=True, slots=True)
class Service:
    """A service, ready to be asked politely.

    Args:
        name: in figures, `paperbuzz`.
        transport: the only way to the service: each request waits for the limiter, and its latency is learned from.
        limiter: rate, daily quota and pauses.
        slots: for as many requests as may be under way; entered by whoever sends more than one at a time.
        breaker: tells an outage.
        retries: keeps retries to a share of all requests.
        overload: tells whether refusals (429) concern everybody.
        limits: within which all of this works.
    """

    name: str
    transport: Transport
    limiter: RateLimiter
    slots: Slots
    breaker: CircuitBreaker
    retries: RetryBudget
    overload: Overload
    limits: ServiceLimits


@asynccontextmanager
async def open_service(
    name: str,
    limits: ServiceLimits,
    transport: Callable[[Gate], AbstractAsyncContextManager[Transport]],
    *,
    title: str,
    clock: Clock,
    tally: Tally,
    bucket: AbstractContextManager[Bucket] | None = None,
    book: QuotaBook | None = None,
    wait: bool = False,
    stop: Stop | None = None,
    threshold: int = OUTAGE_THRESHOLD,
    works_per_request: int = 1,
) -> AsyncIterator[Service]:
    """A service within its limits; what was deducted from its daily budget and not used is given back at the end.

    Args:
        name: of the service in figures.
        limits: of the service.
        transport: makes what carries the requests, through this gate; used by nobody else.
        title: of the service, for people.
        clock: time; its sleep ends when the run does.
        tally: requests, what is left of the daily budget, and what is waited for are noted here.
        bucket: where all who share the rate count their requests; None if nobody else does.
        book: of the daily budget; None without one.
        wait: whether to wait when the daily budget is used up; otherwise the run stops.
        stop: ends the run early; no request starts after it.
        threshold: see `CircuitBreaker`.
        works_per_request: see `Slots`.

    Raises:
        DiskFailed: the book or the bucket cannot be used.
        Stopped: the run is to stop, and the book does not answer.
    """

    def started(left: int | None) -> None:
        tally.requests[name] += 1
        if left is not None:
            tally.budget_left = left

    def waiting(reason: str) -> None:
        tally.waiting_for = reason

    async with AsyncExitStack() as stack:
        quota = None
        if book is not None:
            quota = await stack.enter_async_context(DailyQuota(book, clock, block=block_of(limits.rate, book.daily)))
            tally.budget_left = quota.left
        limiter = RateLimiter(
            limits.rate,
            clock,
            burst=limits.burst,
            bucket=stack.enter_context(bucket) if bucket is not None else None,
            quota=quota,
            wait=wait,
            stop=stop,
            on_wait=waiting,
            on_start=started,
        )
        wire = await stack.enter_async_context(transport(limiter))
        concurrency = ConcurrencyLimit(limits.concurrency, clock)
        yield Service(
            name,
            LatencyObserved(RateLimited(wire, limiter), concurrency),
            limiter,
            Slots(concurrency, works_per_request),
            CircuitBreaker(title, clock, threshold=threshold, patience_seconds=limits.patience),
            RetryBudget(clock),
            Overload(clock),
            limits,
        )
