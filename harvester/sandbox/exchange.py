"""One request to a service and its answer.

The steps: log entry, outage, wait for a slot, latency, fault or stand-in, socket, log entry. What the service answers
is decided by its stand-in, and how a fault looks is decided in `faults`.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import cast

from aiohttp import web

from harvester.sandbox.deliver import response_of, spent
from harvester.sandbox.faults.bodies import REDIRECTED, REPLACES, in_an_outage, replacement, spoiled
from harvester.sandbox.faults.connection import ON_THE_CONNECTION, UNDONE, play, reset
from harvester.sandbox.faults.rates import chance
from harvester.sandbox.messages import JSON, MAX_REQUEST_LINE, Answer, Request, gateway_page, line_too_long
from harvester.sandbox.options import OutageKind
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.service import StandIn
from harvester.sandbox.state import SandboxState

STATUS_PAGE = "/v0/"
"""The key of requests for the status page of Paperbuzz."""

BEHIND_A_STATUS_PAGE = frozenset({"500", "json-error", "one-record"})
"""Outages during which the status page answers."""

SURPLUS_SECONDS = 0.02
"""How long after a good answer the one comes that nobody asked for."""


class Exchange:
    """Serves one request.

    Args:
        state: of the sandbox.
        incoming: the request as aiohttp gives it.
        service: the stand-in it is for.
        target: the raw target without the service's mount.
    """

    def __init__(self, state: SandboxState, incoming: web.BaseRequest, service: StandIn, target: str) -> None:
        self.state = state
        self.incoming = incoming
        self.service = service
        self.target = target
        self.entry = self._new_entry()

    async def run(self) -> web.StreamResponse:
        """Log the request and serve it."""
        log, clock = self.state.log, self.state.clock
        log.begin(self.entry)
        try:
            return await self._answered()
        finally:
            self.entry.elapsed_seconds = clock.monotonic() - self.entry.time
            log.end(self.entry)

    def _new_entry(self) -> LoggedRequest:
        transport = self.incoming.transport
        peer = transport.get_extra_info("peername") if transport else None
        return LoggedRequest(
            number=0,
            service=self.service.name,
            time=self.state.clock.monotonic(),
            wall=self.state.clock.now().timestamp(),
            day=self.state.day,
            method=self.incoming.method,
            path=self.target,
            key=self.service.key_of(self.target.partition("?")[0]),
            remote=int(peer[1]) if peer else 0,
        )

    async def _answered(self) -> web.StreamResponse:
        kind = self.state.outage(self.service.name)
        if kind is not None and not (kind in BEHIND_A_STATUS_PAGE and self.entry.key == STATUS_PAGE):
            return self._down(kind)
        length = len(f"{self.incoming.method} {self.target} HTTP/1.1".encode("utf-8", "surrogateescape"))
        if length > MAX_REQUEST_LINE:
            return self._send(line_too_long(length))
        try:
            request = await self._read()
        except web.HTTPRequestEntityTooLarge:
            return self._send(gateway_page(413, "Request Entity Too Large"))
        self.entry.attempt = self.state.count_attempt(self.service.name, self.entry.key)
        self.entry.account = self.service.account_of(request)
        return await self._watched(request)

    def _down(self, kind: OutageKind) -> web.StreamResponse:
        self.entry.fault = "outage"
        if kind == "refuse":
            reset(cast("asyncio.Transport", self.incoming.transport))
            return spent()
        return self._send(in_an_outage(kind, self.service))

    async def _read(self) -> Request:
        """Read the body, and make plain data of the request.

        Raises:
            web.HTTPRequestEntityTooLarge: the body is longer than the options allow.
        """
        incoming = self.incoming
        path, _, query = self.target.partition("?")
        method = "GET" if incoming.method == "HEAD" else incoming.method
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        body = await incoming.read() if incoming.can_read_body else b""
        if method == "POST":
            # The same batch sent again is another attempt; another batch is another key.
            self.entry.key += f" {hashlib.blake2b(body, digest_size=8).hexdigest()}"
            self.entry.request_bytes = len(body)
        return Request(method, path, query, headers, body, incoming.headers.get("Host", ""))

    async def _watched(self, request: Request) -> web.StreamResponse:
        """Serve the request, and note which requests it overlaps with."""
        service, entry = self.service, self.entry
        shared = service.overlap_key(request, entry)
        if shared is None:
            return await self._served(request)
        overlap = service.overlaps.enter(shared, self._is_awaited)
        try:
            return await self._served(request, collides=service.collides(entry.key, overlap.count))
        finally:
            service.overlaps.leave(overlap)

    def _is_awaited(self) -> bool:
        """Whether the client is still there. One that has gone may ask again, and does not ask twice at once."""
        transport = self.incoming.transport
        return transport is not None and not transport.is_closing()

    async def _served(self, request: Request, *, collides: bool = False) -> web.StreamResponse:
        async with self._slot():
            return self._send(self.service.error(500)) if collides else await self._with_fault(request)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait for a slot and for the latency, if they apply to this service."""
        if not self.service.is_delayed:
            yield
            return
        await self.state.gate.enter()
        try:
            if pause := self._latency():
                await asyncio.sleep(pause)
            yield
        finally:
            self.state.gate.leave()

    def _latency(self) -> float:
        options = self.state.options
        if not options.jitter_seconds:
            return self.state.latency_seconds
        drawn = chance(options.seed, "latency", self.entry.key, self.entry.attempt)
        return self.state.latency_seconds + options.jitter_seconds * drawn

    async def _with_fault(self, request: Request) -> web.StreamResponse:
        """Answer with the fault that is planned for this request, or without one."""
        entry, faults = self.entry, self.state.faults
        if REDIRECTED not in request.query:
            entry.fault = self.state.planned_fault(self.service.name, entry.key, entry.attempt)
        fault = entry.fault
        if fault == "slow":
            await asyncio.sleep(faults.slow_seconds)
        if fault in REPLACES:
            return self._send(replacement(fault, self.service, faults))
        good = Answer(200) if fault in UNDONE else await self.service.answer(request, entry.attempt)
        if fault in ON_THE_CONNECTION:
            entry.body_bytes = await play(fault, self.incoming.transport, good, self.service.server_header, faults)
            return spent()
        if fault == "surplus":
            self._send_later(self.service.other_body(entry.key))
        return self._send(good if fault in (None, "slow", "surplus") else self._spoiled(fault, good, request))

    def _send_later(self, body: bytes) -> None:
        """Let one more answer follow on the same connection."""
        transport = self.incoming.transport
        data = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        if isinstance(transport, asyncio.Transport):
            asyncio.get_running_loop().call_later(SURPLUS_SECONDS, _write, transport, data)

    def _spoiled(self, fault: str, good: Answer, request: Request) -> Answer:
        path = self.incoming.raw_path.partition("?")[0]
        whole = Request(request.method, path, request.query, request.headers, host=request.host)
        other = self.service.other_body(self.entry.key) if fault == "wrong-doi" else b""
        return spoiled(fault, good, whole, self.state.faults, other)

    def _send(self, answer: Answer) -> web.StreamResponse:
        response, self.entry.body_bytes = response_of(
            answer, self.incoming, self.service.server_header, compressed_from=self.service.compressed_from
        )
        self.entry.status = answer.status
        return response


def _write(transport: asyncio.Transport, data: bytes) -> None:
    if not transport.is_closing():
        transport.write(data)
