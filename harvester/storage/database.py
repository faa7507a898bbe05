"""The ledger's file: a SQLite database, opened so that what was committed survives, and used by one thread.

Theory. Three rules keep the ledger true:

1. There is one writing connection, owned by one thread (`harvester.storage.store`). Other processes may read while it
   writes (WAL). SQLite before 3.51.3 has a WAL bug with two writing connections, so this is a rule and not a habit.
2. `synchronous=FULL`: a transaction that has returned survives power loss. Everything that belongs together (results
   and failures, the committed length of the output, rows for registration) is one transaction.
3. Only SQLite opens the file. Closing any other descriptor of it would drop SQLite's own locks. Therefore
   `harvester.storage.lock` keeps runs apart by a lock on a file of its own.

The file is known by its identity and not by its name: each transaction begins by looking whether the name still stands
for the open file, and whether the lock is still held. At that point nobody else can write, and whoever began beside us
has another lock.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import IntEnum
from functools import partial
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import (
    DiskFailed,
    InputMissing,
    LedgerDamaged,
    LedgerLost,
    LockHeld,
    Misconfigured,
    PromiseBroken,
)
from harvester.core.ownership import identity_at
from harvester.core.tasks import unless_stopped
from harvester.core.text.sanitize import printable
from harvester.storage.lock import Lock, refuse_strange_sidecars, shared_lock
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


NO_TEXT = "Could not decode to UTF-8"
"""How the error of Python's module begins where a text in the file is none; SQLite itself has no error for that."""


TO_RECOVER = (
    "If it is a ledger that was damaged, put back a backup of it, or make a new one of what was harvested with "
    "`harvester recover OUTPUT`, which first shows what it would do and deletes nothing."
)
"""The way back from a ledger that cannot be read any more."""


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
        lock: of the ledger, held; None where nobody else can write it.
        is_stopped: whether to break off opening it, where that takes long.

    Attributes:
        name: of the file, for messages.
        meta: the single values that are remembered in it.

    Raises:
        Misconfigured: the file is no ledger, or one of a later version.
        PromiseBroken: the write-ahead log beside it is that of another file.
        DiskFailed: it cannot be opened or written.
        RuntimeError: another thread uses it.
        Stopped: opening it was broken off.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        lock: Lock | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise Misconfigured(
                f"this Python has SQLite {sqlite3.sqlite_version}, harvester needs 3.37 or newer. Use another Python."
            )
        self.name = str(path) if path else "the temporary ledger"
        self._path, self._lock = path, lock
        self._thread = threading.get_ident()
        self.meta = Meta(self.reading)
        self.uri = "" if path is None else path.absolute().as_uri()
        self._as_opened: os.stat_result | None = None
        with self._guarded():
            if path and read_only:
                self._open_to_read(path)
            else:
                self._open(path, is_stopped)
            try:
                self._check_kind(read_only=read_only)
                if not read_only:
                    self.prepare()
            except BaseException:
                self._db.close()
                raise
        self._identity = identity_at(path) if path else None

    def _open(self, path: Path | None, is_stopped: Callable[[], bool]) -> None:
        if path and _has_log(path):
            _refuse_foreign_log(path)
            # On a thread of its own, because it takes seconds for millions of works.
            unless_stopped(partial(self._refuse_unfit_log, path), is_stopped)
        self._db = sqlite3.connect(self.uri, uri=True, isolation_level=None, timeout=10)

    def _refuse_unfit_log(self, path: Path) -> None:
        """Look through a ledger with the log that a killed run left, before SQLite joins the two for good.

        A connection that only reads never does that. So whoever put back a ledger can still remove the log.

        Raises:
            LedgerDamaged: they do not fit together.
        """
        with closing(sqlite3.connect(f"{self.uri}?mode=ro", uri=True, timeout=10)) as db:
            try:
                [found] = db.execute("PRAGMA quick_check(1)").fetchone()
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                    raise
                found = str(error)
        if found != "ok":
            log = _log_of(path)
            raise LedgerDamaged(
                f"the ledger {self.name} and its log do not fit together: {printable(found, 99)}. Nothing was changed. "
                f"If you put the ledger back from a backup, remove {log} and {path.name}-shm, then give the "
                f"same command again. {TO_RECOVER}"
            )

    def _open_to_read(self, path: Path) -> None:
        """Open the file so that nothing is written to it, and so that no file is left beside it.

        If there is a write-ahead log, SQLite reads it as well. If there is none, a run may begin at any time. SQLite
        then makes a log of its own, which keeps the run from changing what is being read, and removes it at the end.
        Where it may not make one, as on a read-only medium, the file alone is read. There a run that begins meanwhile,
        under another user, can only be noticed afterwards (`require_unchanged`).
        """
        refuse_strange_sidecars(path)
        if _has_log(path):
            with suppress(LockHeld), shared_lock(path):  # a run at work has a log, which is its own
                _refuse_foreign_log(path)
        if _log_of(path).exists():
            self._connect_to_read(f"{self.uri}?mode=ro")
            return
        try:
            self._connect_to_read(f"{self.uri}?mode=rw")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            before = path.stat() if path.exists() else None
            self._connect_to_read(f"{path.absolute().as_uri()}?mode=ro&immutable=1")
            self._as_opened = before

    def _connect_to_read(self, uri: str) -> None:
        self.uri, self._db = uri, sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
        try:
            self._db.execute("PRAGMA query_only = ON")
            self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
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

    def prepare(self) -> None:
        """Set up the connection, and bring the tables up to this version. A copied ledger needs it once more."""
        for pragma in PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        known = self._db.execute("PRAGMA user_version").fetchone()[0]
        if known < VERSION:
            # One transaction for tables and version: a crash leaves the old version or the new one, nothing between.
            script = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            self._db.executescript(f"BEGIN IMMEDIATE; {script} {''.join(STEPS[known:])} COMMIT;")

    def is_in_place(self) -> bool:
        """Whether the name of the file still stands for the open file."""
        return self._path is None or identity_at(self._path) == self._identity

    def require_in_place(self) -> None:
        """Make sure that the open file still has its name, and its lock as well, before anything more is written.

        Raises:
            LedgerLost: it was deleted or replaced.
        """
        if self._lock:
            self._lock.require()
        if not self.is_in_place():
            raise LedgerLost(
                f"the ledger {self.name} was deleted, moved or replaced while this run went on. Nothing more was "
                "written. Put it back, then give the same command again. If it is lost, `harvester recover OUTPUT` "
                "makes a new one of what was harvested."
            )

    def require_unchanged(self) -> None:
        """Make sure that no run changed the file while it was read without a log of its own.

        Raises:
            LockHeld: one did, so that what was read is worth nothing.
        """
        before = self._as_opened
        if before is None or self._path is None:
            return
        now = self._path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            raise LockHeld(f"a run began to write {self.name} while it was read. Give the same command again.")

    def require_sound(self) -> None:
        """Let SQLite look through the whole file. It takes seconds for a million works.

        Raises:
            LedgerDamaged: something is wrong in it.
        """
        with self._guarded():
            [found] = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise _damaged(self.name, found)

    def close(self) -> None:
        """Close the file; SQLite copies its write-ahead log back into it."""
        with self._guarded():
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries and for making sense of what they give; errors of both become ours.

        A single damaged bit may make a state that does not exist, or a text that is no JSON.

        Raises:
            LedgerDamaged: what is in the ledger cannot be read, or makes no sense.
        """
        with self._guarded():
            try:
                yield self._db
            except (ValueError, TypeError, LookupError) as error:
                raise _damaged(self.name, f"what it says makes no sense ({printable(str(error), 120)})") from error

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Refuse every thread but the one that opened the file; turn SQLite's errors into ours."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(f"{self.name} belongs to the thread that opened it")
        try:
            yield
        except sqlite3.Error as error:
            self.require_unchanged()
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_NOTADB:
                raise Misconfigured(
                    f"{self.name} is no ledger of harvester, nor any database. Nothing was changed; name another one "
                    f"with --ledger. {TO_RECOVER}"
                ) from error
            # SQLITE_ERROR: our queries are sound, so that the tables are not as we made them.
            if (code or 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR) or str(error).startswith(NO_TEXT):
                raise _damaged(self.name, printable(str(error), 120)) from error
            raise DiskFailed(
                f"the ledger {self.name} cannot be used: {error}. What was committed before is safe; "
                "make room or mend the disk, then give the same command again."
            ) from error
        except UnicodeDecodeError as error:  # of SQLite's message about a name in the file that is no text
            raise _damaged(self.name, "a name in it is no text") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, for changes: all of them are committed at the end, or none."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self.require_in_place()
                yield self._db
                failpoint.hit("in-transaction")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # after some errors, such as a full disk, SQLite has rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    def copy_from(self, other: Path) -> None:
        """Replace all that is here by a copy of another ledger, which is only read."""
        with closing(Database(other, read_only=True)) as source, source.reading() as pages, self._guarded():
            pages.backup(self._db)
            source.require_unchanged()

    def save_as(self, path: Path) -> None:
        """Write all that is here into a new file. It is not synced yet."""
        with self._guarded():
            self._db.execute("VACUUM INTO ?", (str(path),))


def _log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a database."""
    return path.with_name(path.name + "-wal")


def _has_log(path: Path) -> bool:
    """Whether a database has a log with something in it. A log without a database is worth nothing, as SQLite knows."""
    log = _log_of(path)
    return path.exists() and log.exists() and log.stat().st_size > 0


def _refuse_foreign_log(path: Path) -> None:
    """Refuse a write-ahead log that was left by another file: SQLite would play it into this one and destroy it.

    A database has a log only while it says in its header that it has one: the versions in bytes 18 and 19 are 2 then
    (https://www.sqlite.org/fileformat2.html, section 1.3.3). A backup that SQLite made by `VACUUM INTO` says 1. So if
    there is a log beside it, that is the log of the ledger in whose place it was put.

    Raises:
        PromiseBroken: the log is that of another file.
    """
    log = _log_of(path)
    with path.open("rb") as file:
        header = file.read(20)
    if header[18:] == b"\x01\x01":
        raise PromiseBroken(
            f"{log} was left by another ledger than {path}, in whose place this one was put. Nothing was changed. "
            f"Remove it and {path.name}-shm, then give the same command again."
        )


def _damaged(name: str, what: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"the ledger {name} cannot be used: {what}. Nothing more was written. Give the same command again, in case the "
        f"disk only failed to read it. {TO_RECOVER}"
    )
