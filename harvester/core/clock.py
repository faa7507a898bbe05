"""Time, as something that is passed in: wall clock for records, monotonic clock for measuring, sleep for waiting."""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

DAY_SECONDS = 86_400.0

MIN_JUMP_SECONDS = 1.0
"""A time server corrects smaller errors without a jump."""


class Clock(Protocol):
    """The only way in which harvester learns the time."""

    def now(self) -> datetime:
        """Wall time in UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start. They never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Wall time in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary start."""

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        await asyncio.sleep(seconds)


uptime_ns = partial(time.clock_gettime_ns, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Nanoseconds since the machine was started: the same for all its processes, and it goes on while the machine sleeps.
That is `CLOCK_BOOTTIME` on Linux, and `CLOCK_MONOTONIC` on macOS. Nobody can set it."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> bytes:
    """16 bytes that say since which start of the machine `uptime_ns` counts; zeros where the system does not tell."""
    try:
        return bytes.fromhex(BOOT_ID.read_text(encoding="ascii").replace("-", ""))[:16].ljust(16, b"\0")
    except (OSError, ValueError):
        return bytes(16)


class ClockWatch:
    """Notices when the wall clock jumps: somebody set it, or the machine was asleep.

    It compares the wall clock with the monotonic clock.

    Args:
        clock: is watched from now on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._offset_now()
        self.jumps_seconds: list[float] = []
        """The jumps until now, in seconds; negative if the clock was set back."""

    def look(self) -> None:
        """Look for a jump. Call it often: two jumps between two calls may cancel each other out."""
        offset = self._offset_now()
        if abs(offset - self._offset) >= MIN_JUMP_SECONDS:
            self.jumps_seconds.append(offset - self._offset)
            self._offset = offset

    def _offset_now(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()


def timestamp(moment: datetime) -> str:
    """A moment as all files have it: UTC with milliseconds, such as `2026-11-21T03:54:06.372Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
