"""Stop: a cancellation token, and a clock whose sleeps end when it is set."""

import asyncio

from harvester.core.clock import Clock
from harvester.core.errors import Stopped, StopRun


class Stop:
    """A cancellation token: set by a signal, a limit or an error. After that nothing new is begun.

    Args:
        parent: a stop of the parent stops this one too, but not the other way round.
    """

    def __init__(self, parent: "Stop | None" = None) -> None:
        self._event = asyncio.Event()
        self._children: list[Stop] = []
        self.requested = False
        """Whether a stop was requested. Call `request` to set it."""
        self.reason: StopRun | None = None
        if parent is not None:
            parent._children.append(self)
            if parent.requested:
                self.request(parent.reason)

    def request(self, reason: StopRun | None = None) -> None:
        """Request a stop. Of several reasons the first one counts."""
        self.reason = self.reason or reason
        self.requested = True
        self._event.set()
        for child in self._children:
            child.request(reason)

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._event.wait()


class StoppableClock:
    """A clock whose sleeps end at a stop, so that no pause delays the end of a run.

    Args:
        clock: the clock that it stands for.
        stop: ends all sleeps.
    """

    def __init__(self, clock: Clock, stop: Stop) -> None:
        self._clock = clock
        self._stop = stop
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds.

        Raises:
            Stopped: a stop is requested meanwhile, or was requested before.
        """
        if not self._stop.requested:
            sleep = asyncio.ensure_future(self._clock.sleep(seconds))
            stopped = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({sleep, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                stopped.cancel()
        if self._stop.requested:
            raise Stopped
