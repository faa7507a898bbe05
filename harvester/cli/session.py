"""What every command that works needs: settings, logs, progress, signals, an event loop."""

import asyncio
import gc
import io
import logging
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, TypeVar, cast

import click

from harvester.config.credentials import Secret, operas_password
from harvester.config.load import load
from harvester.config.settings import Settings
from harvester.core.clock import SystemClock
from harvester.core.errors import Interrupted
from harvester.core.sanitize import hide, mask_email
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Context
from harvester.monitoring import logs
from harvester.monitoring.progress import progress
from harvester.reports.console import AGAIN, closing, ending
from harvester.reports.summary import Summary

T = TypeVar("T")

log = logging.getLogger("harvester")

BLOCK_BYTES = 1024 * 1024

LOOK_SECONDS = 0.5
"""How often whoever waits for standard input looks whether the run is to end."""

SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, slots=True)
class Session:
    """A command at work.

    Args:
        settings: merged from defaults, file, environment and flags.
        quiet: without progress.
    """

    settings: Settings
    quiet: bool

    def password(self) -> Secret:
        """The password of the OPERAS account, wherever it is kept; it is hidden from all logs from here on.

        Raises:
            Misconfigured: it is nowhere, or cannot be read.
        """
        password = operas_password(self.settings, os.environ)
        hide(password.reveal())
        return password

    async def watched(self, world: Context, job: Awaitable[T]) -> T:
        """Show progress while a job goes on."""
        async with progress(world.tally, world.clock, quiet=self.quiet):
            return await job


class InterruptibleInput(io.RawIOBase):
    """Standard input that a stop ends: a pipe into which nobody writes would otherwise hold the run for ever.

    Args:
        stop: the wish to end.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes, at most `size`; none at the end, at a stop, or where there is no standard input."""
        if sys.stdin is None:
            return b""
        while not self._stop.requested:
            ready, _, _ = select.select([sys.stdin.fileno()], [], [], LOOK_SECONDS)
            if ready:
                return os.read(sys.stdin.fileno(), size if size >= 0 else BLOCK_BYTES)
        return b""


def begin(config_path: Path | None, flags: Mapping[str, object], *, quiet: bool) -> Session:
    """Read the settings and set up the logs.

    Raises:
        Misconfigured: a setting is wrong or unknown.
    """
    settings = load(config_path, os.environ, flags).settings
    for email in filter(None, (settings.paperbuzz.email, settings.operas.email)):
        hide(email, mask_email(email))
    logs.configure(form=settings.log.format, level="warning" if quiet else settings.log.level)
    return Session(settings, quiet)


def close_with(report: Summary, *, quiet: bool, again: str = AGAIN) -> int:
    """Show the closing figures, and what can be done about works that failed; returns the exit code."""
    if logs.is_json():
        log.log(logging.ERROR if report.exit.code else logging.INFO, "%s", report.exit.reason, extra=ending(report))
    elif not quiet:
        click.echo(closing(report, again=again), err=True)
    elif report.exit.code:
        click.echo(f"harvester: {report.exit.reason}", err=True)
    return report.exit.code


def work(job: Callable[[Context], Awaitable[T]], *, state: Path | None = None) -> T:
    """Run a job in an event loop of its own, with signals turned into a stop.

    The first ^C or SIGTERM ends the run in an orderly way. The second ends the process at once: a kill is what the
    commit order is made for, so there is nothing to tidy up.

    Args:
        job: what to do, given the world.
        state: folder of the daily budget; None for the user's state directory.
    """

    async def main() -> T:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _signalled, stop, number)
        world = Context(
            clock=SystemClock(),
            random=Random(),
            stop=stop,
            tally=Tally(),
            warn=log.warning,
            stdin=cast("BinaryIO", InterruptibleInput(stop)),
            stdout=sys.stdout.buffer if sys.stdout else cast("BinaryIO", io.BytesIO()),
            state=state,
        )
        return await job(world)

    gc.freeze()  # what was imported stays
    return asyncio.run(main())


def _signalled(stop: Stop, number: int) -> None:
    if stop.requested:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        logging.shutdown()
        os._exit(128 + number)
    log.warning("stopping: answers under way are committed; once more ends at once, and loses nothing either")
    stop.request(Interrupted(number))
