"""What every command needs that does a job: settings, logs, progress, signals, an event loop."""

import asyncio
import gc
import io
import logging
import os
import select
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, TypeVar, cast

import click

from harvester.cli.signals import heard_signals
from harvester.cli.streams import STDOUT
from harvester.config.credentials import Secret, operas_password
from harvester.config.load import load
from harvester.config.masking import masked_address
from harvester.config.settings import Settings
from harvester.core.background import BackgroundWriter
from harvester.core.clock import SystemClock
from harvester.core.errors import Interrupted, PipeClosed
from harvester.core.memory import give_back_large_blocks
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.core.text.sanitize import hide, mask_email
from harvester.core.text.terminal import printable_json
from harvester.harvest.job import Context
from harvester.monitoring import logs
from harvester.monitoring.progress import progress
from harvester.reports.console import AGAIN, closing, ending
from harvester.reports.summary import Summary

T = TypeVar("T")

log = logging.getLogger("harvester")

BLOCK_BYTES = 1024 * 1024

STOP_CHECK_SECONDS = 0.5
"""How often a read that waits for standard input, or a write that waits for its reader, checks for a stop."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a command has once its settings are read.

    Args:
        settings: merged from defaults, file, environment and flags.
        quiet: whether progress is not shown.
    """

    settings: Settings
    quiet: bool

    def password(self) -> Secret:
        """Read the password of the OPERAS account. From then on it is masked in all logs.

        Raises:
            Misconfigured: there is none, or it cannot be read.
        """
        password = operas_password(self.settings, os.environ)
        hide(password.reveal())
        return password

    async def watched(self, context: Context, job: Awaitable[T]) -> T:
        """Do a job and show its progress."""
        async with progress(context.tally, context.clock, quiet=self.quiet):
            return await job


class InterruptibleInput(io.RawIOBase):
    """Standard input that ends at a stop. Otherwise a pipe into which nobody writes would block the run for ever.

    Args:
        stop: ends the input.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes. None are left at the end, after a stop, or if there is no standard input."""
        if sys.stdin is None:
            return b""
        while not self._stop.requested:
            ready, _, _ = select.select([sys.stdin.fileno()], [], [], STOP_CHECK_SECONDS)
            if ready:
                return os.read(sys.stdin.fileno(), size if size >= 0 else BLOCK_BYTES)
        return b""


class InterruptibleOutput(io.RawIOBase):
    """Standard output that gives up at a stop if nobody reads it. Otherwise a reader that sleeps would hold the run.

    What is given up was not committed, so its works stay due. On a terminal, what that could obey is escaped.

    Args:
        stop: ends the waiting for a reader that takes nothing.
        descriptor: of standard output.
    """

    def __init__(self, stop: Stop, descriptor: int = STDOUT) -> None:
        self._stop, self._writer = stop, BackgroundWriter(descriptor)
        self._is_terminal = os.isatty(descriptor)

    def write(self, lines: object, /) -> int:
        """Write whole lines, and wait until they are read.

        Raises:
            StopRun: of the stop; perhaps only a part was written.
            OSError: it cannot be written.
        """
        content = memoryview(lines)  # type: ignore[arg-type] # bytes, or a view of some
        self._writer.put(_printable(content) if self._is_terminal else content)
        while not self._writer.flush(STOP_CHECK_SECONDS):
            if self._stop.requested:
                raise self._stop.reason or PipeClosed("whoever reads stdout stopped reading")
        if self._writer.error:
            raise self._writer.error
        return len(content)


def _printable(lines: memoryview) -> bytes:
    return printable_json(bytes(lines).decode(errors="backslashreplace")).encode()


class _AbandonedThreads(ThreadPoolExecutor):
    """Threads that nobody waits for at the end: a look-up of a name that hangs must not hold up a stop."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the signature of the class
        super().shutdown(wait=False, cancel_futures=True)


def begin(config_path: Path | None, flags: Mapping[str, object], *, quiet: bool) -> Session:
    """Read the settings and configure the logs.

    Raises:
        Misconfigured: a setting is wrong or unknown.
    """
    settings = load(config_path, os.environ, flags).settings
    for email in filter(None, (settings.paperbuzz.email, settings.operas.email)):
        hide(email, mask_email(email))
    if url := settings.metrics.ping_url:
        hide(url, masked_address(url))
    logs.configure(form=settings.log.format, level="warning" if quiet else settings.log.level)
    return Session(settings, quiet)


def close_with(summary: Summary, *, quiet: bool, again: str = AGAIN) -> int:
    """Show the closing figures.

    Args:
        summary: of the run.
        quiet: show only why the run failed, if it did.
        again: how works that failed are asked again.

    Returns:
        The exit code.
    """
    if logs.is_json():
        log.log(logging.ERROR if summary.exit.code else logging.INFO, "%s", summary.exit.reason, extra=ending(summary))
    elif not quiet:
        click.echo(closing(summary, again=again), err=True)
    elif summary.exit.code:
        click.echo(f"harvester: {summary.exit.reason}", err=True)
    return summary.exit.code


def work(job: Callable[[Context], Awaitable[T]], *, state: Path | None = None) -> T:
    """Run a job in an event loop of its own. Signals request a stop.

    The first ^C or SIGTERM ends the run in an orderly way. The second ends the process at once. The order of commits
    makes that safe, so there is nothing to clean up.

    Args:
        job: what to do.
        state: the folder of the daily budget; None for the user's state directory.
    """

    async def main() -> T:
        stop = Stop()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_AbandonedThreads())
        context = Context(
            clock=SystemClock(),
            random=Random(),
            stop=stop,
            tally=Tally(),
            warn=log.warning,
            stdin=cast("BinaryIO", InterruptibleInput(stop)),
            stdout=cast("BinaryIO", InterruptibleOutput(stop)),
            state=state,
        )

        def request_stop(number: int) -> None:
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(_signalled, stop, number)

        with heard_signals(request_stop):
            return await job(context)

    give_back_large_blocks()
    gc.freeze()  # imported modules stay until the end: the collector need not look at them
    return asyncio.run(main())


def _signalled(stop: Stop, number: int) -> None:
    log.warning("stopping: answers under way are committed; once more ends at once, and loses nothing either")
    stop.request(Interrupted(number))
