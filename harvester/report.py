"""The figures of a run: counted while it goes, summed up at its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import orjson

from harvester.text import printable


@dataclass(slots=True)
class Tally:
    """The live figures of one run; the parts of the run count here, progress reads them.

    Args:
        works: DOIs in the list, each once.
        results: works with a committed record, those of earlier runs included.
        failures: works with a committed failure, those of earlier runs included.
        pending: works with neither.
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses.
        registration_pending: works that wait in the outbox.
        paperbuzz_requests: attempts sent to Paperbuzz in this run, probes included.
        operas_requests: the same for OPERAS, tokens included.
        retries: attempts beyond the first of each DOI, in this run.
        bytes: decompressed bytes received from Paperbuzz in this run.
        budget_left: requests left in the daily budget; None without a budget.
        waiting_for: what everything waits for, in words; empty while work goes on.
    """

    works: int = 0
    results: int = 0
    failures: int = 0
    pending: int = 0
    registered: int = 0
    rejected: int = 0
    registration_pending: int = 0
    paperbuzz_requests: int = 0
    operas_requests: int = 0
    retries: int = 0
    bytes: int = 0
    budget_left: int | None = None
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended.

    Args:
        code: the process's exit code; see docs/reference/exit-codes.md.
        name: the same in a word.
        reason: the same in a sentence, with what to do next.
    """

    code: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """The summary of a run. The accounting is over the works of the list as it is now.

    Args:
        lines: lines, rows or entries read.
        works: DOIs in them, each once.
        duplicates: further mentions of them.
        invalid: lines that are no DOI; listed in the failures file under the stage `input`.
        blank: lines with nothing in them.
        results: works with a record, those of earlier runs included.
        failures: works without one, for a reason; the same.
        pending: works still to be asked.
        gone: works with a result or failure that left the list; outside the accounting.
        outcomes: results by outcome.
        failures_by_kind: failures by kind.
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses; listed in the failures file under the stage `register`.
        registration_pending: works that wait to be registered.
        requests: requests sent in this run, by service.
        retries: attempts of this run beyond the first of each work.
        bytes: decompressed bytes of records received in this run.
        budget_left: requests left in the daily budget; None without one, or if nothing was asked.
        started_at: timestamp.
        finished_at: timestamp.
        duration_seconds: wall time between them.
        files: where the output, failures and ledger are, by name.
        exit: how it ended.
        resting: works of the list that a nightly harvest did not ask tonight; 0 in any other run.
    """

    lines: int
    works: int
    duplicates: int
    invalid: int
    blank: int
    results: int
    failures: int
    pending: int
    gone: int
    outcomes: Mapping[str, int]
    failures_by_kind: Mapping[str, int]
    registered: int
    rejected: int
    registration_pending: int
    requests: Mapping[str, int]
    retries: int
    bytes: int
    budget_left: int | None
    started_at: str
    finished_at: str
    duration_seconds: float
    files: Mapping[str, str]
    exit: Exit
    resting: int = 0


def as_json(report: Report) -> bytes:
    """The summary as an indented JSON object with a newline at its end."""
    summary = {"v": 1, **asdict(report), "files": {name: _text(path) for name, path in report.files.items()}}
    summary["exit"]["reason"] = _text(report.exit.reason)
    return orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(content: bytes) -> Report:
    """A report from its summary.

    Raises:
        ValueError, KeyError, TypeError: it is none of this version.
    """
    summary = orjson.loads(content)
    ended = Exit(**{each.name: summary["exit"][each.name] for each in fields(Exit)})
    known = {each.name: summary[each.name] for each in fields(Report) if each.name not in ("exit", "resting")}
    return Report(**known, exit=ended, resting=summary.get("resting", 0))


def _text(name: str) -> str:
    """A file name is any bytes, JSON is text: what is none stands as `?`."""
    return name.encode(errors="replace").decode()


def violations(report: Report, *, harvested: bool = True) -> list[str]:
    """The accounting identities that do not hold, in words; empty when all is well (promise G1).

    Args:
        report: of a run.
        harvested: whether it was to harvest; registration alone leaves works pending.
    """
    unfinished = report.registration_pending + (report.pending if harvested else 0)
    identities = {
        "lines = works + duplicates + invalid + blank": report.lines
        == report.works + report.duplicates + report.invalid + report.blank,
        "works = results + failures + pending + resting": report.works
        == report.results + report.failures + report.pending + report.resting,
        "results = sum of outcomes": report.results == sum(report.outcomes.values()),
        "failures = sum of failures by kind": report.failures == sum(report.failures_by_kind.values()),
        "nothing is pending where the exit code is 0": report.exit.code != 0 or not unfinished,
    }
    return [identity for identity, holds in identities.items() if not holds]


def ending(report: Report) -> dict[str, object]:
    """The figures that close a run, as the fields of one event in a log for machines."""
    counts = ("lines", "works", "results", "failures", "pending", "resting", "registered", "rejected", "retries")
    return {
        "exit_code": report.exit.code,
        "exit_name": report.exit.name,
        **{name: getattr(report, name) for name in counts},
        **{f"{service}_requests": count for service, count in report.requests.items()},
        "duration_seconds": report.duration_seconds,
        "output": report.files.get("output", ""),
    }


AGAIN = "the same command with --retry-failed asks again"
"""What can be done about works that failed in a batch run."""


def closing(report: Report, *, again: str = AGAIN) -> str:
    """The figures that close a run, for people: the accounting, what was asked, where the files are, the verdict.

    Args:
        report: of the run.
        again: what can be done about works that failed.
    """
    read = f"{_count(report.works, 'work')} + {_count(report.duplicates, 'duplicate')}"
    became = f"{_count(report.results, 'result')} + {_count(report.failures, 'failure')} + {report.pending:,} pending"
    became += f" + {report.resting:,} resting" if report.resting else ""
    lines = [
        f"lines      {report.lines:>12,} = {read} + {report.invalid:,} invalid + {report.blank:,} blank",
        f"works      {report.works:>12,} = {became}",
        f"results    {report.results:>12,}{_detail(report.outcomes)}",
        f"failures   {report.failures:>12,}{_detail(report.failures_by_kind)}",
    ]
    if report.gone:
        lines.append(f"gone       {report.gone:>12,} left the list; what was harvested of them stays")
    if report.registered or report.rejected or report.registration_pending:
        waiting = f"{report.rejected:,} rejected, {report.registration_pending:,} waiting"
        lines.append(f"registered {report.registered:>12,}, {waiting}")
    asked = ", ".join(f"{count:,} to {service}" for service, count in report.requests.items())
    budget = "" if report.budget_left is None else f"; {report.budget_left:,} left in the daily budget"
    lines.append(f"requests   {asked}, {_count(report.retries, 'retry', 'retries')}{budget}")
    lines.append(f"received   {_count(report.bytes, 'byte')}")
    lines.append(f"time       {in_words(report.duration_seconds)}, {report.started_at} to {report.finished_at}")
    lines += [f"{name:<10} {printable(path, 4096)}" for name, path in report.files.items()]
    lines.append(f"exit       {report.exit.code}, {report.exit.name}")
    return "\n".join([*lines, "", printable(report.exit.reason, 4096), *_next_steps(report, again)])


def _next_steps(report: Report, again: str) -> list[str]:
    """What can be done about works that were given up; how to go on after a stop is said by its own reason."""
    steps = []
    if report.failures and not report.pending:
        steps.append(f"{_count(report.failures, 'work')} failed; {again}.")
    if report.invalid:
        steps.append(f"{_count(report.invalid, 'line is no DOI', 'lines are no DOIs')}.")
    if report.rejected:
        steps.append(f"OPERAS refuses {_count(report.rejected, 'DOI')}.")
    if steps and "failures" in report.files:
        steps.append("The failures file says why.")
    return steps


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _detail(counts: Mapping[str, int]) -> str:
    return f"  ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""


def in_words(seconds: float) -> str:
    """A duration as people say it: `48 s`, `2 min 40 s`, `3 h 5 min`, `27 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, name, smaller, smaller_name = next(unit for unit in units if whole >= unit[0])
    rest = whole % size // smaller
    return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
