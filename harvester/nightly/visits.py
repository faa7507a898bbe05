"""What the ledger remembers of each work from visit to visit: content, counts, and what the policy needs to know.

The policy is `harvester.nightly.revisit`. The table `visit` has one row for each work that was ever asked in a nightly
harvest. The table `history` has one row for each visit that found other counts than the visit before. Times are whole
seconds since 1970.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from harvester.core.clock import DAY_SECONDS
from harvester.nightly import remembered
from harvester.nightly.revisit import Candidate, VisitState
from harvester.records.changes import Content
from harvester.records.events import EventHistory
from harvester.storage.database import Database, WorkState
from harvester.storage.status import LedgerWork, opened_ledger, work_of

KEYS_A_QUERY = 500
"""How many works are looked up in one query. SQLite takes at least 999 parameters."""


ADD_TO_HISTORY = """
INSERT INTO history (work_id, at, counts)
SELECT :work, :at, :counts
WHERE :counts IS NOT NULL AND NOT EXISTS (SELECT 1 FROM visit WHERE work_id = :work AND counts = :counts)
ON CONFLICT DO UPDATE SET counts = excluded.counts
"""
"""A visit makes a row only if its counts differ from those of the visit before."""

ADD_VISIT = """
INSERT INTO visit (work_id, tried_at, good_at, state, misses, facts, events, metadata, open_access, counts)
VALUES (:work, :at, CASE WHEN :facts IS NOT NULL THEN :at END,
        :state, :misses, :facts, :events, :metadata, :open_access, :counts)
ON CONFLICT DO UPDATE SET
    tried_at = :at,
    good_at = COALESCE(excluded.good_at, good_at),
    misses = CASE WHEN :misses = 0 THEN 0 WHEN state = :state THEN misses + 1 ELSE 1 END,
    state = :state,
    facts = COALESCE(:facts, facts),
    events = COALESCE(:events, events),
    metadata = COALESCE(:metadata, metadata),
    open_access = COALESCE(:open_access, open_access),
    counts = COALESCE(:counts, counts)
"""
"""A work has one row. What a visit brings replaces what was known; what it does not bring stays."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What one visit to a work found.

    Args:
        work_id: id of the work.
        at: when, in seconds since 1970.
        state: what the answer was.
        content: of the record, merged with what was known before; None without a record, or with an empty one.
        history: of the record, for the policy; None without a record, or with an empty one.
    """

    work_id: int
    at: int
    state: VisitState
    content: Content | None = None
    history: EventHistory | None = None


class Visits:
    """The visits in a ledger.

    Args:
        database: the ledger's file.
    """

    def __init__(self, database: Database) -> None:
        self._file = database

    def contents(self, works: Sequence[int]) -> dict[int, Content]:
        """The known content of some works; works without any are left out."""
        found: dict[int, Content] = {}
        with self._file.reading() as db:
            for start in range(0, len(works), KEYS_A_QUERY):
                keys = works[start : start + KEYS_A_QUERY]
                marks = ", ".join("?" * len(keys))
                for key, events, metadata, open_access, counts in db.execute(
                    "SELECT work_id, events, metadata, open_access, counts FROM visit "  # noqa: S608 - marks alone
                    f"WHERE counts IS NOT NULL AND work_id IN ({marks})",
                    keys,
                ):
                    found[key] = Content(events, metadata, open_access, _known_counts(counts))
        return found

    def known(self, works: Sequence[int]) -> dict[int, Candidate]:
        """Some works as the policy sees them; works that were never asked are left out."""
        found: dict[int, Candidate] = {}
        with self._file.reading() as db:
            for start in range(0, len(works), KEYS_A_QUERY):
                keys = works[start : start + KEYS_A_QUERY]
                rows = db.execute(
                    "SELECT work_id, state, tried_at, good_at, misses, facts FROM visit "  # noqa: S608 - marks alone
                    f"WHERE work_id IN ({', '.join('?' * len(keys))})",
                    keys,
                )
                found |= {row[0]: _candidate(*row) for row in rows}
        return found

    def counts_over_time(self, doi: str) -> list[tuple[int, dict[str, int]]]:
        """How the counts of a DOI grew: a time and the events of each source; the earliest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT at, history.counts FROM history JOIN work ON work.id = work_id WHERE doi = ? ORDER BY at",
                (doi,),
            ).fetchall()
        return [(at, _known_counts(counts)) for at, counts in rows]

    def candidates(self) -> Iterator[Candidate]:
        """The works of the last reading as the policy sees them, in the order of their ids; times in days.

        Works that an open night still has to ask are left out, because that night asks them anyway.
        """
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, visit.state, tried_at, good_at, misses, facts "
                "FROM work LEFT JOIN visit ON work_id = id "
                "WHERE listed >= ? AND (work.state <> ? OR NOT ?) ORDER BY id",
                (self._file.meta.reading, WorkState.DUE, bool(self._file.meta.night)),
            )
            for key, state, tried_at, good_at, misses, facts in rows:
                yield _candidate(key, state, tried_at, good_at, misses, facts)


def visits_of(path: Path, doi: str) -> tuple[list[tuple[int, dict[str, int]]], LedgerWork | None]:
    """How the counts of a DOI grew over the nights, and what else is known of it.

    Args:
        path: of a ledger, or of the output beside it.
        doi: canonical.

    Returns:
        A time in seconds since 1970, and the events of each source, the earliest first; and the work, None if the
        ledger does not know it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as database:
        return Visits(database).counts_over_time(doi), work_of(database, doi)


def add_visits(db: sqlite3.Connection, visits: Sequence[Visit]) -> None:
    """Write some visits, as part of a transaction. What is known of a work is kept if a visit brought no record."""
    rows = [_row(visit) for visit in visits]
    # First the history: it compares with the counts in `visit`, which the second statement replaces.
    db.executemany(ADD_TO_HISTORY, rows)
    db.executemany(ADD_VISIT, rows)


def _row(visit: Visit) -> dict[str, object]:
    content = visit.content
    return {
        "work": visit.work_id,
        "at": visit.at,
        "state": visit.state,
        "misses": 0 if visit.state is VisitState.OK else 1,
        "facts": orjson.dumps([*visit.history]).decode() if visit.history else None,
        "events": content.events if content else None,
        "metadata": content.metadata if content else None,
        "open_access": content.open_access if content else None,
        "counts": _counts(visit),
    }


def _counts(visit: Visit) -> str | None:
    return _as_text(visit.content.counts) if visit.content else None


def _known_counts(text: str) -> dict[str, int]:
    return remembered.counts(remembered.members(text))


def _as_text(counts: Mapping[str, int]) -> str:
    return orjson.dumps(dict(counts), option=orjson.OPT_SORT_KEYS).decode()


def _candidate(
    key: int, state: str | None, tried_at: int | None, good_at: int | None, misses: int | None, facts: str | None
) -> Candidate:
    if state is None or tried_at is None:
        return Candidate(key)
    return Candidate(
        key,
        VisitState(state),
        tried_at / DAY_SECONDS,
        None if good_at is None else good_at / DAY_SECONDS,
        remembered.history(facts),
        misses or 0,
    )
