"""The book of a daily budget: a small SQLite file for all runs of a user on this machine.

Theory. A row says how many requests were spent in a minute, by the wall clock of then. A request counts for a day from
its minute on. But clocks are wrong at times, and what they stamped has to be understood by a clock that shows another
time. Which of the two is right cannot be known.

1. A stamp up to a day in the future counts as it stands: the clock was set back, and it may be set forward again.
2. A stamp that lies further in the future is noted, with the minute in which that was first seen. It counts for a day
   from *that* minute on. So what a run spent with the clock a year ahead is missing for a day, and not for a year.
3. Notes hold as long as the clock goes on by itself. When it was set, or the machine was started anew, they are dropped
   and made again. So if it was the second clock that was wrong, the stamps count as they stand as soon as that is
   mended. Whether the clock was set is told by the uptime, which nobody can set.

A stamp with a note is deleted when its day is over. All others are deleted when there are more of them than a week has
minutes, and not by their age, since a clock that is wrong must not delete what still counts.

Every visit is made on a thread, and none is waited for longer than a moment once the run is to stop: another program
may hold the file, or the disk may hang.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from harvester.core.clock import boot_id, uptime_ns
from harvester.core.errors import DiskFailed, Stopped
from harvester.core.limits import ServiceLimits
from harvester.core.stop import Stop
from harvester.core.tasks import until_stopped
from harvester.core.threads import AbandonableThread
from harvester.politeness.quota import COUNTS_MINUTES, DAY_MINUTES, MARGIN_MINUTES, Grant
from harvester.politeness.state import file_by_spelling, make_folder, service_file, state_folder

T = TypeVar("T")

AHEAD_MINUTES = DAY_MINUTES - MARGIN_MINUTES
"""How far in the future a stamp counts as it stands: then a clock that was wrong costs at most two days."""

MINUTE_NS = 60 * 10**9

KEPT_ROWS = 7 * DAY_MINUTES
"""How many minutes the file remembers."""

BUSY_SECONDS = 0.1
"""How long SQLite itself waits for somebody who holds the file; between two such waits the stop is looked at."""

TRIES = 300
"""How often in all: for half a minute."""

LAST_TRIES = 5
"""How often once the run is to stop."""

LAST_SECONDS = 0.8
"""How long a visit is waited for once the run is to stop; it may hang in the disk."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS spent (minute INTEGER PRIMARY KEY, requests INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS ahead (minute INTEGER PRIMARY KEY, seen INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS clock (boot BLOB PRIMARY KEY, started INTEGER NOT NULL) STRICT",
)
"""Minutes since 1970. `ahead` has the notes: stamps far in the future, and when that was first seen. `clock` says when
the machine was started, by the wall clock: that changes if the clock is set."""

COUNTED = """
SELECT CASE
    WHEN :noted AND seen IS NOT NULL THEN seen
    WHEN minute > :now + :ahead THEN :now
    ELSE minute
END AS since, requests
FROM spent LEFT JOIN ahead USING (minute) WHERE requests > 0 AND minute > MIN(:now, :from)
"""
"""The requests that may count, and from which minute on they count for a day."""

_thread = AbandonableThread()


class SqliteBook:
    """A `harvester.politeness.quota.QuotaBook` in a file.

    Args:
        path: the file; made by the first deduction if it is missing, with its folder.
        daily: requests in any 24 hours.
        before: the file of an earlier release; what it counts is moved to this one.
        stop: once it is set a visit is given up after a moment.
        uptime_ns: nanoseconds since the machine was started.
        boot: which start of the machine it is.
    """

    def __init__(
        self,
        path: Path,
        daily: int,
        *,
        before: Path | None = None,
        stop: Stop | None = None,
        uptime_ns: Callable[[], int] = uptime_ns,
        boot: Callable[[], bytes] = boot_id,
    ) -> None:
        self.daily = daily
        self._path, self._before = path, before if before != path else None
        self._stop = stop or Stop()
        self._uptime_ns, self._boot = uptime_ns, boot()

    async def deduct(self, wanted: int, minute: int) -> Grant:
        """Deduct up to `wanted` requests; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be made, read or written.
            Stopped: the run is to stop, and the file does not answer.
        """

        def work(db: sqlite3.Connection) -> Grant:
            self._note(db, minute)
            left = max(0, self.daily - sum(requests for _, requests in self._counted(db, minute, minute)))
            granted = min(wanted, left)
            if granted:
                _spend(db, minute, granted)
            return Grant(granted, left - granted)

        return await self._visit(work, writes=True)

    async def give_back(self, unused: int, minute: int) -> None:
        """Return requests that were not sent; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be written.
            Stopped: the run is to stop, and the file does not answer.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE spent SET requests = MAX(0, requests - ?) WHERE minute = ?", (unused, minute))

        await self._visit(work, writes=True)

    async def left(self, minute: int, at: int) -> int:
        """How many requests may be sent at a later minute; see `QuotaBook`. To look makes no file.

        Raises:
            DiskFailed: the file cannot be read.
            Stopped: the run is to stop, and the file does not answer.
        """
        if not self._path.exists() and not self._has_before():
            return self.daily

        def work(db: sqlite3.Connection) -> int:
            return max(0, self.daily - sum(requests for _, requests in self._counted(db, minute, at)))

        return await self._visit(work)

    async def free_at(self, minute: int) -> int:
        """From which minute on one request more may be sent; see `QuotaBook`.

        Raises:
            DiskFailed: the file cannot be read.
            Stopped: the run is to stop, and the file does not answer.
        """

        def work(db: sqlite3.Connection) -> int:
            rows = sorted(self._counted(db, minute, minute))
            over = sum(requests for _, requests in rows) - self.daily
            freed = accumulate(requests for _, requests in rows)
            ends = (since + COUNTS_MINUTES for (since, _), gone in zip(rows, freed, strict=True) if gone > over)
            return next(ends, minute)

        return await self._visit(work)

    def _counted(self, db: sqlite3.Connection, now: int, at: int) -> list[tuple[int, int]]:
        """Since which minute so many requests count, for all that count at a later minute."""
        values = {"now": now, "ahead": AHEAD_MINUTES, "from": at - COUNTS_MINUTES, "noted": self._notes_hold(db, now)}
        counted = f"SELECT since, requests FROM ({COUNTED}) WHERE since > :from"  # noqa: S608 - no value is put into it
        return [(int(since), int(requests)) for since, requests in db.execute(counted, values)]

    def _notes_hold(self, db: sqlite3.Connection, now: int) -> bool:
        """Whether the clock went on by itself since the notes were made."""
        row = db.execute("SELECT started FROM clock WHERE boot = ?", (self._boot,)).fetchone()
        return row is not None and abs(int(row[0]) - self._started(now)) <= MARGIN_MINUTES

    def _started(self, now: int) -> int:
        """The minute in which the machine was started, by the wall clock as it is set now."""
        return now - self._uptime_ns() // MINUTE_NS

    def _note(self, db: sqlite3.Connection, now: int) -> None:
        """Note what is stamped far in the future, and forget what need not be known any more."""
        if not self._notes_hold(db, now):
            db.execute("DELETE FROM ahead")
            db.execute("DELETE FROM clock")
            db.execute("INSERT INTO clock VALUES (?, ?)", (self._boot, self._started(now)))
        values = {"now": now, "ahead": AHEAD_MINUTES, "counts": COUNTS_MINUTES, "rows": KEPT_ROWS}
        for statement in (
            "INSERT OR IGNORE INTO ahead SELECT minute, :now FROM spent WHERE minute > :now + :ahead",
            "DELETE FROM spent WHERE minute IN (SELECT minute FROM ahead WHERE seen <= :now - :counts)",
            "DELETE FROM ahead WHERE seen <= :now - :counts",
            "DELETE FROM spent WHERE minute <= (SELECT minute FROM spent ORDER BY minute DESC LIMIT 1 OFFSET :rows)",
        ):
            db.execute(statement, values)

    async def _visit(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        async def on_thread() -> tuple[T]:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(_thread, self._patiently, work, writes),)

        ended = await until_stopped(on_thread(), self._stop, LAST_SECONDS)
        if ended is None:
            raise Stopped
        return ended[0]

    def _patiently(self, work: Callable[[sqlite3.Connection], T], writes: bool) -> T:
        """Visit the file, on a thread; again if somebody else holds it, for a while."""
        make_folder(self._path.parent)
        left = TRIES
        while True:
            try:
                with self._opened(writes=writes) as db:
                    return work(db)
            except sqlite3.Error as error:
                left = min(left, LAST_TRIES if self._stop.requested else TRIES) - 1
                if _is_busy(error) and left > 0:
                    continue
                if _is_busy(error) and self._stop.requested:
                    raise Stopped from error
                raise self._failed(error) from error

    @contextmanager
    def _opened(self, *, writes: bool) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = EXTRA")
            if self._has_before():
                db.execute("ATTACH ? AS before", (str(self._before),))
            db.execute("BEGIN IMMEDIATE" if writes or self._has_before() else "BEGIN")
            for table in TABLES:
                db.execute(table)
            if self._has_before():
                _take_over(db)
            yield db
            db.execute("COMMIT")

    def _has_before(self) -> bool:
        return self._before is not None and self._before.exists()

    def _failed(self, error: sqlite3.Error) -> DiskFailed:
        files = f"{self._path} and {self._before}" if self._has_before() else str(self._path)
        if _is_busy(error):
            return DiskFailed(
                f"another program holds the daily budget's file {files} ({error}). Nothing more was asked; end that "
                "program, or mend it, and give the same command again."
            )
        return DiskFailed(
            f"the daily budget's file {files} cannot be used: {error}. Nothing more was asked; mend it, "
            "or delete it if you know what was spent today."
        )


def _spend(db: sqlite3.Connection, minute: int, requests: int) -> None:
    insert = "INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests"
    db.execute(insert, (minute, requests))
    db.execute("DELETE FROM ahead WHERE minute = ?", (minute,))  # what is spent now was not stamped in the future


def _take_over(db: sqlite3.Connection) -> None:
    """Move what an earlier release spent. SQLite commits to both files or to none."""
    for minute, requests in db.execute("SELECT minute, requests FROM before.spent").fetchall():
        _spend(db, minute, requests)
    db.execute("DELETE FROM before.spent")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def book_of(limits: ServiceLimits, state: Path | None, stop: Stop | None = None) -> SqliteBook | None:
    """The book of a service on this machine; None if it has no daily budget.

    Args:
        limits: of the service.
        state: the folder; None for the user's state directory.
        stop: see `SqliteBook`.

    Raises:
        Misconfigured: there is no such directory.
    """
    if not limits.daily_budget:
        return None
    folder = state_folder(state)
    before = file_by_spelling(folder, "budget", limits.base_url, ".sqlite")
    return SqliteBook(quota_path(folder, limits.base_url), limits.daily_budget, before=before, stop=stop)


def quota_path(folder: Path, base_url: str) -> Path:
    """The file of a service's daily budget: one for each address, so that a sandbox never spends the real budget."""
    return service_file(folder, "budget", base_url, ".sqlite")
