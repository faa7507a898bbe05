"""Counting by scans of indexes, so that ten million works take a few seconds."""

import sqlite3
from collections import Counter

from harvester.storage.database import Registration


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
