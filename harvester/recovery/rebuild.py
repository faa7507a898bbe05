"""Make a ledger agree with what is in an output: an old ledger that is sound, or a new one.

It is done in a temporary database, so that nothing on disk is touched before the plan was shown. All that is known of
the works of the output is in SQLite's tables, so that memory stays flat.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from harvester.core.errors import FailureKind
from harvester.core.model import Failure, Figures, Stage
from harvester.recovery.salvage import Line, failures_in, lines_of
from harvester.storage.database import Database, RegistrationState, WorkState
from harvester.storage.failures import add_failures
from harvester.storage.ingest import Reading
from harvester.storage.ledger import Ledger
from harvester.storage.output_file import Seal

SALVAGED = """
CREATE TEMP TABLE salvaged (
    doi TEXT PRIMARY KEY, line INTEGER NOT NULL, outcome TEXT, harvested_at TEXT, sha256 TEXT
) WITHOUT ROWID
"""

ADD_WORK = "INSERT INTO work (doi, origin, listed, state) VALUES (?, ?, ?, ?) ON CONFLICT (doi) DO NOTHING"

ADD_SALVAGED = f"""
INSERT INTO work (doi, origin, listed, state)
SELECT doi, ? || line, ?, {WorkState.RESULT:d} FROM salvaged WHERE true ON CONFLICT (doi) DO NOTHING
"""  # noqa: S608 - a constant

LOST = f"""
UPDATE work SET state = {WorkState.DUE:d}, outcome = NULL, harvested_at = NULL, sha256 = NULL
WHERE state = {WorkState.RESULT:d} AND sha256 IS NOT NULL AND doi NOT IN (SELECT doi FROM salvaged)
"""  # noqa: S608 - constants
"""A result without a digest was never written into the output, see `CommitHook.is_written`."""

SET_RESULTS = f"""
UPDATE work SET state = {WorkState.RESULT:d}, outcome = known.outcome, harvested_at = known.harvested_at,
    sha256 = known.sha256
FROM salvaged AS known WHERE work.doi = known.doi
"""  # noqa: S608 - a constant

FORGET_FAILURES = """
DELETE FROM failure WHERE stage = ? AND work_id IN (SELECT id FROM work JOIN salvaged USING (doi))
"""

SHOWN = 5
"""How many problems of the output are kept to be shown."""


@dataclass(slots=True)
class Lines:
    """What was found in an output.

    Args:
        records: good ones, each DOI once.
        doubled: good ones of a DOI that had one already.
        damaged: lines that are no good record.
        problems: the first of these, with the number of the line.
    """

    records: int = 0
    doubled: int = 0
    damaged: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether the output can stay as it is."""
        return not self.doubled and not self.damaged


class Rebuild:
    """A ledger that is made to agree with an output.

    Args:
        database: temporary; empty, or a copy of the old ledger.
    """

    def __init__(self, database: Database) -> None:
        self._file, self._meta, self._ledger = database, database.meta, Ledger(database)
        self._was_empty = self._ledger.is_empty()

    def take_lines(self, output: Path) -> Lines:
        """Read an output, published or partial, and note its good records."""
        found = Lines()
        with self._file.transaction() as db:
            db.execute(SALVAGED)
            for number, line in enumerate(lines_of(output), 1):
                if line.result is None:
                    found.damaged += 1
                    found.problems += [f"line {number:,} {line.problem}"][: SHOWN - len(found.problems)]
                elif _added(db, number, line):
                    found.records += 1
                else:
                    found.doubled += 1
        return found

    def good_lines(self, output: Path) -> Iterator[bytes]:
        """The bytes of the lines that were noted, read once more."""
        with self._file.reading() as db:
            wanted = (line for (line,) in db.execute("SELECT line FROM salvaged ORDER BY line"))
            following = next(wanted, None)
            for number, line in enumerate(lines_of(output), 1):
                if number == following:
                    yield line.raw
                    following = next(wanted, None)

    def reconcile(self, output: Path, failures: Path | None) -> int:
        """Give each work the state that the output says.

        Args:
            output: the name under which it is published.
            failures: the failures file. It is read only if no old ledger knows the failures.

        Returns:
            How many works have a record by the old ledger, but none in the output; they are due now.
        """
        with self._file.transaction() as db:
            reading = self._meta.reading = self._meta.reading or 1
            self._meta.reading_begun = max(reading, self._meta.reading_begun)
            lost = db.execute(LOST).rowcount
            db.execute(ADD_SALVAGED, (f"{output.name}:", reading))
            db.execute(SET_RESULTS)
            db.execute(FORGET_FAILURES, (Stage.FETCH,))
            if self._was_empty:
                for failure in failures_in(failures):
                    _add_failure(db, failure, reading)
                self._meta.invalid_up_to = db.execute("SELECT COALESCE(MAX(id), 0) FROM failure").fetchone()[0]
                works, invalid = self._ledger.figures().works, self._ledger.invalid()
                self._meta.found = orjson.dumps(Reading(works + invalid, works, invalid=invalid)).decode()
            self._meta.fingerprint = None  # so that the list is read again
        return lost

    def bind(self, output: Path, *, published: bool, length: int, seal: Seal, night_is_open: bool | None) -> None:
        """Tie the ledger to its output.

        Args:
            output: the name under which it is published.
            published: whether it has that name.
            length: its bytes.
            seal: of these.
            night_is_open: whether the output is that of a night that has to be finished; None outside nights.
        """
        meta = self._meta
        with self._file.transaction():
            meta.output, meta.made, meta.published = output.name, True, published
            meta.length, meta.seal, meta.archive, meta.grows_from = length, seal.as_text(), None, None
            if night_is_open is not None:
                meta.night, meta.night_path = night_is_open, str(output)
            if night_is_open is False and meta.outputs is None:
                meta.outputs = orjson.dumps([str(output)]).decode()  # what the end of a night notes

    def figures(self) -> Figures:
        """The works, counted."""
        return self._ledger.figures()


def _added(db: sqlite3.Connection, number: int, line: Line) -> bool:
    """Note a good line; returns whether it is the first of its DOI."""
    result = line.result
    assert result is not None  # noqa: S101 - a good line has one
    row = (result.doi, number, result.outcome, result.harvested_at, result.sha256)
    return db.execute("INSERT OR IGNORE INTO salvaged VALUES (?, ?, ?, ?, ?)", row).rowcount == 1


def _add_failure(db: sqlite3.Connection, failure: Failure, reading: int) -> None:
    """Add a failure of the failures file, unless its work got a record later."""
    if failure.doi is None or failure.stage is Stage.INPUT or failure.kind == FailureKind.URL_LEFT_OUT:
        add_failures(db, [(None, failure)])
        return
    db.execute(ADD_WORK, (failure.doi, failure.origin, reading, WorkState.DUE))
    work, state = db.execute("SELECT id, state FROM work WHERE doi = ?", (failure.doi,)).fetchone()
    if failure.stage is Stage.REGISTER:
        db.execute("INSERT OR IGNORE INTO registration VALUES (?, ?)", (work, RegistrationState.REJECTED))
        add_failures(db, [(work, failure)])
    elif state != WorkState.RESULT:
        db.execute("UPDATE work SET state = ? WHERE id = ?", (WorkState.FAILURE, work))
        add_failures(db, [(work, failure)])
