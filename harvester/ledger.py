"""The ledger: what is known of every work, in one SQLite file.

Theory. The ledger is the only memory of a run; the process has none that matters. Three rules keep it true:

1. One writing connection, owned by one thread (`harvester.store`); other processes may read while it writes (WAL).
   SQLite before 3.51.3 has a WAL bug with two writing connections, so this is a rule and not a habit.
2. `synchronous=FULL`: a transaction that has returned survives power loss. Everything that belongs together (outcomes,
   the committed length of the output, rows for registration) is one transaction.
3. The file is opened by SQLite alone: closing any other descriptor of it would drop SQLite's own locks (pitfall 29).
   Mutual exclusion between runs is therefore the business of `harvester.lock`, on a file of its own.

A *reading* is one pass over the input. Each work carries the number of the last reading that listed it, which is how
duplicates are told from DOIs known of old, and DOIs that left the list from those still in it, without holding a list
in memory. A reading that was cut off is simply done again under the next number.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from harvester.errors import DiskFailed, Misconfigured
from harvester.outcome import Due, Entry, Failure, Result, Stage, Work

VERSION = 1
"""Of the schema, in SQLite's `user_version`. A ledger of a later version is refused."""

APPLICATION_ID = 0x48525652
"""`HRVR` in SQLite's `application_id`: tells a ledger from any other database."""

CACHE_KIB = 32 * 1024

_SCHEMA = """
CREATE TABLE work (
    id           INTEGER PRIMARY KEY,
    doi          TEXT NOT NULL UNIQUE,
    origin       TEXT NOT NULL,
    listed       INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    outcome      TEXT,
    harvested_at TEXT,
    sha256       TEXT
) STRICT;
CREATE TABLE failure (
    id          INTEGER PRIMARY KEY,
    work_id     INTEGER REFERENCES work(id) ON DELETE CASCADE,
    stage       TEXT NOT NULL,
    doi         TEXT,
    input       TEXT NOT NULL,
    origin      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    http_status INTEGER,
    attempts    INTEGER NOT NULL,
    message     TEXT NOT NULL,
    failed_at   TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX failure_of_work ON failure(work_id, stage) WHERE work_id IS NOT NULL;
CREATE TABLE url (
    id         INTEGER PRIMARY KEY,
    work_id    INTEGER NOT NULL REFERENCES work(id) ON DELETE CASCADE,
    url        TEXT NOT NULL,
    settled    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (work_id, url)
) STRICT;
CREATE TABLE registration (
    work_id INTEGER PRIMARY KEY REFERENCES work(id) ON DELETE CASCADE,
    state   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX registration_waiting ON registration(work_id) WHERE state = 0;
CREATE TABLE prefix (prefix TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"""


class State(IntEnum):
    """What became of a work."""

    DUE = 0
    RESULT = 1
    FAILURE = 2


class Registration(IntEnum):
    """What became of the registration of a work."""

    WAITING = 0
    ACKNOWLEDGED = 1
    REJECTED = 2


@dataclass(frozen=True, slots=True)
class Figures:
    """The works of the last reading, counted.

    Args:
        works: listed works.
        results: of these, with a record.
        failures: of these, with a failure.
        pending: of these, with neither.
        gone: works with an outcome that the last reading did not list.
        outcomes: results by outcome.
        failures_by_kind: failures by kind.
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses.
        registration_pending: works in the outbox.
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


class Ledger:
    """An open ledger; synchronous, used by one thread only.

    Args:
        path: the file, created if missing; None for a temporary one that vanishes with the connection.
        read_only: look at it while another process may write; it has to exist.

    Raises:
        Misconfigured: the file is no ledger, or a later version's.
        DiskFailed: it cannot be opened or written.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._name = str(path) if path else "the temporary ledger"
        self._offered: dict[int, int] = {}
        where = f"{path.absolute().as_uri()}?mode=ro" if path and read_only else path or ""
        with self._speaking():
            self._db = sqlite3.connect(where, uri=read_only, isolation_level=None, timeout=10, check_same_thread=False)
            try:
                self._check_kind()
                if not read_only:
                    self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _check_kind(self) -> None:
        application, version = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        is_new = not self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if not is_new and application != APPLICATION_ID:
            raise Misconfigured(
                f"{self._name} is a database, but not a ledger of harvester. Name another one with --ledger."
            )
        if version > VERSION:
            raise Misconfigured(
                f"{self._name} was written by a later version of harvester (ledger version {version}, this one knows "
                f"{VERSION}). Update harvester; nothing was changed."
            )

    def _prepare(self) -> None:
        is_new = not self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"cache_size = -{CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        if is_new:
            script = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; {_SCHEMA}"
            self._db.executescript(f"BEGIN IMMEDIATE; {script} COMMIT;")

    def close(self) -> None:
        """Close the file; SQLite folds its write-ahead log back in."""
        with self._speaking():
            self._db.close()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise Misconfigured(
                    f"{self._name} is no ledger of harvester, nor any database. Nothing was changed; name another one "
                    "with --ledger."
                ) from error
            raise DiskFailed(
                f"the ledger {self._name} cannot be used: {error}. What was committed before is safe; "
                "make room or mend the disk, then give the same command again."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._speaking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # What the run as a whole remembers

    def get(self, key: str) -> object:
        """A remembered value, or None."""
        with self._speaking():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def number(self, key: str) -> int:
        """A remembered integer; 0 if there is none."""
        value = self.get(key)
        return value if isinstance(value, int) else 0

    def put(self, **values: str | int | None) -> None:
        """Remember some values in one transaction."""
        with self._transaction() as db:
            _remember(db, values)

    # Readings of the input

    def begin_reading(self) -> int:
        """Start a reading of the input; the invalid lines of the last one are forgotten.

        Returns:
            The number of the reading.
        """
        number = self.number("reading") + 1
        with self._transaction() as db:
            db.execute("DELETE FROM failure WHERE stage = ?", (Stage.INPUT,))
            _remember(db, {"reading": number})
        return number

    def enrol(self, reading: int, works: Sequence[Work], invalid: Sequence[Failure]) -> int:
        """Take in some works and invalid lines of a reading.

        Returns:
            How many of the works this reading had not listed yet; the others are duplicates.
        """
        with self._transaction() as db:
            before = db.total_changes
            db.executemany(
                "INSERT INTO work (doi, origin, listed) VALUES (?, ?, ?) "
                "ON CONFLICT (doi) DO UPDATE SET listed = excluded.listed, origin = excluded.origin "
                "WHERE listed <> excluded.listed",
                ((work.doi, work.origin, reading) for work in works),
            )
            listed = db.total_changes - before
            _add_urls(db, ((work.doi, url) for work in works for url in work.urls))
            _add_failures(db, ((None, failure) for failure in invalid))
        return listed

    def end_reading(self, reading: int) -> int:
        """Finish a reading: works that are due but listed no more are dropped, and grown URLs are to be registered.

        Returns:
            How many works were dropped.
        """
        with self._transaction() as db:
            dropped = db.execute("DELETE FROM work WHERE state = ? AND listed <> ?", (State.DUE, reading)).rowcount
            db.execute(
                "UPDATE registration SET state = ? WHERE state = ? AND EXISTS "
                "(SELECT 1 FROM url WHERE url.work_id = registration.work_id AND NOT url.settled)",
                (Registration.WAITING, Registration.ACKNOWLEDGED),
            )
        return dropped

    # Works

    def due(self, after: int, limit: int) -> list[Due]:
        """The next works to ask for, by key: those with a key above `after`, at most `limit`."""
        with self._speaking():
            rows = self._db.execute(
                "SELECT id, doi, origin FROM work WHERE id > ? AND state = ? ORDER BY id LIMIT ?",
                (after, State.DUE, limit),
            ).fetchall()
        return [Due(*row) for row in rows]

    def has_due(self) -> bool:
        """Whether any work is due."""
        return bool(self.due(0, 1))

    def good_doi(self) -> str | None:
        """A DOI with a complete record, if there is one."""
        with self._speaking():
            row = self._db.execute(
                "SELECT doi FROM work WHERE state = ? AND outcome = 'ok' ORDER BY id LIMIT 1", (State.RESULT,)
            ).fetchone()
        return row[0] if row else None

    def record(
        self, outcomes: Sequence[tuple[Due, Result | Failure]], length: int, *, register: bool, landing_urls: bool
    ) -> None:
        """Write down what became of some works, with the length of the output that holds them: one transaction.

        Args:
            outcomes: one for each work.
            length: committed bytes of the output.
            register: whether results go into the outbox.
            landing_urls: whether the URLs that records give are kept for registration.
        """
        results = [(due, outcome) for due, outcome in outcomes if isinstance(outcome, Result)]
        failures = [(due, outcome) for due, outcome in outcomes if isinstance(outcome, Failure)]
        with self._transaction() as db:
            db.executemany(
                "UPDATE work SET state = ?, outcome = ?, harvested_at = ?, sha256 = ? WHERE id = ?",
                (
                    (State.RESULT, found.outcome, found.harvested_at, found.sha256, due.work_id)
                    for due, found in results
                ),
            )
            db.executemany(
                "UPDATE work SET state = ? WHERE id = ?", ((State.FAILURE, due.work_id) for due, _ in failures)
            )
            _add_failures(db, ((due.work_id, failure) for due, failure in failures))
            if landing_urls:
                _add_urls(db, ((due.doi, url) for due, found in results for url in found.landing_urls))
            if register:
                db.executemany(
                    "INSERT OR IGNORE INTO registration (work_id) VALUES (?)", ((due.work_id,) for due, _ in results)
                )
                _wait_again(db, [due.work_id for due, _ in results])
            _remember(db, {"length": length})

    def retry_failed(self) -> int:
        """Make the failed works of the last reading due again; returns how many."""
        failed = (State.FAILURE, self.number("reading"))
        with self._transaction() as db:
            db.execute(
                "DELETE FROM failure WHERE stage = ? "
                "AND work_id IN (SELECT id FROM work WHERE state = ? AND listed = ?)",
                (Stage.FETCH, *failed),
            )
            return db.execute("UPDATE work SET state = ? WHERE state = ? AND listed = ?", (State.DUE, *failed)).rowcount

    def start_over(self, archive: str | None) -> None:
        """Make every listed work due for a new output; the old output, if any, is to be renamed to `archive`.

        What OPERAS knows of them stays known; works that the last reading did not list are forgotten. The renaming
        itself is done after this, and again by whoever finds `archive` still remembered: a crash in between changes
        nothing.
        """
        with self._transaction() as db:
            db.execute("DELETE FROM work WHERE listed <> ?", (self.number("reading"),))
            db.execute("DELETE FROM failure WHERE stage = ?", (Stage.FETCH,))
            db.execute("UPDATE work SET state = ?, outcome = NULL, harvested_at = NULL, sha256 = NULL", (State.DUE,))
            _remember(db, {"length": 0, "published": 0, "archive": archive, "refetching": 1})

    def failures(self) -> Iterator[Failure]:
        """All failures of the last reading, in the order of the input as far as it is known."""
        with self._speaking():
            rows = self._db.execute(
                "SELECT failure.doi, input, failure.origin, kind, http_status, attempts, message, failed_at, stage "
                "FROM failure LEFT JOIN work ON work.id = work_id "
                "WHERE work_id IS NULL OR work.listed = ? ORDER BY failure.id",
                (self.number("reading"),),
            )
            for doi, text, origin, kind, status, attempts, message, failed_at, stage in rows:
                yield Failure(doi, text, origin, kind, status, attempts, message, failed_at, Stage(stage))

    def figures(self) -> Figures:
        """Count the works of the last reading."""
        reading = self.number("reading")
        with self._speaking():
            states: Counter[State] = Counter()
            outcomes: Counter[str] = Counter()
            for state, outcome, count in self._db.execute(
                "SELECT state, outcome, COUNT(*) FROM work WHERE listed = ? GROUP BY 1, 2", (reading,)
            ):
                states[State(state)] += count
                if state == State.RESULT:
                    outcomes[outcome] += count
            gone = self._db.execute(
                "SELECT COUNT(*) FROM work WHERE listed <> ? AND state <> ?", (reading, State.DUE)
            ).fetchone()[0]
            kinds = dict(
                self._db.execute(
                    "SELECT kind, COUNT(*) FROM failure JOIN work ON work.id = work_id "
                    "WHERE stage = ? AND work.listed = ? GROUP BY 1 ORDER BY 1",
                    (Stage.FETCH, reading),
                ).fetchall()
            )
            registrations = dict(self._db.execute("SELECT state, COUNT(*) FROM registration GROUP BY 1").fetchall())
        return Figures(
            works=states.total(),
            results=states[State.RESULT],
            failures=states[State.FAILURE],
            pending=states[State.DUE],
            gone=gone,
            outcomes=dict(sorted(outcomes.items())),
            failures_by_kind=kinds,
            registered=registrations.get(Registration.ACKNOWLEDGED, 0),
            rejected=registrations.get(Registration.REJECTED, 0),
            registration_pending=registrations.get(Registration.WAITING, 0),
        )

    def done_in(self, other: Path) -> int:
        """How many of the works here have an outcome in another ledger, which is only read."""
        with self._speaking():
            self._db.execute("ATTACH ? AS other", (str(other),))
            try:
                return int(
                    self._db.execute(
                        "SELECT COUNT(*) FROM work JOIN other.work AS done USING (doi) WHERE done.state <> ?",
                        (State.DUE,),
                    ).fetchone()[0]
                )
            finally:
                self._db.execute("DETACH other")

    # The outbox: works that wait to be registered

    def fill_outbox(self, *, harvested_only: bool) -> int:
        """Put listed works into the outbox that were never in it; returns how many.

        Args:
            harvested_only: only those with a result; otherwise all.
        """
        with self._transaction() as db:
            return db.execute(
                "INSERT OR IGNORE INTO registration (work_id) "
                "SELECT id FROM work WHERE listed = ? AND (state = ? OR NOT ?)",
                (self.number("reading"), State.RESULT, harvested_only),
            ).rowcount

    def waiting(self, limit: int) -> list[Entry]:
        """The first entries of the outbox, with all their URLs."""
        with self._speaking():
            rows = self._db.execute(
                "SELECT work_id, doi, origin FROM registration JOIN work ON work.id = work_id "
                "WHERE registration.state = 0 ORDER BY work_id LIMIT ?",
                (limit,),
            ).fetchall()
            return [Entry(work_id, doi, self._offer(work_id), origin) for work_id, doi, origin in rows]

    def _offer(self, work_id: int) -> tuple[str, ...]:
        """The URLs of a work; the last one given out is remembered, for more may come before it is settled."""
        rows = self._db.execute("SELECT id, url FROM url WHERE work_id = ? ORDER BY id", (work_id,)).fetchall()
        self._offered[work_id] = rows[-1][0] if rows else 0
        return tuple(url for _, url in rows)

    def settle(self, acknowledged: Sequence[Entry], rejected: Sequence[tuple[Entry, Failure]]) -> None:
        """Take entries out of the outbox: OPERAS has them, or refuses them for a reason.

        A work that was given another URL after it was handed out by `waiting` stays in.
        """
        with self._transaction() as db:
            settled = [(entry.work_id, Registration.ACKNOWLEDGED) for entry in acknowledged]
            settled += [(entry.work_id, Registration.REJECTED) for entry, _ in rejected]
            db.executemany("UPDATE registration SET state = ?2 WHERE work_id = ?1", settled)
            offered = [(key, self._offered.pop(key, 0)) for key, _ in settled]
            db.executemany("UPDATE url SET settled = 1 WHERE work_id = ? AND id <= ?", offered)
            _wait_again(db, [key for key, _ in settled])
            stale = [(key, Stage.REGISTER) for key, _ in settled]
            db.executemany("DELETE FROM failure WHERE work_id = ? AND stage = ?", stale)
            _add_failures(db, ((entry.work_id, failure) for entry, failure in rejected))

    def prefixes(self) -> set[str]:
        """DOI prefixes that OPERAS has seen from us."""
        with self._speaking():
            return {prefix for (prefix,) in self._db.execute("SELECT prefix FROM prefix")}

    def add_prefix(self, prefix: str) -> None:
        """Remember that OPERAS knows a prefix."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO prefix VALUES (?)", (prefix,))


def _remember(db: sqlite3.Connection, values: dict[str, str | int | None]) -> None:
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def _add_urls(db: sqlite3.Connection, pairs: Iterable[tuple[str, str]]) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO url (work_id, url) SELECT id, ? FROM work WHERE doi = ?",
        ((url, doi) for doi, url in pairs),
    )


def _wait_again(db: sqlite3.Connection, works: Iterable[int]) -> None:
    """Put works back into the outbox that OPERAS acknowledged without all of their URLs."""
    db.executemany(
        "UPDATE registration SET state = ? WHERE work_id = ? AND state = ? "
        "AND EXISTS (SELECT 1 FROM url WHERE url.work_id = registration.work_id AND NOT url.settled)",
        ((Registration.WAITING, work_id, Registration.ACKNOWLEDGED) for work_id in works),
    )


def _add_failures(db: sqlite3.Connection, failures: Iterable[tuple[int | None, Failure]]) -> None:
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
