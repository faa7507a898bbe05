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

    async def enter(self) -> None:
        """Take a place."""
        while self.limit is not None and self.busy >= self.limit:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        self.busy += 1
        self.most = max(self.most, self.busy)

    def leave(self) -> None:
        """Give it back."""
        self.busy -= 1
        self.wake()

    def wake(self) -> None:
        """Let those look again who may find a place."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
