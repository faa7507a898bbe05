"""Counting by scans of indexes, so that ten million works take a few seconds."""

import sqlite3
from collections import Counter

from harvester.storage.database import Registration


def registrations_by_state(db: sqlite3.Connection, reading: int) -> Counter[Registration]:
    """Registrations of listed works, by state. Those that wait count even if their work left the list.

    All registrations are counted, and those of works that left the list taken off again, because these are few.
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
