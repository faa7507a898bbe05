"""Two ways to keep a sandbox running: in a thread beside a test, and as a command until it is interrupted."""

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator

from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.page import greeting
from harvester.sandbox.server import Sandbox

START_SECONDS = 20.0


@contextlib.contextmanager
def run_in_thread(options: SandboxOptions | None = None) -> Iterator[Sandbox]:
    """Serve a sandbox from a thread with its own event loop, for code that blocks or runs in other processes.

    The calling thread may call the sandbox's methods and read its log.

    Raises:
        OSError: the port is taken.
    """
    sandbox = Sandbox(options)
    ready = threading.Event()
    ended: list[BaseException] = []
    stop: list[Callable[[], object]] = []
    thread = threading.Thread(target=_served, args=(sandbox, ready, stop, ended), name="sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(START_SECONDS):
            raise TimeoutError(f"the sandbox was not ready within {START_SECONDS:.0f} s")
        if ended:
            raise ended[0]
        yield sandbox
    finally:
        for end in stop:
            end()
        thread.join(START_SECONDS)


def _served(
    sandbox: Sandbox, ready: threading.Event, stop: list[Callable[[], object]], ended: list[BaseException]
) -> None:
    async def until_stopped() -> None:
        end = asyncio.Event()
        async with sandbox:
            loop = asyncio.get_running_loop()
            stop.append(functools.partial(loop.call_soon_threadsafe, end.set))
            ready.set()
            await end.wait()

    try:
        asyncio.run(until_stopped())
    except OSError as error:
        ended.append(error)
    finally:
        ready.set()


async def serve(options: SandboxOptions, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. This is what the command `harvester sandbox` does.

    Args:
        options: how the sandbox behaves.
        announce: is given the greeting once, when the sandbox listens.

    Raises:
        OSError: the port is taken.
    """
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers. There ^C ends the loop by itself.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, end.set)
    async with Sandbox(options) as sandbox:
        announce(greeting(sandbox))
        await end.wait()
