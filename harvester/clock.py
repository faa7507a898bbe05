"""Time, passed in: wall clock for records, monotonic for measuring, sleep for waiting."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

from harvester.errors import Stopped, StopRun

LEAST_JUMP_SECONDS = 1.0
"""What a time server corrects without a jump is less."""


class Clock(Protocol):
    """All that harvester knows of time."""

    def now(self) -> datetime:
        """Wall time in UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Wall time in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary start."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class ClockWatch:
    """Notices when the wall clock runs off the monotonic one: somebody set it, or the machine slept.

    Args:
        clock: to be watched, from now on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart = self._measured()
        self.jumps_seconds: list[float] = []
        """By how much, each time; negative: set back."""

    def look(self) -> None:
        """Look again; the oftener, the less two jumps hide each other."""
        apart = self._measured()
        if abs(apart - self._apart) >= LEAST_JUMP_SECONDS:
            self.jumps_seconds.append(apart - self._apart)
            self._apart = apart

    def _measured(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()


class Stop:
    """The wish to end early, made by a signal, a limit or an error; nothing new is begun after it.

    Args:
        parent: whoever wishes to end this ends us as well, and not the other way round.
    """

    def __init__(self, parent: "Stop | None" = None) -> None:
        self._event = asyncio.Event()
        self._children: list[Stop] = []
        self.wished = False
        """Whether somebody wants to end early; `wish` is how to."""
        self.reason: StopRun | None = None
        if parent is not None:
            parent._children.append(self)
            if parent.wished:
                self.wish(parent.reason)

    def wish(self, reason: StopRun | None = None) -> None:
        """End early; of several reasons the first counts."""
        self.reason = self.reason or reason
        self.wished = True
        self._event.set()
        for child in self._children:
            child.wish(reason)

    async def wait(self) -> None:
        """Return as soon as somebody does."""
        await self._event.wait()


class StoppableClock:
    """A clock on which nobody sleeps past a stop, so that no pause of any part delays the end of a run.

    Args:
        clock: keeps the time.
        stop: ends all sleeping.
    """

    def __init__(self, clock: Clock, stop: Stop) -> None:
        self._clock = clock
        self._stop = stop
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait, unless the run ends.

        Raises:
            Stopped: it ends, or has ended already.
        """
        if not self._stop.wished:
            nap = asyncio.ensure_future(self._clock.sleep(seconds))
            wish = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({nap, wish}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                nap.cancel()
                wish.cancel()
        if self._stop.wished:
            raise Stopped


def timestamp(moment: datetime) -> str:
    """The form of time in all records: UTC with milliseconds, `2026-11-21T03:54:06.372Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
