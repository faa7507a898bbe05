"""The outbox: works that wait until OPERAS has acknowledged or refused them.

It is a transactional outbox: it is in the ledger's file, so that a record and its pending registration are committed in
one transaction. A crash between the answer of OPERAS and the commit only repeats a request, which is harmless (O7).
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence

import orjson

from harvester.core.errors import Misconfigured
from harvester.core.model import Failure, Outcome, PendingRegistration, Stage
from harvester.core.text.address import canonical
from harvester.records.result import Finished, Result
from harvester.storage.database import Database, RegistrationState, WorkState
from harvester.storage.failures import add_failures, forget_failures
from harvester.storage.hooks import CommitHook

MAX_URL_CHARS = 1024 * 1024
"""URLs in one request, in characters, but for those of its last work. They are in memory together."""

WAITING = f"""
SELECT work_id, doi, origin FROM registration JOIN work ON work.id = work_id
WHERE registration.state = {RegistrationState.WAITING:d} ORDER BY work_id LIMIT ?
"""  # noqa: S608 - a constant; not bound, so that SQLite can use the partial index `registration_waiting`
"""The first works that wait."""


class Outbox:
    """The works to register.

    Args:
        database: the ledger's file.
    """

    def __init__(self, database: Database) -> None:
        self._file = database
        self._last_handed_out: dict[int, int] = {}

    def claim(self, base_url: str) -> None:
        """Remember at which OPERAS DOIs are registered: one ledger belongs to one OPERAS.

        Raises:
            Misconfigured: it belongs to another one.
        """
        known = self._file.meta.operas
        if known is None:
            self._file.meta.operas = base_url
        elif canonical(known) != canonical(base_url):
            raise Misconfigured(
                f"the DOIs in {self._file.name} were registered with {known}, but [operas] base_url is {base_url} "
                "now. Name another output or ledger for that."
            )

    def fill(self, *, harvested_only: bool, empty_too: bool = True) -> int:
        """Put the listed works into the outbox that were never in it; returns how many.

        Args:
            harvested_only: only those with a record; otherwise all.
            empty_too: of these, also those whose record is empty.
        """
        with self._file.transaction() as db:
            return db.execute(
                "INSERT OR IGNORE INTO registration (work_id) "
                "SELECT id FROM work WHERE listed >= ? AND (NOT ? OR (state = ? AND (? OR outcome <> ?)))",
                (self._file.meta.reading, harvested_only, WorkState.RESULT, empty_too, Outcome.EMPTY),
            ).rowcount

    def retry_rejected(self) -> int:
        """Put the rejected works of the last reading back into the outbox; returns how many."""
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT work_id FROM registration JOIN work ON work.id = work_id "
                "WHERE registration.state = ? AND listed >= ?",
                (RegistrationState.REJECTED, self._file.meta.reading),
            )
            works = [key for (key,) in rows]
            forget_failures(db, works, Stage.REGISTER)
            db.executemany("UPDATE url SET settled = 0 WHERE work_id = ?", ((key,) for key in works))
            db.executemany(
                "UPDATE registration SET state = ? WHERE work_id = ?",
                ((RegistrationState.WAITING, key) for key in works),
            )
        return len(works)

    def waiting(self, limit: int) -> list[PendingRegistration]:
        """The first entries of the outbox, each with all its URLs; fewer entries if there are very many URLs.

        Args:
            limit: how many entries at the most.
        """
        entries: list[PendingRegistration] = []
        room = MAX_URL_CHARS
        with self._file.reading() as db:
            for work_id, doi, origin in db.execute(WAITING, (limit,)).fetchall():
                urls = self._hand_out_urls(db, work_id)
                entries.append(PendingRegistration(work_id, doi, urls, origin))
                room -= sum(map(len, urls))
                if room < 0:
                    break
        return entries

    def listed(self, after: int, limit: int) -> list[PendingRegistration]:
        """Listed works in the order of the list, with their URLs, whether they are registered or not.

        Args:
            after: the id of the last work that was read, 0 for none.
            limit: how many at the most.
        """
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, doi, origin FROM work WHERE id > ? AND listed >= ? ORDER BY id LIMIT ?",
                (after, self._file.meta.reading, limit),
            ).fetchall()
            return [PendingRegistration(work_id, doi, _urls_of(db, work_id), origin) for work_id, doi, origin in rows]

    def _hand_out_urls(self, db: sqlite3.Connection, work_id: int) -> tuple[str, ...]:
        """The URLs of a work. The id of the last one is remembered: `settle` must not settle URLs that come later.

        A list may name a work in any number of lines. If it has more URLs than fit into one request, these are the next
        ones that were not sent yet, and the work stays in the outbox for the others.
        """
        known = db.execute("SELECT TOTAL(LENGTH(url)) FROM url WHERE work_id = ?", (work_id,)).fetchone()[0]
        unsent = "" if known <= MAX_URL_CHARS else "AND NOT settled"
        urls: list[str] = []
        room = MAX_URL_CHARS
        self._last_handed_out[work_id] = 0
        for key, url in db.execute(f"SELECT id, url FROM url WHERE work_id = ? {unsent} ORDER BY id", (work_id,)):  # noqa: S608
            room -= len(url)
            if urls and room < 0:
                break
            urls.append(url)
            self._last_handed_out[work_id] = key
        return tuple(urls)

    def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> int:
        """Take entries out of the outbox: OPERAS acknowledged them, or refused them for a reason.

        Returns:
            How many stay in the outbox all the same: works that got another URL after `waiting` handed them out.
        """
        with self._file.transaction() as db:
            settled = [(RegistrationState.ACKNOWLEDGED, entry.work_id) for entry in acknowledged]
            settled += [(RegistrationState.REJECTED, entry.work_id) for entry, _ in rejected]
            db.executemany("UPDATE registration SET state = ? WHERE work_id = ?", settled)
            keys = [key for _, key in settled]
            offered = [(key, self._last_handed_out.pop(key, 0)) for key in keys]
            db.executemany("UPDATE url SET settled = 1 WHERE work_id = ? AND id <= ?", offered)
            # After the URLs: only now can it be seen which works have more of them than were sent.
            stay = requeue(db, keys)
            forget_failures(db, keys, Stage.REGISTER)
            add_failures(db, ((entry.work_id, failure) for entry, failure in rejected))
        return stay


def _urls_of(db: sqlite3.Connection, work_id: int) -> tuple[str, ...]:
    rows = db.execute("SELECT url FROM url WHERE work_id = ? ORDER BY id", (work_id,))
    return tuple(url for (url,) in rows)


class OutboxHook(CommitHook):
    """Puts committed results into the outbox, in the transaction that commits them.

    Args:
        added: called after each commit with the number of works that it put into the outbox.
        empty_too: also results whose record is empty.
    """

    def __init__(self, added: Callable[[int], None], *, empty_too: bool = True) -> None:
        self._added, self._empty_too = added, empty_too
        self._recorded, self._waiting = 0, 0

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:
        """Put results into the outbox."""
        self._recorded = enqueue(db, [due.work_id for due, result in finished if self._is_wanted(result)])

    def _is_wanted(self, result: Result | Failure) -> bool:
        return isinstance(result, Result) and (self._empty_too or result.outcome != Outcome.EMPTY)

    def adopt(self) -> None:
        """Count what was put into the outbox."""
        self._waiting += self._recorded

    def committed(self) -> None:
        """Report how many were put into the outbox, now that they are on disk."""
        waiting, self._waiting = self._waiting, 0
        self._added(waiting)


def enqueue(db: sqlite3.Connection, works: Sequence[int]) -> int:
    """Put works into the outbox, as part of a transaction. Works that are settled stay so, unless they have new URLs.

    Returns:
        How many more works wait now.
    """
    listed = orjson.dumps(works).decode()
    new = db.execute("INSERT OR IGNORE INTO registration (work_id) SELECT value FROM json_each(?)", (listed,)).rowcount
    return new + requeue(db, works)


def requeue(db: sqlite3.Connection, works: Sequence[int] | None = None) -> int:
    """Put works back into the outbox that OPERAS acknowledged without all of their URLs, as part of a transaction.

    Args:
        db: the ledger's connection.
        works: ids of the works to look at; None for all.

    Returns:
        How many were put back.
    """
    among = "" if works is None else "AND work_id IN (SELECT value FROM json_each(?))"
    return db.execute(
        f"UPDATE registration SET state = {RegistrationState.WAITING:d} "  # noqa: S608
        f"WHERE state = {RegistrationState.ACKNOWLEDGED:d} "
        f"AND EXISTS (SELECT 1 FROM url WHERE url.work_id = registration.work_id AND NOT url.settled) {among}",
        () if works is None else (orjson.dumps(works).decode(),),
    ).rowcount


def count_held_back(db: sqlite3.Connection, reading: int) -> int:
    """How many works of a reading have an empty record and never were in the outbox."""
    return int(
        db.execute(
            "SELECT COUNT(*) FROM work INDEXED BY work_figures WHERE listed >= ? AND state = ? AND outcome = ? "
            "AND NOT EXISTS (SELECT 1 FROM registration WHERE work_id = work.id)",
            (reading, WorkState.RESULT, Outcome.EMPTY),
        ).fetchone()[0]
    )


def registrations_by_state(db: sqlite3.Connection, reading: int) -> Counter[RegistrationState]:
    """Count registrations by state: the acknowledged and rejected ones of listed works, and all that wait.

    All are counted first. Then those of works that left the list are subtracted: they are few and quick to find.
    """
    states = {"acknowledged": RegistrationState.ACKNOWLEDGED, "rejected": RegistrationState.REJECTED}
    all_of_them = db.execute(
        "SELECT COUNT(*), SUM(state = :acknowledged), SUM(state = :rejected) FROM registration", states
    ).fetchone()
    of_the_gone = db.execute(
        "SELECT SUM(registration.state = :acknowledged), SUM(registration.state = :rejected) "
        "FROM work JOIN registration ON work_id = id WHERE listed < :reading",
        {**states, "reading": reading},
    ).fetchone()
    known, acknowledged, rejected = (count or 0 for count in all_of_them)
    acknowledged_gone, rejected_gone = (count or 0 for count in of_the_gone)
    return Counter(
        {
            RegistrationState.WAITING: known - acknowledged - rejected,
            RegistrationState.ACKNOWLEDGED: acknowledged - acknowledged_gone,
            RegistrationState.REJECTED: rejected - rejected_gone,
        }
    )
