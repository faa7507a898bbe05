"""The memory that the bodies of answers may take together, from their first byte until nobody needs them any more.

Small bodies take none of it. Larger ones share a few MiB. When these are used up, one body at a time may go on, up to
the cap of its request; the others wait in the middle of theirs. So the memory is bounded however many large answers
come at once, and ordinary answers never wait for each other.
"""

import asyncio
from collections import deque

FREE_BYTES = 64 * 1024
"""Each body may have so many bytes; most records have no more."""

SHARED_BYTES = 8 * 1024 * 1024
"""All bodies together may have so many more: twenty records at the cap of events (P6)."""


class Room:
    """The memory for the bodies of one transport.

    Args:
        shared_bytes: what larger bodies share.
    """

    def __init__(self, shared_bytes: int = SHARED_BYTES) -> None:
        self._left = shared_bytes
        self._is_turn_free = True
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for more."""
        return bool(self._waiting)

    def has(self, more: int) -> bool:
        """Whether some bytes can be taken without waiting."""
        return not self._waiting and (more <= self._left or self._is_turn_free)

    async def take(self, more: int) -> bool:
        """Take some bytes. If there are no more to share, it may be the turn of this body to go on without a bound.

        Whoever waits is served in the order of coming.

        Returns:
            Whether they were shared ones.
        """
        if not self._waiting and more <= self._left:
            self._left -= more
            return True
        served: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((more, served))
        self._serve()
        try:
            return await served
        except asyncio.CancelledError:
            if served.done() and not served.cancelled():  # both at once
                self.give_back(more * served.result(), turn=not served.result())
            raise

    def give_back(self, shared: int, *, turn: bool) -> None:
        """Take back shared bytes, and the turn if it was had."""
        self._left += shared
        self._is_turn_free = self._is_turn_free or turn
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            more, served = self._waiting[0]
            if served.cancelled():
                self._waiting.popleft()
            elif more <= self._left:
                self._left -= more
                self._waiting.popleft()[1].set_result(True)
            elif self._is_turn_free:
                self._is_turn_free = False
                self._waiting.popleft()[1].set_result(False)
            else:
                return


class Place:
    """What one body takes of a room: whoever has the body keeps this beside it, and leaves it with the body.

    A place that nobody has any more is left by itself.

    Args:
        room: where it is. It belongs to the running event loop.

    Attributes:
        has_waited: whether the body ever had to wait.
    """

    __slots__ = ("_has_turn", "_loop", "_room", "_shared", "has_waited")

    def __init__(self, room: Room) -> None:
        self._room, self._loop = room, asyncio.get_running_loop()
        self._shared, self._has_turn = 0, False
        self.has_waited = False

    @property
    def is_wanted(self) -> bool:
        """Whether others wait for what this body takes."""
        return (self._has_turn or self._shared > 0) and self._room.is_short

    async def extend_to(self, size: int) -> None:
        """Take as much as a body of this size needs; wait for it if need be."""
        more = size - FREE_BYTES - self._shared
        if self._has_turn or more <= 0:
            return
        self.has_waited = self.has_waited or not self._room.has(more)
        if await self._room.take(more):
            self._shared += more
        else:
            self._has_turn = True

    def leave(self) -> None:
        """Give everything back, on the event loop; called again it does nothing."""
        shared, turn = self._shared, self._has_turn
        self._shared, self._has_turn = 0, False
        if shared or turn:
            self._room.give_back(shared, turn=turn)

    def __del__(self) -> None:
        """The last reference may be dropped on any thread."""
        if (self._shared or self._has_turn) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(
                lambda room, shared, turn: room.give_back(shared, turn=turn), self._room, self._shared, self._has_turn
            )
