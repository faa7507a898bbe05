"""Progress while a run goes on: a bar on a terminal, a line every 30 seconds elsewhere.

The figures are read from the run's `Tally`; rate and time left come from the last minute, so that a pause or an outage
shows at once.
"""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from harvester.clock import Clock
from harvester.logs import write_through
from harvester.report import Tally, in_words
from harvester.text import printable

WINDOW_SECONDS = 60.0
PAINT_SECONDS = 0.25
LINE_SECONDS = 30.0


class Pace:
    """How fast works are done, over the last minute.

    Args:
        clock: measures.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, done: int) -> None:
        """Tell how many works are done now."""
        now = self._clock.monotonic()
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


def line(tally: Tally, pace: Pace) -> str:
    """The state of a run in one line of text."""
    left = pace.seconds_left(tally.pending)
    parts = [
        f"{tally.results + tally.failures:,}/{tally.works:,} works",
        f"{pace.rate:.1f}/s",
        f"{in_words(left)} left" if left is not None and tally.pending else "",
        f"{tally.failures:,} failures" if tally.failures else "",
        f"{tally.registered:,} registered" if tally.registered or tally.registration_pending else "",
        f"budget {tally.budget_left:,}" if tally.budget_left is not None else "",
        f"waiting for {printable(tally.waiting_for, 100)}" if tally.waiting_for else "",
    ]
    return ", ".join(part for part in parts if part)


@asynccontextmanager
async def progress(
    tally: Tally, clock: Clock, *, quiet: bool = False, stream: TextIO | None = None
) -> AsyncIterator[None]:
    """Show a tally for as long as the block runs; its last state is shown as well.

    Args:
        tally: what to show.
        clock: measures the pace.
        quiet: show nothing.
        stream: None for stderr.
    """
    out = stream or sys.stderr
    if quiet:
        yield
        return
    painter = _paint_bar if out.isatty() else _print_lines
    task = asyncio.create_task(painter(tally, Pace(clock), out))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _print_lines(tally: Tally, pace: Pace, out: TextIO) -> None:
    while True:
        pace.mark(tally.results + tally.failures)
        await asyncio.sleep(LINE_SECONDS)
        pace.mark(tally.results + tally.failures)
        print(line(tally, pace), file=out, flush=True)  # noqa: T201 - this is what it is for


async def _paint_bar(tally: Tally, pace: Pace, out: TextIO) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    console = Console(file=out)
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        restore = write_through(lambda text: bar.console.print(Text(text), soft_wrap=True))
        task = bar.add_task("harvest", total=None, said="")

        def paint() -> None:
            done = tally.results + tally.failures
            pace.mark(done)
            bar.update(task, total=tally.works or None, completed=done, said=line(tally, pace))

        try:
            while True:
                paint()
                await asyncio.sleep(PAINT_SECONDS)
        finally:
            paint()
            restore()
