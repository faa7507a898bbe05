"""The daily quota: how many requests a service may get in 24 hours, for all runs on this machine."""

import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harvester.core.clock import Clock
from harvester.core.errors import DiskFailed

BLOCK_SECONDS = 60
"""A block that was deducted is used within this time or given back."""


DAY_MINUTES = 24 * 60


MARGIN_MINUTES = 2
"""How much longer than a day a minute's requests count: a block may be used up to a minute after it was deducted, and
minutes are counted whole. Errs on the side of the service."""


KEPT_MINUTES = 3 * DAY_MINUTES
"""How long the file remembers a minute. Longer than it counts: a clock that is wrong by up to two days, as before the
time server has spoken, must not make it forget for good."""


class DailyQuota:
    """At most `daily` requests in any 24 hours, over all processes of the user that share the file.

    Args:
        path: the SQLite file; made if missing, with its folder.
        daily: requests.
        clock: wall time decides. Where it jumps back, what was spent in the future still counts.
        block: requests deducted at a time.

    Raises:
        DiskFailed: the file cannot be made.
    """

    def __init__(self, path: Path, daily: int, clock: Clock, *, block: int = 20) -> None:
        self.daily = daily
        self._path = path
        self._clock = clock
        self._block = block
        self._held = 0
        self._held_minute = 0
        self._held_until = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFailed(
                f"the folder {path.parent} for the daily budget cannot be made: {error.strerror}. "
                "Nothing was asked; mend it, or choose another with XDG_STATE_HOME."
            ) from error
        self.left = max(0, daily - self._book(0, self._minute())[1])

    def take(self) -> bool:
        """Take one request out of the quota; False if it is used up."""
        if self._held and self._minute() - self._held_minute not in (0, 1):
            # The machine was suspended, while which the monotonic clock stands still, or somebody set the time.
            self.give_back()
        if not self.ready():
            return False
        self._held -= 1
        self.left -= 1
        return True

    def ready(self) -> bool:
        """Have a block to take from, which may mean a visit to the file; False if the quota is used up."""
        if self._held and self._clock.monotonic() > self._held_until:
            self.give_back()
        if not self._held:
            self._held_minute = self._minute()
            self._held_until = self._clock.monotonic() + BLOCK_SECONDS
            self._held, spent = self._book(self._block, self._held_minute)
            self.left = max(0, self.daily - spent) + self._held
        return self._held > 0

    def give_back(self) -> None:
        """Return what is left of the block, at the end of a run or when the block has become too old."""
        if self._held:
            with self._opened() as db:
                db.execute(
                    "UPDATE spent SET requests = MAX(0, requests - ?) WHERE minute = ?", (self._held, self._held_minute)
                )
            self._held = 0

    def free_at(self) -> datetime:
        """When at least one more request may be sent."""
        with self._opened() as db:
            rows = db.execute(
                "SELECT minute FROM spent WHERE requests > 0 AND minute > ? ORDER BY minute LIMIT 1",
                (self._minute() - DAY_MINUTES - MARGIN_MINUTES,),
            ).fetchone()
        oldest = rows[0] if rows else self._minute()
        free = datetime.fromtimestamp((oldest + DAY_MINUTES + MARGIN_MINUTES) * 60, UTC)
        return max(free, self._clock.now() + timedelta(minutes=1))

    def left_within(self, seconds: float) -> int:
        """How many requests may be sent from now until so many seconds from now, by what was spent so far.

        What was spent a day ago is free again by then, bit by bit: a harvest at the same time each night finds the
        budget of the night before still spent when it begins, and free when it needs it.
        """
        counts_since = self._minute() + int(seconds // 60) - DAY_MINUTES - MARGIN_MINUTES
        with self._opened() as db:
            row = db.execute(
                "SELECT COALESCE(SUM(requests), 0) FROM spent WHERE minute > ?", (counts_since,)
            ).fetchone()
        return max(0, self.daily - int(row[0]))

    def _book(self, wanted: int, minute: int) -> tuple[int, int]:
        """Deduct up to `wanted` requests; returns how many, and how many are spent with them."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM spent WHERE minute <= ?", (minute - KEPT_MINUTES,))
            counted = "SELECT COALESCE(SUM(requests), 0) FROM spent WHERE minute > ?"
            spent = int(db.execute(counted, (minute - DAY_MINUTES - MARGIN_MINUTES,)).fetchone()[0])
            granted = max(0, min(wanted, self.daily - spent))
            if granted:
                db.execute(
                    "INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
                    (minute, granted),
                )
            db.execute("COMMIT")
        return granted, spent + granted

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = EXTRA")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS spent (minute INTEGER PRIMARY KEY, requests INTEGER NOT NULL) STRICT"
                )
                yield db
        except sqlite3.Error as error:
            raise DiskFailed(
                f"the daily budget's file {self._path} cannot be used: {error}. Nothing more was asked; mend it, "
                "or delete it if you know what was spent today."
            ) from error

    def _minute(self) -> int:
        return math.floor(self._clock.now().timestamp() / 60)


def quota_path(state_folder: Path, base_url: str) -> Path:
    """The file of a service's quota: one for each base URL, so that a sandbox never spends the real budget."""
    return state_folder / f"budget-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.sqlite"
