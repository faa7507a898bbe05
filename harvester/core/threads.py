"""Threads that nobody waits for: for calls that may hang in the operating system."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AbandonableThreads(Executor):
    """Runs each call on a daemon thread of its own: the process can end while one still hangs.

    The threads of `asyncio.to_thread` are waited for at the end, however long they take.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin a call; see `concurrent.futures.Executor`."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        Thread(target=run, daemon=True, name="abandonable").start()
        return future
