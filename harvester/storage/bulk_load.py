"""Load the first list into an empty ledger, at the speed of the disk, in whatever order its DOIs come.

Theory. An index over DOIs in random order is a tree that grows at random places. With a million DOIs each chunk of a
reading touches nearly all pages of the tree, and each commit writes them again. Measured for a million shuffled DOIs:
13 s and 3.3 GB written. So the first reading only appends rows, all in one transaction. The indexes are made at the
end, each by one sort, which SQLite does in files where its cache is too small. That takes 3 s and 0.4 GB, and the same
memory for any number of DOIs. DOIs that are listed twice are removed at the end as well.

The rows of a chunk are inserted as one JSON array, because a single statement releases Python's lock (the GIL) while it
works. So the thread that makes the next chunk is not held up.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

import orjson

from harvester.core.errors import Stopped
from harvester.core.model import Failure, Work
from harvester.storage.failures import add_failures
from harvester.storage.migrations import WORK_INDEXES

STEPS_BETWEEN_CHECKS = 1_000_000
"""Instructions of SQLite's machine between two looks at the stop: some hundredths of a second."""

NEW = """
INSERT INTO work (id, doi, origin, listed, state)
SELECT ? + key, json_extract(value, '$[0]'), json_extract(value, '$[1]'), ?, ? FROM json_each(?)
"""

LISTED_TWICE = "CREATE TEMP TABLE twice AS SELECT doi, MIN(id) AS first FROM work GROUP BY doi HAVING COUNT(*) > 1"

MOVE_URLS = """
UPDATE OR IGNORE url SET work_id = first FROM work JOIN twice USING (doi) WHERE work.id = url.work_id
"""

DROP_LATER = "DELETE FROM work WHERE id IN (SELECT id FROM work JOIN twice USING (doi) WHERE id > first)"


def bulk_load(
    db: sqlite3.Connection,
    reading: int,
    chunks: Iterable[tuple[Sequence[Work], Sequence[Failure]]],
    state: int,
    is_stopped: Callable[[], bool],
) -> int:
    """Load a whole reading into a ledger without works, as part of a transaction.

    Args:
        db: the ledger's connection.
        reading: its number.
        chunks: works (duplicates included) and invalid lines.
        state: of the works.
        is_stopped: whether to break off. Indexing ten million works takes half a minute.

    Returns:
        How many works there are, each counted once.

    Raises:
        Stopped: it was broken off.
    """
    for name in WORK_INDEXES:
        db.execute(f"DROP INDEX {name}")
    loaded = 0
    for works, invalid in chunks:
        origins: dict[str, str] = {}
        for work in works:
            origins.setdefault(work.doi, work.origin)
        # NEW numbers the works in the order of this array, so that their ids need not be asked for.
        db.execute(NEW, (loaded + 1, reading, state, orjson.dumps(list(origins.items())).decode()))
        _add_urls(db, works, dict(zip(origins, count(loaded + 1), strict=False)))
        add_failures(db, ((None, failure) for failure in invalid))
        loaded += len(origins)
    with _breaking_off(db, is_stopped):
        try:
            _index(db)
        except sqlite3.IntegrityError:  # a DOI is listed twice; only such a list pays for finding duplicates
            loaded -= _drop_duplicates(db)
            _index(db)
    return loaded


@contextmanager
def _breaking_off(db: sqlite3.Connection, is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Let a stop break off the statements of a block.

    Raises:
        Stopped: it did.
    """
    db.set_progress_handler(is_stopped, STEPS_BETWEEN_CHECKS)
    try:
        yield
    except sqlite3.OperationalError:
        if is_stopped():
            raise Stopped from None
        raise
    finally:
        db.set_progress_handler(None, 0)


def _index(db: sqlite3.Connection) -> None:
    for statement in WORK_INDEXES.values():
        db.execute(statement)


def _add_urls(db: sqlite3.Connection, works: Iterable[Work], keys: Mapping[str, int]) -> None:
    pairs = ((keys[work.doi], url) for work in works for url in work.urls)
    db.executemany("INSERT OR IGNORE INTO url (work_id, url) VALUES (?, ?)", pairs)


def _drop_duplicates(db: sqlite3.Connection) -> int:
    """Keep the first mention of each DOI, with the URLs of all its mentions; returns how many mentions were dropped."""
    db.execute("CREATE INDEX mention ON work(doi)")
    db.execute(LISTED_TWICE)
    # A URL that the first mention has too is not moved; it is deleted with the later mention (ON DELETE CASCADE).
    db.execute(MOVE_URLS)
    dropped = db.execute(DROP_LATER).rowcount
    db.execute("DROP TABLE twice")
    db.execute("DROP INDEX mention")
    return dropped
