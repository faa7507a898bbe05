"""What the ledger remembers from visit to visit: content, counts, and the facts of the policy."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from harvester.core.clock import DAY_SECONDS
from harvester.core.model import Work
from harvester.nightly.revisit import Candidate, VisitState
from harvester.nightly.visits import Visit, Visits, add_visits
from harvester.records.changes import Content
from harvester.records.events import EventHistory
from tests.opened import OpenedLedger

CONTENT = Content(b"e1", b"m1", b"o1", {"twitter": 2})
HISTORY = EventHistory(total=2, fortnight=1, last_day=20_000, born=19_000)


@pytest.fixture
def ledger() -> Iterator[OpenedLedger]:
    with closing(OpenedLedger(None)) as ledger:
        number = ledger.begin_reading()
        ledger.enrol(number, [Work("10.5555/a", (), "l:1"), Work("10.5555/b", (), "l:2")], [])
        ledger.end_reading(number)
        yield ledger


def visited(ledger: OpenedLedger, *visits: Visit) -> Visits:
    for visit in visits:
        with ledger.database.transaction() as db:
            add_visits(db, [visit])
    return Visits(ledger.database)


def test_a_work_that_was_never_asked_is_new(ledger: OpenedLedger) -> None:
    assert list(Visits(ledger.database).candidates()) == [Candidate(1), Candidate(2)]


def test_what_a_record_told_is_there_at_the_next_visit(ledger: OpenedLedger) -> None:
    visits = visited(ledger, Visit(1, 86_400, VisitState.OK, CONTENT, HISTORY))
    assert visits.contents([1, 2]) == {1: CONTENT}
    assert next(visits.candidates()) == Candidate(1, VisitState.OK, 1.0, 1.0, HISTORY, 0)


def test_a_visit_without_a_record_keeps_what_was_known_and_counts_the_misses(ledger: OpenedLedger) -> None:
    failed = [Visit(1, number * 86_400, VisitState.FAILED) for number in (2, 3, 4)]
    visits = visited(ledger, Visit(1, 86_400, VisitState.OK, CONTENT, HISTORY), *failed)
    assert visits.contents([1]) == {1: CONTENT}
    assert next(visits.candidates()) == Candidate(1, VisitState.FAILED, 4.0, 1.0, HISTORY, 3)


def test_misses_of_another_kind_and_good_records_begin_anew(ledger: OpenedLedger) -> None:
    answers = [VisitState.FAILED, VisitState.FAILED, VisitState.EMPTY]
    visits = visited(ledger, *(Visit(1, number, state) for number, state in enumerate(answers, 1)))
    assert next(visits.candidates()).misses == 1
    visits = visited(ledger, Visit(1, 9, VisitState.OK, CONTENT, HISTORY))
    assert next(visits.candidates()).misses == 0


def test_the_history_of_counts_grows_only_when_they_change(ledger: OpenedLedger) -> None:
    more = replace(CONTENT, counts={"twitter": 3, "reddit": 1})
    contents = [CONTENT, CONTENT, more, more, CONTENT]
    visits = visited(ledger, *(Visit(1, at, VisitState.OK, content, HISTORY) for at, content in enumerate(contents)))
    assert visits.counts_over_time("10.5555/a") == [
        (0, {"twitter": 2}),
        (2, {"reddit": 1, "twitter": 3}),
        (4, {"twitter": 2}),
    ]
    assert visits.counts_over_time("10.5555/b") == []


def test_a_visit_that_is_written_down_twice_is_one(ledger: OpenedLedger) -> None:
    visit = Visit(1, 5, VisitState.OK, CONTENT, HISTORY)
    assert visited(ledger, visit, visit).counts_over_time("10.5555/a") == [(5, {"twitter": 2})]


def test_works_that_left_the_list_are_no_candidates(ledger: OpenedLedger) -> None:
    visited(ledger, Visit(1, 5, VisitState.OK, CONTENT, HISTORY))
    number = ledger.begin_reading()
    ledger.enrol(number, [Work("10.5555/b", (), "l:1")], [])
    ledger.end_reading(number)
    assert [candidate.key for candidate in Visits(ledger.database).candidates()] == [2]


def test_any_number_of_works_can_be_looked_up(ledger: OpenedLedger) -> None:
    visits = visited(ledger, Visit(2, 5, VisitState.OK, CONTENT, HISTORY))
    assert visits.contents([*range(3, 3000), 2]) == {2: CONTENT}


def test_times_are_days_for_the_policy(ledger: OpenedLedger) -> None:
    visits = visited(ledger, Visit(1, round(1.5 * DAY_SECONDS), VisitState.OK, CONTENT, HISTORY))
    assert next(visits.candidates()).asked == 1.5
