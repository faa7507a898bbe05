"""Jobs that run side by side, or until somebody wishes to end them."""

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
    """Run a job; after a stop it has some seconds left. Returns what it made, None if it was cut off."""
    task = asyncio.create_task(job)
    wish = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_seconds)
    finally:
        wish.cancel()
        task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.result()


async def run_together(jobs: Sequence[Coroutine[None, None, None]]) -> None:
    """Run jobs together; the first error that ends the run is raised as itself, not as a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None


@contextmanager
def prefetched(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, each made on a thread of its own while the one before is dealt with; it has ended afterwards."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        yield _made_by(maker, items)


def _made_by(maker: ThreadPoolExecutor, items: Iterator[T]) -> Iterator[T]:
    coming = maker.submit(_one, items)
    while made := coming.result():
        coming = maker.submit(_one, items)
        yield from made


def _one(items: Iterator[T]) -> list[T]:
    """The next item, or nothing."""
    return list(islice(items, 1))


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error in a group that says most: one that ends the run, else the first."""
    leaves = [first_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, StopRun)), leaves[0])
