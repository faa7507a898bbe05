"""The summary of a run: what is written to `summary.json` and shown at the end."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from harvester.core.model import Figures
from harvester.records.lines import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended.

    Args:
        code: the process's exit code; see docs/reference/exit-codes.md.
        name: its name, a word.
        reason: why it ended so, in a sentence, with what to do next.
    """

    code: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a run. The accounting is over the works of the list as it is now.

    Args:
        lines: lines, rows or entries read.
        duplicates: further mentions of works.
        invalid: lines that are no DOI; listed in the failures file under the stage `input`.
        blank: lines with nothing in them.
        figures: the works of the list, counted. Registrations count only in a run that registers.
        requests: requests sent in this run, by service.
        retries: attempts of this run beyond the first of each work.
        bytes: decompressed bytes of records received in this run.
        budget_left: requests left in the daily budget; None without one, or if nothing was asked.
        started_at: timestamp.
        finished_at: timestamp.
        duration_seconds: wall time between them.
        files: where the output, failures and ledger are, by name.
        exit: how it ended.
        harvests: whether the run was to ask for records. This and the next are not in the file.
        registers: whether it was to register DOIs.
    """

    lines: int
    duplicates: int
    invalid: int
    blank: int
    figures: Figures
    requests: Mapping[str, int]
    retries: int
    bytes: int
    budget_left: int | None
    started_at: str
    finished_at: str
    duration_seconds: float
    files: Mapping[str, str]
    exit: Exit
    harvests: bool = True
    registers: bool = False


def as_json(summary: Summary) -> bytes:
    """The summary as an indented JSON object with a newline at its end; its figures are members like all others."""
    figures = summary.figures
    content = {
        "v": SCHEMA_VERSION,
        "lines": summary.lines,
        "works": figures.works,
        "duplicates": summary.duplicates,
        "invalid": summary.invalid,
        "blank": summary.blank,
        "results": figures.results,
        "failures": figures.failures,
        "pending": figures.pending,
        "gone": figures.gone,
        "outcomes": figures.outcomes,
        "failures_by_kind": figures.failures_by_kind,
        "registered": figures.registered,
        "rejected": figures.rejected,
        "registration_pending": figures.registration_pending,
        "held_back": figures.held_back,
        "urls_left_out": figures.urls_left_out,
        "requests": summary.requests,
        "retries": summary.retries,
        "bytes": summary.bytes,
        "budget_left": summary.budget_left,
        "started_at": summary.started_at,
        "finished_at": summary.finished_at,
        "duration_seconds": summary.duration_seconds,
        "files": {name: _text(path) for name, path in summary.files.items()},
        "exit": {"code": summary.exit.code, "name": summary.exit.name, "reason": _text(summary.exit.reason)},
        "resting": figures.resting,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(content: bytes) -> Summary:
    """The summary in the content of a file, which anybody may have edited. Members that are not known are left alone.

    Raises:
        JSONDecodeError: it is no JSON.
        KeyError, TypeError: it lacks members that a summary has.
        ValueError: a member is not what it should be; the message says which, to stand behind "the summary".
    """
    members = {"resting": 0, "held_back": 0, "urls_left_out": 0} | orjson.loads(content)
    for name, (is_right, kind) in _MEMBERS.items():
        if not is_right(members[name]):
            raise ValueError(f"has what is no {kind} as {name}")
    return Summary(
        lines=members["lines"],
        duplicates=members["duplicates"],
        invalid=members["invalid"],
        blank=members["blank"],
        figures=Figures(
            works=members["works"],
            results=members["results"],
            failures=members["failures"],
            pending=members["pending"],
            gone=members["gone"],
            outcomes=members["outcomes"],
            failures_by_kind=members["failures_by_kind"],
            registered=members["registered"],
            rejected=members["rejected"],
            registration_pending=members["registration_pending"],
            resting=members["resting"],
            held_back=members["held_back"],
            urls_left_out=members["urls_left_out"],
        ),
        requests=members["requests"],
        retries=members["retries"],
        bytes=members["bytes"],
        budget_left=members["budget_left"],
        started_at=members["started_at"],
        finished_at=members["finished_at"],
        duration_seconds=members["duration_seconds"],
        files=members["files"],
        exit=Exit(members["exit"]["code"], members["exit"]["name"], members["exit"]["reason"]),
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_timestamp(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_seconds(value: object) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value))


def _is_paths(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(path, str) for path in value.values())


def _is_exit(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return _is_count(value.get("code")) and all(isinstance(value.get(name), str) for name in ("name", "reason"))


_COUNTS = (
    *("lines", "works", "duplicates", "invalid", "blank", "results", "failures", "pending", "gone"),
    *("registered", "rejected", "registration_pending", "retries", "bytes", "resting"),
    *("held_back", "urls_left_out"),
)

_MEMBERS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(_COUNTS, (_is_count, "figure")),
    **dict.fromkeys(("outcomes", "failures_by_kind", "requests"), (_is_counts, "figure")),
    "budget_left": (lambda value: value is None or _is_count(value), "figure"),
    **dict.fromkeys(("started_at", "finished_at"), (_is_timestamp, "timestamp")),
    "duration_seconds": (_is_seconds, "time in seconds"),
    "files": (_is_paths, "list of files"),
    "exit": (_is_exit, "exit"),
}
"""For each member of a summary: whether a value is one, and what it is to be."""


def _text(name: str) -> str:
    """A file name is any bytes, JSON is text: a byte that is no text stands as `?`."""
    return name.encode(errors="replace").decode()


def broken_identities(summary: Summary) -> list[str]:
    """The accounting identities that do not hold, in words; empty when all is well (promise G1)."""
    figures = summary.figures
    unfinished = figures.registration_pending + figures.pending
    identities = {
        "lines = works + duplicates + invalid + blank": summary.lines
        == figures.works + summary.duplicates + summary.invalid + summary.blank,
        "works = results + failures + pending + resting": figures.works
        == figures.results + figures.failures + figures.pending + figures.resting,
        "results = sum of outcomes": figures.results == sum(figures.outcomes.values()),
        "failures = sum of failures by kind": figures.failures == sum(figures.failures_by_kind.values()),
        "nothing is pending where the exit code is 0": summary.exit.code != 0 or not unfinished,
    }
    return [identity for identity, holds in identities.items() if not holds]
