"""The summary of a run: what is written to `summary.json` and shown at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import orjson


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
class Summary:
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


def as_json(report: Summary) -> bytes:
    """The summary as an indented JSON object with a newline at its end."""
    summary = {"v": 1, **asdict(report), "files": {name: _text(path) for name, path in report.files.items()}}
    summary["exit"]["reason"] = _text(report.exit.reason)
    return orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(content: bytes) -> Summary:
    """A report from its summary.

    Raises:
        ValueError, KeyError, TypeError: it is none of this version.
    """
    summary = orjson.loads(content)
    ended = Exit(**{each.name: summary["exit"][each.name] for each in fields(Exit)})
    known = {each.name: summary[each.name] for each in fields(Summary) if each.name not in ("exit", "resting")}
    return Summary(**known, exit=ended, resting=summary.get("resting", 0))


def _text(name: str) -> str:
    """A file name is any bytes, JSON is text: what is none stands as `?`."""
    return name.encode(errors="replace").decode()


def broken_identities(report: Summary, *, harvested: bool = True) -> list[str]:
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
