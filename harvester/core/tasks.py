"""Run jobs until a stop, run jobs together, and prefetch items on a thread."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from harvester.core.errors import Stopped, StopRun
from harvester.core.stop import Stop

T = TypeVar("T")

STOP_CHECK_SECONDS = 0.1
"""How often a thread that waits for another one checks for a stop."""


async def until_stopped(job: Coroutine[None, None, T], stop: Stop, grace_seconds: float = 10.0) -> T | None:
    """Run a job until it ends, or until some seconds after a stop.

    Args:
        job: what to run.
        stop: begins the grace period.
        grace_seconds: how long the job may go on after a stop before it is cancelled.

    Returns:
        The result of the job; None if it was cancelled, or ended at the stop by itself.
    """
    task = asyncio.create_task(job)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_seconds)
    finally:
        stopped.cancel()
        task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() or isinstance(task.exception(), Stopped) else task.result()


async def run_together(jobs: Sequence[Coroutine[None, None, None]]) -> None:
    """Run jobs at the same time. An error of one cancels the others.

    Raises:
        BaseException: the error itself and not a group; of several errors the one of `first_error`.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None


@contextmanager
def prefetched(items: Iterator[T], is_stopped: Callable[[], bool]) -> Iterator[Iterator[T]]:
    """The same items, each fetched on another thread while the caller works on the one before.

    Fetching may block for ever, as with a pipe into which nobody writes. So a stop does not wait for it: the thread is
    left behind where it is, and does not keep the process from ending.

    Args:
        items: are fetched on the other thread alone.
        is_stopped: whether to wait no longer. Then `Stopped` is raised in place of the next item.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    fetched: SimpleQueue[list[T] | BaseException] = SimpleQueue()
    wanted.put(True)
    Thread(target=_fetch, args=(items, wanted, fetched), name="prefetch", daemon=True).start()
    try:
        yield _handed_over(wanted, fetched, is_stopped)
    finally:
        wanted.put(False)


def unless_stopped(step: Callable[[], T], is_stopped: Callable[[], bool]) -> T:
    """The result of a step that may take long or block for ever. A stop does not wait for it.

    Raises:
        Stopped: a stop is requested meanwhile.
    """
    with prefetched((step() for _ in range(1)), is_stopped) as results:
        return next(results)


def _fetch(items: Iterator[T], wanted: "SimpleQueue[bool]", fetched: "SimpleQueue[list[T] | BaseException]") -> None:
    """Fetch one item whenever one is wanted: the item alone in a list, an empty list at the end, or the error."""
    while wanted.get():
        try:
            found: list[T] | BaseException = list(islice(items, 1))
        except BaseException as error:  # noqa: BLE001 - it is raised where the item is taken
            found = error
        fetched.put(found)


def _handed_over(
    wanted: "SimpleQueue[bool]",
    fetched: "SimpleQueue[list[T] | BaseException]",
    is_stopped: Callable[[], bool],
) -> Iterator[T]:
    while True:
        found = _next_unless_stopped(fetched, is_stopped)
        if isinstance(found, BaseException):
            raise found
        if not found:
            return
        wanted.put(True)
        yield from found


def _next_unless_stopped(queue: "SimpleQueue[T]", is_stopped: Callable[[], bool]) -> T:
    while not is_stopped():
        with suppress(Empty):
            return queue.get(timeout=STOP_CHECK_SECONDS)
    raise Stopped


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most telling error of a group: one that ends the run, else the first."""
    leaves = [first_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, StopRun)), leaves[0])
