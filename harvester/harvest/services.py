"""The services of a run, ready to be asked: what gives records, and the client of OPERAS, each within its limits."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from harvester.config.credentials import require_email
from harvester.core.clock import Clock
from harvester.core.limits import ServiceLimits
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Account, Upstream
from harvester.operas.client import OperasClient
from harvester.politeness.book import book_of
from harvester.politeness.rate_file import bucket_of
from harvester.politeness.service import Service, open_service
from harvester.providers.base import Provider
from harvester.providers.paperbuzz import PaperbuzzProvider
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.descriptors import connections_possible

log = logging.getLogger("harvester")

OPERAS: Final = "operas"

PROVIDERS: Final = {PaperbuzzProvider.name: PaperbuzzProvider}
"""Who gives records, by the name in the settings."""


SOCKETS_PER_CONNECTION: Final = 2
"""Where connections are kept, those that idle have sockets beside those that carry a request of their own."""

OPERAS_SOCKETS: Final = 2
"""OPERAS may be asked beside: one batch, and one question about it, none of them over a connection that is kept."""


@asynccontextmanager
async def open_provider(
    upstream: Upstream,
    *,
    clock: Clock,
    tally: Tally,
    wait: bool = False,
    stop: Stop | None = None,
    state: Path | None = None,
) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider within its limits: what gives records, and the service that it asks.

    Args:
        upstream: which one, and as whom it is asked.
        clock: time; its sleep ends when the run does.
        tally: requests and what is waited for are counted here.
        wait: whether to wait when the daily budget is used up.
        stop: ends the run early; no request is begun after it.
        state: folder of the rate and the daily budget; None for the user's state directory.

    Raises:
        Misconfigured: the e-mail address that it asks for is not known, or there is no state directory.
        DiskFailed: the file of the rate or of the daily budget cannot be used.
        Stopped: the run is to stop, and the file of the daily budget does not answer.
    """
    email, limits, provider = require_email(upstream.email), _possible(upstream.limits), PROVIDERS[upstream.name]
    async with open_service(
        provider.name,
        limits,
        partial(AiohttpTransport, connections=_connections(limits)),
        title=provider.title,
        clock=clock,
        tally=tally,
        bucket=bucket_of(limits, state),
        book=book_of(limits, state, stop),
        wait=wait,
        stop=stop,
        works_per_request=provider.works_per_request,
    ) as service:
        wanted = {"landing_urls": upstream.landing_urls, "compares": upstream.compares}
        yield provider(service.transport, limits, email, clock, **wanted), service


@asynccontextmanager
async def open_operas(
    account: Account, *, clock: Clock, tally: Tally, stop: Stop | None = None, state: Path | None = None
) -> AsyncIterator[tuple[OperasClient, Service]]:
    """OPERAS within its limits: its client, and the service that it asks.

    Args:
        account: for which it is asked, within which limits.
        clock: time; its sleep ends when the run does.
        tally: requests are counted here.
        stop: ends the run early; no request is begun after it.
        state: folder of the rate; None for the user's state directory.

    Raises:
        Misconfigured: there is no state directory.
        DiskFailed: the file of the rate cannot be used.
    """
    limits = account.limits
    async with open_service(
        OPERAS,
        limits,
        # No connection carries two requests: the acknowledgement of a batch is the bare number 200, and an answer too
        # many on a connection that is kept would pass for it (O3).
        partial(AiohttpTransport, connections=_connections(limits), reuse=False),
        title="OPERAS",
        clock=clock,
        tally=tally,
        bucket=bucket_of(limits, state),
        stop=stop,
        threshold=1,  # batches are sent one at a time, so there is nothing that one failure could be compared with
    ) as service:
        client = OperasClient(service.transport, limits.base_url, account.email, account.password.reveal(), clock)
        yield client, service


def _possible(limits: ServiceLimits) -> ServiceLimits:
    """The limits, with no more requests at a time than this process may have connections."""
    wanted = _connections(limits) * SOCKETS_PER_CONNECTION + OPERAS_SOCKETS
    concurrency = max(1, (connections_possible(wanted) - OPERAS_SOCKETS) // SOCKETS_PER_CONNECTION - 1)
    if concurrency < limits.concurrency:
        log.warning(
            "this process may open so few files (ulimit -n) that it asks at most %d at a time, not %d",
            concurrency,
            limits.concurrency,
        )
    return replace(limits, concurrency=concurrency)


def _connections(limits: ServiceLimits) -> int:
    """One for each request that may be under way, and one for a probe."""
    return limits.concurrency + 1
