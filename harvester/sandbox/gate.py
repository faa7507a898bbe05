"""A limit on how many requests are served at a time. It can be changed while requests wait."""

import asyncio
from collections import deque


class Gate:
    """Slots for requests. A request that finds no free slot waits in line.

    Args:
        limit: how many slots there are; None for no limit.

    Attributes:
        busy: how many slots are taken now.
        most: how many were taken at once at most.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.busy = 0
        self.most = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait in line."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a slot, or wait for one. The first in line gets the next free slot."""
        self._loop = asyncio.get_running_loop()
        if self._waiting or not self._is_open():
            slot = self._loop.create_future()
            self._waiting.append(slot)
            try:
                await slot
            except BaseException:
                if slot.done() and not slot.cancelled():
                    self.leave()
                raise
        else:
            self._take()

    def leave(self) -> None:
        """Give the slot back."""
        self.busy -= 1
        self.wake()

    def set_limit(self, limit: int | None) -> None:
        """Change the limit; requests that now find a slot go on. May be called from any thread."""
        self.limit = limit
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        """Let waiting requests in while there are free slots."""
        while self._waiting and self._is_open():
            slot = self._waiting.popleft()
            if not slot.done():
                self._take()
                slot.set_result(None)

    def _is_open(self) -> bool:
        return self.limit is None or self.busy < self.limit

    def _take(self) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
