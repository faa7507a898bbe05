"""Time, passed in: wall clock for records, monotonic for measuring, sleep for waiting."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

DAY_SECONDS = 86_400.0


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


def timestamp(moment: datetime) -> str:
    """The form of time in all records: UTC with milliseconds, `2026-11-21T03:54:06.372Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
