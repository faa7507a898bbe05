"""The ledger: what is known of every work, in one SQLite file.

The ledger is the only memory of a run; nothing that matters is in the process alone. `harvester.storage.database` says
how the file is opened and kept true. What waits to be registered is in the same file, see `harvester.storage.outbox`.

A *reading* is one pass over the list. Each work carries the number of the last reading that listed it. This number
tells duplicates from DOIs that were known before, and DOIs that left the list from those still in it, without holding
the list in memory. A reading that was cut off is done again under the next number.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import orjson

from harvester.core.errors import FailureKind
from harvester.core.model import DueWork, Failure, Figures, Outcome, Stage, Work
from harvester.records.result import Finished, Result
from harvester.storage.bulk_load import bulk_load
from harvester.storage.database import Database, RegistrationState, WorkState
from harvester.storage.failures import add_failures
from harvester.storage.outbox import count_held_back, registrations_by_state, requeue
from harvester.storage.output_file import Seal

RECORD = """
UPDATE work SET state = ?, outcome = said.outcome, harvested_at = said.harvested_at, sha256 = said.sha256
FROM (
    SELECT json_extract(value, '$[0]') AS work_id, json_extract(value, '$[1]') AS outcome,
           json_extract(value, '$[2]') AS harvested_at, json_extract(value, '$[3]') AS sha256
    FROM json_each(?)
) AS said WHERE work.id = said.work_id
"""
"""Records many results in one statement. Each statement that starts competes with the event loop for Python's lock
(the GIL)."""


DUE = """
SELECT json_group_array(json_array(id, doi, origin)) FROM (
    SELECT id, doi, origin FROM work
    WHERE id > ? AND state = {state:d} AND listed >= ? AND id NOT IN (SELECT value FROM json_each(?))
    ORDER BY id LIMIT ?
)
"""
"""Fetches many works as one row, because each row competes for that lock as well. The state is part of the text and not
bound, so that SQLite can use the partial index `work_due`."""

UNLISTED = f"""
WHERE state = {WorkState.DUE:d} AND listed < ? AND NOT EXISTS (SELECT 1 FROM registration WHERE work_id = work.id)
"""  # noqa: S608 - a constant
"""Works that are due but not listed by this reading, except those that were ever put into the outbox."""

DROP_UNLISTED = f"DELETE FROM work {UNLISTED}"  # noqa: S608 - both are constants

REST_UNLISTED = f"UPDATE work SET state = {WorkState.RESTING:d} {UNLISTED}"  # noqa: S608 - the same


class Ledger:
    """The works in a ledger's file.

    Args:
        database: the open file.
    """

    def __init__(self, database: Database) -> None:
        self._file, self._meta = database, database.meta

    # Readings of the list

    def begin_reading(self) -> int:
        """Start a reading of the list. Until it is finished, the one before counts.

        Returns:
            The number of the reading.
        """
        number = max(self._meta.reading, self._meta.reading_begun) + 1
        self.drop_broken_reading()
        with self._file.transaction():
            self._meta.reading_begun, self._meta.fingerprint = number, None
        return number

    def bulk_load(
        self,
        reading: int,
        chunks: Iterable[tuple[Sequence[Work], Sequence[Failure]]],
        *,
        state: WorkState = WorkState.DUE,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> int:
        """Load a whole reading into a ledger without works, in one transaction; see `harvester.storage.bulk_load`.

        Args:
            reading: its number.
            chunks: works and invalid lines.
            state: of the works.
            is_stopped: whether to break it off.

        Returns:
            How many works there are; the others are duplicates.

        Raises:
            Stopped: it was broken off, and nothing is loaded.
        """
        with self._file.transaction() as db:
            return bulk_load(db, reading, chunks, state, is_stopped)

    def enrol(
        self, reading: int, works: Sequence[Work], invalid: Sequence[Failure], *, state: WorkState = WorkState.DUE
    ) -> int:
        """Add some works and invalid lines of a reading.

        Args:
            reading: its number.
            works: of these lines.
            invalid: lines that are no DOI.
            state: of works that are new.

        Returns:
            How many of the works this reading had not listed yet; the others are duplicates.
        """
        with self._file.transaction() as db:
            # A second mention in the same reading changes no row, so that changed rows are works listed just now.
            before = db.total_changes
            db.executemany(
                "INSERT INTO work (doi, origin, listed, state) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (doi) DO UPDATE SET listed = excluded.listed, origin = excluded.origin "
                "WHERE listed <> excluded.listed",
                ((work.doi, work.origin, reading, state) for work in works),
            )
            listed = db.total_changes - before
            _add_urls(db, ((work.doi, url) for work in works for url in work.urls))
            add_failures(db, ((None, failure) for failure in invalid))
        return listed

    def drop_broken_reading(self) -> None:
        """Delete the invalid lines of a reading that was cut off. Their ids are above those of the complete one."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM failure WHERE work_id IS NULL AND id > ?", (self._meta.invalid_up_to,))

    def reuse_reading(self, fingerprint: str) -> str | None:
        """What the last reading found (as JSON) if the list has not changed since, else None.

        Args:
            fingerprint: of the list as it is now.
        """
        if self._meta.fingerprint != fingerprint:
            return None
        # As at the end of a reading: records may have given works new URLs since.
        with self._file.transaction() as db:
            requeue(db)
        return self._meta.found

    def end_reading(
        self, reading: int, *, keep: bool = False, found: str | None = None, fingerprint: str | None = None
    ) -> int:
        """Finish a reading: drop works that are due but no longer listed, and put works with new URLs into the outbox.

        Args:
            reading: its number.
            keep: let works that are no longer listed rest instead of dropping them.
            found: what the reading found, as JSON.
            fingerprint: of the list that was read; None if it is not known.

        Returns:
            How many works were dropped or went to rest.
        """
        with self._file.transaction() as db:
            dropped = db.execute(REST_UNLISTED if keep else DROP_UNLISTED, (reading,)).rowcount
            requeue(db)
            # What belongs to no work are the invalid lines and the URLs that were left out. Those of this reading take
            # the place of those of the reading before, which have lower ids.
            db.execute("DELETE FROM failure WHERE work_id IS NULL AND id <= ?", (self._meta.invalid_up_to,))
            last = db.execute("SELECT COALESCE(MAX(id), 0) FROM failure").fetchone()[0]
            self._meta.reading, self._meta.invalid_up_to = reading, last
            self._meta.found, self._meta.fingerprint = found, fingerprint
        return dropped

    def invalid(self) -> int:
        """How many lines of the last reading are no DOI."""
        with self._file.reading() as db:
            return int(db.execute("SELECT COUNT(*) FROM failure WHERE stage = ?", (Stage.INPUT,)).fetchone()[0])

    # Works

    def due(self, after: int, limit: int, state: WorkState = WorkState.DUE, *, without: str = "[]") -> list[DueWork]:
        """The next works to ask for, in the order of ids: those with an id above `after`, at most `limit`.

        Args:
            after: an id.
            limit: how many.
            state: of the works that are asked.
            without: ids of works that are left out, as a JSON list.
        """
        with self._file.reading() as db:
            [rows] = db.execute(DUE.format(state=state), (after, self._meta.reading, without, limit)).fetchone()
            return [DueWork(*row) for row in orjson.loads(rows)]

    def is_empty(self) -> bool:
        """Whether no work is known at all."""
        with self._file.reading() as db:
            return db.execute("SELECT 1 FROM work LIMIT 1").fetchone() is None

    def results(self) -> int:
        """How many works have a record, in this list or not."""
        with self._file.reading() as db:
            count = "SELECT COUNT(*) FROM work INDEXED BY work_figures WHERE state = ?"
            return int(db.execute(count, (WorkState.RESULT,)).fetchone()[0])

    def known_good(self, most: int) -> list[str]:
        """DOIs that had a complete record, tonight or before; the first ones, at most so many."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT doi FROM work WHERE state IN (?, ?) AND outcome = ? ORDER BY id LIMIT ?",
                (WorkState.RESULT, WorkState.RESTING, Outcome.OK, most),
            ).fetchall()
        return [doi for (doi,) in rows]

    def record(
        self,
        finished: Sequence[Finished],
        append: Callable[[], tuple[int, Seal | None]],
        *,
        withheld: Collection[str] = (),
        also: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        """Write down the results and failures of some works and the new length of the output, in one transaction.

        Args:
            finished: works with their results and failures.
            append: puts the lines of these results on disk, and returns the committed bytes of the output with their
                seal, which is None if they are in no file. It is called last, when nothing else can fail.
            withheld: DOIs whose results have no line in the output; they are recorded without a digest.
            also: writes what else belongs into the transaction.
        """
        results = [(due, result) for due, result in finished if isinstance(result, Result)]
        failures = [(due, failure) for due, failure in finished if isinstance(failure, Failure)]
        with self._file.transaction() as db:
            found = [
                (due.work_id, result.outcome, result.harvested_at, None if due.doi in withheld else result.sha256)
                for due, result in results
            ]
            db.execute(RECORD, (WorkState.RESULT, orjson.dumps(found).decode()))
            db.executemany(
                "UPDATE work SET state = ? WHERE id = ?", ((WorkState.FAILURE, due.work_id) for due, _ in failures)
            )
            add_failures(db, ((due.work_id, failure) for due, failure in failures))
            _add_urls(db, ((due.doi, url) for due, result in results for url in result.landing_urls))
            also(db)
            length, seal = append()
            self._meta.length, self._meta.seal = length, seal.as_text() if seal else None

    def start_over(self, archive: str | None, base_url: str) -> None:
        """Make every listed work due for a new output; the old output, if any, is to be renamed to `archive`.

        What OPERAS knows of the works stays known. Works that the last reading did not list are deleted. The caller
        renames the file afterwards. If a crash comes between, `archive` is still set, and the next start renames it.

        Args:
            archive: a free name.
            base_url: of the service that is asked from here on.
        """
        with self._file.transaction() as db:
            db.execute("DELETE FROM work WHERE listed < ?", (self._meta.reading,))
            db.execute("DELETE FROM failure WHERE stage = ?", (Stage.FETCH,))
            db.execute(
                "UPDATE work SET state = ?, outcome = NULL, harvested_at = NULL, sha256 = NULL", (WorkState.DUE,)
            )
            self._meta.length, self._meta.seal = 0, None
            self._meta.published, self._meta.refetching, self._meta.grows_from = False, True, None
            self._meta.archive, self._meta.source = archive, base_url

    def mark_published(self) -> None:
        """Remember that the output is complete under its name, and that no refetch is under way."""
        with self._file.transaction():
            self._meta.published, self._meta.refetching, self._meta.grows_from = True, False, None

    def begin_output(self, output: str, works: Iterable[int], *, also: Callable[[], None] = lambda: None) -> None:
        """Make some works due for a new output, and let all others rest, in one transaction.

        Args:
            output: name of the output.
            works: ids of the works to make due.
            also: what else is remembered in the same transaction.
        """
        with self._file.transaction() as db:
            db.execute("DELETE FROM failure WHERE stage = ?", (Stage.FETCH,))
            db.execute("UPDATE work SET state = :resting WHERE state <> :resting", {"resting": WorkState.RESTING})
            db.executemany("UPDATE work SET state = ? WHERE id = ?", ((WorkState.DUE, work) for work in works))
            self._meta.output = output
            self._meta.length, self._meta.seal = 0, None
            self._meta.published, self._meta.made, self._meta.grows_from = False, False, None
            self._meta.archive, self._meta.refetching = None, False
            also()

    def make_due(self, works: Iterable[int], *, also: Callable[[], None] = lambda: None) -> None:
        """Make resting works due for the output that there is, and remember what else there is, in one transaction."""
        with self._file.transaction() as db:
            rows = ((WorkState.DUE, work, WorkState.RESTING) for work in works)
            db.executemany("UPDATE work SET state = ? WHERE id = ? AND state = ?", rows)
            also()

    def failures(self, *, with_urls: bool = False) -> Iterator[Failure]:
        """All failures of the last reading, in the order in which they were written down.

        Args:
            with_urls: whether URLs that were left out are among them, where DOIs are registered. No DOI fails for one.
        """
        silent = "" if with_urls and self._meta.operas is not None else FailureKind.URL_LEFT_OUT
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT failure.doi, input, failure.origin, kind, http_status, attempts, message, failed_at, stage "
                "FROM failure LEFT JOIN work ON work.id = work_id "
                "WHERE (work_id IS NULL OR work.listed >= ?) AND kind <> ? ORDER BY failure.id",
                (self._meta.reading, silent),
            )
            for doi, text, origin, kind, status, attempts, message, failed_at, stage in rows:
                yield Failure(doi, text, origin, kind, status, attempts, message, failed_at, Stage(stage))

    def figures(self) -> Figures:
        """Count the works of the last reading. Only indexes are scanned: ten million works take a few seconds."""
        reading = self._meta.reading
        states: Counter[WorkState] = Counter()
        outcomes: Counter[str] = Counter()
        gone = 0
        with self._file.reading() as db:
            for listed, state, outcome, count in db.execute(
                "SELECT listed, state, outcome, COUNT(*) FROM work INDEXED BY work_figures GROUP BY 1, 2, 3"
            ):
                if listed < reading:
                    gone += count if state in (WorkState.RESULT, WorkState.FAILURE) else 0
                    continue
                states[WorkState(state)] += count
                if state == WorkState.RESULT:
                    outcomes[outcome] += count
            kinds = dict(
                db.execute(
                    "SELECT kind, COUNT(*) FROM failure JOIN work ON work.id = work_id "
                    "WHERE stage = ? AND work.listed >= ? GROUP BY 1 ORDER BY 1",
                    (Stage.FETCH, reading),
                ).fetchall()
            )
            registrations = registrations_by_state(db, reading)
            held_back = count_held_back(db, reading)
            left_out = db.execute(
                "SELECT COUNT(*) FROM failure WHERE work_id IS NULL AND kind = ?", (FailureKind.URL_LEFT_OUT,)
            ).fetchone()[0]
        return Figures(
            works=states.total(),
            results=states[WorkState.RESULT],
            failures=states[WorkState.FAILURE],
            pending=states[WorkState.DUE],
            gone=gone,
            outcomes=dict(sorted(outcomes.items())),
            failures_by_kind=kinds,
            registered=registrations[RegistrationState.ACKNOWLEDGED],
            rejected=registrations[RegistrationState.REJECTED],
            registration_pending=registrations[RegistrationState.WAITING],
            resting=states[WorkState.RESTING],
            held_back=0 if self._meta.operas is None else held_back,
            urls_left_out=0 if self._meta.operas is None else left_out,
        )

    def done_in(self, other: Path, *, failed_too: bool) -> int:
        """How many of the works here have a record in another ledger, which is only read.

        Args:
            other: path of the other ledger.
            failed_too: also count works that have a failure there.
        """
        done = (WorkState.RESULT, WorkState.FAILURE if failed_too else WorkState.RESULT)
        # Opened first: if it is no usable ledger, this says so under its own name.
        with closing(Database(other, read_only=True)) as known, self._file.reading() as db:
            db.execute("ATTACH ? AS other", (known.uri,))
            try:
                return int(
                    db.execute(
                        "SELECT COUNT(*) FROM work JOIN other.work AS done USING (doi) WHERE done.state IN (?, ?)",
                        done,
                    ).fetchone()[0]
                )
            finally:
                db.execute("DETACH other")


def _add_urls(db: sqlite3.Connection, pairs: Iterable[tuple[str, str]]) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO url (work_id, url) SELECT id, ? FROM work WHERE doi = ?",
        ((url, doi) for doi, url in pairs),
    )
