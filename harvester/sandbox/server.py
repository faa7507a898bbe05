"""The sandbox: both services on one loopback port, watched.

What the services say is decided in `paperbuzz` and `operas`, what goes wrong in `faults`; the two meet in `exchange`,
which serves one request. Here is what outlives a request: the state, the switches, and the verdicts.
"""

import asyncio
import logging
from collections import Counter
from types import TracebackType
from typing import Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from harvester.core.clock import SystemClock
from harvester.sandbox import control
from harvester.sandbox import limits as monitor
from harvester.sandbox.deliver import response_of
from harvester.sandbox.exchange import Exchange
from harvester.sandbox.faults.bodies import ELSEWHERE
from harvester.sandbox.faults.rates import FAULTS, SERVICES, Faults, ServiceName
from harvester.sandbox.gate import Gate
from harvester.sandbox.operas.service import Operas
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.paperbuzz.service import Paperbuzz
from harvester.sandbox.requestlog import Log, Overlaps

MOUNTS: dict[str, ServiceName] = {"/paperbuzz": "paperbuzz", "/operas": "operas"}

OutageKind = Literal["503", "refuse"]

MAX_LINE_BYTES = 65_536
"""What aiohttp lets through, so that the services' own, lower limit is the one that is met."""


class Sandbox:
    """Both services, from `async with` on until its end.

    Attributes:
        log: every request, in order.
        operas: what OPERAS holds; `operas.registered` is DOI -> URLs.
        paperbuzz: the other service.
        same_doi: how often a DOI was asked for twice at once (`most` should be 1).
        posts_at_once: the same for POSTs of one account.
        strayed: requests that followed a redirect to another host (should be 0).
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.faults: Faults = self.options.faults
        self.latency_seconds = self.options.latency_seconds
        self.day = self.options.day
        self.port = 0
        self.log = Log(self.options.log_path, self.options.log_entries)
        self.paperbuzz = Paperbuzz(self.options, lambda: self.day, "/paperbuzz")
        self.clock = SystemClock()
        self.operas = Operas(self.options, self.clock, "/operas")
        self.same_doi = Overlaps()
        self.posts_at_once = Overlaps()
        self.gate = Gate(self.options.capacity)
        self.strayed = 0
        self._outages: dict[ServiceName, OutageKind] = {}
        self._attempts: Counter[tuple[ServiceName, str]] = Counter()
        self._runner: web.ServerRunner | None = None
        self._started_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Where its page for people is."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}/"

    @property
    def paperbuzz_url(self) -> str:
        """Base URL for the setting of the same name; ends with a slash."""
        return f"{self.url}paperbuzz/v0/"

    @property
    def operas_url(self) -> str:
        """Base URL for the setting of the same name; without a slash at the end."""
        return f"{self.url}operas/api"

    async def __aenter__(self) -> "Sandbox":
        """Listen."""
        self._loop = asyncio.get_running_loop()
        self._started_at = self.clock.monotonic()
        server = web.Server(
            self._handle,
            request_factory=self._request,
            keepalive_timeout=self.options.idle_seconds,
            access_log=None,
            logger=_logger(),
            max_line_size=MAX_LINE_BYTES,
            auto_decompress=False,
            lingering_time=0.2,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port, reuse_address=True, backlog=1024)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, end what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()
        self.log.close()

    def advance(self, days: int = 1) -> int:
        """Let simulated days pass, in which DOIs gain events; returns the day it is now."""
        self.day += days
        return self.day

    def set_faults(self, faults: Faults) -> None:
        """From now on these faults."""
        self.faults = faults

    def set_outage(self, service: ServiceName, kind: OutageKind | None = "503") -> None:
        """Take a service down, or up again with None."""
        if kind is None:
            self._outages.pop(service, None)
        else:
            self._outages[service] = kind

    def set_capacity(self, capacity: int | None) -> None:
        """Requests that Paperbuzz serves at a time."""
        self.gate.limit = capacity
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.gate.wake)

    def rate_violations(
        self, rate: float | None = None, burst: float | None = None, *, slack_seconds: float | None = None
    ) -> list[monitor.LimitViolation]:
        """Windows in which Paperbuzz saw more than rate·w + burst requests; by default as the options watch it."""
        rate = self.options.watch_rate if rate is None else rate
        if rate is None:
            return []
        burst = self.options.watch_burst if burst is None else burst
        slack = self.options.watch_slack_seconds if slack_seconds is None else slack_seconds
        return monitor.rate_violations(self.log.times("paperbuzz")[0], rate, burst, slack_seconds=slack)

    def quota_violations(self, quota: int) -> list[monitor.LimitViolation]:
        """UTC days and rolling 24 hours in which Paperbuzz saw more requests than this."""
        return monitor.quota_violations(self.log.times("paperbuzz")[1], quota)

    def planned_fault(self, service: ServiceName, key: str, attempt: int) -> str | None:
        """The fault that this try for this key meets; the same for every sandbox of this seed and these faults."""
        if service == "paperbuzz" and (named := _named_fault(key, attempt)):
            return named
        return self.faults.pick(self.options.seed, service, key, attempt)

    def attempts(self, service: ServiceName, key: str) -> int:
        """How often this was asked for."""
        return self._attempts[service, key]

    def count_attempt(self, service: ServiceName, key: str) -> int:
        """One more request for this; returns how many there were."""
        self._attempts[service, key] += 1
        return self._attempts[service, key]

    def outage(self, service: ServiceName) -> str | None:
        """How the service is down just now, or None if it is up."""
        if service in self._outages:
            return self._outages[service]
        since = self.clock.monotonic() - self._started_at
        for outage in self.options.outages:
            if outage.service == service and 0 <= since - outage.start_seconds < outage.seconds:
                return outage.kind
        return None

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        limit = self.options.max_body_bytes
        loop = asyncio.get_running_loop()
        # aiohttp counts 0 as no limit.
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit or 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = request.raw_path
        for mount, service in MOUNTS.items():
            if raw.startswith(mount):
                return await Exchange(self, request, service, raw[len(mount) :]).run()
        if raw.startswith(ELSEWHERE):
            self.strayed += 1
        answer = await control.answer(self, request)
        return response_of(answer, request, "harvester sandbox", compress=False)[0]


def _logger() -> logging.Logger:
    """Aiohttp's voice, without a traceback for every request line that is no HTTP: those are part of the game."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _named_fault(doi: str, attempt: int) -> str | None:
    """The fault that the DOI itself names: 10.5555/fault-NAME always, 10.5555/heals-NAME the first time."""
    if not doi.startswith("10.5555/"):
        return None
    name = doi.removeprefix("10.5555/")
    if name.startswith("slow"):
        return "slow"
    if name.startswith("heals-"):
        name = "fault-" + name.removeprefix("heals-") if attempt == 1 else ""
    if not name.startswith("fault-"):
        return None
    wanted = name.removeprefix("fault-").partition("/")[0]
    return wanted if wanted in FAULTS and "paperbuzz" in FAULTS[wanted][0] else None


assert tuple(MOUNTS.values()) == SERVICES  # noqa: S101 - one mount for each service
