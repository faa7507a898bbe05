"""The sandbox as a server: all services on one port of this machine.

A path decides which stand-in a request is for; `exchange` serves it. What belongs to no service goes to `control`.
"""

import asyncio
import logging
from types import TracebackType

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from harvester.sandbox import control
from harvester.sandbox.deliver import response_of
from harvester.sandbox.exchange import Exchange
from harvester.sandbox.faults.bodies import ELSEWHERE
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.state import SandboxState

MAX_LINE_BYTES = 65_536
"""The longest request line that aiohttp accepts. It is higher than the services' own limit, so that theirs counts."""


class Sandbox(SandboxState):
    """A sandbox that listens from `async with` on until the end of the block.

    It is its state together with a socket: everything that can be read or switched is in `SandboxState`.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        super().__init__(options)
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> "Sandbox":
        """Start to listen."""
        self.started_at = self.clock.monotonic()
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
        """Stop to listen, and end the requests that are being served."""
        if self._runner is not None:
            await self._runner.cleanup()
        self.log.close()

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
        # aiohttp takes 0 as no limit.
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit or 0)

    async def _handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        raw = incoming.raw_path
        for service in self.services.values():
            if raw.startswith(service.mount):
                return await Exchange(self, incoming, service, raw.removeprefix(service.mount)).run()
        if raw.startswith(ELSEWHERE):
            self.strayed += 1
        answer = await control.answer(self, incoming)
        return response_of(answer, incoming, "harvester sandbox")[0]


def _logger() -> logging.Logger:
    """A logger for aiohttp that drops the traceback of request lines that are not HTTP. Tests send such lines."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_worth_logging)
    return logger


def _is_worth_logging(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
