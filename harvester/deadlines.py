"""Time limits for many tasks, with one timer for all of them.

`asyncio.timeout` sets a timer for each request and cancels it again, which takes a tenth of the time of a harvest
(measured). All requests of a service have the same limit, so that the oldest one is the next to be late.
"""

import asyncio


class Deadlines:
    """Cancels tasks that are late. A task may have one deadline at a time."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._late: dict[asyncio.Task[object], int] = {}
        """And how often others had cancelled them before."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> asyncio.Task[object]:
        """Give the current task so much time from now; returns it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever awaits is in a task
        loop = task.get_loop()
        self._due[task] = due = loop.time() + seconds
        if self._timer is None or due < self._timer.when():
            self._set(loop, due)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """It needs no deadline any more."""
        self._due.pop(task, None)
        self._late.pop(task, None)

    def is_late(self, task: asyncio.Task[object]) -> bool:
        """Whether a task that was cancelled was so for its deadline, and for nothing else; it goes on then."""
        before = self._late.pop(task, None)
        return before is not None and task.uncancel() <= before

    def _set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            self._late[task] = task.cancelling()
            task.cancel()
        if self._due:
            self._set(loop, min(self._due.values()))
