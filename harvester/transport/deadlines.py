"""Time limits for many tasks, with one timer for all of them.

`asyncio.timeout` sets a timer for each block and cancels it again, which took a tenth of the time of a harvest
(measured). A block ends here at the same moment as there.
"""

import asyncio
from types import TracebackType


class DeadlineExceeded(Exception):
    """A block took longer than it may take."""


class Deadlines:
    """Cuts off the blocks that take too long.

    Where all blocks have the same limit, as the requests of one service do, the timer goes off once in that time.
    """

    def __init__(self) -> None:
        self._blocks: set[Block] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "Block":
        """`with deadlines.within(35):` raises `DeadlineExceeded` when the block takes longer."""
        return Block(self, seconds)

    def begin(self, block: "Block") -> None:
        """Watch a block from now on; called when it is entered."""
        self._blocks.add(block)
        if self._timer is None or block.due < self._timer.when():
            self._set(block.task.get_loop(), block.due)

    def end(self, block: "Block") -> None:
        """Watch a block no longer; called when it is left."""
        self._blocks.discard(block)

    def _set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for block in [block for block in self._blocks if block.due <= now]:
            self._blocks.remove(block)
            block.is_late = True
            block.task.cancel()
        if self._blocks:
            self._set(loop, min([block.due for block in self._blocks]))


class Block:
    """A part of a task that has a deadline; see `Deadlines.within`."""

    __slots__ = ("_cancelled_before", "_deadlines", "_seconds", "due", "is_late", "task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines, self._seconds = deadlines, seconds
        self.is_late = False

    def __enter__(self) -> "Block":
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever awaits is in a task
        self.task: asyncio.Task[object] = task
        self._cancelled_before = task.cancelling()
        self.due = task.get_loop().time() + self._seconds
        self._deadlines.begin(self)
        return self

    def pause(self) -> None:
        """Let the time stand still, for a wait that is not the fault of what has the deadline."""
        self._deadlines.end(self)
        self._seconds = self.due - self.task.get_loop().time()

    def go_on(self) -> None:
        """Let the time go on after `pause`."""
        if not self.is_late:  # its task was told already
            self.due = self.task.get_loop().time() + self._seconds
            self._deadlines.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        # If somebody else has cancelled the task as well, it has to end: then the cancellation goes on.
        if self.is_late and self.task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise DeadlineExceeded from error
