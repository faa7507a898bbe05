"""Measurements into figures, and figures into text; pure."""

import os
import platform
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

MIB = 1024 * 1024


def spread(values: Sequence[float]) -> float:
    """How far measurements lie apart: the widest difference as a share of the median."""
    return (max(values) - min(values)) / median(values)


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured side by side, which a slow hour of the machine does not move."""
    return median(value / other for value, other in zip(values, others, strict=True))


def pace(times: Sequence[float]) -> float:
    """Things a second, from the first to the last of them; 0 where there are fewer than two."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def longest_gap(times: Sequence[float]) -> float:
    """The longest time in which nothing happened, in seconds; 0 where there are fewer than two times."""
    return max((after - before for before, after in pairwise(times)), default=0.0)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is Markdown and readable as it stands; the first column to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_row(cells, widths) for cells in (headings, ruler, *rows))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def machine() -> dict[str, object]:
    """What the figures were measured with: processors, system, Python."""
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
