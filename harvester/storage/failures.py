"""The table of failures: one row for each line of the list that is no DOI, and for each stage that a work failed in."""

import sqlite3
from collections.abc import Iterable

from harvester.core.errors import Unforeseen
from harvester.core.model import DueWork, Failure, Stage, failed
from harvester.core.text.wording import in_a_line
from harvester.records.result import Result


def add_failures(db: sqlite3.Connection, failures: Iterable[tuple[int | None, Failure]]) -> None:
    """Write down failures, as part of a transaction.

    Args:
        db: the ledger's connection.
        failures: each with the id of its work; None for a line that is no DOI. A work has at most one failure in each
            stage, so that a new one replaces the old one.
    """
    db.executemany(
        "INSERT OR REPLACE INTO failure "
        "(work_id, stage, doi, input, origin, kind, http_status, attempts, message, failed_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                work_id,
                failure.stage,
                failure.doi,
                failure.input,
                failure.origin,
                failure.kind,
                failure.http_status,
                failure.attempts,
                failure.message,
                failure.failed_at,
            )
            for work_id, failure in failures
        ),
    )


def forget_failures(db: sqlite3.Connection, works: Iterable[int], stage: Stage) -> None:
    """Delete the failures of some works in one stage, as part of a transaction."""
    db.executemany("DELETE FROM failure WHERE work_id = ? AND stage = ?", ((work, stage) for work in works))


def unwritable(due: DueWork, ended: Result | Failure, error: Exception) -> Failure:
    """The failure of a work whose record, or failure, could not be written down for a reason that nobody foresaw."""
    cause = Unforeseen(f"its record cannot be written down: {in_a_line(error)}", status=ended.http_status)
    return failed(
        due, cause, ended.harvested_at if isinstance(ended, Result) else ended.failed_at, attempts=ended.attempts
    )
