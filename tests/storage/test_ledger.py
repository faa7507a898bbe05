"""The only memory of a run: what it takes in, hands out, counts, and never half-writes."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harvester.core.errors import DiskFailed, LedgerDamaged, LockHeld, Misconfigured, PromiseBroken, Stopped
from harvester.core.model import DueWork, Failure, PendingRegistration, Stage, Work
from harvester.records.result import Result
from harvester.storage import ledger as ledger_module
from harvester.storage import outbox as outbox_module
from harvester.storage.database import Database, WorkState
from harvester.storage.ledger import Ledger
from harvester.storage.migrations import APPLICATION_ID, STEPS, VERSION
from harvester.storage.outbox import Outbox, OutboxHook
from harvester.storage.status import ledger_at, works_by_doi
from tests.opened import OpenedLedger
from tests.support import a_failure, a_result, an_invalid_line

SOURCE = "https://api.paperbuzz.org/v0/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.ledger"


@pytest.fixture
def ledger() -> Iterator[OpenedLedger]:
    with closing(OpenedLedger(None)) as ledger:
        yield ledger


@pytest.fixture
def outbox(ledger: OpenedLedger) -> Outbox:
    return Outbox(ledger.database)


def doi(letter: str) -> str:
    return f"10.5555/{letter}"


def works(letters: str) -> list[Work]:
    """A list with one DOI a line, named by single letters."""
    return [Work(doi(letter), origin=f"list.txt:{line}") for line, letter in enumerate(letters, 1)]


def enrol(ledger: OpenedLedger, listed: str | Sequence[Work], *invalid: Failure) -> int:
    """A whole reading; how many works it dropped."""
    reading = ledger.begin_reading()
    ledger.enrol(reading, works(listed) if isinstance(listed, str) else listed, invalid)
    return ledger.end_reading(reading)


def letters_due(ledger: OpenedLedger) -> str:
    return "".join(due.doi[-1] for due in ledger.due(0, 1000))


def record(
    ledger: OpenedLedger,
    results: str = "",
    failures: str = "",
    *,
    length: int = 0,
    register: bool = True,
    landing_urls: Sequence[str] = (),
) -> int:
    """Write down what became of some due works; how many more wait to be registered by that."""
    waiting: list[int] = []
    due = {found.doi[-1]: found for found in ledger.due(0, 1000)}
    outcomes: list[tuple[DueWork, Result | Failure]] = [
        *((due[letter], a_result(doi(letter), landing_urls=landing_urls)) for letter in results),
        *((due[letter], a_failure(doi(letter))) for letter in failures),
    ]
    hook = OutboxHook(waiting.append)
    ledger.record(
        outcomes, lambda: (length, None), also=partial(hook.record, finished=outcomes) if register else lambda _: None
    )
    hook.adopt()
    hook.committed()
    return waiting.pop()


def reasons(ledger: OpenedLedger) -> list[tuple[str, str]]:
    """The failures, by stage and text."""
    return [(failure.stage.value, failure.input) for failure in ledger.failures()]


# Readings of the input


def test_the_same_doi_twice_is_one_work_where_it_stood_first(ledger: OpenedLedger) -> None:
    reading = ledger.begin_reading()
    assert ledger.enrol(reading, works("aba"), []) == 2
    assert ledger.due(0, 10) == [DueWork(1, doi("a"), "list.txt:1"), DueWork(2, doi("b"), "list.txt:2")]


def test_a_duplicate_is_one_however_far_it_stands_from_the_first(ledger: OpenedLedger) -> None:
    reading = ledger.begin_reading()
    assert [ledger.enrol(reading, works(chunk), []) for chunk in ("ab", "bc", "ca")] == [2, 1, 0]


def test_a_doi_known_of_old_is_no_duplicate(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    record(ledger, "a")
    assert ledger.enrol(ledger.begin_reading(), works("abb"), []) == 2


def test_a_work_says_where_it_stands_in_the_list_of_now(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    enrol(ledger, "xb")
    enrol(ledger, "b")
    assert [due.origin for due in ledger.due(0, 10)] == ["list.txt:1"]


def test_the_urls_of_all_mentions_are_united_in_their_order(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, [Work(doi("a"), ("https://b", "https://a")), Work(doi("a"), ("https://a", "https://c"))])
    outbox.fill(harvested_only=False)
    assert [entry.urls for entry in outbox.waiting(10)] == [("https://b", "https://a", "https://c")]


def test_the_same_list_again_makes_nothing_due_again(ledger: OpenedLedger) -> None:
    enrol(ledger, "abc")
    record(ledger, "a", "b")
    assert enrol(ledger, "abc") == 0
    assert letters_due(ledger) == "c"


def test_new_dois_in_the_list_are_due(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    record(ledger, "ab")
    enrol(ledger, "abc")
    assert letters_due(ledger) == "c"


def test_what_is_due_but_listed_no_more_is_dropped_and_what_was_harvested_stays(ledger: OpenedLedger) -> None:
    enrol(ledger, "abcd")
    record(ledger, "a", "b")
    assert enrol(ledger, "d") == 1
    figures = ledger.figures()
    assert (letters_due(ledger), figures.works, figures.pending, figures.gone) == ("d", 1, 1, 2)


def test_what_comes_back_to_the_list_is_as_it_was(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    record(ledger, "a", "b")
    enrol(ledger, "c")
    enrol(ledger, "ab")
    figures = ledger.figures()
    assert (figures.works, figures.results, figures.failures, figures.gone) == (2, 1, 1, 0)


def test_nothing_of_a_dropped_work_sticks_to_another(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, [Work(doi("a"), ("https://a",))])
    outbox.fill(harvested_only=False)
    outbox.settle([], [(entry, a_failure(entry.doi, stage=Stage.REGISTER)) for entry in outbox.waiting(10)])
    enrol(ledger, "b")
    assert reasons(ledger) == []
    assert outbox.fill(harvested_only=False) == 1
    assert [entry.urls for entry in outbox.waiting(10)] == [()]


def test_a_reading_that_was_cut_off_drops_nothing_and_is_simply_done_again(ledger: OpenedLedger) -> None:
    enrol(ledger, "abc")
    ledger.enrol(ledger.begin_reading(), works("ax"), [an_invalid_line()])
    assert letters_due(ledger) == "abcx"
    assert enrol(ledger, "abc") == 1
    assert (letters_due(ledger), ledger.figures().works, reasons(ledger)) == ("abc", 3, [])


def test_invalid_lines_are_those_of_the_last_reading(ledger: OpenedLedger) -> None:
    enrol(ledger, "a", an_invalid_line("old"))
    enrol(ledger, "a", an_invalid_line("x", "list.txt:2"), an_invalid_line("x", "list.txt:3"))
    assert [failure.origin for failure in ledger.failures()] == ["list.txt:2", "list.txt:3"]


def test_invalid_lines_stay_whatever_failures_were_forgotten_before(ledger: OpenedLedger) -> None:
    enrol(ledger, "abc")
    record(ledger, failures="abc")
    ledger.start_over(None, SOURCE)
    enrol(ledger, "abcd")
    record(ledger, "abcd")
    enrol(ledger, "abcd", an_invalid_line("x"), an_invalid_line("y"))
    assert reasons(ledger) == [("input", "x"), ("input", "y")]


def test_a_chunk_is_taken_in_whole_or_not_at_all(ledger: OpenedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = ledger.begin_reading()
    monkeypatch.setattr(ledger_module, "add_failures", disk_full)
    with pytest.raises(DiskFailed):
        ledger.enrol(reading, works("ab"), [])
    assert letters_due(ledger) == ""


# What is due


def test_pages_of_what_is_due_give_each_work_once_in_the_order_of_the_list(ledger: OpenedLedger) -> None:
    enrol(ledger, "gfedcba")
    record(ledger, "e", "b")
    pages, after = [], 0
    while page := ledger.due(after, 2):
        pages.append("".join(due.doi[-1] for due in page))
        after = page[-1].work_id
    assert pages == ["gf", "dc", "a"]


def test_a_page_is_not_disturbed_by_what_is_recorded_meanwhile(ledger: OpenedLedger) -> None:
    enrol(ledger, "abcd")
    first = ledger.due(0, 2)
    record(ledger, "abc")
    assert [due.doi for due in ledger.due(first[-1].work_id, 2)] == [doi("d")]


# Recording


def disk_full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_outcomes_length_urls_and_outbox_are_one_transaction(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "abc")
    statements: list[str] = []
    with ledger.database.reading() as db:
        db.set_trace_callback(statements.append)
    record(ledger, "a", "b", length=77, landing_urls=["https://a"])
    words = [statement.split()[0] for statement in statements]
    assert (words.count("BEGIN"), words[-1], words.count("COMMIT")) == (1, "COMMIT", 1)
    assert set(words[words.index("BEGIN") + 1 : -1]) == {"UPDATE", "INSERT"}
    figures = ledger.figures()
    assert (figures.results, figures.failures, figures.pending) == (1, 1, 1)
    assert ledger.database.meta.length == 77
    assert outbox.waiting(10) == [PendingRegistration(1, doi("a"), ("https://a",), "list.txt:1")]


def test_if_it_cannot_be_written_whole_nothing_is(ledger: OpenedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise G8: the last statement of the transaction finds the disk full."""
    enrol(ledger, "abc")
    record(ledger, "a", length=40)
    monkeypatch.setattr(ledger_module, "_add_urls", disk_full)
    with pytest.raises(DiskFailed, match=r"disk is full.*is safe; make room.*give the same command again"):
        record(ledger, "b", "c", length=80)
    figures = ledger.figures()
    assert (figures.results, figures.failures, letters_due(ledger)) == (1, 0, "bc")
    assert (figures.registration_pending, ledger.database.meta.length) == (1, 40)
    assert reasons(ledger) == []


def test_without_registration_nothing_goes_into_the_outbox(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "a")
    assert record(ledger, "a", register=False) == 0
    assert outbox.waiting(10) == []


def test_a_failure_comes_back_as_it_was_given(ledger: OpenedLedger) -> None:
    failure = a_failure(
        doi("a"), kind="http", text="DOI: A", origin="x.csv:9", http_status=404, attempts=3, message="?"
    )
    enrol(ledger, "a")
    ledger.record([(ledger.due(0, 1)[0], failure)], lambda: (0, None))
    assert list(ledger.failures()) == [failure]


def test_failures_come_in_the_order_they_were_met(ledger: OpenedLedger) -> None:
    enrol(ledger, "abc", an_invalid_line("x"), an_invalid_line("y"))
    record(ledger, failures="c")
    record(ledger, failures="ab")
    assert reasons(ledger) == [
        *(("input", text) for text in "xy"),
        *(("fetch", doi(letter)) for letter in "cab"),
    ]


def test_failures_of_works_that_left_the_list_are_not_told(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    record(ledger, failures="ab")
    enrol(ledger, "b")
    assert reasons(ledger) == [("fetch", doi("b"))]
    assert ledger.figures().failures_by_kind == {"timeout": 1}


def test_figures_count_results_by_outcome_and_failures_by_kind(ledger: OpenedLedger) -> None:
    enrol(ledger, "abcdef", an_invalid_line())
    due = ledger.due(0, 10)
    found: list[Result | Failure] = [
        a_result(doi("a")),
        a_result(doi("b"), outcome="empty"),
        a_result(doi("c")),
        a_failure(doi("d"), kind="timeout"),
        a_failure(doi("e"), kind="http"),
    ]
    ledger.record(list(zip(due, found, strict=False)), lambda: (0, None))
    figures = ledger.figures()
    assert (figures.outcomes, figures.failures_by_kind) == ({"empty": 1, "ok": 2}, {"http": 1, "timeout": 1})
    assert (figures.works, figures.results, figures.failures, figures.pending) == (6, 3, 2, 1)


def test_a_known_good_doi_is_one_with_a_complete_record(ledger: OpenedLedger) -> None:
    enrol(ledger, "abc")
    assert not ledger.known_good(3)
    record(ledger, failures="a")
    due = ledger.due(0, 10)
    ledger.record([(due[0], a_result(doi("b"), outcome="degraded"))], lambda: (0, None))
    assert not ledger.known_good(3)
    record(ledger, "c")
    assert ledger.known_good(3) == [doi("c")]
    ledger.begin_output("tonight.jsonl", [due[0].work_id])
    assert ledger.known_good(3) == [doi("c")], "nights begin with what earlier ones know"


# Once more


def test_failed_works_that_left_the_list_are_not_asked_again(ledger: OpenedLedger) -> None:
    enrol(ledger, "ab")
    record(ledger, failures="ab")
    enrol(ledger, "b")
    assert [due.doi for due in ledger.due(0, 9, WorkState.FAILURE)] == [doi("b")]


def test_starting_over_makes_every_listed_work_due_and_forgets_the_others(ledger: OpenedLedger) -> None:
    enrol(ledger, "abcx")
    record(ledger, "ax", "b", length=99)
    ledger.database.meta.published = True
    enrol(ledger, "abc", an_invalid_line())
    ledger.start_over("out.jsonl.1", SOURCE)
    figures = ledger.figures()
    assert (letters_due(ledger), figures.results, figures.failures, figures.gone) == ("abc", 0, 0, 0)
    meta = ledger.database.meta
    assert (meta.length, meta.published, meta.archive) == (0, False, "out.jsonl.1")
    assert [stage for stage, _ in reasons(ledger)] == ["input"]
    assert not ledger.known_good(3)


def test_starting_over_does_not_register_anew(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, [Work(doi("a"), ("https://a",))])
    record(ledger, "a")
    outbox.settle(outbox.waiting(10), [])
    ledger.start_over(None, SOURCE)
    record(ledger, "a")
    assert outbox.waiting(10) == []
    assert ledger.figures().registered == 1


# The outbox


def settled(ledger: OpenedLedger, outbox: Outbox, listed: str | Sequence[Work] = "a") -> None:
    """A list, harvested and acknowledged."""
    enrol(ledger, listed)
    record(ledger, letters_due(ledger))
    outbox.settle(outbox.waiting(100), [])


def test_the_outbox_gives_the_first_entries_in_the_order_of_the_list(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "cab")
    record(ledger, "bca")
    assert outbox.waiting(2) == [
        PendingRegistration(1, doi("c"), (), "list.txt:1"),
        PendingRegistration(2, doi("a"), (), "list.txt:2"),
    ]
    assert outbox.waiting(2) == outbox.waiting(3)[:2]


def test_a_failed_work_is_not_registered(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "ab")
    record(ledger, "a", "b")
    assert [entry.doi for entry in outbox.waiting(10)] == [doi("a")]


def test_an_acknowledged_entry_leaves_the_outbox_for_good(ledger: OpenedLedger, outbox: Outbox) -> None:
    settled(ledger, outbox, [Work(doi("a"), ("https://a",)), Work(doi("b"))])
    enrol(ledger, [Work(doi("a"), ("https://a",)), Work(doi("b"))])
    assert outbox.fill(harvested_only=True) == 0
    assert outbox.waiting(10) == []
    assert ledger.figures().registered == 2


def test_entries_that_are_not_settled_stay(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "abc")
    record(ledger, "abc")
    entries = outbox.waiting(10)
    outbox.settle([entries[1]], [])
    assert outbox.waiting(10) == [entries[0], entries[2]]
    assert ledger.figures().registration_pending == 2


def test_a_rejected_entry_is_a_failure_that_leaves_its_work_a_result(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "a")
    record(ledger, "a")
    failure = a_failure(doi("a"), kind="rejected", stage=Stage.REGISTER, http_status=400)
    outbox.settle([], [(outbox.waiting(1)[0], failure)])
    figures = ledger.figures()
    assert list(ledger.failures()) == [failure]
    assert (figures.results, figures.failures, figures.failures_by_kind) == (1, 0, {})
    assert (figures.rejected, figures.registered, figures.registration_pending) == (1, 0, 0)


def test_what_was_rejected_is_not_tried_again(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "a")
    record(ledger, "a")
    outbox.settle([], [(outbox.waiting(1)[0], a_failure(stage=Stage.REGISTER))])
    enrol(ledger, [Work(doi("a"), ("https://new",))])
    assert outbox.fill(harvested_only=True) == 0
    assert outbox.waiting(10) == []


def test_what_was_rejected_is_tried_again_on_request(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "ab")
    record(ledger, "ab")
    entries = outbox.waiting(9)
    outbox.settle(entries[:1], [(entries[1], a_failure(entries[1].doi, stage=Stage.REGISTER))])
    assert outbox.retry_rejected() == 1
    assert [entry.doi for entry in outbox.waiting(9)] == [entries[1].doi]
    assert list(ledger.failures()) == []


def test_an_entry_acknowledged_after_all_is_rejected_no_more(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "a")
    record(ledger, "a")
    (entry,) = outbox.waiting(1)
    outbox.settle([], [(entry, a_failure(stage=Stage.REGISTER))])
    outbox.settle([entry], [])
    assert (reasons(ledger), ledger.figures().registered, ledger.figures().rejected) == ([], 1, 0)


def test_a_url_that_comes_later_in_the_list_puts_a_work_back_with_all_its_urls(
    ledger: OpenedLedger, outbox: Outbox
) -> None:
    settled(ledger, outbox, [Work(doi("a"), ("https://a",)), Work(doi("b"), ("https://b",))])
    enrol(ledger, [Work(doi("a"), ("https://new",)), Work(doi("b"))])
    assert [(entry.doi, entry.urls) for entry in outbox.waiting(10)] == [(doi("a"), ("https://a", "https://new"))]


def test_a_url_that_comes_later_with_the_record_puts_a_work_back(ledger: OpenedLedger, outbox: Outbox) -> None:
    """As when a list is registered first and harvested after that."""
    enrol(ledger, "a")
    outbox.fill(harvested_only=False)
    outbox.settle(outbox.waiting(10), [])
    assert record(ledger, "a", landing_urls=["https://a"]) == 1
    assert [entry.urls for entry in outbox.waiting(10)] == [("https://a",)]


def test_a_url_that_comes_while_its_work_is_under_way_keeps_it_in(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, [Work(doi("a"), ("https://a",))])
    outbox.fill(harvested_only=False)
    entries = outbox.waiting(10)
    record(ledger, "a", landing_urls=["https://new"])
    assert outbox.settle(entries, []) == 1
    (again,) = outbox.waiting(10)
    assert again.urls == ("https://a", "https://new")
    assert outbox.settle([again], []) == 0
    assert outbox.waiting(10) == []


def test_a_work_with_very_many_urls_is_offered_some_at_a_time(
    ledger: OpenedLedger, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_URL_CHARS", 40)
    urls = [f"https://a.example/{number}" for number in range(5)]
    enrol(ledger, [Work(doi("a"), (url,)) for url in urls] + [Work(doi("b"), ("https://b",))])
    outbox.fill(harvested_only=False)
    offered = []
    while entries := outbox.waiting(10):
        offered += [(entry.doi, list(entry.urls)) for entry in entries]
        outbox.settle(entries, [])
    assert offered == [
        (doi("a"), urls[:2]),
        (doi("b"), ["https://b"]),
        (doi("a"), urls[2:4]),
        (doi("a"), urls[4:]),
    ]


def test_an_answer_that_was_never_written_down_is_asked_for_again(path: Path) -> None:
    """Promise G10: acknowledged at least once. A crash between answer and commit only repeats a request."""
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, [Work(doi("a"), ("https://a",))])
        record(ledger, "a")
        entries = Outbox(ledger.database).waiting(10)
    with closing(OpenedLedger(path)) as ledger:
        outbox = Outbox(ledger.database)
        assert outbox.waiting(10) == entries
        outbox.settle(entries, [])
        assert outbox.waiting(10) == []


def test_filling_takes_listed_works_that_were_never_in_it(ledger: OpenedLedger, outbox: Outbox) -> None:
    settled(ledger, outbox, "a")
    enrol(ledger, "axbc")
    record(ledger, "x", register=False)
    enrol(ledger, "abc")
    record(ledger, "b", register=False)
    assert outbox.fill(harvested_only=True) == 1
    assert [entry.doi for entry in outbox.waiting(10)] == [doi("b")]
    assert outbox.fill(harvested_only=False) == 1
    assert [entry.doi for entry in outbox.waiting(10)] == [doi("b"), doi("c")]


def test_settling_is_one_transaction(ledger: OpenedLedger, outbox: Outbox) -> None:
    enrol(ledger, "ab")
    record(ledger, "ab")
    first, second = outbox.waiting(10)
    broken = a_failure(stage=None)  # type: ignore[arg-type] # the ledger refuses it in the last statement
    with pytest.raises(DiskFailed):
        outbox.settle([first], [(second, broken)])
    assert outbox.waiting(10) == [first, second]


# The file


def pragma(ledger: OpenedLedger, name: str) -> object:
    with ledger.database.reading() as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize("is_new", [True, False])
def test_what_was_committed_survives_power_loss_and_may_be_read_meanwhile(path: Path, is_new: bool) -> None:
    """The settings that promise G2 rests on: FULL is 2."""
    if not is_new:
        OpenedLedger(path).close()
    with closing(OpenedLedger(path)) as ledger:
        found = [pragma(ledger, name) for name in ("synchronous", "journal_mode", "foreign_keys")]
    assert found == [2, "wal", 1]


def test_the_file_says_what_it_is_and_of_which_version(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        assert [pragma(ledger, name) for name in ("application_id", "user_version")] == [APPLICATION_ID, VERSION]
    assert APPLICATION_ID.to_bytes(4, "big") == b"HRVR"


def test_all_is_known_again_after_closing(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "abc", an_invalid_line())
        record(ledger, "a", "b", length=7)
        before, failures = ledger.figures(), list(ledger.failures())
    with closing(OpenedLedger(path)) as ledger:
        assert (ledger.figures(), list(ledger.failures())) == (before, failures)
        assert (letters_due(ledger), ledger.database.meta.length) == ("c", 7)


def test_closing_leaves_one_file(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "a")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def database(path: Path, script: str) -> bytes:
    """A database of somebody else; its bytes."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    return path.read_bytes()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_ledger_of_a_later_version_is_refused_and_left_alone(path: Path, read_only: bool) -> None:
    OpenedLedger(path).close()
    content = database(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(Misconfigured, match=rf"later version.*{VERSION + 1}, this one knows {VERSION}.*Update"):
        OpenedLedger(path, read_only=read_only)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("script", ["CREATE TABLE work (id)", "PRAGMA application_id = 7; CREATE TABLE x (y)"])
def test_a_database_that_is_no_ledger_is_refused_and_left_alone(path: Path, script: str, read_only: bool) -> None:
    content = database(path, script)
    with pytest.raises(Misconfigured, match=r"out\.ledger is a database, but not a ledger.*--ledger"):
        OpenedLedger(path, read_only=read_only)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"doi\n10.5555/a\n" * 100, b"10.5555/a\n"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"out\.ledger is no ledger of harvester, nor any database.*--ledger"):
        OpenedLedger(path)
    assert path.read_bytes() == content


def test_a_ledger_that_was_begun_and_never_written_is_begun_again(path: Path) -> None:
    path.touch()
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "a")
        assert letters_due(ledger) == "a"


def test_a_ledger_that_cannot_be_opened_is_a_failure_of_the_disk(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DiskFailed, match=r"out\.ledger cannot be used.*give the same command again"):
        OpenedLedger(path)


def test_looking_at_a_ledger_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(DiskFailed):
        OpenedLedger(path, read_only=True)
    assert not path.exists()


def test_one_may_look_while_another_writes(path: Path) -> None:
    with closing(OpenedLedger(path)) as writer:
        enrol(writer, "abc")
        record(writer, "a")
        with closing(OpenedLedger(path, read_only=True)) as reader, writer.database.transaction() as db:
            db.execute("UPDATE work SET state = 1, outcome = 'ok'")
            assert reader.figures().pending == 2
        with closing(OpenedLedger(path, read_only=True)) as reader:
            assert reader.figures().pending == 0


def test_who_looks_at_a_ledger_sees_one_state_though_a_run_begins_meanwhile(path: Path) -> None:
    """And the run may begin, and write into the file what is in its log."""
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "".join(map(chr, range(0x4E00, 0x4E00 + 3000))))
    with closing(OpenedLedger(path, read_only=True)) as reader:
        with reader.database.reading() as db:
            rows = db.execute("SELECT doi, state FROM work ORDER BY id")
            seen = [rows.fetchone()]
            with closing(OpenedLedger(path)) as writer:
                with writer.database.transaction() as changes:
                    changes.execute("UPDATE work SET state = 1, origin = printf('%0900d', id)")
                with writer.database.reading() as changes:
                    changes.execute("PRAGMA wal_checkpoint(PASSIVE)")
            seen += rows.fetchall()
        assert {state for _, state in seen} == {0}
        assert len({doi for doi, _ in seen}) == 3000
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a medium that cannot be written, where SQLite may make no log."""
    connect = sqlite3.connect

    def connecting(where: str, **how: Any) -> Any:
        if where.endswith("?mode=rw"):
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(where, **how)

    monkeypatch.setattr(sqlite3, "connect", connecting)


@pytest.mark.usefixtures("unwritable")
def test_a_ledger_on_a_medium_that_cannot_be_written_can_be_looked_at(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "ab")
    with ledger_at(path) as database:
        assert Ledger(database).figures().works == 2


@pytest.mark.usefixtures("unwritable")
def test_a_run_that_begins_while_such_a_ledger_is_looked_at_is_told_and_not_taken_for_damage(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "ab")
    with pytest.raises(LockHeld, match=r"a run began.*Give the same command again"), ledger_at(path):
        path.write_bytes(path.read_bytes() + bytes(4096))


@pytest.mark.parametrize("read_only", [False, True])
def test_the_log_of_another_ledger_is_not_played_into_a_backup(path: Path, read_only: bool) -> None:
    """A backup that is put in the place of a killed run's ledger, whose log is still there."""
    backup, log = path.with_name("backup"), path.with_name(f"{path.name}-wal")
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "ab")
        ledger.database.save_as(backup)
        record(ledger, "a")
        left = log.read_bytes()
    backup.rename(path)
    log.write_bytes(left)
    before = path.read_bytes()
    with pytest.raises(PromiseBroken, match=r"-wal was left by another ledger.*Nothing was changed\. Remove it"):
        OpenedLedger(path, read_only=read_only)
    assert (path.read_bytes(), log.read_bytes()) == (before, left)
    log.unlink()
    with closing(OpenedLedger(path, read_only=read_only)) as ledger:
        assert ledger.figures().pending == 2


def test_a_stop_is_heard_while_a_ledger_with_the_log_of_a_killed_run_is_looked_through(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, [Work("10.5555/a")])
        ledger_bytes, log_bytes = path.read_bytes(), log.read_bytes()
    path.write_bytes(ledger_bytes)
    log.write_bytes(log_bytes)
    with pytest.raises(Stopped):  # the thread that looks is left behind, so nobody may use this file any more
        Database(path, is_stopped=lambda: True)


def test_a_copy_of_a_ledger_beside_a_log_that_does_not_fit_is_left_alone(path: Path) -> None:
    """A copy that says that it has a log, as one by `.backup` does; only looking through it can tell."""
    log, copy = path.with_name(f"{path.name}-wal"), b""
    with closing(OpenedLedger(path)) as ledger:
        for size in (1000, 3000, 5000):
            with ledger.database.reading() as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            copy = copy or path.read_bytes()
            enrol(ledger, [Work(f"10.5555/{number * 7919 % 9973}") for number in range(size)])
        left = log.read_bytes()
    path.write_bytes(copy)
    log.write_bytes(left)
    with pytest.raises(
        LedgerDamaged, match=r"its log do not fit together: .*Nothing was changed.*remove .*-wal and .*-shm"
    ):
        OpenedLedger(path)
    assert (path.read_bytes(), log.read_bytes()) == (copy, left)
    log.unlink()
    OpenedLedger(path).close()


def test_the_log_that_a_killed_run_left_is_its_own(path: Path) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "ab")
    log = path.with_name(f"{path.name}-wal")
    with closing(OpenedLedger(path)) as ledger:
        record(ledger, "a")
        files = [(each, each.read_bytes()) for each in (path, log)]
    for each, content in files:
        each.write_bytes(content)
    with closing(OpenedLedger(path, read_only=True)) as ledger:
        assert ledger.figures().results == 1
    with closing(OpenedLedger(path)) as ledger:
        assert ledger.figures().results == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-4096], "malformed"),
        (lambda content: content[:8192] + b"\xa5" * 8192 + content[16384:], "malformed"),
        (lambda content: content.replace(b"tableworkwork", b"tablew\xffrkwork"), "a name in it is no text"),
        (lambda content: content.replace(b"doi          TEXT", b"dox          TEXT"), "no such column|malformed"),
        (lambda content: content.replace(b"10.5555/a", b"10.5555/\xff"), "Could not decode"),
    ],
)
def test_a_damaged_ledger_is_told_with_the_way_back(path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    with closing(OpenedLedger(path)) as ledger:
        enrol(ledger, "abc")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LedgerDamaged, match=rf"({message}).*put back a backup.*`harvester recover OUTPUT`"):
        looked_through(path)


def looked_through(path: Path) -> None:
    """Read all that a ledger has."""
    with ledger_at(path) as database:
        Ledger(database).figures()
        list(Ledger(database).failures())
        list(works_by_doi(database))
        database.require_sound()


def test_who_only_looks_cannot_write(path: Path) -> None:
    OpenedLedger(path).close()
    with closing(OpenedLedger(path, read_only=True)) as reader, pytest.raises(DiskFailed, match="readonly"):
        reader.database.meta.length = 1


@pytest.mark.parametrize("name", ["50% of?it#1.ledger", "ü b.ledger"])
def test_any_name_can_be_looked_at(tmp_path: Path, name: str) -> None:
    with closing(OpenedLedger(tmp_path / name)) as ledger:
        enrol(ledger, "ab")
    with closing(OpenedLedger(tmp_path / name, read_only=True)) as reader:
        assert reader.figures().works == 2


def test_a_temporary_ledger_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with closing(OpenedLedger(None)) as ledger:
        enrol(ledger, "abc")
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_fails_for_any_reason_is_undone_and_the_next_one_goes(ledger: OpenedLedger) -> None:
    def halfway() -> None:
        with ledger.database.transaction() as db:
            db.execute("INSERT INTO meta VALUES ('length', 5)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        halfway()
    assert ledger.database.meta.length == 0
    ledger.database.meta.length = 6
    assert ledger.database.meta.length == 6


def test_single_values_are_remembered_and_can_be_forgotten(ledger: OpenedLedger) -> None:
    meta = ledger.database.meta
    meta.output, meta.length = "out.jsonl", 5
    meta.output, meta.length = None, 6
    assert (meta.output, meta.length, meta.reading) == (None, 6, 0)


def test_single_values_that_change_together_are_one_transaction(ledger: OpenedLedger) -> None:
    meta = ledger.database.meta

    def halfway() -> None:
        with ledger.database.transaction():
            meta.output, meta.length = "out.jsonl", 5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        halfway()
    assert (meta.output, meta.length) == (None, 0)


def test_whether_a_night_is_open_is_unknown_in_the_ledger_of_a_batch_run(ledger: OpenedLedger) -> None:
    assert ledger.database.meta.night is None
    ledger.database.meta.night = False
    assert ledger.database.meta.night is False


def test_another_thread_is_refused(ledger: OpenedLedger) -> None:
    """One connection, one thread: SQLite itself would let it be, and mix two transactions up."""
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(ledger.figures)
        written = other.submit(setattr, ledger.database.meta, "length", 1)
    for attempt in (asked, written):
        with pytest.raises(RuntimeError, match="belongs to the thread that opened it"):
            attempt.result()
    assert ledger.database.meta.length == 0


def test_it_counts_what_another_ledger_has_an_outcome_for(ledger: OpenedLedger, path: Path) -> None:
    with closing(OpenedLedger(path)) as other:
        enrol(other, "abcx")
        record(other, "ax", "b")
    enrol(ledger, "abcd")
    assert [ledger.done_in(path, failed_too=True) for _ in range(2)] == [2, 2]


# All of it together


class Life(RuleBasedStateMachine):
    """A ledger against a dictionary, through lists that change and runs that end anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = OpenedLedger(None)
        self.outbox = Outbox(self.ledger.database)
        self.states: dict[str, str] = {}
        self.listed: set[str] = set()
        self.registered: set[str] = set()
        self.rejected: set[str] = set()

    def teardown(self) -> None:
        self.ledger.close()

    def in_state(self, state: str) -> set[str]:
        return {letter for letter in self.listed if self.states[letter] == state}

    @rule(letters=st.text("abcdefgh", max_size=12), cut=st.integers(1, 5))
    def reading(self, letters: str, cut: int) -> None:
        number = self.ledger.begin_reading()
        chunks = [works(letters[:cut]), works(letters[cut:])]
        assert sum(self.ledger.enrol(number, chunk, []) for chunk in chunks) == len(set(letters))
        self.ledger.end_reading(number)
        self.listed = set(letters)
        kept = {letter for letter, state in self.states.items() if state != "pending"} | self.listed
        self.states = {letter: self.states.get(letter, "pending") for letter in kept}

    @rule(letters=st.sets(st.sampled_from("abcdefgh")))
    def commit(self, letters: set[str]) -> None:
        due = sorted(letters & self.in_state("pending"))
        results = "".join(due[::2])
        failures = "".join(due[1::2])
        waiting = self.ledger.figures().registration_pending
        assert record(self.ledger, results, failures) == self.ledger.figures().registration_pending - waiting
        self.states |= dict.fromkeys(results, "result") | dict.fromkeys(failures, "failure")

    @precondition(lambda self: self.listed)
    @rule()
    def start_over(self) -> None:
        self.ledger.start_over(None, SOURCE)
        self.states = dict.fromkeys(self.listed, "pending")
        self.registered &= self.listed
        self.rejected &= self.listed

    @rule(limit=st.integers(1, 5), refused=st.integers(0, 5))
    def register(self, limit: int, refused: int) -> None:
        entries = self.outbox.waiting(limit)
        rejected = [(entry, a_failure(entry.doi, stage=Stage.REGISTER)) for entry in entries[:refused]]
        self.outbox.settle(entries[refused:], rejected)
        self.registered |= {entry.doi[-1] for entry in entries[refused:]}
        self.rejected |= {entry.doi[-1] for entry in entries[:refused]}

    @invariant()
    def every_work_is_a_result_or_a_failure_or_pending(self) -> None:
        """Promise G1."""
        figures = self.ledger.figures()
        assert figures.works == figures.results + figures.failures + figures.pending == len(self.listed)
        assert sum(figures.outcomes.values()) == figures.results == len(self.in_state("result"))
        assert sum(figures.failures_by_kind.values()) == figures.failures == len(self.in_state("failure"))
        assert figures.gone == len(self.states) - len(self.listed)

    @invariant()
    def what_is_due_is_what_is_pending(self) -> None:
        assert Counter(letters_due(self.ledger)) == Counter(self.in_state("pending"))

    @invariant()
    def each_failed_work_has_one_reason(self) -> None:
        told = Counter(failure.input[-1] for failure in self.ledger.failures() if failure.stage is Stage.FETCH)
        assert told == Counter(self.in_state("failure"))

    @invariant()
    def each_work_is_settled_once(self) -> None:
        figures = self.ledger.figures()
        assert not self.registered & self.rejected
        assert figures.registered == len(self.registered & set(self.listed))
        assert figures.rejected == len(self.rejected & set(self.listed))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_ledger_of_every_earlier_version_is_brought_up(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript("".join(STEPS[:version]))
        old.execute("INSERT INTO work (doi, origin, listed) VALUES ('10.5555/a', 'list.txt:1', 1)")
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
        old.commit()
    for _ in range(2):
        with closing(OpenedLedger(path)) as ledger:
            assert ledger.figures().pending == 1
            with ledger.database.reading() as db:
                assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION


def test_a_ledger_is_the_same_whether_it_was_made_now_or_brought_up(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"{STEPS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    shapes = []
    for place in (path, tmp_path / "new.ledger"):
        with closing(OpenedLedger(place)) as ledger, ledger.database.reading() as db:
            shapes.append(sorted(db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()))
    assert shapes[0] == shapes[1]
