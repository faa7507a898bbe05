"""One request and its answer.

The way: log entry → outage → wait for a free place → latency → fault or service → socket → log entry.
"""

import asyncio
import hashlib
from typing import TYPE_CHECKING, cast

from aiohttp import web

from harvester.sandbox.answer import MAX_REQUEST_LINE, Answer, Ask, gateway_page, line_too_long
from harvester.sandbox.deliver import ON_THE_SOCKET, play, reset, response_of, spent
from harvester.sandbox.faults.bodies import REDIRECTED, REPLACES, replacement, spoiled
from harvester.sandbox.faults.rates import ServiceName, chance
from harvester.sandbox.requestlog import RequestLog

if TYPE_CHECKING:
    from harvester.sandbox.server import Sandbox

SERVER_HEADER: dict[ServiceName, str] = {"paperbuzz": "gunicorn", "operas": "gunicorn/19.9.0"}

UNDONE = frozenset({"reset", "close", "hang", "loris"})
"""Faults on the socket that come before the service is asked; the others come after it has answered."""


class Exchange:
    """Serves one request.

    Args:
        sandbox: that it came to.
        request: as aiohttp has it.
        service: that is meant.
        target: the raw target without the service's mount.
    """

    def __init__(self, sandbox: "Sandbox", request: web.BaseRequest, service: ServiceName, target: str) -> None:
        self.sandbox = sandbox
        self.request = request
        self.service = service
        self.target = target
        self.entry = self._entry()

    async def run(self) -> web.StreamResponse:
        """Log it, serve it."""
        log, clock = self.sandbox.log, self.sandbox.clock
        log.begin(self.entry)
        try:
            return await self._answered()
        finally:
            self.entry.elapsed_seconds = clock.monotonic() - self.entry.time
            log.end(self.entry)

    def _entry(self) -> RequestLog:
        transport = self.request.transport
        peer = transport.get_extra_info("peername") if transport else None
        path = self.target.partition("?")[0]
        key = self.sandbox.paperbuzz.doi_of(path) if self.service == "paperbuzz" else None
        return RequestLog(
            number=0,
            service=self.service,
            time=self.sandbox.clock.monotonic(),
            wall=self.sandbox.clock.now().timestamp(),
            day=self.sandbox.day,
            method=self.request.method,
            path=self.target,
            key=path if key is None else key,
            remote=int(peer[1]) if peer else 0,
        )

    async def _answered(self) -> web.StreamResponse:
        if (down := self.sandbox.outage(self.service)) is not None:
            return self._down(down)
        length = len(f"{self.request.method} {self.target} HTTP/1.1".encode("utf-8", "surrogateescape"))
        if length > MAX_REQUEST_LINE:
            return self._send(line_too_long(length))
        try:
            ask = await self._ask()
        except web.HTTPRequestEntityTooLarge:
            return self._send(gateway_page(413, "Request Entity Too Large"))
        self.entry.attempt = self.sandbox.count_attempt(self.service, self.entry.key)
        if self.service == "paperbuzz":
            return await self._paperbuzz(ask)
        return await self._operas(ask)

    async def _ask(self) -> Ask:
        request = self.request
        path, _, query = self.target.partition("?")
        method = "GET" if request.method == "HEAD" else request.method
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read() if request.can_read_body else b""
        if method == "POST":
            # The same batch again is the same question; another batch is another one.
            self.entry.key += f" {hashlib.blake2b(body, digest_size=8).hexdigest()}"
            self.entry.request_bytes = len(body)
        return Ask(method, path, query, headers, body, request.headers.get("Host", ""))

    def _down(self, kind: str) -> web.StreamResponse:
        self.entry.fault = "outage"
        if kind == "refuse":
            reset(cast("asyncio.Transport", self.request.transport))
            return spent()
        return self._send(gateway_page(503, "Service Unavailable"))

    async def _paperbuzz(self, ask: Ask) -> web.StreamResponse:
        sandbox, doi = self.sandbox, self.entry.key
        # A path without a DOI, such as a probe of /v0/, may be asked for as often as one likes.
        place = sandbox.same_doi.enter(doi, self._waits) if doi.startswith("10") else None
        collides = (
            sandbox.options.collide and place is not None and place.count > 1 and doi not in sandbox.paperbuzz.asked
        )
        await sandbox.gate.enter()
        try:
            if pause := self._latency():
                await asyncio.sleep(pause)
            if collides:
                return self._send(replacement("500", "paperbuzz", sandbox.faults))
            return await self._with_fault(ask)
        finally:
            sandbox.gate.leave()
            if place is not None:
                sandbox.same_doi.leave(place)

    def _waits(self) -> bool:
        """Whether the client is still there: one that has given up may ask again without asking twice at once."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    def _latency(self) -> float:
        options = self.sandbox.options
        if not options.jitter_seconds:
            return self.sandbox.latency_seconds
        drawn = chance(options.seed, "latency", self.entry.key, self.entry.attempt)
        return self.sandbox.latency_seconds + options.jitter_seconds * drawn

    async def _operas(self, ask: Ask) -> web.StreamResponse:
        self.entry.account = self.sandbox.operas.account_of(ask)
        if ask.method != "POST" or not ask.path.startswith("/api/uriset"):
            return await self._with_fault(ask)
        place = self.sandbox.posts_at_once.enter(self.entry.account, self._waits)
        try:
            return await self._with_fault(ask)
        finally:
            self.sandbox.posts_at_once.leave(place)

    async def _with_fault(self, ask: Ask) -> web.StreamResponse:
        sandbox, entry = self.sandbox, self.entry
        fault = None if REDIRECTED in ask.query else sandbox.planned_fault(self.service, entry.key, entry.attempt)
        entry.fault = fault
        if fault == "slow":
            await asyncio.sleep(sandbox.faults.slow_seconds)
        if fault in REPLACES:
            return self._send(replacement(fault, self.service, sandbox.faults))
        good = Answer(200) if fault in UNDONE else await self._good(ask)
        if fault in ON_THE_SOCKET:
            entry.body_bytes = await play(fault, self.request, good, SERVER_HEADER[self.service], sandbox.faults)
            return spent()
        return self._send(good if fault in (None, "slow") else self._spoiled(fault, good, ask))

    async def _good(self, ask: Ask) -> Answer:
        if self.service == "paperbuzz":
            return self.sandbox.paperbuzz.answer(ask, self.entry.attempt)
        return await self.sandbox.operas.answer(ask)

    def _spoiled(self, fault: str, good: Answer, ask: Ask) -> Answer:
        whole = Ask(ask.method, self.request.raw_path.partition("?")[0], ask.query, ask.headers, host=ask.host)
        other = b""
        if fault == "wrong-doi":
            other = self.sandbox.paperbuzz.body(f"10.5555/ok.other.{len(self.entry.key)}").plain
        return spoiled(fault, good, whole, self.sandbox.faults, other)

    def _send(self, answer: Answer) -> web.StreamResponse:
        compress = self.service == "paperbuzz"
        server = SERVER_HEADER[self.service]
        response, self.entry.body_bytes = response_of(answer, self.request, server, compress=compress)
        self.entry.status = answer.status
        return response
