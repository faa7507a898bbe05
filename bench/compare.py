"""harvester beside other ways to do its job: the same DOIs, the same server, one after another, several rounds.

A round runs every contender once, so that a slow minute of the machine meets all of them alike. What is timed is the
whole process, the start of the interpreter included; how fast it asked from its first request to its last stands
beside it.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import zstandard

from bench import dois
from bench.contenders import BARE, Contender, Task
from bench.figures import MIB, machine, ratio, spread, table
from bench.processes import Failed, Server, measured, serving
from bench.records import Size

DOIS: dict[Size, int] = {"small": 20_000, "median": 20_000, "large": 1_000}
"""Enough that the start of an interpreter is a small part of a run."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender.

    Args:
        contender: its name.
        rate: DOIs a second, over the life of the process.
        asking: requests a second, from the first to the last.
        cpu_ms: milliseconds of CPU for a DOI.
        peak: bytes of memory, of its largest process.
        connections: it opened.
    """

    contender: str
    rate: float
    asking: float
    cpu_ms: float
    peak: int
    connections: int


@dataclass(frozen=True, slots=True)
class Row:
    """A contender's medians.

    Args:
        contender: its name.
        what: it is, in words.
        rate, asking, cpu_ms, peak: see `Sample`.
        to_bare: its rate over the bare loop's, the median of the rounds; None if that did not run.
        spread: of its rate over the rounds.
    """

    contender: str
    what: str
    rate: float
    asking: float
    to_bare: float | None
    cpu_ms: float
    peak: float
    spread: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs with records of one size.

    Args:
        size: of the records.
        dois: in the list.
        concurrency: requests under way at a time, at the most.
        rows: one a contender.
        samples: in the order of the runs.
    """

    size: Size
    dois: int
    concurrency: int
    rows: Sequence[Row]
    samples: Sequence[Sample]

    def as_json(self) -> dict[str, object]:
        """Everything, and what it was measured with."""
        return {"machine": machine(), **asdict(self)}

    def as_text(self) -> str:
        """The medians as a table."""
        headings = ("", "DOIs/s", "± %", "× bare", "while asking", "CPU ms/DOI", "peak MiB")
        return table(headings, [_cells(row) for row in self.rows])


def _cells(row: Row) -> tuple[str, ...]:
    to_bare = "" if row.to_bare is None else f"{row.to_bare:.2f}"
    spread_percent = f"{50 * row.spread:.0f}"
    peak = f"{row.peak / MIB:.0f}"
    return (row.what, f"{row.rate:,.0f}", spread_percent, to_bare, f"{row.asking:,.0f}", f"{row.cpu_ms:.3f}", peak)


def summed_up(contenders: Sequence[Contender], samples: Sequence[Sample]) -> list[Row]:
    """The medians of some runs, a row for each contender in their order."""
    of = {each.name: [sample for sample in samples if sample.contender == each.name] for each in contenders}
    bare = [sample.rate for sample in of.get(BARE, ())]
    return [_summed_up(each, of[each.name], bare) for each in contenders]


def _summed_up(contender: Contender, samples: Sequence[Sample], bare: Sequence[float]) -> Row:
    rates = [sample.rate for sample in samples]
    return Row(
        contender.name,
        contender.what,
        rate=median(rates),
        asking=median(sample.asking for sample in samples),
        to_bare=ratio(rates, bare) if bare else None,
        cpu_ms=median(sample.cpu_ms for sample in samples),
        peak=median(sample.peak for sample in samples),
        spread=spread(rates),
    )


def compare(
    contenders: Sequence[Contender],
    size: Size,
    *,
    rounds: int,
    count: int | None = None,
    concurrency: int,
    source: Path | None = None,
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run every contender once a round.

    Args:
        contenders: in the order in which they run.
        size: of the records.
        rounds: how often.
        count: of DOIs; None for `DOIS`.
        concurrency: requests under way at a time, at the most.
        source: a list to take the DOIs from; None to make them.
        folder: a disk to write on; None for the system's temporary folder.
        tell: told of each run, in words.

    Raises:
        Failed: a contender did not do the whole job.
    """
    count = count or DOIS[size]
    samples = []
    with serving(size) as server, _scratch(folder) as scratch:
        listed = scratch / "dois.txt"
        dois.write(listed, count, source)
        for number in range(rounds):
            for contender in contenders:
                sample = _run(contender, server, listed, count, concurrency, scratch)
                samples.append(sample)
                tell(f"{size}, round {number + 1}: {contender.what}: {sample.rate:,.0f}/s")
    return Comparison(size, count, concurrency, summed_up(contenders, samples), samples)


def _run(contender: Contender, server: Server, listed: Path, count: int, concurrency: int, scratch: Path) -> Sample:
    server.reset()
    with _scratch(scratch) as folder:
        task = Task(server.url, listed, folder, concurrency)
        cost = measured(contender.command(task), folder, contender.environment(task))
        if contender.writes and (written := records_in(folder)) != count:
            raise Failed(f"{contender.what} wrote {written:,} records of {count:,}")
    seen = server.counts()
    if seen.requests < count or seen.first is None or seen.last is None:
        raise Failed(f"{contender.what} asked for {seen.requests:,} records of {count:,}")
    asking = (seen.requests - 1) / (seen.last - seen.first) if seen.last > seen.first else 0.0
    return Sample(
        contender.name,
        rate=count / cost.seconds,
        asking=asking,
        cpu_ms=1000 * cost.cpu / count,
        peak=cost.peak,
        connections=seen.connections - 1,
    )


def records_in(folder: Path) -> int:
    """The lines of all outputs in a folder, those beside them for other purposes aside."""
    return sum(_lines(path) for path in folder.glob("out*.jsonl*") if "failures" not in path.name)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        if path.suffix == ".zst":
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            return _line_ends(lambda: reader.read(MIB))
        return _line_ends(lambda: file.read(MIB))


def _line_ends(read: Callable[[], bytes]) -> int:
    return sum(block.count(b"\n") for block in iter(read, b""))


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made:
        yield Path(made)
