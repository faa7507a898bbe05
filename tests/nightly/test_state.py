"""What a night learns: how a record differs from the one before, and figures that outlive the process."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harvester.core.clock import timestamp
from harvester.core.model import DueWork, Work
from harvester.nightly.revisit import Intervals, Selection
from harvester.nightly.state import NightFigures, NightlyState
from harvester.nightly.visits import Visits
from harvester.records.comparable import comparable
from harvester.records.result import Result
from tests.opened import OpenedLedger
from tests.support import a_result

DOI = "10.5555/a"
DUE = DueWork(1, DOI, "l:1")


@pytest.fixture
def ledger() -> Iterator[OpenedLedger]:
    with closing(OpenedLedger(None)) as ledger:
        ledger.enrol(ledger.begin_reading(), [Work(DOI, (), "l:1")], [])
        yield ledger


def a_record(events: int, outcome: str = "ok", day: int = 1) -> Result:
    sources = [{"source_id": "twitter", "events_count": events, "events": [{"id": n} for n in range(events)]}]
    record = {"doi": DOI, "altmetrics_sources": sources if events else [], "metadata": {"title": "T"}}
    made = a_result(DOI, paperbuzz=json.dumps(record).encode(), outcome=outcome)
    now = datetime(2026, 11, day, 2, 17, tzinfo=UTC)
    return made._replace(harvested_at=timestamp(now), comparable=comparable(record, now))


def visit(ledger: OpenedLedger, result: Result) -> tuple[bool | None, dict[str, int] | None]:
    """What a visit says changed; it is written down."""
    book = NightlyState(ledger.database, Intervals())
    finished = book.prepare([(DUE, result)])
    with ledger.database.transaction() as db:
        book.record(db, finished)
    [(_, said)] = finished
    assert isinstance(said, Result)
    return said.changed, None if said.added is None else dict(said.added)


def test_a_record_is_compared_with_the_one_before(ledger: OpenedLedger) -> None:
    assert visit(ledger, a_record(2, day=1)) == (None, None)
    assert visit(ledger, a_record(2, day=2)) == (False, {})
    assert visit(ledger, a_record(5, day=3)) == (True, {"twitter": 3})


def test_an_empty_answer_is_no_change_and_what_was_known_stays(ledger: OpenedLedger) -> None:
    visit(ledger, a_record(5, day=1))
    assert visit(ledger, a_record(0, "empty", day=2)) == (False, {})
    assert visit(ledger, a_record(6, day=3)) == (True, {"twitter": 1})
    assert [counts for _, counts in Visits(ledger.database).counts_over_time(DOI)] == [{"twitter": 5}, {"twitter": 6}]
    assert NightlyState(ledger.database, Intervals()).so_far()[0].found == 1


def test_a_doi_that_becomes_known_has_changed_and_one_that_stays_unknown_has_not(ledger: OpenedLedger) -> None:
    assert visit(ledger, a_record(0, "empty", day=1)) == (None, None)
    assert visit(ledger, a_record(0, "empty", day=2)) == (False, {})
    assert visit(ledger, a_record(3, day=3)) == (True, {"twitter": 3})


def test_figures_of_an_open_night_outlive_the_process(ledger: OpenedLedger) -> None:
    NightlyState(ledger.database, Intervals()).begin(Selection((), 1), Path("/nights/1.jsonl"))
    visit(ledger, a_record(1, day=1))
    visit(ledger, a_record(2, day=2))
    _, figures = NightlyState(ledger.database, Intervals()).so_far()
    assert (figures.records, figures.first, figures.changed, figures.found) == (2, 1, 1, 1)
    assert figures.pace.median_seconds == 0.012


def test_a_night_begins_with_figures_of_its_own(ledger: OpenedLedger) -> None:
    book = NightlyState(ledger.database, Intervals())
    book.begin(Selection((), 1), Path("/nights/1.jsonl"))
    book.prepare([(DUE, a_record(1))])
    book.adopt()
    book.end(Path("/nights/1.jsonl"))
    book.begin(Selection((), 1), Path("/nights/2.jsonl"))
    assert book.so_far()[1] == NightFigures()
    assert [pace.records for pace in book.paces()] == [1]
    assert book.outputs() == ["/nights/1.jsonl"]


def test_the_median_takes_no_more_memory_than_its_two_digits() -> None:
    tonight = NightFigures()
    for milliseconds in range(1, 10_000):
        tonight.add(a_result()._replace(elapsed_ms=milliseconds))
    assert tonight.pace.median_seconds == pytest.approx(5.0, rel=0.05)
    assert len(tonight.milliseconds) < 400


def test_works_of_an_open_night_are_not_chosen_once_more(ledger: OpenedLedger) -> None:
    book, now = NightlyState(ledger.database, Intervals()), datetime(2026, 11, 21, tzinfo=UTC)
    ledger.end_reading(1)
    book.begin(book.choose(10, now), Path("/nights/1.jsonl"))
    ledger.begin_output("1.jsonl", [1])
    assert book.choose(10, now).picks == ()
