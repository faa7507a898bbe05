"""Counts in place of seconds: what a DOI costs in calls, which is the same on every machine, busy or not.

Two lists are harvested, one longer than the other; the difference over the difference is what one more DOI costs,
without what any run costs. A few calls depend on how answers happen to fall together: some in a hundred.
"""

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench import dois
from bench.contenders import settings
from bench.figures import machine
from bench.processes import Server, measured, serving
from bench.records import Size


@dataclass(frozen=True, slots=True)
class Counted:
    """What happened in a run, or for a DOI.

    Args:
        calls: of Python functions, those of coroutines that go on included.
        c_calls: of built-in functions and methods.
        garbage: objects in cycles, that only the garbage collector could free.
    """

    calls: float
    c_calls: float
    garbage: float


def a_doi_costs(*, fewer: int = 300, more: int = 1_300, concurrency: int = 8, size: Size = "median") -> Counted:
    """What one more DOI costs harvester.

    Args:
        fewer: DOIs in the shorter list.
        more: DOIs in the longer one.
        concurrency: requests under way at a time, at the most.
        size: of the records.

    Raises:
        Failed: harvester did not do the whole job.
    """
    with serving(size) as server:
        short, long = (_counted(server, count, concurrency) for count in (fewer, more))
    each = {name: (value - getattr(short, name)) / (more - fewer) for name, value in asdict(long).items()}
    return Counted(**each)


def _counted(server: Server, count: int, concurrency: int) -> Counted:
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        report = folder / "counts.json"
        dois.write(folder / "dois.txt", count)
        command = [sys.executable, "-m", "bench.counted", str(report), "run", "dois.txt", "-o", "out.jsonl", "--quiet"]
        measured(command, folder, settings(server.url, concurrency))
        return Counted(**orjson.loads(report.read_bytes()))


def as_text(found: Counted) -> str:
    """In a line."""
    return (
        f"a DOI costs {found.calls:,.0f} calls of Python functions, {found.c_calls:,.0f} of built-in ones, "
        f"and leaves {found.garbage:.1f} objects to the garbage collector"
    )


def as_json(found: Counted) -> dict[str, object]:
    """Everything, and what it was measured with."""
    return {"machine": machine(), **asdict(found)}
