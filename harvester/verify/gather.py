"""The evidence of a job on disk: its ledger, output, failures and summary, read for the checker and never changed.

What does not come sorted is sorted in a temporary SQLite file, so that memory stays flat: the lines of an output stand
in the order in which the answers came.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import orjson

from harvester.core.errors import DiskFailed, Misconfigured
from harvester.core.model import Failure
from harvester.core.text.sanitize import printable
from harvester.records.lines import BadLine, failure_line, read_failure, read_result
from harvester.records.packing import Unreadable, raw_lines
from harvester.reports.summary import Summary, from_json
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.lock import lock_file, shared_lock
from harvester.storage.meta import Meta
from harvester.storage.output_file import partial_of
from harvester.storage.paths import Paths, job_paths, paths_of
from harvester.storage.publishing import is_known
from harvester.storage.status import ledger_at, require_ledger_file, works_by_doi
from harvester.verify.evidence import Evidence, FailureEntry, Line, OutputEvidence

T = TypeVar("T")


@contextmanager
def gather(
    path: Path, *, deep: bool = False, ledger: Path | None = None, failures: Path | None = None
) -> Iterator[Evidence]:
    """Gather the evidence of a job on disk. It is to be used inside the `with`; no run can begin meanwhile.

    Args:
        path: of the output, or of the ledger.
        deep: look at the bytes of every record as well.
        ledger: path of the ledger, if it is not beside the output.
        failures: path of the failures file, if it is not beside the output.

    Raises:
        InputMissing: there is no ledger, or nothing in it.
        Misconfigured: the file is no ledger, or that of another output.
        LockHeld: a run is at work.
        DiskFailed: something cannot be read.
    """
    paths = paths_of(path, ledger, failures)
    assert paths.ledger is not None  # noqa: S101 - job_paths names one for each output
    require_ledger_file(paths.ledger)
    with shared_lock(paths.ledger), ledger_at(paths.ledger) as database:
        yield _evidence(database, _completed(paths, database.meta, failures), deep=deep)


def _completed(paths: Paths, meta: Meta, failures: Path | None) -> Paths:
    """Fill in the output that the ledger names.

    Raises:
        Misconfigured: it is another one than the user named.
    """
    assert paths.ledger is not None  # noqa: S101 - see gather
    owned = meta.output
    if owned is None or owned == "-":
        return Paths(None, paths.ledger, paths.failures, paths.summary)
    if paths.output is None:
        return job_paths(str(_output_of(paths.ledger, owned, meta.night_path)), ledger=paths.ledger, failures=failures)
    if paths.output.name != owned:
        raise Misconfigured(
            f"the ledger {paths.ledger} belongs to the output {printable(owned)}, not to {paths.output.name}. "
            "Name that output, or another ledger with --ledger."
        )
    return paths


def _output_of(ledger: Path, owned: str, night_path: str | None) -> Path:
    """Where the output of a ledger is: where its last night put it, if it is there; otherwise beside the ledger."""
    night = Path(night_path or "")
    if night.name == owned and night.is_absolute() and (night.exists() or partial_of(night).exists()):
        return night
    return ledger.with_name(owned)


def _evidence(database: Database, paths: Paths, *, deep: bool) -> Evidence:
    assert paths.ledger is not None  # noqa: S101 - see gather
    notes = []
    output = _output(database.meta, paths.output, deep=deep) if paths.output else None
    if output is None:
        notes.append("the records of this job are in no file; only the ledger was looked at")
    summary, failures = None, None
    if paths.summary is None or not _is_of_last_run(paths.summary, paths.ledger):
        notes.append("the last run left no summary; failures file and summary were not compared")
    else:
        summary = _summary(paths.summary)
        failures = _failures(paths.failures) if paths.failures else None
    return Evidence(
        works=works_by_doi(database),
        noted=sorted_on_disk(map(entry_of, Ledger(database).failures()), attrgetter("sort_key"), FailureEntry),
        output=output,
        failures=failures,
        summary=summary,
        notes=tuple(notes),
    )


def _is_of_last_run(summary: Path, ledger: Path) -> bool:
    """Whether a summary was written by the last run.

    The times of the files say it. Every run writes into the lock file when it begins, and writes its summary when it
    ends. So a summary that is older than the lock file is from an earlier run, and the last one was killed before it
    could write its own. The ledger's own time says nothing, for SQLite writes to it after the summary as well. Where
    times were lost, as in a restored backup, a summary may be taken for an old one; then it is not compared, which the
    notes tell.
    """
    if not summary.exists():
        return False
    lock = lock_file(ledger)
    return not lock.exists() or lock.stat().st_mtime_ns <= summary.stat().st_mtime_ns


def _output(meta: Meta, path: Path, *, deep: bool) -> OutputEvidence:
    if meta.archive is not None and not path.with_name(meta.archive).exists():
        # What has the output's name is the old output, which is still to be renamed.
        return OutputEvidence(path.name, 0, published=False, size=None, partial_size=None)
    grows = meta.grows_from is not None and path.exists() and partial_of(path).exists()
    at = path if path.exists() and (meta.published or not grows) else partial_of(path)
    lines = sorted_on_disk(read_lines(at, meta.length, deep=deep), attrgetter("doi"), Line) if at.exists() else ()
    known = False
    with suppress(OSError):  # what cannot be read is found out by reading its lines
        known = is_known(at, meta)
    sizes = _size(path), _size(partial_of(path))
    return OutputEvidence(path.name, meta.length, meta.published, *sizes, known, lines, grows)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def sorted_on_disk(items: Iterable[T], key: Callable[[T], str], kind: Callable[..., T]) -> Iterator[T]:
    """Sort items in a temporary file, so that memory stays flat.

    Args:
        items: dataclasses whose fields are texts, numbers, booleans or None.
        key: gives what an item is sorted by.
        kind: the class of the items.

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
        length: bytes to look at; what stands behind them was never committed.
        deep: look at the bytes of every record as well.

    Raises:
        DiskFailed: the file cannot be read.
    """
    number = 0
    raw: bytes | Unreadable
    for raw in raw_lines(path, length):
        number += 1  # noqa: SIM113 - enumerate would hold the line before
        line = _line(number, raw, deep=deep) if isinstance(raw, bytes) else Line(number, problem=raw.problem)
        raw = b""  # a line may have 32 MiB, and must not be held while the next one is read
        yield line


def _line(number: int, raw: bytes, *, deep: bool) -> Line:
    try:
        result = read_result(raw)
    except BadLine as bad:
        return Line(number, bad.doi, problem=bad.problem)
    line = Line(number, result.doi, result.outcome, result.harvested_at, result.sha256)
    if not deep:
        return line
    told = result.record.get("doi")
    return replace(
        line,
        record_sha256=hashlib.sha256(result.paperbuzz).hexdigest(),
        record_doi=told if isinstance(told, str) else "",
    )


def entry_of(failure: Failure) -> FailureEntry:
    """A failure in the form in which failures are compared."""
    line = failure_line(failure).decode()
    return FailureEntry(failure.doi or "", str(failure.stage), failure.kind, line.rstrip("\n"))


def _failures(path: Path) -> Iterator[FailureEntry]:
    if path.is_file():
        return sorted_on_disk(map(_entry, raw_lines(path)), attrgetter("sort_key"), FailureEntry)
    missing = f"{path.name} is missing, or no regular file; if it is elsewhere, name it with --failures"
    return iter([FailureEntry("", "", "", "", printable(missing))])


def _entry(raw: bytes | Unreadable) -> FailureEntry:
    if isinstance(raw, Unreadable):
        return FailureEntry("", "", "", "", f"has a line that {raw.problem}")
    try:
        return entry_of(read_failure(raw))
    except BadLine as bad:
        text = raw.decode(errors="replace")
        return FailureEntry("", "", "", text, f"has a line that {bad.problem}: {printable(text, 200)}")


def _summary(path: Path) -> Summary | str:
    """A summary, or why it is none."""
    if not path.is_file():  # a pipe in its place would be waited for
        return "is no regular file"
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except orjson.JSONDecodeError:
        return "is no valid JSON"
    except (KeyError, TypeError):
        return "lacks members that a summary has"
    except ValueError as error:
        return str(error)
