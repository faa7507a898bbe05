"""Stop: a cancellation token, and a clock whose sleeps end with it."""

import asyncio

from harvester.core.clock import Clock
from harvester.core.errors import Stopped, StopRun


class Stop:
    """The wish to end early, made by a signal, a limit or an error; nothing new is begun after it.

    Args:
        parent: whoever wishes to end this ends us as well, and not the other way round.
    """

    def __init__(self, parent: "Stop | None" = None) -> None:
        self._event = asyncio.Event()
        self._children: list[Stop] = []
        self.requested = False
        """Whether somebody wants to end early; `request` is how to."""
        self.reason: StopRun | None = None
        if parent is not None:
            parent._children.append(self)
            if parent.requested:
                self.request(parent.reason)

    def request(self, reason: StopRun | None = None) -> None:
        """End early; of several reasons the first counts."""
        self.reason = self.reason or reason
        self.requested = True
        self._event.set()
        for child in self._children:
            child.request(reason)

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
        if not self._stop.requested:
            nap = asyncio.ensure_future(self._clock.sleep(seconds))
            request = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({nap, request}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                nap.cancel()
                request.cancel()
        if self._stop.requested:
            raise Stopped
