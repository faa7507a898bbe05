"""What a night learns and remembers: how each record differs from the one before, and how well the choice was made.

Kept in the ledger, in the transaction that commits the records, so that a crash forgets neither more nor less than the
outcomes themselves. One thread uses it: the store's.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from harvester.core.clock import DAY_SECONDS
from harvester.core.model import DueWork, Finished, Result
from harvester.nightly.cohorts import Rates, gained
from harvester.nightly.revisit import (
    Candidate,
    Intervals,
    NightForecast,
    Score,
    Selection,
    VisitState,
    earliest,
    is_worthless,
    lesson,
    score,
    tonight,
)
from harvester.nightly.visits import Visit, Visits, note
from harvester.records.changes import Content, added, content_of, differs, merged
from harvester.records.events import history_of
from harvester.storage.database import Database
from harvester.storage.hooks import CommitHook

NIGHTS_JUDGED = 7
"""Nights whose expectation is compared with what they found, and whose pace is the usual one."""


class NightPace(NamedTuple):
    """How a night went, for those that follow to be compared with.

    Args:
        records: received.
        truncated: of these, at the cap of events, or so near that it cannot be told.
        median_seconds: of the answers; None without one.
    """

    records: int
    truncated: int
    median_seconds: float | None


@dataclass(slots=True)
class NightFigures:
    """What the open night found so far; the same in memory however many works it asks.

    Args:
        found: new events, by `gained`.
        first: works that were asked for the first time.
        records: received.
        changed: of these, other than the ones before.
        truncated: of these, at the cap of events, or so near that it cannot be told.
        milliseconds: how many answers took so long, to two digits.
    """

    found: int = 0
    first: int = 0
    records: int = 0
    changed: int = 0
    truncated: int = 0
    milliseconds: dict[str, int] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """One more record."""
        self.records += 1
        self.changed += result.changed is True
        self.truncated += result.truncated is not False  # merged pages hide it: near the cap nobody can tell (P6)
        took = f"{result.elapsed_ms:.2g}"
        self.milliseconds[took] = self.milliseconds.get(took, 0) + 1

    @property
    def pace(self) -> NightPace:
        """How it went."""
        return NightPace(self.records, self.truncated, _median_seconds(self.milliseconds))

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """What was remembered of an open night; a new one if nothing was."""
        return cls(**orjson.loads(text)) if text else cls()

    def as_json(self) -> str:
        """To be remembered."""
        return orjson.dumps(asdict(self)).decode()


def _median_seconds(milliseconds: Mapping[str, int]) -> float | None:
    passed, half = 0, sum(milliseconds.values()) / 2
    for took, count in sorted((float(took), count) for took, count in milliseconds.items()):
        passed += count
        if passed >= half:
            return took / 1000
    return None


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


class NightlyState(CommitHook):
    """The memory of nightly harvests in a ledger; it takes part in the commits of a night.

    Args:
        database: the ledger's file.
        intervals: how often a work may be asked.
        only_changed: leave records that did not change out of the output.
    """

    def __init__(self, database: Database, intervals: Intervals, *, only_changed: bool = False) -> None:
        self._file, self._meta, self._intervals = database, database.meta, intervals
        self._only_changed = only_changed
        self._visits = Visits(database)
        self._rates = Rates.of_numbers(_numbers(self._meta.rates))
        self._figures = NightFigures.from_json(self._meta.night_figures)
        self._noted: list[Visit] = []

    # What a night may ask

    def choose(self, budget: int, now: datetime) -> Selection:
        """The works to ask tonight, and why."""
        trusted = not is_worthless(self.nights())
        return tonight(self._visits.candidates(), budget, _days(now), self._rates, self._intervals, trusted=trusted)

    def explained(self, doi: str, now: datetime) -> Explanation | None:
        """What is known of a DOI, and its score; None if it is not listed."""
        with self._file.reading() as db:
            row = db.execute("SELECT id FROM work WHERE doi = ? AND listed >= ?", (doi, self._meta.reading)).fetchone()
        if row is None:
            return None
        candidate = self._visits.known([row[0]]).get(row[0], Candidate(row[0]))
        return Explanation(candidate, earliest(candidate, self._intervals), score(candidate, self._rates, _days(now)))

    # What the nights before found

    def nights(self) -> list[NightForecast]:
        """What the last nights were expected to find, and found."""
        return [NightForecast(*night) for night in orjson.loads(self._meta.nights or "[]")]

    def paces(self) -> list[NightPace]:
        """How the last nights went, the latest last."""
        return [NightPace(*pace) for pace in orjson.loads(self._meta.paces or "[]")]

    def outputs(self) -> list[str]:
        """Paths of the outputs of all nights that are over and still kept, the latest last."""
        return [str(path) for path in orjson.loads(self._meta.outputs or "[]")]

    def keep(self, outputs: Sequence[str]) -> None:
        """Forget the outputs of all other nights."""
        self._meta.outputs = orjson.dumps(outputs).decode()

    def output(self) -> Path | None:
        """The output of the night that was begun last; None before the first one."""
        path = self._meta.night_path or self._meta.output
        return Path(path) if path is not None and self._meta.night is not None else None

    def is_open(self) -> bool:
        """Whether a night was begun and is not over."""
        return bool(self._meta.night)

    def covered(self) -> int:
        """Listed works that were asked at least once, whatever came of it."""
        with self._file.reading() as db:
            return int(
                db.execute(
                    "SELECT COUNT(*) FROM visit JOIN work ON work.id = work_id WHERE listed >= ?",
                    (self._meta.reading,),
                ).fetchone()[0]
            )

    # The open night

    def begin(self, selection: Selection, output: Path) -> None:
        """A night begins that is expected to find something."""
        self._figures = NightFigures()
        with self._file.transaction():
            self._meta.night_expected = orjson.dumps(selection.expected).decode()
            self._meta.night_figures, self._meta.night_path = self._figures.as_json(), str(output)

    def so_far(self) -> tuple[NightForecast, NightFigures]:
        """What the open night was expected to find and found, and all its figures."""
        return NightForecast(float(self._meta.night_expected or 0), self._figures.found), self._figures

    def end(self, output: Path) -> None:
        """The night is over: what it found is held against what was expected, and older lessons fade."""
        night, figures = self.so_far()
        nights = [*self.nights(), night][-NIGHTS_JUDGED:]
        paces = [*self.paces(), figures.pace][-NIGHTS_JUDGED:]
        outputs = [*self.outputs(), str(output)]
        self._rates.end_night()
        with self._file.transaction():
            self._meta.nights = orjson.dumps([[*each] for each in nights]).decode()
            self._meta.paces = orjson.dumps([[*each] for each in paces]).decode()
            self._meta.outputs, self._meta.rates = orjson.dumps(outputs).decode(), self._as_text()
            self._meta.night = False

    # Its commits

    def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
        """Say of each record what changed since the one before; the visits are kept for `record`."""
        keys = [due.work_id for due, _ in finished]
        before, contents = self._visits.known(keys), self._visits.contents(keys)
        said: list[Finished] = []
        self._noted = []
        for due, became in finished:
            self._figures.first += due.work_id not in before
            if isinstance(became, Result):
                became, visit = self._compared(due, became, before.get(due.work_id), contents.get(due.work_id))
            else:
                visit = Visit(due.work_id, _seconds(became.failed_at), VisitState.FAILED)
            said.append((due, became))
            self._noted.append(visit)
        return said

    def is_written(self, result: Result) -> bool:
        """Whether a record has a line in the output."""
        return not (self._only_changed and result.changed is False)

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:  # noqa: ARG002 - they were prepared
        """Write the visits and what they taught down."""
        note(db, self._noted)
        self._meta.rates, self._meta.night_figures = self._as_text(), self._figures.as_json()

    def _compared(
        self, due: DueWork, result: Result, before: Candidate | None, known: Content | None
    ) -> tuple[Result, Visit]:
        """A result that says what changed, and its visit.

        A record with nothing in it says nothing about the work: mostly Crossref was down behind the service (P4). What
        was known before stays, and the policy learns nothing.
        """
        at, state = _seconds(result.harvested_at), VisitState(result.outcome)
        record = orjson.loads(result.paperbuzz)
        content, history = content_of(record), history_of(record, int(at / DAY_SECONDS))
        changed, new = _changes(state, before, known, content)
        result = result._replace(changed=changed, added=new)
        self._figures.add(result)
        if state is VisitState.EMPTY:
            return result, Visit(due.work_id, at, state)
        if before is not None and (taught := lesson(before, history, at / DAY_SECONDS)):
            self._rates.learn(*taught)
            self._figures.found += gained(before.history, history)
        return result, Visit(due.work_id, at, state, merged(known, content) if known else content, history)

    def _as_text(self) -> str:
        return orjson.dumps(self._rates.numbers()).decode()


def _changes(
    state: VisitState, before: Candidate | None, known: Content | None, now: Content
) -> tuple[bool | None, dict[str, int] | None]:
    """Whether a record changed, and the events that were added by source.

    1. It is empty: no change where there was a record before, empty or not.
    2. There was one with content: compared with that.
    3. The one before was empty: all of it is new.
    4. There was none.
    """
    was_empty = before is not None and before.state is VisitState.EMPTY
    if state is VisitState.EMPTY:
        return (False, {}) if known or was_empty else (None, None)
    if known:
        return differs(known, now), added(known.counts, now.counts)
    return (True, dict(now.counts)) if was_empty else (None, None)


def _numbers(text: str | None) -> list[float]:
    return [float(number) for number in orjson.loads(text or "[]")]


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def _days(now: datetime) -> float:
    return now.timestamp() / DAY_SECONDS
