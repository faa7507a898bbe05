"""Stand-ins that tests share: a clock and a loop whose time a test owns, and finished works to fill in."""

import asyncio
import hashlib
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from harvester.core.model import Failure, Outcome, Stage
from harvester.core.ownership import FileKind
from harvester.records.result import Result
from harvester.transport.gate import Gate
from harvester.transport.messages import Request, Response, Transport

NOW = datetime(2026, 11, 21, 3, 54, 6, 372_000, UTC)
"""When tests begin."""

ANY = FileKind("a file of any kind", lambda _: True)
"""For tests that care for how a file is written, and not for whose it is."""

T = TypeVar("T")


class FakeClock:
    """A `harvester.core.clock.Clock` that goes on only when it is told to, or when somebody sleeps.

    Args:
        start: wall time at the beginning.
    """

    def __init__(self, start: datetime = NOW) -> None:
        self._wall = start
        self._monotonic = 1000.0
        self.naps: list[float] = []
        """What was slept, in seconds, in order."""

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once, and others have their turn."""
        self.naps.append(seconds)
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, on the wall and the monotonic clock alike."""
        self._monotonic += seconds
        self._wall += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or a time server does."""
        self._wall += timedelta(seconds=seconds)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting it lets the loop's time jump by as much."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.skipped += timeout
        elif not ready and timeout is None:
            raise RuntimeError("everybody waits for something that will never happen")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which time stands still while somebody works and jumps ahead when everybody waits."""

    def __init__(self) -> None:
        self._jumps = _JumpingSelector()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.skipped


class LoopClock:
    """A `harvester.core.clock.Clock` over the running loop's time; for a `VirtualLoop`."""

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def in_virtual_time(work: Awaitable[T]) -> T:
    """Run some work on a loop of its own, in no wall time."""

    async def awaited() -> T:
        return await work

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(awaited())


class Gated:
    """A transport that passes a gate before each request, as the one over aiohttp does.

    Args:
        gate: is passed.
        wire: sends.
    """

    def __init__(self, gate: Gate, wire: Transport) -> None:
        self._gate, self._wire = gate, wire

    async def send(self, request: Request) -> Response:
        await self._gate.enter()
        self._gate.leave()
        return await self._wire.send(request)


def gated(wire: Transport) -> Callable[[Gate], AbstractAsyncContextManager[Transport]]:
    """What opens this transport behind a gate; for `open_service`."""

    @asynccontextmanager
    async def opened(gate: Gate) -> AsyncIterator[Transport]:
        yield Gated(gate, wire)

    return opened


def a_result(
    doi: str = "10.5555/a",
    *,
    paperbuzz: bytes | None = None,
    outcome: str = Outcome.OK,
    attempts: int = 1,
    changed: bool | None = None,
    truncated: bool | None = False,
    landing_urls: Sequence[str] = (),
) -> Result:
    """A result whose digest is right."""
    record = b'{"doi":"%b"}' % doi.encode() if paperbuzz is None else paperbuzz
    return Result(
        doi=doi,
        outcome=Outcome(outcome),
        harvested_at="2026-11-21T03:54:06.372Z",
        http_status=200,
        attempts=attempts,
        elapsed_ms=12,
        truncated=truncated,
        changed=changed,
        sha256=hashlib.sha256(record).hexdigest(),
        paperbuzz=record,
        landing_urls=tuple(landing_urls),
    )


def a_failure(
    doi: str | None = "10.5555/a",
    *,
    kind: str = "timeout",
    stage: Stage = Stage.FETCH,
    text: str | None = None,
    origin: str = "list.txt:1",
    http_status: int | None = None,
    attempts: int = 1,
    message: str = "no answer within 35 s",
) -> Failure:
    """A failure for a reason."""
    return Failure(
        doi=doi,
        input=text if text is not None else doi or "not a DOI",
        origin=origin,
        kind=kind,
        http_status=http_status,
        attempts=attempts,
        message=message,
        failed_at="2026-11-21T03:54:06.372Z",
        stage=stage,
    )


def an_invalid_line(text: str = "no doi", origin: str = "list.txt:1") -> Failure:
    """A line of the input that is no DOI."""
    return a_failure(None, kind="invalid-doi", stage=Stage.INPUT, text=text, origin=origin, attempts=0)


def json_values(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Whatever JSON can hold, with members of these names."""
    plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(plain | numbers, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=15)
