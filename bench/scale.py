"""What a million DOIs cost: lists of several sizes through the whole job, and what could bend on the way.

For each size: 1. a whole run; 2. `harvester status` of it; 3. a run in another folder that is killed with SIGKILL when
half of it is done, and the same command again until its first request. Of a list too long for that a run is killed
after so many requests, and the same command again: what could bend is all in it.

harvester reads and enrols the whole list before it asks. So the time from the start of the process to its first
request, less the same for a list of a single DOI, is what enrolling takes.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import chart, dois
from bench.contenders import Task, harvester
from bench.figures import MIB, machine, table
from bench.processes import Cost, Failed, Server, measured, serving
from bench.records import Size

SIZES = (10_000, 100_000, 1_000_000)

TRIES = 5
"""Of what takes less than a second; the median counts."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """One size of list.

    Args:
        works: DOIs in it.
        requests: that were made: one for each of them, unless there was to be an end before.
        seconds: from the start of the process to its end.
        cpu: the same in seconds of CPU.
        peak: bytes of memory.
        enrolling: seconds for reading and enrolling.
        asking: seconds from the first to the last request.
        ledger: bytes of the ledger at the end.
        resuming: seconds from starting again a run that was killed to its first request.
        resume_peak: bytes of memory until then.
        status: seconds for `harvester status`.
    """

    works: int
    requests: int
    seconds: float
    cpu: float
    peak: int
    enrolling: float
    asking: float
    ledger: int
    resuming: float
    resume_peak: int
    status: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the runs of one size take place.

    Args:
        server: they talk to.
        listed: the list.
        concurrency: requests under way at a time, at the most.
        flags: more of them, for harvester.
    """

    server: Server
    listed: Path
    concurrency: int
    flags: str = ""

    def run(self, folder: Path) -> Cost:
        """Run harvester, with its output in this folder."""
        return self._run(folder, None)

    def run_until(self, requests: int, folder: Path) -> Cost:
        """Run it until the server has seen this many requests, then kill it."""
        return self._run(folder, lambda: self.server.counts().requests >= requests)

    def _run(self, folder: Path, kill_when: Callable[[], bool] | None) -> Cost:
        contender = harvester("harvester", "", flags=self.flags)
        task = Task(self.server.url, self.listed, folder, self.concurrency)
        return measured(contender.command(task), folder, contender.environment(task), kill_when=kill_when)

    def to_first_request(self, cost: Cost) -> float:
        """Seconds from the start of a process to its first request."""
        first = self.server.counts().first
        if first is None:
            raise Failed("nothing was asked")
        return first - cost.started


def scale(
    sizes: Sequence[int],
    *,
    at_most: int | None = None,
    concurrency: int,
    size: Size = "small",
    source: Path | None = None,
    folder: Path | None = None,
    flags: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> list[Scaled]:
    """Measure lists of these sizes, one after another.

    Args:
        sizes: DOIs.
        at_most: kill a run after this many requests, and measure what there is; None to let it come to its end.
        concurrency: requests under way at a time, at the most.
        size: of the records.
        source: a list to take the DOIs from, as far as it goes; None to make them.
        folder: a disk to write on; None for the system's temporary folder.
        flags: more of them, for harvester.
        tell: told what is going on, in words.

    Raises:
        Failed: harvester did not do the whole job.
    """
    found = []
    with serving(size) as server, tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made:
        scratch = Path(made)
        start = median(_start(Bench(server, scratch / "one.txt", concurrency, flags), scratch) for _ in range(TRIES))
        for count in sizes:
            tell(f"{count:,} DOIs")
            listed = scratch / "dois.txt"
            dois.write(listed, count, source)
            found.append(
                _measure(Bench(server, listed, concurrency, flags), count, min(count, at_most or count), start, scratch)
            )
            tell(f"{found[-1].seconds:.1f} s")
    return found


def _start(bench: Bench, scratch: Path) -> float:
    """Seconds from the start of the process to the first request, where there is next to nothing to enrol."""
    dois.write(bench.listed, 1)
    bench.server.reset()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return bench.to_first_request(bench.run(Path(folder)))


def _measure(bench: Bench, count: int, asked: int, start: float, scratch: Path) -> Scaled:
    is_whole = asked == count
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        folder = Path(made)
        bench.server.reset()
        cost = bench.run(folder) if is_whole else bench.run_until(asked, folder)
        seen = bench.server.counts()
        enrolling = bench.to_first_request(cost) - start
        ledger = sum(path.stat().st_size for path in folder.glob("out.ledger*"))
        status = median(_status(folder) for _ in range(TRIES))
        resuming, resume_peak = (0.0, 0) if is_whole else _resume(bench, folder)
    if seen.requests < asked or seen.first is None or seen.last is None:
        raise Failed(f"{seen.requests:,} requests for {asked:,} DOIs")
    if is_whole:
        with tempfile.TemporaryDirectory(dir=scratch) as made:
            bench.server.reset()
            bench.run_until(count // 2, Path(made))
            resuming, resume_peak = _resume(bench, Path(made))
    return Scaled(
        works=count,
        requests=seen.requests,
        seconds=cost.seconds,
        cpu=cost.cpu,
        peak=cost.peak,
        enrolling=max(0.0, enrolling),
        asking=seen.last - seen.first,
        ledger=ledger,
        resuming=resuming,
        resume_peak=resume_peak,
        status=status,
    )


def _status(folder: Path) -> float:
    return measured([sys.executable, "-m", "harvester", "status", "out.jsonl"], folder).seconds


def _resume(bench: Bench, folder: Path) -> tuple[float, int]:
    """Seconds until a run that was killed asks again, and its peak until then."""
    bench.server.reset()
    cost = bench.run_until(1, folder)
    return bench.to_first_request(cost), cost.peak


def as_text(found: Sequence[Scaled]) -> str:
    """A table, a row for each size."""
    headings = (
        "DOIs", "ms/DOI", "CPU ms/DOI", "ms/DOI asking", "peak MiB", "enrolled DOIs/s", "ledger bytes/DOI",
        "resumes in s", "resume MiB", "status s",
    )  # fmt: skip
    return table(headings, [_cells(each) for each in found])


def _cells(each: Scaled) -> tuple[str, ...]:
    is_whole = each.requests >= each.works
    return (
        f"{each.works:,}",
        f"{1000 * each.seconds / each.works:.3f}" if is_whole else "",
        f"{1000 * each.cpu / each.works:.3f}" if is_whole else "",
        f"{1000 * each.asking / each.requests:.3f}",
        f"{each.peak / MIB:.0f}",
        f"{each.works / each.enrolling:,.0f}" if each.enrolling > 0 else "",
        f"{each.ledger / each.works:.0f}",
        f"{each.resuming:.2f}",
        f"{each.resume_peak / MIB:.0f}",
        f"{each.status:.2f}",
    )


def as_json(found: Sequence[Scaled]) -> dict[str, object]:
    """Everything, and what it was measured with."""
    return {"machine": machine(), "rows": [asdict(each) for each in found]}


def as_svg(found: Sequence[Scaled]) -> str:
    """What matters most, over the size of the list: time and memory."""
    time = [(float(each.works), 1000 * each.seconds / each.works) for each in found]
    memory = [(float(each.works), each.peak / MIB) for each in found]
    return chart.svg([chart.line_chart("milliseconds a DOI", time), chart.line_chart("peak memory, MiB", memory)])
