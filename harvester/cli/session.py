"""What every command that works needs: settings, logs, progress, signals, an event loop."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import click

from harvester import config, logs
from harvester.clock import Stop, SystemClock
from harvester.errors import Interrupted
from harvester.job import World
from harvester.monitor import progress
from harvester.report import Report, Tally, closing
from harvester.settings import Settings

T = TypeVar("T")

log = logging.getLogger("harvester")

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

    def password(self) -> config.Secret:
        """The password of the OPERAS account, wherever it is kept; it is hidden from all logs from here on.

        Raises:
            Misconfigured: it is nowhere, or cannot be read.
        """
        password = config.operas_password(self.settings, os.environ)
        logs.hide(password.reveal())
        return password

    async def watched(self, world: World, job: Awaitable[T]) -> T:
        """Show progress while a job goes on."""
        async with progress(world.tally, world.clock, quiet=self.quiet):
            return await job


def begin(config_path: Path | None, flags: Mapping[str, object], *, quiet: bool) -> Session:
    """Read the settings and set up the logs.

    Raises:
        Misconfigured: a setting is wrong or unknown.
    """
    settings = config.load(config_path, os.environ, flags).settings
    logs.configure(form=settings.log.format, level="warning" if quiet else settings.log.level)
    return Session(settings, quiet)


def close_with(report: Report, *, quiet: bool) -> int:
    """Show the closing figures; returns the exit code."""
    if not quiet:
        click.echo(closing(report), err=True)
    elif report.exit.code:
        click.echo(f"harvester: {report.exit.reason}", err=True)
    return report.exit.code


def work(job: Callable[[World], Awaitable[T]], *, state: Path | None = None) -> T:
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
        world = World(
            clock=SystemClock(),
            random=Random(),
            stop=stop,
            tally=Tally(),
            notice=log.warning,
            stdin=sys.stdin.buffer,
            stdout=sys.stdout.buffer,
            state=state,
        )
        return await job(world)

    return asyncio.run(main())


def _signalled(stop: Stop, number: int) -> None:
    if stop.wished:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        logging.shutdown()
        os._exit(128 + number)
    log.warning("stopping: answers under way are committed; once more ends at once, and loses nothing either")
    stop.wish(Interrupted(number))
