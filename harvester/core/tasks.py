"""Run jobs until a stop, run jobs together, and prefetch items on a thread."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from harvester.core.errors import StopRun
from harvester.core.stop import Stop

T = TypeVar("T")


async def until_stopped(job: Coroutine[None, None, T], stop: Stop, grace_seconds: float = 10.0) -> T | None:
    """Run a job until it ends, or until some seconds after a stop.

    Args:
        job: what to run.
        stop: begins the grace period.
        grace_seconds: how long the job may go on after a stop before it is cancelled.

    Returns:
        The result of the job; None if it was cancelled.
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
    return None if task.cancelled() else task.result()


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
def prefetched(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, each fetched on another thread while the caller works on the one before.

    The thread has ended when the block ends.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        yield _prefetched_on(thread, items)


def _prefetched_on(thread: ThreadPoolExecutor, items: Iterator[T]) -> Iterator[T]:
    upcoming = thread.submit(_next_item, items)
    while item := upcoming.result():
        upcoming = thread.submit(_next_item, items)
        yield from item


def _next_item(items: Iterator[T]) -> list[T]:
    """The next item alone in a list, or an empty list at the end."""
    return list(islice(items, 1))


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most telling error of a group: one that ends the run, else the first."""
    leaves = [first_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, StopRun)), leaves[0])
