"""The works of the last reading, counted."""

import sqlite3
from collections import Counter
from dataclasses import dataclass

from harvester.storage.database import Registration


@dataclass(frozen=True, slots=True)
class Figures:
    """How many works of the last reading stand where.

    Args:
        works: listed works.
        results: of these, with a record.
        failures: of these, with a failure.
        pending: of these, with neither.
        gone: works with a record or a failure that the last reading did not list.
        outcomes: results by outcome.
        failures_by_kind: failures by kind.
        registered: of these, acknowledged by OPERAS.
        rejected: of these, refused by OPERAS.
        registration_pending: works that wait in the outbox, those that left the list included.
        resting: of the listed works, not asked tonight.
    """

    works: int
    results: int
    failures: int
    pending: int
    gone: int
    outcomes: dict[str, int]
    failures_by_kind: dict[str, int]
    registered: int
    rejected: int
    registration_pending: int
    resting: int = 0


def registrations_by_state(db: sqlite3.Connection, reading: int) -> Counter[Registration]:
    """Count registrations by state: the acknowledged and rejected ones of listed works, and all that wait.

    All are counted first. Then those of works that left the list are subtracted: they are few and quick to find.
    """
    all_of_them = db.execute("SELECT COUNT(*), SUM(state = 1), SUM(state = 2) FROM registration").fetchone()
    of_the_gone = db.execute(
        "SELECT SUM(registration.state = 1), SUM(registration.state = 2) "
        "FROM work JOIN registration ON work_id = id WHERE listed < ?",
        (reading,),
    ).fetchone()
    known, acknowledged, rejected = (count or 0 for count in all_of_them)
    acknowledged_gone, rejected_gone = (count or 0 for count in of_the_gone)
    return Counter(
        {
            Registration.WAITING: known - acknowledged - rejected,
            Registration.ACKNOWLEDGED: acknowledged - acknowledged_gone,
            Registration.REJECTED: rejected - rejected_gone,
        }
    )
