"""Progress while a run goes on: a bar on a terminal, a log event every 30 seconds elsewhere.

The figures are read from the run's `Tally`; rate and time left come from the last minute, so that a pause or an outage
shows at once. Elsewhere than on a terminal progress goes through the log, so that with `--log-format json` all of
stderr's lines are JSON, with the figures as fields. Whatever goes wrong with showing progress, the run goes on.
"""

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from harvester.core.clock import Clock
from harvester.core.sanitize import printable
from harvester.core.tally import Tally
from harvester.core.wording import in_words
from harvester.monitoring.logs import write_through

log = logging.getLogger("harvester.progress")

WINDOW_SECONDS = 60.0
PAINT_SECONDS = 0.25
LINE_SECONDS = 30.0
SAMPLE_SECONDS = 1.0
"""Between two measurements without a terminal, so that the first line has a pace already."""


class Throughput:
    """How fast works are done, over the last minute.

    Args:
        clock: measures.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, done: int) -> None:
        """Tell how many works are done now; fewer than before (`--refetch`) begins a new measurement."""
        now = self._clock.monotonic()
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[0][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Works per second; 0 where nothing can be said yet."""
        if len(self._marks) < 2:
            return 0.0
        (since, before), (now, done) = self._marks[0], self._marks[-1]
        return (done - before) / (now - since) if now > since else 0.0

    def seconds_left(self, pending: int) -> float | None:
        """Seconds until nothing is pending, at this pace; None where nothing can be said."""
        return pending / self.rate if self.rate > 0 else None


def line(tally: Tally, pace: Throughput) -> str:
    """The state of a run in one line of text."""
    left = pace.seconds_left(tally.pending)
    parts = [
        f"{tally.results + tally.failures:,}/{tally.works:,} works",
        f"{pace.rate:.1f}/s",
        f"{in_words(left)} left" if left is not None and tally.pending else "",
        f"{tally.failures:,} failed" if tally.failures else "",
        f"{tally.registered:,} registered" if tally.registered or tally.registration_pending else "",
        f"{tally.registration_pending:,} to register" if tally.registration_pending else "",
        f"budget {tally.budget_left:,}" if tally.budget_left is not None else "",
        f"waiting for {printable(tally.waiting_for, 100)}" if tally.waiting_for else "",
    ]
    return ", ".join(part for part in parts if part)


def figures(tally: Tally, pace: Throughput) -> dict[str, object]:
    """The state of a run as fields of a log event; rate in works per second, time left in seconds."""
    left = pace.seconds_left(tally.pending)
    return {
        "done": tally.results + tally.failures,
        "works": tally.works,
        "failures": tally.failures,
        "registered": tally.registered,
        "rate": round(pace.rate, 3),
        "seconds_left": None if left is None else round(left),
        "budget_left": tally.budget_left,
        "waiting_for": tally.waiting_for,
    }


@asynccontextmanager
async def progress(
    tally: Tally, clock: Clock, *, quiet: bool = False, stream: TextIO | None = None
) -> AsyncIterator[None]:
    """Show a tally for as long as the block runs; its last state is shown as well.

    Args:
        tally: what to show.
        clock: measures the pace, and the time between two states.
        quiet: show nothing.
        stream: where the bar goes if it is a terminal; None for stderr.
    """
    if quiet:
        yield
        return
    out = stream or sys.stderr
    # A terminal that can do nothing (an editor's, a build log's) gets lines as well.
    painter = _paint_bar if out.isatty() and os.environ.get("TERM") != "dumb" else _log_lines
    task = asyncio.create_task(painter(tally, clock, out))
    # So that even the shortest run shows its state once.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        # Gathered, not awaited: a terminal that went away must not end the run, nor may our own cancellation be lost.
        await asyncio.gather(task, return_exceptions=True)


def _measure(tally: Tally, pace: Throughput) -> None:
    """Before the list is read there is nothing to measure, and what earlier runs did is not this run's pace."""
    if tally.works:
        pace.mark(tally.results + tally.failures)


async def _log_lines(tally: Tally, clock: Clock, _out: TextIO) -> None:
    pace, due = Throughput(clock), clock.monotonic() + LINE_SECONDS

    def tell() -> None:
        _measure(tally, pace)
        log.info(line(tally, pace), extra=figures(tally, pace))

    try:
        while True:
            _measure(tally, pace)
            if clock.monotonic() >= due:
                due += LINE_SECONDS
                tell()
            await clock.sleep(SAMPLE_SECONDS)
    finally:
        if tally.works:
            tell()


async def _paint_bar(tally: Tally, clock: Clock, out: TextIO) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column
    from rich.text import Text

    pace = Throughput(clock)
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=False)),
    )
    # Standard output is data, and stays with whoever writes it. Painting is ours alone, not a thread's.
    with Progress(*columns, console=Console(file=out), redirect_stdout=False, auto_refresh=False) as bar:
        restore = write_through(lambda text: bar.console.print(Text(text), soft_wrap=True))
        task = bar.add_task("harvest", total=None, said="")

        def paint() -> None:
            _measure(tally, pace)
            done = tally.results + tally.failures
            bar.update(task, total=tally.works or None, completed=done, said=line(tally, pace), refresh=True)

        try:
            while True:
                paint()
                await clock.sleep(PAINT_SECONDS)
        finally:
            restore()
            paint()
