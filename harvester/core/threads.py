"""A thread that nobody waits for: for calls that may hang in the operating system."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AbandonableThread(Executor):
    """Runs calls one after the other on a daemon thread: the process can end while one still hangs.

    The threads of `asyncio.to_thread` are waited for at the end, however long they take.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a call; see `concurrent.futures.Executor`. Only one thread may do so."""
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

        self._calls.put(run)
        if self._thread is None:
            self._thread = Thread(target=self._work, daemon=True, name="abandonable")
            self._thread.start()
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()
