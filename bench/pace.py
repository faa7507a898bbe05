"""Is the rate kept, and is it reached? harvester at several rates, timed by the server.

Two questions, two figures. Reached: requests a second from the first to the last, against the rate that was set. Kept:
in any window of w seconds at most rate * w + burst requests, looked for in every window by the sandbox's monitor. What
the server sees is when requests arrive; on a busy machine some arrive together that were sent apart. So for the worst
window it is told how many requests it had too many, and by how many milliseconds they came closer than they may.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median

from bench import dois, figures
from bench.contenders import RATE, Task, harvester, settings
from bench.figures import machine, table
from bench.processes import Server, measured, serving
from bench.records import Size
from harvester.politeness.bucket import default_burst
from harvester.sandbox.limits import busiest_window, rate_violations

RATES = (1.0, 10.0, 100.0, 1000.0)

FEWEST = 11
"""Requests at a rate, whatever the time: ten pauses."""

AT_FULL_SPEED = 20_000
"""Requests without a rate."""


@dataclass(frozen=True, slots=True)
class Paced:
    """How a rate was kept.

    Args:
        rate: requests per second that were set; None for as fast as possible.
        reached: requests per second, from the first to the last.
        requests: that were made.
        busiest: the most of them in one second.
        allowed: in one second.
        excess: requests too many in the worst window of any length; 0 if none had too many.
        gap: the longest time without a request, in seconds.
    """

    rate: float | None
    reached: float
    requests: int
    busiest: int
    allowed: float
    excess: float
    gap: float

    @property
    def deviation(self) -> float:
        """Of what was reached from what was set, as a share of it; 0 without a rate."""
        return self.reached / self.rate - 1 if self.rate else 0.0

    @property
    def early_seconds(self) -> float:
        """By how much the worst window was shorter than it may be."""
        return self.excess / self.rate if self.rate else 0.0


def judged(times: Sequence[float], rate: float | None) -> Paced:
    """How a rate was kept by requests at these times.

    Args:
        times: in seconds, ascending.
        rate: that was set, with the burst that goes with it; None for none.
    """
    burst = default_burst(rate) if rate else 0.0
    found = rate_violations(times, rate, burst) if rate else []
    return Paced(
        rate=rate,
        reached=figures.pace(times),
        requests=len(times),
        busiest=busiest_window(times, 1.0)[0],
        allowed=rate + burst if rate else 0.0,
        excess=max((each.count - each.allowed for each in found), default=0.0),
        gap=figures.longest_gap(times),
    )


def pace(
    rates: Sequence[float],
    *,
    seconds: float,
    full_speed: int = AT_FULL_SPEED,
    concurrency: int,
    size: Size = "small",
    rounds: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Paced]:
    """Run harvester at each rate, then as fast as possible.

    Args:
        rates: requests per second.
        seconds: for each of them.
        full_speed: DOIs for the last run; 0 to leave it out.
        concurrency: requests under way at a time, at the most.
        size: of the records.
        rounds: for each rate; told of is the one with the median of what was reached.
        tell: told of each run, in words.

    Raises:
        Failed: harvester did not do the whole job.
    """
    runs: list[tuple[float | None, int]] = [(rate, max(FEWEST, ceil(rate * seconds))) for rate in rates]
    runs += [(None, full_speed)] if full_speed else []
    found = []
    with serving(size) as server:
        for rate, count in runs:
            tell(f"{f'{rate:g}/s' if rate else 'as fast as possible'}: {count:,} DOIs")
            tried = [judged(_times(server, rate, count, concurrency), rate) for _ in range(rounds)]
            middle = median(each.reached for each in tried)
            found.append(min(tried, key=lambda each: abs(each.reached - middle)))
    return found


def _times(server: Server, rate: float | None, count: int, concurrency: int) -> list[float]:
    server.reset()
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        dois.write(folder / "dois.txt", count)
        command = harvester("harvester", "").command(Task(server.url, folder / "dois.txt", folder, concurrency))
        measured(command, folder, settings(server.url, concurrency, rate or RATE))
    return server.times()


def as_text(found: Sequence[Paced]) -> str:
    """A table, a row for each rate."""
    headings = ("rate set", "reached", "deviation", "busiest second", "allowed", "worst window", "longest pause")
    return table(headings, [_cells(each) for each in found])


def _cells(each: Paced) -> tuple[str, ...]:
    reached, busiest, gap = f"{each.reached:,.2f}/s", f"{each.busiest:,}", f"{1000 * each.gap:,.0f} ms"
    if each.rate is None:
        return ("as fast as possible", reached, "", busiest, "", "", gap)
    worst = f"+{each.excess:.2f} ({1000 * each.early_seconds:.1f} ms)" if each.excess else "kept"
    return (f"{each.rate:,g}/s", reached, f"{each.deviation:+.2%}", busiest, f"{each.allowed:,g}", worst, gap)


def as_json(found: Sequence[Paced]) -> dict[str, object]:
    """Everything, and what it was measured with."""
    rows = [{**asdict(each), "deviation": each.deviation, "early_seconds": each.early_seconds} for each in found]
    return {"machine": machine(), "rows": rows}
