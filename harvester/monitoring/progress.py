"""Show the progress of a run: as a bar on a terminal, elsewhere as a log event every 30 seconds.

The figures come from the `Tally` of the run. Rate and time left are those of the last minute, so that a pause or an
outage shows at once. Without a terminal, progress goes through the log, so that with `--log-format json` every line on
stderr is JSON, with the figures as fields. If progress cannot be shown, the run goes on.
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
from harvester.core.tally import Tally
from harvester.core.text.sanitize import printable
from harvester.core.text.wording import in_words
from harvester.monitoring.logs import write_through
from harvester.monitoring.stderr import Stderr

log = logging.getLogger("harvester.progress")

WINDOW_SECONDS = 60.0
PAINT_SECONDS = 0.25
LINE_SECONDS = 30.0
SAMPLE_SECONDS = 1.0
"""Between two measurements without a terminal: short, so that even the first line has a rate."""


class Throughput:
    """Measures how fast works are done, over the last minute.

    Args:
        clock: measures the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, done: int) -> None:
        """Record how many works are done now. If they are fewer than before (`--refetch`), measure anew."""
        now = self._clock.monotonic()
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[0][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Works per second; 0 as long as it is not known."""
        if len(self._marks) < 2:
            return 0.0
        (since, before), (now, done) = self._marks[0], self._marks[-1]
        return (done - before) / (now - since) if now > since else 0.0

    def seconds_left(self, pending: int) -> float | None:
        """Seconds until all pending works are done at this rate; None if it is not known."""
        return pending / self.rate if self.rate > 0 else None


def status_line(tally: Tally, throughput: Throughput) -> str:
    """The state of a run in one line of text."""
    left = throughput.seconds_left(tally.pending)
    parts = [
        f"{tally.results + tally.failures:,}/{tally.works:,} works",
        f"{throughput.rate:.1f}/s",
        f"{in_words(left)} left" if left is not None and tally.pending else "",
        f"{tally.failures:,} failed" if tally.failures else "",
        f"{tally.registered:,} registered" if tally.registered or tally.registration_pending else "",
        f"{tally.registration_pending:,} to register" if tally.registration_pending else "",
        f"budget {tally.budget_left:,}" if tally.budget_left is not None else "",
        f"waiting for {printable(tally.waiting_for, 100)}" if tally.waiting_for else "",
    ]
    return ", ".join(part for part in parts if part)


def status_fields(tally: Tally, throughput: Throughput) -> dict[str, object]:
    """The state of a run as fields of a log event. The rate is in works per second, the time left in seconds."""
    left = throughput.seconds_left(tally.pending)
    return {
        "done": tally.results + tally.failures,
        "works": tally.works,
        "failures": tally.failures,
        "registered": tally.registered,
        "rate": round(throughput.rate, 3),
        "seconds_left": None if left is None else round(left),
        "budget_left": tally.budget_left,
        "waiting_for": tally.waiting_for,
    }


@asynccontextmanager
async def progress(
    tally: Tally, clock: Clock, *, quiet: bool = False, stream: TextIO | None = None
) -> AsyncIterator[None]:
    """Show a tally while the block runs, and once more at its end.

    Args:
        tally: what to show.
        clock: measures the rate, and the time between two updates.
        quiet: show nothing.
        stream: where the bar goes, if it is a terminal; None for stderr.
    """
    if quiet:
        yield
        return
    out = stream or sys.stderr
    # A terminal without cursor control (of an editor, of a build log) gets lines too.
    painter = _paint_bar if out.isatty() and os.environ.get("TERM") != "dumb" else _log_lines
    task = asyncio.create_task(painter(tally, clock, out))
    # Let the task begin, so that even the shortest run shows its state once.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        # Gathered, not awaited: a terminal that is gone must not end the run, nor may our own cancellation be lost.
        await asyncio.gather(task, return_exceptions=True)


def _measure(tally: Tally, throughput: Throughput) -> None:
    """Record how many works are done, once the list is read, so that the work of earlier runs does not count."""
    if tally.works:
        throughput.mark(tally.results + tally.failures)


async def _log_lines(tally: Tally, clock: Clock, _out: TextIO) -> None:
    throughput, due = Throughput(clock), clock.monotonic() + LINE_SECONDS

    def log_status() -> None:
        _measure(tally, throughput)
        log.info(status_line(tally, throughput), extra=status_fields(tally, throughput))

    try:
        while True:
            _measure(tally, throughput)
            if clock.monotonic() >= due:
                due += LINE_SECONDS
                log_status()
            await clock.sleep(SAMPLE_SECONDS)
    finally:
        if tally.works:
            log_status()


async def _paint_bar(tally: Tally, clock: Clock, out: TextIO) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column
    from rich.text import Text

    throughput = Throughput(clock)
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=False)),
    )
    terminal = out.control if isinstance(out, Stderr) else out
    # Leave standard output alone: it carries data. Leave standard error alone too: what others write there is made
    # safe, which rich would not do. Paint here and not on a thread of rich.
    with Progress(
        *columns, console=Console(file=terminal), redirect_stdout=False, redirect_stderr=False, auto_refresh=False
    ) as bar:
        restore = write_through(lambda text: bar.console.print(Text(text), soft_wrap=True))
        task = bar.add_task("harvest", total=None, status="")

        def paint() -> None:
            _measure(tally, throughput)
            done = tally.results + tally.failures
            status = status_line(tally, throughput)
            bar.update(task, total=tally.works or None, completed=done, status=status, refresh=True)

        try:
            while True:
                if not (isinstance(out, Stderr) and out.is_behind):  # nobody would see this state
                    paint()
                await clock.sleep(PAINT_SECONDS)
        finally:
            restore()
            paint()
