"""What a night learns and remembers: how each record differs from the one before, and how well the choice was made.

Kept in the ledger, in the transaction that commits the records, so that a crash forgets neither more nor less than the
outcomes themselves. One thread uses it: the store's.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from harvester.change import added, content_of, differs, merged
from harvester.database import Database, remember
from harvester.outcome import Due, Failure, Result
from harvester.revisit import (
    Candidate,
    Limits,
    Night,
    Rates,
    Score,
    Selection,
    State,
    earliest,
    gained,
    history_of,
    is_worthless,
    lesson,
    score,
    tonight,
)
from harvester.visits import DAY_SECONDS, Visit, Visits, note

NIGHTS_JUDGED = 7
"""Nights whose expectation is compared with what they found."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a DOI is asked when.

    Args:
        candidate: what is known of it.
        earliest: from when on it may be asked again, in days since 1970.
        score: its rank, part by part; None without a record.
    """

    candidate: Candidate
    earliest: float
    score: Score | None


class Nightbook:
    """The memory of nightly harvests in a ledger.

    Args:
        file: the open ledger file.
        limits: how often a work may be asked.
    """

    def __init__(self, file: Database, limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._visits = Visits(file)
        self._rates = Rates.of_numbers(_numbers(file.get("rates")))
        self._found = file.number("night_found")
        self.changed = self.truncated = 0
        self.elapsed_ms: list[int] = []

    def choose(self, budget: int, now: datetime) -> Selection:
        """The works to ask tonight, and why."""
        trusted = not is_worthless(self.nights())
        return tonight(self._visits.candidates(), budget, _days(now), self._rates, self._limits, trusted=trusted)

    def explained(self, doi: str, now: datetime) -> Explanation | None:
        """What is known of a DOI, and its score; None if it is not listed."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT id FROM work WHERE doi = ? AND listed >= ?", (doi, self._file.number("reading"))
            ).fetchone()
        if row is None:
            return None
        candidate = self._visits.known([row[0]]).get(row[0], Candidate(row[0]))
        return Explanation(candidate, earliest(candidate, self._limits), score(candidate, self._rates, _days(now)))

    def nights(self) -> list[Night]:
        """What the last nights were expected to find, and found."""
        known = self._file.get("nights")
        return [Night(*night) for night in orjson.loads(known)] if isinstance(known, str) else []

    def covered(self) -> int:
        """Listed works that were harvested at least once."""
        with self._file.reading() as db:
            return int(
                db.execute(
                    "SELECT COUNT(*) FROM visit JOIN work ON work.id = work_id "
                    "WHERE good_at IS NOT NULL AND listed >= ?",
                    (self._file.number("reading"),),
                ).fetchone()[0]
            )

    def begin(self, selection: Selection) -> None:
        """A night begins that is expected to find something."""
        self._found = 0
        self._file.put(night_expected=orjson.dumps(selection.expected).decode(), night_found=0)

    def end(self) -> Night:
        """The night is over: what it found is held against what was expected, and older lessons fade."""
        expected = self._file.get("night_expected")
        night = Night(float(expected) if isinstance(expected, str) else 0.0, self._found)
        self._rates.end_night()
        nights = [*self.nights(), night][-NIGHTS_JUDGED:]
        self._file.put(nights=orjson.dumps([[*each] for each in nights]).decode(), rates=self._as_text(), night=0)
        return night

    def compared(
        self, outcomes: Sequence[tuple[Due, Result | Failure]]
    ) -> tuple[list[tuple[Due, Result | Failure]], list[Visit]]:
        """Outcomes that say what changed, and the visits to be written down with them."""
        before = self._visits.known([due.work_id for due, _ in outcomes])
        said: list[tuple[Due, Result | Failure]] = []
        visits = []
        for due, outcome in outcomes:
            if isinstance(outcome, Failure):
                said.append((due, outcome))
                visits.append(Visit(due.work_id, _seconds(outcome.failed_at), State.FAILED))
            else:
                result, visit = self._of_result(due, outcome, before.get(due.work_id))
                said.append((due, result))
                visits.append(visit)
        return said, visits

    def note(self, db: sqlite3.Connection, visits: Sequence[Visit]) -> None:
        """Write visits and lessons down, in a transaction."""
        note(db, visits)
        remember(db, {"rates": self._as_text(), "night_found": self._found})

    def _of_result(self, due: Due, result: Result, before: Candidate | None) -> tuple[Result, Visit]:
        record = orjson.loads(result.paperbuzz)
        at = _seconds(result.harvested_at)
        content, history = content_of(record), history_of(record, int(at / DAY_SECONDS))
        known = self._visits.contents([due.work_id]).get(due.work_id) if before else None
        if known is not None:
            result = replace(result, changed=differs(known, content), added=added(known.counts, content.counts))
            content = merged(known, content)
        if before is not None and (taught := lesson(before, history, at / DAY_SECONDS)):
            self._rates.learn(*taught)
            self._found += gained(before.history, history)
        self.changed += result.changed is True
        self.truncated += result.truncated is True
        self.elapsed_ms.append(result.elapsed_ms)
        return result, Visit(due.work_id, at, State(result.outcome), content, history)

    def _as_text(self) -> str:
        return orjson.dumps(self._rates.numbers()).decode()


def _numbers(text: object) -> list[float]:
    return orjson.loads(text) if isinstance(text, str) else []


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def _days(now: datetime) -> float:
    return now.timestamp() / DAY_SECONDS
