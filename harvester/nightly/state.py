"""What a night learns and remembers: how each record differs from the one before, and how good the choice of works was.

It is kept in the ledger and written in the transaction that commits the records. So after a crash it always agrees with
the results and failures that are there. Only the writer thread of the store uses it.
"""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from harvester.core.clock import DAY_SECONDS
from harvester.core.model import DueWork
from harvester.nightly import remembered
from harvester.nightly.cohorts import Rates, new_events
from harvester.nightly.revisit import (
    Candidate,
    Intervals,
    NightForecast,
    Score,
    Selection,
    VisitState,
    earliest,
    is_unreliable,
    observation,
    score,
    tonight,
)
from harvester.nightly.visits import Visit, Visits, add_visits
from harvester.records.changes import Content, added, differs, merged
from harvester.records.result import Finished, Result
from harvester.storage.database import Database
from harvester.storage.hooks import CommitHook

NIGHTS_JUDGED = 7
"""How many of the last nights are remembered, for how good their forecasts were and for the usual pace."""


class NightPace(NamedTuple):
    """How a night went; later nights are compared with it.

    Args:
        records: received.
        truncated: of these, at the cap of events, or so near that it cannot be told.
        median_seconds: how long an answer took; None if there was none.
    """

    records: int
    truncated: int
    median_seconds: float | None


@dataclass(slots=True)
class NightFigures:
    """What the open night found so far. It takes the same memory however many works are asked.

    Args:
        found: new events, counted by `new_events`.
        first: works that were asked for the first time.
        records: received.
        changed: of these, different from the record before.
        truncated: of these, at the cap of events, or so near that it cannot be told.
        milliseconds: how many answers took how many milliseconds, rounded to two digits.
    """

    found: int = 0
    first: int = 0
    records: int = 0
    changed: int = 0
    truncated: int = 0
    milliseconds: dict[str, int] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Count one more record."""
        self.records += 1
        self.changed += result.changed is True
        self.truncated += result.truncated is not False  # None counts too: near the cap merged pages hide it (P6)
        took = f"{result.elapsed_ms:.2g}"
        self.milliseconds[took] = self.milliseconds.get(took, 0) + 1

    def copy(self) -> Self:
        """The same figures, to be counted on."""
        return replace(self, milliseconds=dict(self.milliseconds))

    @property
    def pace(self) -> NightPace:
        """How the night went, for later nights."""
        return NightPace(self.records, self.truncated, _median_seconds(self.milliseconds))

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """The figures that `as_json` wrote; what is missing, or is no figure, is counted from nothing again."""
        known = remembered.members(text)
        counted = {name: known.get(name) for name in ("found", "first", "records", "changed", "truncated")}
        times = remembered.counts(known.get("milliseconds"))
        return cls(
            **{name: count for name, count in counted.items() if remembered.is_count(count)},
            milliseconds={took: count for took, count in times.items() if _is_number(took)},
        )

    def as_json(self) -> str:
        """The figures as text, for the ledger."""
        return orjson.dumps(asdict(self)).decode()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _median_seconds(milliseconds: Mapping[str, int]) -> float | None:
    passed, half = 0, sum(milliseconds.values()) / 2
    for took, count in sorted((float(took), count) for took, count in milliseconds.items()):
        passed += count
        if passed >= half:
            return took / 1000
    return None


@dataclass(frozen=True, slots=True)
class Explanation:
    """When a DOI may be asked again, and how it ranks.

    Args:
        candidate: what is known of it.
        earliest: the time from which on it may be asked again, in days since 1970.
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
        self._rates = Rates.of_numbers(remembered.numbers(self._meta.rates))
        self._figures = NightFigures.from_json(self._meta.night_figures)
        self._next = self._rates, self._figures
        self._visits_to_add: list[Visit] = []

    # What a night may ask

    def choose(self, budget: int, now: datetime) -> Selection:
        """Choose the works to ask tonight.

        Args:
            budget: how many may be asked.
            now: when the night begins.
        """
        trusted = not is_unreliable(self.nights())
        return tonight(self._visits.candidates(), budget, _days(now), self._rates, self._intervals, trusted=trusted)

    def explain(self, doi: str, now: datetime) -> Explanation | None:
        """What is known of a DOI, and its score; None if the list does not have it."""
        with self._file.reading() as db:
            row = db.execute("SELECT id FROM work WHERE doi = ? AND listed >= ?", (doi, self._meta.reading)).fetchone()
        if row is None:
            return None
        candidate = self._visits.known([row[0]]).get(row[0], Candidate(row[0]))
        return Explanation(candidate, earliest(candidate, self._intervals), score(candidate, self._rates, _days(now)))

    # What the nights before found

    def nights(self) -> list[NightForecast]:
        """What the last nights were expected to find, and what they found."""
        return [NightForecast(*night) for night in remembered.rows(self._meta.nights, 2) if None not in night]

    def paces(self) -> list[NightPace]:
        """How the last nights went; the latest is the last."""
        return [NightPace(*pace) for pace in remembered.rows(self._meta.paces, 3) if None not in pace[:2]]

    def outputs(self) -> list[str]:
        """Paths of the outputs of all nights that are over and still kept; the latest is the last."""
        return remembered.texts(self._meta.outputs)

    def keep(self, outputs: Sequence[str]) -> None:
        """Forget the outputs of all other nights."""
        self._meta.outputs = orjson.dumps(outputs).decode()

    def output(self) -> Path | None:
        """The output of the night that was begun last; None before the first one."""
        # An older ledger has the name of the output alone, not its path.
        path = self._meta.night_path or self._meta.output
        return Path(path) if path is not None and self._meta.night is not None else None

    def is_open(self) -> bool:
        """Whether a night was begun and is not over."""
        return bool(self._meta.night)

    def covered(self) -> int:
        """How many listed works were asked at least once, with or without success."""
        with self._file.reading() as db:
            return int(
                db.execute(
                    "SELECT COUNT(*) FROM visit JOIN work ON work.id = work_id WHERE listed >= ?",
                    (self._meta.reading,),
                ).fetchone()[0]
            )

    # The open night

    def begin(self, selection: Selection, output: Path) -> None:
        """Open a night, in a transaction: start its figures anew, and remember its output and what it may find."""
        self._figures = NightFigures()
        self._meta.night, self._meta.night_path = True, str(output)
        self._meta.night_expected = orjson.dumps(selection.expected).decode()
        self._meta.night_figures = self._figures.as_json()

    def reopen(self) -> None:
        """Open the last night again, in a transaction: its figures go on."""
        self._meta.night = True

    def so_far(self) -> tuple[NightForecast, NightFigures]:
        """What the open night was expected to find and what it found so far, and all its figures."""
        return NightForecast(remembered.number(self._meta.night_expected), self._figures.found), self._figures

    def end(self, output: Path) -> None:
        """End the night: remember how it went beside what was expected of it, and let what was learned before fade."""
        night, figures = self.so_far()
        nights, paces, outputs = self.nights(), self.paces(), self.outputs()
        if outputs[-1:] == [str(output)]:  # it was over before, and opened again for new works
            nights, paces, outputs = nights[:-1], paces[:-1], outputs[:-1]
        else:
            self._rates.decay()
        nights = [*nights, night][-NIGHTS_JUDGED:]
        paces = [*paces, figures.pace][-NIGHTS_JUDGED:]
        outputs = [*outputs, str(output)]
        with self._file.transaction():
            self._meta.nights = orjson.dumps([[*each] for each in nights]).decode()
            self._meta.paces = orjson.dumps([[*each] for each in paces]).decode()
            self._meta.outputs, self._meta.rates = orjson.dumps(outputs).decode(), _as_text(self._rates)
            self._meta.night = False

    # Its commits

    def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
        """Add to each result what changed since the record before; keep the visits, which `record` writes."""
        keys = [due.work_id for due, _ in finished]
        before, contents = self._visits.known(keys), self._visits.contents(keys)
        prepared: list[Finished] = []
        self._next = self._rates.copy(), self._figures.copy()
        self._visits_to_add = []
        for due, ended in finished:
            self._next[1].first += due.work_id not in before
            if isinstance(ended, Result):
                ended, visit = self._compare(due, ended, before.get(due.work_id), contents.get(due.work_id))
            else:
                visit = Visit(due.work_id, _seconds(ended.failed_at), VisitState.FAILED)
            prepared.append((due, ended))
            self._visits_to_add.append(visit)
        return prepared

    def is_written(self, result: Result) -> bool:
        """Whether a record gets a line in the output: not if it did not change and only changed ones are wanted."""
        return not (self._only_changed and result.changed is False)

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:  # noqa: ARG002 - they were prepared
        """Write the visits and what was learned from them."""
        add_visits(db, self._visits_to_add)
        rates, figures = self._next
        self._meta.rates, self._meta.night_figures = _as_text(rates), figures.as_json()

    def adopt(self) -> None:
        """Remember what was learned."""
        self._rates, self._figures = self._next

    def _compare(
        self, due: DueWork, result: Result, before: Candidate | None, known: Content | None
    ) -> tuple[Result, Visit]:
        """The result completed with what changed, and the visit to remember.

        An empty record says nothing about the work: mostly Crossref was down behind the service (P4). So what was known
        before is kept, and nothing is learned from the visit.
        """
        at, state = _seconds(result.harvested_at), VisitState(result.outcome)
        assert result.comparable is not None  # noqa: S101 - the job of a night says that its records are compared
        content, history = result.comparable
        rates, figures = self._next
        changed, new = _changes(state, before, known, content)
        result = result._replace(changed=changed, added=new)
        figures.add(result)
        if state is VisitState.EMPTY:
            return result, Visit(due.work_id, at, state)
        if before is not None and (observed := observation(before, history, at / DAY_SECONDS)):
            rates.learn(*observed)
            figures.found += new_events(before.history, history)
        return result, Visit(due.work_id, at, state, merged(known, content) if known else content, history)


def _changes(
    state: VisitState, before: Candidate | None, known: Content | None, now: Content
) -> tuple[bool | None, dict[str, int] | None]:
    """Whether a record changed, and how many events of each source were added.

    None: there is nothing to compare with, or the record cannot be compared.

    1. The record is empty: no change if there was a record before, empty or not.
    2. There was a record with content before: it is compared with that.
    3. The record before was empty: everything is new.
    4. There was no record before: nothing to compare with.
    """
    was_empty = before is not None and before.state is VisitState.EMPTY
    if state is VisitState.EMPTY:
        return (False, {}) if known or was_empty else (None, None)
    if known:
        return differs(known, now), added(known.counts, now.counts)
    return (True, dict(now.counts)) if was_empty else (None, None)


def _as_text(rates: Rates) -> str:
    return orjson.dumps(rates.numbers()).decode()


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def _days(now: datetime) -> float:
    return now.timestamp() / DAY_SECONDS
