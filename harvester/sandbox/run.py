"""Two ways to keep a sandbox running: beside a test in a thread, and as a command until it is interrupted."""

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator

from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.page import command
from harvester.sandbox.server import Sandbox

START_SECONDS = 20.0


@contextlib.contextmanager
def run_in_thread(options: SandboxOptions | None = None) -> Iterator[Sandbox]:
    """A sandbox served from a thread and an event loop of its own, for code that blocks or runs in other processes.

    Its methods may be called, and its log read, from the calling thread.

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
    """Serve until SIGINT or SIGTERM; what the `harvester sandbox` command does.

    Args:
        options: how it behaves.
        announce: is given one text at the start: what this is, where, with which credentials, and what to type.

    Raises:
        OSError: the port is taken.
    """
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers; there ^C ends the loop by itself.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, end.set)
    async with Sandbox(options) as sandbox:
        announce(greeting(sandbox))
        await end.wait()


def greeting(sandbox: Sandbox) -> str:
    """What stands in the terminal while it runs."""
    options = sandbox.options
    accounts = [
        f"  {account.email} / {account.password}{'' if account.approved else '  (not approved: gets no token)'}"
        for account in options.accounts
    ]
    faults = ", ".join(f"{name}={rate:g}" for name, rate in options.faults.rates.items()) or "none (--faults all=0.05)"
    return "\n".join(
        [
            "harvester sandbox: Paperbuzz and OPERAS on this machine, with invented records. Ends with ^C.",
            "",
            f"  page       {sandbox.url}",
            f"  Paperbuzz  {sandbox.paperbuzz_url}",
            f"  OPERAS     {sandbox.operas_url}",
            f"  faults     {faults}",
            f"  log        {options.log_path or 'in memory only (--log PATH)'}",
            "",
            "OPERAS accounts:",
            *accounts,
            "",
            "In another terminal:",
            "",
            *(f"  {line}" for line in command(sandbox).splitlines()),
        ]
    )
