"""The two services, ready to be asked: transport, budget and client put together from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_state_path

from harvester.config.settings import PaperbuzzSettings
from harvester.core.clock import Clock
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Account
from harvester.operas.client import OperasClient
from harvester.politeness.concurrency import ConcurrencyLimit, LatencyObserved, Slots
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.politeness.quota import DailyQuota, quota_path
from harvester.providers.paperbuzz import PaperbuzzClient
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Transport

BLOCKS_PER_MINUTE = 12
"""How often a run goes to the quota's file at full rate; a crash wastes at most what one block holds."""


@dataclass(frozen=True, slots=True)
class Paperbuzz:
    """Paperbuzz, ready to be asked.

    Args:
        client: asks.
        budget: what every request of it waits for.
        places: for as many requests as it serves at a time without slowing down.
    """

    client: PaperbuzzClient
    budget: RateLimiter
    slots: Slots


@asynccontextmanager
async def open_paperbuzz(
    settings: PaperbuzzSettings,
    email: str,
    *,
    clock: Clock,
    tally: Tally,
    wait: bool = False,
    stop: Stop | None = None,
    state: Path | None = None,
    landing_urls: bool = False,
) -> AsyncIterator[Paperbuzz]:
    """Paperbuzz under its budget.

    Args:
        settings: of the service.
        email: sent with each request.
        clock: time; its sleep ends when the run does.
        tally: requests and what is waited for are counted here.
        wait: whether to wait when the daily budget is used up.
        stop: the wish to end early; no request is begun after it.
        state: where the daily budget is kept; None for the user's state directory.
        landing_urls: whether somebody wants the URLs that records give.

    Raises:
        DiskFailed: the daily budget's file cannot be used.
    """
    quota = None
    if settings.daily_budget:
        path = quota_path(state or user_state_path("harvester"), settings.base_url)
        quota = DailyQuota(
            path, settings.daily_budget, clock, block=max(1, round(settings.rate * 60 / BLOCKS_PER_MINUTE))
        )

    def started(left: int | None) -> None:
        tally.paperbuzz_requests += 1
        tally.budget_left = left

    def waiting(reason: str) -> None:
        tally.waiting_for = reason

    budget = RateLimiter(
        settings.rate, clock, burst=settings.burst, quota=quota, wait=wait, stop=stop, on_wait=waiting, on_start=started
    )
    tally.budget_left = budget.left
    try:
        async with AiohttpTransport(connections=settings.concurrency + 1) as transport:
            concurrency = ConcurrencyLimit(settings.concurrency, clock)
            client = PaperbuzzClient(
                LatencyObserved(RateLimited(transport, budget), concurrency),
                settings.base_url,
                email,
                clock,
                timeout_seconds=settings.timeout,
                max_body_bytes=settings.max_body,
                landing_urls=landing_urls,
            )
            yield Paperbuzz(client, budget, Slots(concurrency))
    finally:
        if quota is not None:
            quota.give_back()


@asynccontextmanager
async def open_operas(account: Account, *, clock: Clock, tally: Tally) -> AsyncIterator[OperasClient]:
    """OPERAS under its rate.

    Args:
        account: whose DOIs are registered, at which rate.
        clock: time; its sleep ends when the run does.
        tally: requests are counted here.
    """

    def started(_: int | None) -> None:
        tally.operas_requests += 1

    limiter = RateLimiter(account.rate, clock, on_start=started)
    async with AiohttpTransport(connections=2) as transport:
        yield OperasClient(
            RateLimited(transport, limiter), account.base_url, account.email, account.password.reveal(), clock
        )


def requests_left(
    settings: PaperbuzzSettings, clock: Clock, state: Path | None, *, within_seconds: float
) -> int | None:
    """What may be sent of the daily budget within some time; None without a limit."""
    if not settings.daily_budget:
        return None
    path = quota_path(state or user_state_path("harvester"), settings.base_url)
    if not path.exists():  # nothing was spent, and to look at it makes no file
        return settings.daily_budget
    return DailyQuota(path, settings.daily_budget, clock).left_within(within_seconds)


@asynccontextmanager
async def open_plain() -> AsyncIterator[Transport]:
    """A transport without a budget, for the one who is told how a night went."""
    async with AiohttpTransport(connections=1) as transport:
        yield transport
