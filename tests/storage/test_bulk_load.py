"""The first list: loaded at once, and nothing else than what a reading by chunks makes of it."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.errors import DiskFailed, Stopped
from harvester.core.model import Failure, Work
from harvester.storage import bulk_load as module
from harvester.storage.migrations import WORK_INDEXES
from harvester.storage.outbox import Outbox
from tests.opened import OpenedLedger
from tests.support import an_invalid_line

Chunk = tuple[Sequence[Work], Sequence[Failure]]

LISTS = st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("xyz"))), max_size=5))


@pytest.fixture
def ledger() -> Iterator[OpenedLedger]:
    with closing(OpenedLedger(None)) as ledger:
        yield ledger


def chunks_of(listed: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> list[Chunk]:
    """Chunks of works named by single letters, with URLs likewise; the origin says chunk and place."""
    return [
        (
            [
                Work(f"10.5555/{letter}", tuple(f"https://{url}" for url in urls), f"{number}:{place}")
                for place, (letter, urls) in enumerate(chunk)
            ],
            [an_invalid_line(origin=f"{number}:x")],
        )
        for number, chunk in enumerate(listed)
    ]


def contents(ledger: OpenedLedger) -> tuple[object, ...]:
    """What is known, in the order in which it would be asked and offered."""
    Outbox(ledger.database).fill(harvested_only=False)
    return (
        [(due.doi, due.origin) for due in ledger.due(0, 1000)],
        [(entry.doi, entry.urls) for entry in Outbox(ledger.database).waiting(1000)],
        [failure.origin for failure in ledger.failures()],
        ledger.figures(),
    )


@given(LISTS)
def test_a_list_that_is_loaded_is_the_list_that_is_enrolled(listed: list[list[tuple[str, list[str]]]]) -> None:
    chunks = chunks_of(listed)
    with closing(OpenedLedger(None)) as loaded, closing(OpenedLedger(None)) as enrolled:
        reading = loaded.begin_reading()
        works = loaded.bulk_load(reading, chunks)
        loaded.end_reading(reading)
        reading = enrolled.begin_reading()
        assert works == sum(enrolled.enrol(reading, *chunk) for chunk in chunks)
        enrolled.end_reading(reading)
        assert contents(loaded) == contents(enrolled)


def test_a_doi_cannot_be_in_the_ledger_twice_after_a_load(ledger: OpenedLedger) -> None:
    ledger.bulk_load(ledger.begin_reading(), chunks_of([[("a", "")], [("a", "")]]))
    with pytest.raises(DiskFailed, match="UNIQUE"), ledger.database.transaction() as db:
        db.execute("INSERT INTO work (doi, origin, listed) VALUES ('10.5555/a', '', 1)")


def test_all_indexes_are_there_after_a_load(ledger: OpenedLedger) -> None:
    ledger.bulk_load(ledger.begin_reading(), chunks_of([[("a", "")]]))
    with ledger.database.reading() as db:
        assert set(WORK_INDEXES) <= {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}


def test_a_load_that_breaks_off_leaves_nothing(ledger: OpenedLedger) -> None:
    def broken() -> Iterator[Chunk]:
        yield from chunks_of([[("a", "x"), ("b", "")]])
        raise Stopped

    with pytest.raises(Stopped):
        ledger.bulk_load(ledger.begin_reading(), broken())
    assert ledger.is_empty()
    assert list(ledger.failures()) == []


def test_a_stop_breaks_off_the_indexing_of_a_list_and_nothing_is_loaded(
    ledger: OpenedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEPS_BETWEEN_CHECKS", 10)
    with pytest.raises(Stopped):
        ledger.bulk_load(ledger.begin_reading(), chunks_of([[("a", "x"), ("b", "")]]), is_stopped=lambda: True)
    assert ledger.is_empty()
    ledger.bulk_load(ledger.begin_reading(), chunks_of([[("a", "x"), ("b", "")]]))
    assert not ledger.is_empty()


def test_figures_are_counted_in_an_index_and_never_sorted(ledger: OpenedLedger) -> None:
    """With ten million works a sort takes ten seconds, the index two."""
    asked: list[str] = []
    with ledger.database.reading() as db:
        db.set_trace_callback(asked.append)
        ledger.figures()
        db.set_trace_callback(None)
        for statement in asked:
            if "FROM work " in statement or "FROM registration" in statement:
                plan = " ".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {statement}"))
                assert "TEMP B-TREE" not in plan, (statement, plan)


def test_a_line_with_anything_in_it_goes_in_as_it_is(ledger: OpenedLedger) -> None:
    """Rows travel as JSON; quotes, backslashes and characters beyond the first plane have to survive it."""
    work = Work('10.5555/a"b\\c\u2028\U0001f600', (), 'li"st\\.txt:1')
    ledger.bulk_load(ledger.begin_reading(), [([work], [])])
    with ledger.database.reading() as db:
        assert db.execute("SELECT doi, origin FROM work").fetchall() == [(work.doi, work.origin)]
