"""The ledger's file: a SQLite database, opened so that what was committed survives, and used by one thread.

Theory. Three rules keep the ledger true:

1. There is one writing connection, owned by one thread (`harvester.storage.store`). Other processes may read while it
   writes (WAL). SQLite before 3.51.3 has a WAL bug with two writing connections, so this is a rule and not a habit.
2. `synchronous=FULL`: a transaction that has returned survives power loss. Everything that belongs together (results
   and failures, the committed length of the output, rows for registration) is one transaction.
3. Only SQLite opens the file. Closing any other descriptor of it would drop SQLite's own locks. Therefore
   `harvester.storage.lock` keeps runs apart by a lock on a file of its own.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import DiskFailed, InputMissing, Misconfigured
from harvester.storage.lock import refuse_strange_sidecars
from harvester.storage.meta import Meta
from harvester.storage.migrations import APPLICATION_ID, STEPS, VERSION

OLDEST_SQLITE = (3, 37)
"""The first with `STRICT` tables."""


CACHE_KIB = 4 * 1024
"""Pages held in memory, in KiB. A run touches few pages, because works finish nearly in the order of their ids. A
larger cache would only let memory grow with the number of DOIs."""


LOG_BYTES = 64 * 1024 * 1024
"""The write-ahead log is cut back to this size after a transaction that was larger, such as the first reading."""


PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    # macOS: a plain fsync stops at the drive's cache; elsewhere these two change nothing.
    "fullfsync = ON",
    "checkpoint_fullfsync = ON",
    "foreign_keys = ON",
    f"cache_size = -{CACHE_KIB}",
    f"journal_size_limit = {LOG_BYTES}",
)


class WorkState(IntEnum):
    """Where a work stands in this job, or tonight. In a nightly harvest every work that is not asked tonight rests."""

    DUE = 0
    RESULT = 1
    FAILURE = 2
    RESTING = 3


class RegistrationState(IntEnum):
    """Where the registration of a work stands."""

    WAITING = 0
    ACKNOWLEDGED = 1
    REJECTED = 2


class Database:
    """An open ledger file. Only the thread that opened it may use it.

    Args:
        path: the file, created if missing; None for a temporary one that is deleted with the connection.
        read_only: only read the file, while another process may write it. It has to exist.

    Attributes:
        name: of the file, for messages.
        meta: the single values that are remembered in it.

    Raises:
        Misconfigured: the file is no ledger, or one of a later version.
        DiskFailed: it cannot be opened or written.
        RuntimeError: another thread uses it.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise Misconfigured(
                f"this Python has SQLite {sqlite3.sqlite_version}, harvester needs 3.37 or newer. Use another Python."
            )
        self.name = str(path) if path else "the temporary ledger"
        self._thread = threading.get_ident()
        self.meta = Meta(self.reading)
        where = "" if path is None else read_only_uri(path) if read_only else path.absolute().as_uri()
        with self._guarded():
            self._db = sqlite3.connect(where, uri=True, isolation_level=None, timeout=10)
            try:
                self._check_kind(read_only=read_only)
                if not read_only:
                    self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _check_kind(self, *, read_only: bool) -> None:
        application, version = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        is_new = not self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if is_new and read_only:
            raise InputMissing(f"the ledger {self.name} is empty: the run that made it ended before it read its list.")
        if not is_new and application != APPLICATION_ID:
            raise Misconfigured(
                f"{self.name} is a database, but not a ledger of harvester. Name another one with --ledger."
            )
        if version > VERSION:
            raise Misconfigured(
                f"{self.name} was written by a later version of harvester (ledger version {version}, this one knows "
                f"{VERSION}). Update harvester; nothing was changed."
            )

    def _prepare(self) -> None:
        for pragma in PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        known = self._db.execute("PRAGMA user_version").fetchone()[0]
        if known < VERSION:
            # One transaction for tables and version: a crash leaves the old version or the new one, nothing between.
            script = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            self._db.executescript(f"BEGIN IMMEDIATE; {script} {''.join(STEPS[known:])} COMMIT;")

    def close(self) -> None:
        """Close the file; SQLite copies its write-ahead log back into it."""
        with self._guarded():
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries; SQLite's errors become ours."""
        with self._guarded():
            yield self._db

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Refuse every thread but the one that opened the file; turn SQLite's errors into ours."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(f"{self.name} belongs to the thread that opened it")
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise Misconfigured(
                    f"{self.name} is no ledger of harvester, nor any database. Nothing was changed; name another one "
                    "with --ledger."
                ) from error
            raise DiskFailed(
                f"the ledger {self.name} cannot be used: {error}. What was committed before is safe; "
                "make room or mend the disk, then give the same command again."
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, for changes: all of them are committed at the end, or none."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                failpoint.hit("in-transaction")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # after some errors, such as a full disk, SQLite has rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    def copy_from(self, other: Path) -> None:
        """Replace all that is here by a copy of another ledger, which is only read."""
        with self._guarded():
            source = sqlite3.connect(read_only_uri(other), uri=True)
            try:
                source.backup(self._db)
            finally:
                source.close()


def read_only_uri(path: Path) -> str:
    """The URI that opens a ledger for reading without leaving files beside it.

    Without a write-ahead log nobody is writing and the file alone holds everything. Then it is opened as `immutable`,
    so that SQLite makes no log of its own. If there is a log, SQLite has to read it as well, and makes its index anew
    in `-shm`; that is the only file that a reader ever touches.

    Raises:
        Usage: somebody else's file has the name of one of SQLite's.
    """
    refuse_strange_sidecars(path)
    nobody_writes = not path.with_name(path.name + "-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if nobody_writes else ''}"
