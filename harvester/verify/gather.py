"""The evidence of a job on disk: its ledger, output, failures and summary, read for the checker and never changed.

What is not sorted by itself (lines stand in the output in the order in which answers came) is sorted in a temporary
SQLite file, so that memory stays flat.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TypeVar, cast

import orjson

from harvester.core.errors import DiskFailed, InputMissing, LockHeld, Misconfigured
from harvester.core.model import Failure, Stage
from harvester.core.sanitize import printable
from harvester.records.lines import SCHEMA_VERSION, failure_line
from harvester.records.packing import Unreadable, raw_lines
from harvester.reports.summary import Summary, from_json
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.output_file import partial_of
from harvester.storage.paths import Paths, job_paths, paths_of
from harvester.verify.evidence import Evidence, FailureEntry, LedgerWork, Line, OutputEvidence

T = TypeVar("T")


@contextmanager
def gather(
    path: Path, *, deep: bool = False, ledger: Path | None = None, failures: Path | None = None
) -> Iterator[Evidence]:
    """The evidence of a job on disk, to be used inside the `with`; no run may begin meanwhile.

    Args:
        path: of the output, or of the ledger.
        deep: look at the bytes of every record as well.
        ledger: where it is, if not beside the output.
        failures: the same for the failures file.

    Raises:
        InputMissing: there is no ledger, or nothing in it.
        Misconfigured: it is none, or that of another output.
        LockHeld: a run is at work.
        DiskFailed: something cannot be read.
    """
    paths = paths_of(path, ledger, failures)
    assert paths.ledger is not None  # noqa: S101 - job_paths names one for each output
    if not paths.ledger.is_file():
        raise InputMissing(f"there is no ledger {paths.ledger}. Name the output of a run, or its ledger.")
    with _no_run(paths.ledger), closing(Database(paths.ledger, read_only=True)) as book:
        _refuse_empty(book)
        yield _evidence(book, _completed(paths, book, failures), deep=deep)


def _refuse_empty(book: Database) -> None:
    """A run that was killed in its first moment leaves a ledger without any tables."""
    with book.reading() as db:
        if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise InputMissing(f"nothing was ever written to the ledger {book.name}. Give the run's command again.")


def _completed(paths: Paths, book: Database, failures: Path | None) -> Paths:
    """The paths with the output that the ledger names.

    Raises:
        Misconfigured: it is another one than was named.
    """
    assert paths.ledger is not None  # noqa: S101 - see gather
    owned = book.meta.output
    if owned is None or owned == "-":
        return Paths(None, paths.ledger, paths.failures, paths.summary)
    if paths.output is None:
        return job_paths(str(paths.ledger.with_name(owned)), ledger=paths.ledger, failures=failures)
    if paths.output.name != owned:
        raise Misconfigured(
            f"the ledger {paths.ledger} belongs to the output {printable(owned)}, not to {paths.output.name}. "
            "Name that output, or another ledger with --ledger."
        )
    return paths


@contextmanager
def _no_run(ledger: Path) -> Iterator[None]:
    """Keep runs from beginning, by a shared lock that leaves the lock file as the last run wrote it.

    Raises:
        LockHeld: a run is at work.
    """
    try:
        descriptor = os.open(_lock_of(ledger), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # never locked, or not ours to lock: then no run can be told
        yield
        return
    try:
        _share(descriptor, ledger)
        yield
    finally:
        os.close(descriptor)


def _share(descriptor: int, ledger: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(f"a run works with {ledger}. Nothing was looked at; verify when it has ended.") from None


def _lock_of(ledger: Path) -> Path:
    """Its lock file, as `harvester.storage.lock` names it."""
    ledger = ledger.resolve()
    return ledger.with_name(ledger.name + ".lock")


def _evidence(book: Database, paths: Paths, *, deep: bool) -> Evidence:
    assert paths.ledger is not None  # noqa: S101 - see gather
    notes = []
    output = _output(book, paths.output, deep=deep) if paths.output else None
    if output is None:
        notes.append("the records of this job are in no file; only the ledger was looked at")
    summary, failures = None, None
    if paths.summary is None or not _is_of_last_run(paths.summary, paths.ledger):
        notes.append("the last run left no summary; failures file and summary were not compared")
    else:
        summary = _summary(paths.summary)
        failures = _failures(paths.failures) if paths.failures else None
    return Evidence(
        works=_works(book),
        noted=sorted_on_disk(map(note_of, Ledger(book).failures()), attrgetter("place"), FailureEntry),
        output=output,
        failures=failures,
        summary=summary,
        notes=tuple(notes),
    )


def _is_of_last_run(summary: Path, ledger: Path) -> bool:
    """Whether a summary was written by the last run: every run writes into the lock file when it begins."""
    if not summary.exists():
        return False
    lock = _lock_of(ledger)
    return not lock.exists() or lock.stat().st_mtime_ns <= summary.stat().st_mtime_ns


def _works(book: Database) -> Iterator[LedgerWork]:
    """The works in the order of their DOIs, which SQLite compares as Python does: by code points."""
    failure = "EXISTS (SELECT 1 FROM failure WHERE failure.work_id = work.id AND stage = ?)"
    with book.reading() as db:
        rows = db.execute(
            f"SELECT doi, work.state, listed >= ?, outcome, harvested_at, sha256, {failure}, registration.state, "  # noqa: S608
            f"{failure} FROM work LEFT JOIN registration ON registration.work_id = work.id ORDER BY doi",
            (book.meta.reading, Stage.FETCH, Stage.REGISTER),
        )
        for doi, state, listed, outcome, harvested_at, sha256, failed, registration, refused in rows:
            yield LedgerWork(
                doi, state, bool(listed), outcome, harvested_at, sha256, bool(failed), registration, bool(refused)
            )


def _output(book: Database, path: Path, *, deep: bool) -> OutputEvidence:
    archive = book.meta.archive
    if archive is not None and not path.with_name(archive).exists():
        return OutputEvidence(
            path.name, 0, published=False, size=None, partial_size=None
        )  # the old one, still to be renamed
    committed, published = book.meta.length, book.meta.published
    at = path if path.exists() else partial_of(path)
    lines = sorted_on_disk(read_lines(at, committed, deep=deep), attrgetter("doi"), Line) if at.exists() else ()
    return OutputEvidence(path.name, committed, published, _size(path), _size(partial_of(path)), lines)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def sorted_on_disk(items: Iterable[T], key: Callable[[T], str], kind: Callable[..., T]) -> Iterator[T]:
    """Items in the order of their keys, sorted in a temporary file so that memory stays flat.

    Args:
        items: dataclasses of texts, numbers, booleans and None.
        key: what they are sorted by.
        kind: makes an item of its fields again.

    Raises:
        DiskFailed: the temporary folder has no room.
    """
    try:
        db = sqlite3.connect("", isolation_level=None)
        try:
            db.execute("CREATE TABLE sorted (key TEXT, item BLOB)")
            db.execute("BEGIN")
            rows = ((key(item), orjson.dumps(item)) for item in items)
            db.executemany("INSERT INTO sorted VALUES (?, ?)", rows)
            for (item,) in db.execute("SELECT item FROM sorted ORDER BY key, rowid"):
                yield kind(**orjson.loads(item))
        finally:
            db.close()
    except sqlite3.Error as error:
        raise DiskFailed(f"cannot sort in the temporary folder: {error}. Make room, or set TMPDIR.") from error


def read_lines(path: Path, length: int, *, deep: bool) -> Iterator[Line]:
    """The lines of an output, as far as they can be read.

    Args:
        path: published or partial.
        length: bytes to look at; what is behind them was never committed.
        deep: look at the bytes of every record as well.

    Raises:
        DiskFailed: the file cannot be read.
    """
    number = 0
    for number, raw in enumerate(raw_lines(path, length), 1):
        yield _line(number, raw, deep=deep) if isinstance(raw, bytes) else Line(number, problem=raw.problem)


_MEMBERS = {
    "v": int,
    "doi": str,
    "outcome": str,
    "harvested_at": str,
    "http_status": int,
    "attempts": int,
    "elapsed_ms": int,
    "truncated": bool | None,
    "changed": bool | None,
    "added": dict | None,
    "sha256": str,
    "paperbuzz": dict,
}


_RECORD = b',"paperbuzz":'
"""Cannot stand in a line earlier than the member itself: inside a JSON text its quotation marks would be escaped."""


def _line(number: int, raw: bytes, *, deep: bool) -> Line:
    content, problem = _object(raw)
    wrong = [name for name, kind in _MEMBERS.items() if not isinstance(content.get(name), kind)]
    if not problem and (wrong or content["v"] != SCHEMA_VERSION):
        problem = f"is no record of version {SCHEMA_VERSION}: see {', '.join(wrong) or 'v'}"
    texts = {name: _text(content.get(name)) for name in ("doi", "outcome", "harvested_at", "sha256")}
    if not deep or problem:
        return Line(number, **texts, problem=problem)
    record = raw[raw.index(_RECORD) + len(_RECORD) : -2] if _RECORD in raw else b""
    told = cast("dict[str, object]", content["paperbuzz"]).get("doi")
    return Line(number, **texts, record_sha256=hashlib.sha256(record).hexdigest(), record_doi=_text(told))


def _object(raw: bytes) -> tuple[dict[str, object], str]:
    """A line's JSON object, or an empty one and why there is none."""
    if not raw.endswith(b"\n"):
        return {}, "is cut off: no line feed ends it"
    try:
        content = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError) as error:
        return {}, f"is no valid JSON: {printable(str(error), 120)}"
    return (content, "") if isinstance(content, dict) else ({}, "is JSON, but no object")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def note_of(failure: Failure) -> FailureEntry:
    """A failure in the form in which failures are compared."""
    line = failure_line(failure).decode()
    return FailureEntry(failure.doi or "", str(failure.stage), failure.kind, line.rstrip("\n"))


def _failures(path: Path) -> Iterator[FailureEntry]:
    if path.exists():
        return sorted_on_disk(map(_note, raw_lines(path)), attrgetter("place"), FailureEntry)
    missing = f"{path.name} is missing; if it is elsewhere, name it with --failures"
    return iter([FailureEntry("", "", "", "", printable(missing))])


def _note(raw: bytes | Unreadable) -> FailureEntry:
    if isinstance(raw, Unreadable):
        return FailureEntry("", "", "", "", f"has a line that {raw.problem}")
    content, problem = _object(raw)
    try:
        known = {each.name: content[each.name] for each in fields(Failure)}
        return note_of(Failure(**{**known, "stage": Stage(known["stage"])}))  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError):
        problem = problem or "is no failure of this format"
    text = raw.decode(errors="replace")
    return FailureEntry("", "", "", text, f"has a line that {problem}: {printable(text, 200)}")


def _summary(path: Path) -> Summary | str:
    """A summary, or why it is none."""
    try:
        report = from_json(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except orjson.JSONDecodeError:
        return "is no valid JSON"
    except (KeyError, TypeError):
        return "lacks members that a summary has"
    wrong = [name for name in _FIGURES if not _is_figure(getattr(report, name))]
    return f"has what is no figure as {', '.join(wrong)}" if wrong else report


_FIGURES = (
    *("lines", "works", "duplicates", "invalid", "blank", "results", "failures", "pending", "gone"),
    *("outcomes", "failures_by_kind", "registered", "rejected", "registration_pending"),
)


def _is_figure(value: object) -> bool:
    return all(isinstance(each, int) for each in (value.values() if isinstance(value, dict) else [value]))
