"""Notice that a list changed more than lists do in a night, and keep saying so until a person accepts it.

A list that lost a tenth of its DOIs was more likely cut short on its way than cleaned up; if as many came, it may be
that of somebody else, and what is registered stays registered. So each list is compared with the last one that
was accepted. A list that changed little is accepted by itself. With any other the night harvests what is listed, but
registers nothing, and its page says what changed.
"""

from dataclasses import dataclass, fields

import orjson

from harvester.nightly import remembered
from harvester.reports.details import ListChange
from harvester.storage.database import Database
from harvester.storage.ingest import Reading

GONE = "SELECT COUNT(*) FROM work WHERE listed < :now AND listed >= :reading"
COME = "SELECT COUNT(*) FROM work WHERE listed >= :now AND id > :last"
LAST = "SELECT COALESCE(MAX(id), 0) FROM work"

LEAST_LINES = 10
"""Fewer DOIs or lines than this are not judged by their share: one of five is nothing to ask a person about."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The list that was accepted last.

    Args:
        reading: number of its reading.
        last: the highest id of a work then: ids of works that are new since are higher.
        works: its DOIs.
        lines: its lines.
        invalid: of these, no DOIs.
    """

    reading: int
    last: int
    works: int
    lines: int
    invalid: int


def look_at_list(database: Database, reading: Reading, *, share: float, accept: bool, is_whole: bool) -> ListChange:
    """Compare the list of tonight with the accepted one; accept it if it changed little, or if a person says so.

    A step for the writer thread.

    Args:
        database: of the ledger, after the reading.
        reading: what it found.
        share: of the DOIs that may go, and of the lines that may turn invalid, without a question.
        accept: whether a person accepts the list as it is now.
        is_whole: whether all files could be read; otherwise the list is not accepted by itself.
    """
    known = _accepted(database.meta.accepted_list)
    change = ListChange(0, 0, 0) if known is None else _change(database, reading, known, share)
    if (is_whole and not change.is_doubted) or accept:
        _accept(database, reading)
        return ListChange(change.come, change.gone, change.turned_invalid)
    return change


def _change(database: Database, reading: Reading, known: Accepted, share: float) -> ListChange:
    with database.reading() as db:
        numbers = {"now": database.meta.reading, "reading": known.reading, "last": known.last}
        gone = db.execute(GONE, numbers).fetchone()[0]
        come = db.execute(COME, numbers).fetchone()[0]
    turned = max(0, reading.invalid - known.invalid)
    is_doubted = (
        _is_many(gone, known.works, share)  # also if as many came: a list that only grew is no reason to ask
        or _is_many(turned, max(known.lines, reading.lines), share)
    )
    return ListChange(come, gone, turned, is_doubted=is_doubted)


def _is_many(count: int, total: int, share: float) -> bool:
    return count > max(total, LEAST_LINES) * share


def _accept(database: Database, reading: Reading) -> None:
    with database.transaction() as db:
        last = db.execute(LAST).fetchone()[0]
        known = [database.meta.reading, last, reading.works, reading.lines, reading.invalid]
        database.meta.accepted_list = orjson.dumps(known).decode()


def _accepted(text: str | None) -> Accepted | None:
    """The accepted list that a ledger remembers; None if there is none, or if it is not whole."""
    found = remembered.numbers(text)
    return Accepted(*map(int, found)) if len(found) == len(fields(Accepted)) else None
