"""A limit on requests served at a time, which can be changed while some wait."""

import asyncio
from collections import deque


class Gate:
    """Places for requests; who finds none waits in line."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.busy = 0
        self.most = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a place; one that is free goes to the first in line."""
        if self._waiting or not self._is_open():
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except BaseException:
                if place.done() and not place.cancelled():
                    self.leave()
                raise
        else:
            self._take()

    def leave(self) -> None:
        """Give it back."""
        self.busy -= 1
        self.wake()

    def wake(self) -> None:
        """Let in those who find a place now."""
        while self._waiting and self._is_open():
            place = self._waiting.popleft()
            if not place.done():
                self._take()
                place.set_result(None)

    def _is_open(self) -> bool:
        return self.limit is None or self.busy < self.limit

    def _take(self) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
