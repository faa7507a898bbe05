"""What each promise costs: harvester beside harvester without it, in the same rounds."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

from bench.compare import Comparison, Sample
from bench.contenders import Contender, Task, harvester, settings
from bench.figures import machine, ratio, table
from bench.without import PROMISES

WHOLE = harvester("harvester", "harvester")
"""What the others are compared with."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a promise costs.

    Args:
        promise: which.
        what: is left out without it.
        slower: by how much harvester is slower with it, as a share.
        cpu_us: microseconds of CPU for a DOI.
    """

    promise: str
    what: str
    slower: float
    cpu_us: float


def contenders() -> list[Contender]:
    """harvester, and harvester without each of its promises."""
    return [WHOLE, *(_without(name, (promise.__doc__ or "").rstrip(".")) for name, promise in PROMISES.items())]


def _without(promise: str, what: str) -> Contender:
    command = partial(_command, promise)
    return Contender(promise, what, command, environment=lambda task: settings(task.base_url, task.concurrency))


def _command(promise: str, task: Task) -> list[str]:
    wanted = ["run", str(task.dois), "-o", str(task.output), "--quiet"]
    return [sys.executable, "-m", "bench.without", promise, *wanted]


def prices(found: Comparison) -> list[Price]:
    """What the runs say, the dearest promise first."""
    of = {row.contender: [each for each in found.samples if each.contender == row.contender] for row in found.rows}
    whole = of.pop(WHOLE.name)
    what = {row.contender: row.what for row in found.rows}
    priced = [_price(promise, what[promise], whole, samples) for promise, samples in of.items()]
    return sorted(priced, key=lambda price: -price.cpu_us)


def _price(promise: str, what: str, whole: Sequence[Sample], without: Sequence[Sample]) -> Price:
    quicker = ratio([each.asking for each in without], [each.asking for each in whole])
    saved = median(1000 * (with_it.cpu_ms - each.cpu_ms) for with_it, each in zip(whole, without, strict=True))
    return Price(promise, what, slower=1 - 1 / quicker, cpu_us=saved)


def as_text(found: Sequence[Price]) -> str:
    """The prices as a table."""
    headings = ("without", "what is left out", "costs µs of CPU/DOI", "slows down by %")
    return table(headings, [(p.promise, p.what, f"{p.cpu_us:,.0f}", f"{100 * p.slower:,.0f}") for p in found])


def as_json(found: Sequence[Price]) -> dict[str, object]:
    """Everything, and what it was measured with."""
    return {"machine": machine(), "prices": [asdict(price) for price in found]}
