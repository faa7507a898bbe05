"""What a night costs whose works were all asked before: each record is compared with the one before it.

Two nights over the same list: the first asks all works for the first time, the second asks all of them again, a moment
later. Seconds depend on the machine and what else it does; the processor's time does so less.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import dois
from bench.contenders import settings
from bench.figures import machine
from bench.processes import Failed, Server, measured, serving
from bench.records import Size

MIN_INTERVAL_SECONDS = 1
"""Between two visits of a work, as in `CONFIG`."""

CONFIG = f"""
[input]
files = ["dois.txt"]
[output]
path = "{{run_id}}.jsonl"
[ledger]
path = "nights.ledger"
[nightly]
min_interval = "{MIN_INTERVAL_SECONDS} s"
"""


@dataclass(frozen=True, slots=True)
class Night:
    """What a night cost.

    Args:
        known: whether its works were asked in a night before.
        dois: asked.
        seconds: of the whole command.
        cpu_ms_per_doi: of the processor, for each DOI.
        peak_mib: of memory.
    """

    known: bool
    dois: int
    seconds: float
    cpu_ms_per_doi: float
    peak_mib: float


def nights(count: int, *, size: Size = "median", concurrency: int = 50) -> list[Night]:
    """Two nights over a list: one of works that are new, one of works that are known.

    Args:
        count: DOIs in the list.
        size: of the records.
        concurrency: requests under way at a time, at the most.

    Raises:
        Failed: a night did not do the whole job.
    """
    with serving(size) as server, tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        dois.write(folder / "dois.txt", count)
        (folder / "night.toml").write_text(CONFIG, encoding="utf-8")
        first = _night(server, folder, count, concurrency, known=False)
        time.sleep(2 * MIN_INTERVAL_SECONDS)  # works that were asked just now are not asked again
        return [first, _night(server, folder, count, concurrency, known=True)]


def _night(server: Server, folder: Path, count: int, concurrency: int, *, known: bool) -> Night:
    server.reset()
    command = [sys.executable, "-m", "harvester", "nightly", "--config", "night.toml", "--quiet"]
    cost = measured(command, folder, settings(server.url, concurrency))
    if (asked := server.counts().requests) != count:
        raise Failed(f"the night asked for {asked:,} of {count:,} DOIs")
    return Night(known, count, cost.seconds, 1000 * cost.cpu / count, cost.peak / 2**20)


def as_text(found: Sequence[Night]) -> str:
    """As a table."""
    rows = [
        f"| {'known' if each.known else 'new'} | {each.dois:,} | {each.dois / each.seconds:,.0f} "
        f"| {each.cpu_ms_per_doi:.3f} | {each.peak_mib:.0f} |"
        for each in found
    ]
    head = ["| works | DOIs | DOIs/s | CPU ms/DOI | peak MiB |", "| ----- | ---: | -----: | ---------: | -------: |"]
    return "\n".join([*head, *rows])


def as_json(found: Sequence[Night]) -> dict[str, object]:
    """Everything, and what it was measured with."""
    return {"machine": machine(), "nights": [asdict(each) for each in found]}
