"""The commit: the output first, then the ledger, and one way back from wherever a run was cut off."""

import asyncio
import dataclasses
import errno
import gzip
import hashlib
import io
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core import files
from harvester.core.errors import (
    DiskFailed,
    Interrupted,
    LedgerDamaged,
    LedgerLost,
    Misconfigured,
    PipeClosed,
    PromiseBroken,
    Usage,
)
from harvester.core.model import Blank, DueWork, Failure, Stage, Work
from harvester.core.stop import Stop
from harvester.records.lines import failure_line, result_lines
from harvester.records.result import Finished, Result
from harvester.storage import ingest
from harvester.storage import publishing as output_module
from harvester.storage.database import Database, WorkState
from harvester.storage.hooks import CommitHook
from harvester.storage.ingest import Reading
from harvester.storage.ledger import Ledger
from harvester.storage.lock import lock
from harvester.storage.meta import Value
from harvester.storage.outbox import OutboxHook
from harvester.storage.output_file import OutputFile, Seal, partial_of
from harvester.verify.gather import gather
from tests.opened import OpenedLedger, OpenedStore
from tests.oracle import violations
from tests.support import ANY, a_failure, a_result, an_invalid_line

SOURCE = "https://api.paperbuzz.org/v0/"

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - folders in it get names of their own
"""Where syncing takes no time; None for the usual place."""


def doi(letter: str) -> str:
    return f"10.5555/{letter}"


def works(letters: str) -> list[Work]:
    """A list with one DOI a line, named by single letters."""
    return [Work(doi(letter), (f"https://{letter}",), f"list.txt:{line}") for line, letter in enumerate(letters, 1)]


def lines(letters: str, attempts: int = 1) -> bytes:
    """The result lines of these works; `attempts` tells those of one run from those of another."""
    return result_lines(a_result(doi(letter), attempts=attempts) for letter in letters)


async def commit(store: OpenedStore, due: Sequence[DueWork], *, failing: str = "", attempts: int = 1) -> None:
    """Results for these works, and failures for those named by letter."""
    outcomes: list[tuple[DueWork, Result | Failure]] = [
        (work, a_failure(work.doi) if work.doi[-1] in failing else a_result(work.doi, attempts=attempts))
        for work in due
    ]
    await store.commit(outcomes)


async def write_failures(store: OpenedStore, path: Path) -> None:
    await store.call(lambda: files.write_atomically(path, map(failure_line, store.ledger.failures()), ANY))


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class Place:
    """The files of one job, and runs of it without services.

    Args:
        folder: where they are.
        name: of the output.
    """

    def __init__(self, folder: Path, name: str = "out.jsonl") -> None:
        self.folder, self.output = folder, folder / name
        self.partial = partial_of(self.output)
        self.ledger = folder / "out.ledger"

    def store(self) -> OpenedStore:
        return OpenedStore(self.ledger, self.output)

    async def run(
        self,
        letters: str,
        *,
        failing: str = "",
        limit: int = 1000,
        attempts: int = 1,
        refetch: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """Read the list, harvest at most `limit` works, two in a commit, and publish if nothing is due any more."""
        async with self.store() as store:
            await store.enrol(works(letters))
            await store.begin(service="paperbuzz", source=SOURCE, refetch=refetch, retry_failed=retry_failed)
            for state in store.states_to_ask:
                store.state_to_ask = state
                due = await store.due(0, limit)
                for first in range(0, len(due), 2):
                    await commit(store, due[first : first + 2], failing=failing, attempts=attempts)
            if not (await store.figures()).pending:
                await store.publish()

    @property
    def names(self) -> set[str]:
        """The files that are there, without the ledger."""
        return {path.name for path in self.folder.iterdir() if not path.name.startswith(self.ledger.name)}

    def remembered(self, key: str) -> object:
        """A value of the ledger."""
        with closing(OpenedLedger(self.ledger)) as ledger:
            return getattr(ledger.database.meta, key)

    def records(self) -> dict[str, int]:
        """The published records: letter and attempts; each letter once."""
        content = self.output.read_bytes()
        found = [
            json.loads(line)
            for line in (gzip.decompress(content) if self.output.suffix == ".gz" else content).splitlines()
        ]
        assert len({record["doi"] for record in found}) == len(found)
        return {record["doi"][-1]: record["attempts"] for record in found}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# The order of a commit


async def test_lines_are_on_disk_before_the_ledger_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise G2: written, synced, and only then recorded. While it is synced the ledger knows what was before."""
    synced: list[tuple[int, int, int]] = []
    sync_data = files.sync_data

    def recorded() -> tuple[int, int]:
        """Committed length and results, as another process sees them."""
        with closing(sqlite3.connect(f"{place.ledger.as_uri()}?mode=ro", uri=True)) as db:
            length = db.execute("SELECT COALESCE(MAX(value), 0) FROM meta WHERE key = 'length'").fetchone()[0]
            return length, db.execute("SELECT COUNT(*) FROM work WHERE state = 1").fetchone()[0]

    def syncing(descriptor: int) -> None:
        sync_data(descriptor)
        synced.append((os.fstat(descriptor).st_size, *recorded()))

    monkeypatch.setattr(files, "sync_data", syncing)
    await place.run("abcd")
    one, two = len(lines("ab")), len(lines("abcd"))
    assert synced == [(one, 0, 0), (two, one, 2)]
    assert recorded() == (two, 4)


async def test_records_stand_in_the_output_in_the_order_they_were_committed(place: Place) -> None:
    await place.run("cab")
    assert place.output.read_bytes() == lines("cab")


async def test_failures_alone_touch_the_ledger_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.store() as store:
        await store.enrol(works("abc"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        due = await store.due(0, 10)
        await commit(store, due[:1])
        monkeypatch.setattr(OutputFile, "append", disk_full)
        await commit(store, due[1:], failing="bc")
        assert (await store.figures()).failures == 2
    assert place.remembered("length") == len(lines("a"))


async def test_after_a_failed_sync_nothing_is_recorded_and_nothing_more_is_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise G8: a failed sync is never retried, though the disk may be well again."""
    async with place.store() as store:
        await store.enrol(works("abc"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        due = await store.due(0, 10)
        with monkeypatch.context() as patch:
            patch.setattr(files, "sync_data", disk_full)
            with pytest.raises(DiskFailed, match="No space left"):
                await commit(store, due[:2])
        with pytest.raises(DiskFailed, match="closed after a failed write; what was committed before is safe"):
            await commit(store, due[2:])
        assert (await store.figures()).pending == 3
    await place.run("abc")
    assert place.output.read_bytes() == lines("abc")


async def test_after_a_failed_transaction_nothing_more_is_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output holds lines by now that the ledger does not know; only a new start can cut them off."""
    async with place.store() as store:
        await store.enrol(works("abc"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        due = await store.due(0, 10)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", disk_full)
            with pytest.raises(DiskFailed, match="No space left"):
                await commit(store, due[:2])
        with pytest.raises(DiskFailed):
            await commit(store, due[2:])
        await store.publish()
    assert place.names == {"out.jsonl.partial"}
    await place.run("abc")
    assert place.output.read_bytes() == lines("abc")


@pytest.mark.parametrize("register", [False, True])
async def test_results_are_put_into_the_outbox_only_on_request(place: Place, register: bool) -> None:
    told: list[int] = []
    async with OpenedStore(place.ledger, place.output) as store:
        if register:
            await store.join(lambda _: OutboxHook(told.append))
        await store.enrol(works("ab"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        first, second = await store.due(0, 10)
        result = a_result(doi("a"), landing_urls=["https://landing"])
        await store.commit([(first, result), (second, a_failure(doi("b")))])
        found = [entry.urls for entry in await store.waiting(10)]
    assert found == ([("https://a", "https://landing")] if register else [])
    assert told == ([1] if register else [])


async def test_a_hook_prepares_then_writes_in_the_transaction_and_is_told_when_it_is_on_disk(place: Place) -> None:
    steps: list[str] = []

    class Recording(CommitHook):
        def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
            steps.append("prepare")
            return [(due, became._replace(attempts=9)) for due, became in finished if isinstance(became, Result)]

        def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:
            assert db.in_transaction
            assert [became for _, became in finished if isinstance(became, Result) and became.attempts == 9]
            steps.append("record")

        def committed(self) -> None:
            assert threading.current_thread() is threading.main_thread()
            steps.append("committed")

    async with place.store() as store:
        await store.join(lambda _: Recording())
        await store.enrol(works("a"))
        await store.begin(service="paperbuzz", source=SOURCE)
        await commit(store, await store.due(0, 10))
        await store.publish()
    assert steps == ["prepare", "record", "committed"]
    assert place.records() == {"a": 9}


async def test_another_spelling_of_the_address_is_the_same_service_and_another_service_is_not(place: Place) -> None:
    await place.run("a")
    async with place.store() as store:
        await store.begin(service="paperbuzz", source="https://API.paperbuzz.org:443//v0/./")
        await store.call(store.outbox.claim, "https://altmetrics.operas-eu.org/api/")
        await store.call(store.outbox.claim, "HTTPS://altmetrics.operas-eu.org.:443/api/")
        with pytest.raises(Misconfigured, match="were registered with"):
            await store.call(store.outbox.claim, "https://altmetrics.example/api/")
        with pytest.raises(Misconfigured, match=r"\[paperbuzz\] base_url is"):
            await store.begin(service="paperbuzz", source="https://api.paperbuzz.org/v1/")


async def test_a_hook_that_left_takes_part_no_more(place: Place) -> None:
    told: list[int] = []
    async with place.store() as store:
        hook = await store.join(lambda _: OutboxHook(told.append))
        await store.enrol(works("ab"))
        await store.begin(service="paperbuzz", source=SOURCE)
        first, second = await store.due(0, 10)
        await commit(store, [first])
        await store.leave(hook)
        await commit(store, [second])
        assert [entry.doi for entry in await store.waiting(10)] == [doi("a")]
    assert told == [1]


async def test_a_hook_that_fails_fails_the_commit_and_nothing_of_it_counts(place: Place) -> None:
    class Failing(CommitHook):
        def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:
            raise DiskFailed(f"cannot write {len(finished)} works, in a transaction: {db.in_transaction}")

    async with place.store() as store:
        await store.join(lambda _: Failing())
        await store.enrol(works("a"))
        await store.begin(service="paperbuzz", source=SOURCE)
        with pytest.raises(DiskFailed):
            await commit(store, await store.due(0, 10))
        assert (await store.figures()).pending == 1
    await place.run("a")
    assert place.records() == {"a": 1}


class Odd(CommitHook):
    """Cannot deal with some works.

    Args:
        letters: of the works.
        at: the step that fails.
    """

    def __init__(self, letters: str, at: str) -> None:
        self.letters, self.at = letters, at
        self.recorded, self.adopted = list[str](), list[str]()

    def fail(self, at: str, result: object) -> None:
        if self.at == at and isinstance(result, Result) and result.doi[-1] in self.letters:
            raise ZeroDivisionError("a sum of \x1b[2J nothing")

    def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
        for _, ended in finished:
            self.fail("prepare", ended)
        return finished

    def is_written(self, result: Result) -> bool:
        self.fail("is_written", result)
        return True

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:  # noqa: ARG002
        for _, ended in finished:
            self.fail("record", ended)
        self.recorded = [due.doi[-1] for due, _ in finished]

    def adopt(self) -> None:
        self.adopted += self.recorded


@pytest.mark.parametrize("at", ["prepare", "is_written", "record"])
async def test_an_error_that_nobody_foresaw_is_the_failure_of_its_work_and_of_no_other(
    place: Place, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.store() as store:
        odd = await store.join(lambda _: Odd("cf", at))
        await store.enrol(works("abcdefgh"))
        await store.begin(service="paperbuzz", source=SOURCE)
        await commit(store, await store.due(0, 10))
        figures = await store.figures()
        assert (figures.results, figures.failures, figures.pending) == (6, 2, 0)
        failed = await store.call(lambda: [(it.doi, it.kind, it.message) for it in store.ledger.failures()])
        await store.publish()
    assert failed == [
        (doi(letter), "internal", "its record cannot be written down: ZeroDivisionError: a sum of \\x1b[2J nothing")
        for letter in "cf"
    ]
    assert place.output.read_bytes() == lines("abdegh")
    assert sorted(odd.adopted) == list("abcdefgh")
    assert all(record.exc_info for record in caplog.records)
    assert doi("c") in caplog.records[0].message


async def test_errors_that_nobody_foresaw_of_all_works_are_no_work_s_fault(place: Place) -> None:
    async with place.store() as store:
        await store.join(lambda _: Odd("abcdefgh", "record"))
        await store.enrol(works("abcdefgh"))
        await store.begin(service="paperbuzz", source=SOURCE)
        with pytest.raises(ZeroDivisionError):
            await commit(store, await store.due(0, 10))
        assert (await store.figures()).pending > 0


async def test_a_text_that_the_ledger_cannot_take_fails_its_own_work(place: Place) -> None:
    async with place.store() as store:
        await store.enrol(works("ab"))
        await store.begin(service="paperbuzz", source=SOURCE)
        first, second = await store.due(0, 10)
        odd = a_result(first.doi, landing_urls=["https://x.example/\ud800"])
        await store.commit([(first, odd), (second, a_result(second.doi))])
        figures = await store.figures()
        assert (figures.results, figures.failures_by_kind) == (1, {"internal": 1})


async def test_a_large_record_is_written_in_chunks_as_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[int] = []
    append = OutputFile.append

    def appending(output: OutputFile, chunk: bytes) -> int:
        units.append(len(chunk))
        return append(output, chunk)

    monkeypatch.setattr(OutputFile, "append", appending)
    record = b'{"doi":"10.5555/a",\r\n"x":"%b"}\n' % (b"a" * 9_000_000)
    async with place.store() as store:
        await store.enrol(works("a"))
        await store.begin(service="paperbuzz", source=SOURCE)
        [due] = await store.due(0, 10)
        await store.commit([(due, a_result(due.doi, paperbuzz=record))])
        await store.publish()
    assert len(units) > 3
    assert max(units) < 3 * 2**20
    [line] = place.output.read_bytes().splitlines()
    assert json.loads(line)["paperbuzz"] == json.loads(record)
    assert line.endswith(record.replace(b"\r\n", b"").rstrip() + b"}")


async def test_a_record_that_a_hook_withholds_counts_and_has_no_line(place: Place) -> None:
    class Withholding(CommitHook):
        def is_written(self, result: Result) -> bool:
            return not result.doi.endswith("b")

    async with place.store() as store:
        await store.join(lambda _: Withholding())
        await store.enrol(works("abc"))
        await store.begin(service="paperbuzz", source=SOURCE)
        await commit(store, await store.due(0, 10))
        assert (await store.figures()).results == 3
        await store.publish()
    assert place.records() == {"a": 1, "c": 1}


# Readings


async def test_every_line_is_counted_once(place: Place) -> None:
    """Promise G1: lines read = works + duplicates + invalid + blank."""
    async with place.store() as store:
        await store.enrol(works("xyz"))
        found: list[Work | Failure | Blank] = [*works("aabz"), Blank(), an_invalid_line(), Blank()]
        reading = await store.enrol(found)
    assert reading == Reading(lines=7, works=3, duplicates=1, invalid=1, blank=2, dropped=2)


@settings(max_examples=40, deadline=None)
@given(st.text("ab-#cd", max_size=30), st.integers(1, 7))
def test_the_count_does_not_depend_on_where_a_chunk_ends(text: str, chunk: int) -> None:
    kinds: dict[str, Work | Failure | Blank] = {"-": Blank(), "#": an_invalid_line()}

    async def read() -> Reading:
        async with OpenedStore(None, None) as store:
            return await store.enrol(kinds.get(letter) or Work(doi(letter)) for letter in text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "ENROL_CHUNK", chunk)
        reading = asyncio.run(read())
    listed = [letter for letter in text if letter not in kinds]
    assert (reading.lines, reading.works, reading.duplicates) == (
        len(text),
        len(set(listed)),
        len(listed) - len(set(listed)),
    )
    assert (reading.invalid, reading.blank) == (text.count("#"), text.count("-"))


async def test_a_reading_can_be_broken_off_and_drops_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ENROL_CHUNK", 2)
    await place.run("abc", limit=1)
    async with place.store() as store:
        stopped = threading.Event()
        assert await store.enrol(until(stopped, works("axyz"), "y"), stopped.is_set) == Reading()
        # Whether what was read just before was enrolled is left to the two threads.
        assert "".join(due.doi[-1] for due in await store.due(0, 10)) in ("bc", "bcx")


def until(stopped: threading.Event, listed: list[Work], letter: str) -> Iterator[Work]:
    """Some works; before the one with this letter a stop is requested."""
    for work in listed:
        if work.doi == doi(letter):
            stopped.set()
        yield work


async def test_a_stop_does_not_wait_for_an_input_that_blocks(place: Place) -> None:
    stopped, for_ever = threading.Event(), threading.Event()

    def blocking() -> Iterator[Work]:
        yield from works("a")
        stopped.set()
        for_ever.wait()

    async with place.store() as store:
        assert await store.enrol(blocking(), stopped.is_set) == Reading()
    for_ever.set()


async def test_a_stop_does_not_wait_for_a_fingerprint_that_takes_long(place: Place) -> None:
    stopped, for_ever = threading.Event(), threading.Event()

    def endless() -> str:
        stopped.set()
        for_ever.wait()
        return "print"

    async with place.store() as store:
        assert await store.enrol(works("a"), stopped.is_set, fingerprint=endless) == Reading()
    for_ever.set()


async def test_a_chunk_has_no_more_works_than_its_urls_allow(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ENROL_URL_CHARS", 1_000)
    chunks: list[int] = []
    load = Ledger.enrol

    def counted(ledger: Ledger, number: int, listed: list[Work], invalid: list[Failure], *, state: WorkState) -> int:
        chunks.append(len(listed))
        return load(ledger, number, listed, invalid, state=state)

    monkeypatch.setattr(Ledger, "enrol", counted)
    await place.run("z")
    async with place.store() as store:
        await store.enrol(Work(doi(letter), ("https://" + 400 * letter,)) for letter in "abcde")
    assert chunks == [3, 2]


async def test_who_leaves_does_not_wait_for_an_endless_input(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ENROL_CHUNK", 10)
    begun = threading.Event()

    def endless() -> Iterator[Work]:
        for number in itertools.count():
            begun.set()
            yield Work(doi(str(number)))

    async with place.store() as store:
        reading = asyncio.create_task(store.enrol(endless()))
        await asyncio.to_thread(begun.wait)
        reading.cancel()


async def read_as(place: Place, letters: str, fingerprint: str | None) -> tuple[Reading, bool]:
    """A reading under a fingerprint, and whether anything was read for it."""
    read = False

    def listed() -> Iterator[Work]:
        nonlocal read
        read = True
        yield from works(letters)

    async with place.store() as store:
        return await store.enrol(listed(), fingerprint=lambda: fingerprint), read


async def test_a_list_that_has_not_changed_is_not_read_again_and_counts_as_before(place: Place) -> None:
    first, _ = await read_as(place, "aab", "print")
    assert await read_as(place, "", "print") == (first, False)


async def test_a_list_that_has_changed_or_has_no_fingerprint_is_read(place: Place) -> None:
    await read_as(place, "abc", "print")
    assert await read_as(place, "ab", "other") == (Reading(lines=2, works=2, dropped=1), True)
    assert (await read_as(place, "a", None))[1]
    assert (await read_as(place, "a", None))[1]


async def test_a_list_that_changed_while_it_was_read_is_read_again(place: Place) -> None:
    prints = iter(["print", "other"])
    async with place.store() as store:
        await store.enrol(works("ab"), fingerprint=lambda: next(prints))
    assert (await read_as(place, "ab", "print"))[1]
    assert not (await read_as(place, "ab", "print"))[1]


async def test_where_a_list_has_no_fingerprint_it_is_not_taken_again(place: Place) -> None:
    taken = [None]
    async with place.store() as store:
        await store.enrol(works("ab"), fingerprint=taken.pop)
    assert not taken


async def test_a_list_is_read_again_after_a_reading_of_another_was_broken_off(place: Place) -> None:
    """Else what that one took in would be asked, though it is not listed."""
    await read_as(place, "ab", "print")
    stopped = threading.Event()
    async with place.store() as store:
        listed = until(stopped, works("abx"), "x")
        assert await store.enrol(listed, stopped.is_set, fingerprint=lambda: "other") == Reading()
    assert (await read_as(place, "ab", "print"))[1]


# Beginning


async def test_a_fresh_output_is_partial_until_it_is_published(place: Place) -> None:
    async with place.store() as store:
        await store.enrol(works("ab"))
        assert await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        assert place.names == {"out.jsonl.partial"}
        await commit(store, await store.due(0, 10))
        assert place.names == {"out.jsonl.partial"}
        await store.publish()
        assert place.names == {"out.jsonl"}


async def test_a_run_goes_on_where_it_was_left(place: Place) -> None:
    await place.run("abcd", limit=2)
    assert place.names == {"out.jsonl.partial"}
    await place.run("abcd", attempts=2)
    assert place.output.read_bytes() == lines("ab") + lines("cd", 2)


async def test_a_torn_tail_is_cut_off_and_its_works_are_asked_again(place: Place) -> None:
    await place.run("abcd", limit=2)
    with place.partial.open("ab") as file:
        file.write(lines("cd")[:-9])
    await place.run("abcd", attempts=2)
    assert place.output.read_bytes() == lines("ab") + lines("cd", 2)


async def test_a_list_without_anything_due_is_published_empty(place: Place) -> None:
    await place.run("ab", failing="ab")
    assert place.output.read_bytes() == b""


async def test_a_finished_job_is_left_alone(place: Place) -> None:
    await place.run("abc")
    async with place.store() as store:
        await store.enrol(works("abc"))
        assert not await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        assert place.names == {"out.jsonl"}
        await store.publish()
    assert place.output.read_bytes() == lines("abc")


async def test_new_dois_are_added_to_a_finished_output(place: Place) -> None:
    await place.run("ab")
    async with place.store() as store:
        await store.enrol(works("abc"))
        assert await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        assert place.names == {"out.jsonl", "out.jsonl.partial"}
        assert (await store.figures()).pending == 1
    assert place.output.read_bytes() == lines("ab"), "the finished output keeps its name and its bytes"
    await place.run("abc", attempts=2)
    assert place.output.read_bytes() == lines("ab") + lines("c", 2)
    assert place.names == {"out.jsonl"}


async def test_failed_works_are_added_to_a_finished_output_on_request(place: Place) -> None:
    await place.run("abc", failing="b")
    await place.run("abc", attempts=2)
    assert place.output.read_bytes() == lines("ac")
    await place.run("abc", attempts=2, retry_failed=True)
    assert place.output.read_bytes() == lines("ac") + lines("b", 2)


async def test_a_stop_while_a_finished_output_is_copied_leaves_it_as_it_was(place: Place) -> None:
    await place.run("ab")
    stop = Stop()
    async with OpenedStore(place.ledger, place.output, stop=stop) as store:
        await store.enrol(works("abc"))
        stop.request(Interrupted(15))
        with pytest.raises(Interrupted):
            await store.begin(service="paperbuzz", source=SOURCE)
    assert place.output.read_bytes() == lines("ab")
    await place.run("abc", attempts=2)
    assert (place.names, place.output.read_bytes()) == ({"out.jsonl"}, lines("ab") + lines("c", 2))


async def test_an_output_that_lost_its_name_to_a_crash_in_publishing_is_known_again(place: Place) -> None:
    """The renaming is on disk, the ledger does not know of it yet."""
    await place.run("ab")
    with closing(OpenedLedger(place.ledger)) as ledger:
        ledger.database.meta.published = False
    async with place.store() as store:
        await store.enrol(works("ab"))
        assert not await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
    assert (place.names, place.remembered("published")) == ({"out.jsonl"}, 1)


Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"{}\n")


@pytest.mark.parametrize(
    ("finished", "damage", "message"),
    [
        (False, cut, r"out\.jsonl\.partial holds .* bytes, but .*Nothing was changed\. Put the file back, .*--refetch"),
        (False, Path.unlink, r"out\.jsonl\.partial holds 0 bytes"),
        (True, cut, r"out\.jsonl holds .* bytes, but .*Nothing was changed\. Put the file back, .*--refetch"),
        (True, grow, r"out\.jsonl holds .* bytes"),
        (True, Path.unlink, r"out\.jsonl is gone, .*Put it back, or start over with --refetch"),
    ],
)
@pytest.mark.parametrize("letters", ["abcd", "abcde"])
async def test_an_output_that_something_else_changed_is_refused_and_left_alone(
    place: Place, letters: str, finished: bool, damage: Damage, message: str
) -> None:
    await place.run("abcd", limit=1000 if finished else 2, failing="d")
    damage(place.output if finished else place.partial)
    before = {name: (place.folder / name).read_bytes() for name in place.names}
    with pytest.raises(PromiseBroken, match=message):
        await place.run(letters, retry_failed=True)
    assert {name: (place.folder / name).read_bytes() for name in place.names} == before
    async with place.store() as store:
        assert (await store.figures()).failures == (1 if finished else 0)


@pytest.mark.parametrize("refetch", [False, True])
@pytest.mark.parametrize("limit", [2, 1000])
async def test_two_outputs_at_once_are_refused_and_left_alone(place: Place, limit: int, refetch: bool) -> None:
    await place.run("abcd", limit=limit)
    for path in (place.output, place.partial):
        if not path.exists():
            path.write_bytes(b"other")
    before = {name: (place.folder / name).read_bytes() for name in place.names}
    with pytest.raises(PromiseBroken, match=r"both .*out\.jsonl and out\.jsonl\.partial exist"):
        await place.run("abcd", refetch=refetch)
    assert {name: (place.folder / name).read_bytes() for name in place.names} == before


async def test_an_output_that_appears_during_a_run_is_not_overwritten(place: Place) -> None:
    async with place.store() as store:
        await store.enrol(works("a"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        await commit(store, await store.due(0, 10))
        place.output.write_bytes(b"other")
        with pytest.raises(PromiseBroken):
            await store.publish()
    assert place.output.read_bytes() == b"other"
    assert place.partial.read_bytes() == lines("a")


# Whose output it is


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.partial"])
async def test_an_output_that_no_ledger_knows_is_refused_and_no_ledger_made(place: Place, name: str) -> None:
    (place.folder / name).write_bytes(b"other")
    with pytest.raises(Usage, match=rf"{name} exists already.*choose another output, or move the file away"):
        await place.run("a")
    assert ({path.name for path in place.folder.iterdir()}, (place.folder / name).read_bytes()) == ({name}, b"other")


async def test_an_output_that_a_ledger_of_registrations_does_not_know_is_refused(place: Place) -> None:
    async with OpenedStore(place.ledger, None) as store:
        await store.enrol(works("a"))
    place.output.write_bytes(b"other")
    with pytest.raises(Usage, match="exists already"):
        await place.run("a")
    assert place.output.read_bytes() == b"other"


async def test_a_ledger_of_registrations_may_be_given_an_output(place: Place) -> None:
    async with OpenedStore(place.ledger, None) as store:
        await store.enrol(works("a"))
    await place.run("ab")
    assert place.output.read_bytes() == lines("ab")


@pytest.mark.parametrize("other", ["other.jsonl", "out.jsonl.gz", None])
async def test_a_ledger_belongs_to_one_output(place: Place, other: str | None) -> None:
    await place.run("a")
    output, stdout = (place.folder / other, None) if other else (None, io.BytesIO())
    with pytest.raises(Misconfigured, match=rf"belongs to the output out\.jsonl, not to {other or '-'}\..*--ledger"):
        async with OpenedStore(place.ledger, output, stdout=stdout):
            pass
    assert place.names == {"out.jsonl"}


async def test_a_refused_ledger_is_not_kept_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.run("a")
    closed: list[Database] = []
    close = Database.close

    def closing_it(database: Database) -> None:
        closed.append(database)
        close(database)

    monkeypatch.setattr(Database, "close", closing_it)
    with pytest.raises(Misconfigured):
        async with OpenedStore(place.ledger, place.folder / "other.jsonl"):
            pass
    assert len(closed) == 1


async def test_a_job_may_be_moved_to_another_folder_as_a_whole(place: Place, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = Place(tmp_path / "old")
    await old.run("ab", limit=1)
    for path in (old.partial, old.ledger):
        path.rename(place.folder / path.name)
    await place.run("ab")
    assert place.output.read_bytes() == lines("ab")


# Taken away or put in each other's place


async def begun(store: OpenedStore, letters: str = "abcd") -> list[DueWork]:
    """A run that has committed its first two works; the others."""
    await store.enrol(works(letters))
    await store.begin(service="paperbuzz", source=SOURCE)
    due = await store.due(0, 10)
    await commit(store, due[:2])
    return due[2:]


def replaced(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    fresh.rename(path)


@pytest.mark.parametrize("name", ["out.ledger", "out.ledger.lock"])
@pytest.mark.parametrize("touch", [Path.unlink, replaced])
async def test_without_its_ledger_or_lock_a_run_writes_nothing_more(place: Place, name: str, touch: Damage) -> None:
    """Promise G6: another run may have begun beside this one."""
    with lock(place.ledger) as held:
        async with OpenedStore(place.ledger, place.output, lock=held) as store:
            rest = await begun(store)
            touch(place.folder / name)
            with pytest.raises(LedgerLost, match="Nothing more was written"):
                await commit(store, rest)
            with pytest.raises(DiskFailed):
                await commit(store, rest)
            with pytest.raises(LedgerLost):
                await store.call(store.ledger.mark_published)
            figures = await store.figures()
    assert (figures.results, figures.pending) == (2, 2)


async def test_a_lost_ledger_is_noticed_before_the_output_gets_its_name(place: Place) -> None:
    async with place.store() as store:
        await begun(store, "ab")
        place.ledger.unlink()
        with pytest.raises(LedgerLost):
            await store.publish()
    assert place.partial.exists()
    assert not place.output.exists()


async def test_an_output_that_was_changed_far_from_its_end_is_not_published(place: Place) -> None:
    """Promise G2: a run that lost a record never says that it is complete."""
    await place.run("abcd", limit=2)
    with closing(OpenedLedger(place.ledger)) as ledger:  # of two works, so that the end has to be made short
        seal, end = Seal.from_text(str(ledger.database.meta.seal)), place.partial.read_bytes()[-9:]
        short = dataclasses.replace(seal, tail=len(end), sha256=hashlib.sha256(end).hexdigest())
        ledger.database.meta.seal = short.as_text()
    with place.partial.open("r+b") as file:
        file.write(b"#")
    with pytest.raises(PromiseBroken, match="has other bytes than were written"):
        await place.run("abcd")
    assert place.names == {"out.jsonl.partial"}
    assert place.remembered("published") is False


@pytest.mark.parametrize("finished", [False, True])
async def test_an_output_of_the_right_length_with_another_end_is_refused(place: Place, finished: bool) -> None:
    await place.run("abcd", limit=1000 if finished else 2)
    path = place.output if finished else place.partial
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
    before = path.read_bytes()
    with pytest.raises(PromiseBroken, match=r"bytes that were committed last are not in it.*`harvester recover`"):
        await place.run("abcd")
    assert path.read_bytes() == before


async def test_a_ledger_of_before_a_refetch_does_not_cut_the_output_of_the_refetch(place: Place) -> None:
    await place.run("abcdef", limit=4)
    backup = place.ledger.read_bytes()
    await place.run("abcdef", attempts=22, refetch=True)
    place.output.rename(place.partial)
    before = place.partial.read_bytes()
    place.ledger.write_bytes(backup)
    with pytest.raises(PromiseBroken, match="or the ledger is of another time"):
        await place.run("abcdef")
    assert place.partial.read_bytes() == before
    await place.run("abcdef", attempts=3, refetch=True)
    assert (place.folder / "out.jsonl.2").read_bytes() == before
    assert place.output.read_bytes() == lines("abcdef", 3)


@pytest.mark.parametrize("finished", [False, True])
async def test_an_output_that_is_longer_than_a_restored_ledger_knows_is_cut_back(place: Place, finished: bool) -> None:
    await place.run("abcdef", limit=2)
    backup = place.ledger.read_bytes()
    await place.run("abcdef", attempts=2, limit=1000 if finished else 2)
    place.ledger.write_bytes(backup)
    await place.run("abcdef", attempts=3)
    assert place.output.read_bytes() == lines("ab") + lines("cdef", 3)
    assert place.names == {"out.jsonl"}


async def test_a_finished_output_of_which_a_restored_ledger_knows_nothing_is_not_thrown_away(place: Place) -> None:
    await place.run("abcd", limit=0)
    backup = place.ledger.read_bytes()
    await place.run("abcd")
    place.ledger.write_bytes(backup)
    await place.run("abcd", attempts=2)
    assert (place.folder / "out.jsonl.1").read_bytes() == lines("abcd")
    assert place.output.read_bytes() == lines("abcd", 2)


async def test_a_file_that_took_the_name_of_an_output_before_that_was_made_is_refused(place: Place) -> None:
    async with place.store() as store:
        await store.enrol(works("ab"))
    place.output.write_bytes(b"other")
    with pytest.raises(PromiseBroken, match=r"but 0 are known to be committed"):
        await place.run("ab")
    assert place.output.read_bytes() == b"other"


@pytest.mark.parametrize("change", ["state = 0 WHERE doi LIKE '%a'", "state = 1, outcome = 'ok' WHERE doi LIKE '%d'"])
async def test_a_ledger_that_knows_of_other_records_than_were_written_is_refused(place: Place, change: str) -> None:
    """As after the log of a later ledger was played into an older one; else `a` would be in the output twice."""
    await place.run("abcd", limit=2)
    with closing(OpenedLedger(place.ledger)) as ledger, ledger.database.transaction() as db:
        db.execute(f"UPDATE work SET {change}")  # noqa: S608 - one of the two above
    before = place.partial.read_bytes()
    with pytest.raises(PromiseBroken, match=r"works have a record by the ledger, but 2 records.*`harvester recover`"):
        await place.run("abcd")
    assert place.partial.read_bytes() == before


async def test_an_output_of_an_older_version_has_no_seal_and_goes_on(place: Place) -> None:
    await place.run("abcd", limit=2)
    with closing(OpenedLedger(place.ledger)) as ledger:
        ledger.database.meta.seal = None
    await place.run("abcd", attempts=2, limit=1)
    assert Seal.from_text(str(place.remembered("seal"))).crc32 is None
    await place.run("abcd", attempts=3)
    assert place.output.read_bytes() == lines("ab") + lines("c", 2) + lines("d", 3)


async def test_a_ledger_of_another_run_is_not_removed_in_place_of_an_empty_one(place: Place) -> None:
    async with place.store():
        replaced(place.ledger)
    assert place.ledger.exists()


async def test_a_reading_that_a_damaged_ledger_cannot_tell_is_done_again(place: Place) -> None:
    first, _ = await read_as(place, "aab", "print")
    with closing(OpenedLedger(place.ledger)) as ledger:
        ledger.database.meta.found = '{"lings":3}'
    assert await read_as(place, "aab", "print") == (first, True)
    with closing(OpenedLedger(place.ledger)) as ledger:
        ledger.database.meta.found = "["
    async with place.store() as store:
        with pytest.raises(LedgerDamaged, match=r"makes no sense.*`harvester recover OUTPUT`"):
            await store.last_reading()


# Once more


async def test_a_refetch_keeps_each_old_output_under_the_next_free_number(place: Place) -> None:
    for attempts in (1, 2, 3):
        await place.run("ab", attempts=attempts, refetch=True)
    assert place.names == {"out.jsonl", "out.jsonl.1", "out.jsonl.2"}
    found = [(place.folder / name).read_bytes() for name in ("out.jsonl.1", "out.jsonl.2", "out.jsonl")]
    assert found == [lines("ab", attempts) for attempts in (1, 2, 3)]


async def test_a_refetch_of_a_run_that_was_cut_off_keeps_what_was_committed(place: Place) -> None:
    """And not the torn write behind it."""
    await place.run("abcd", limit=2)
    with place.partial.open("ab") as file:
        file.write(b"torn")
    await place.run("abcd", attempts=2, refetch=True)
    assert (place.folder / "out.jsonl.1").read_bytes() == lines("ab")
    assert place.output.read_bytes() == lines("abcd", 2)


@pytest.mark.parametrize("refetch", [False, True])
async def test_a_refetch_that_was_cut_off_goes_on(place: Place, refetch: bool) -> None:
    await place.run("abcd", attempts=1)
    await place.run("abcd", attempts=2, refetch=True, limit=2)
    await place.run("abcd", attempts=3, refetch=refetch)
    assert place.output.read_bytes() == lines("ab", 2) + lines("cd", 3)
    assert place.names == {"out.jsonl", "out.jsonl.1"}


async def test_an_old_output_may_be_thrown_away(place: Place) -> None:
    """Its renaming is over and is not done again."""
    await place.run("ab")
    await place.run("ab", attempts=2, refetch=True)
    (place.folder / "out.jsonl.1").unlink()
    await place.run("ab", attempts=3)
    assert (place.names, place.output.read_bytes()) == ({"out.jsonl"}, lines("ab", 2))


async def test_nothing_is_archived_over_an_old_output(place: Place) -> None:
    """A refetch that died before its renaming, and then somebody's file in place of the partial output."""
    await place.run("ab")
    with closing(OpenedLedger(place.ledger)) as ledger:
        ledger.start_over("out.jsonl.1", SOURCE)
    place.partial.write_bytes(b"other")
    await place.run("ab", attempts=2)
    assert (place.folder / "out.jsonl.1").read_bytes() == lines("ab")


@pytest.mark.parametrize("damage", [cut, Path.unlink])
@pytest.mark.parametrize("finished", [False, True])
async def test_a_refetch_is_the_way_out_when_the_output_was_lost(place: Place, damage: Damage, finished: bool) -> None:
    await place.run("abcd", limit=1000 if finished else 2)
    damage(place.output if finished else place.partial)
    await place.run("abcd", attempts=2, refetch=True)
    assert place.output.read_bytes() == lines("abcd", 2)


@pytest.mark.parametrize("damage", [cut, Path.unlink])
async def test_a_refetch_whose_own_output_was_lost_starts_again(place: Place, damage: Damage) -> None:
    await place.run("abcd", attempts=1)
    await place.run("abcd", attempts=2, refetch=True, limit=2)
    damage(place.partial)
    await place.run("abcd", attempts=3, refetch=True)
    assert place.output.read_bytes() == lines("abcd", 3)
    assert (place.folder / "out.jsonl.1").read_bytes() == lines("abcd", 1)


# Cut off at any step


Run = Callable[[Place], Coroutine[Any, Any, None]]


class Crash(BaseException):
    """The run ends here, and nobody can catch it."""


class Countdown:
    """Cuts a run off at one of the points before, in the middle of, and after each step that changes a file.

    Args:
        point: which one, from 0.
        patch: undone by whoever made it.
    """

    def __init__(self, point: int, patch: pytest.MonkeyPatch) -> None:
        self.left = point
        steps: dict[Any, str] = {
            output_module: "move replace write_atomically remove open_output",
            OutputFile: "append",
            Ledger: "begin_reading enrol end_reading start_over record mark_published",
            Value: "__set__",
        }
        for owner, name in ((owner, name) for owner, names in steps.items() for name in names.split()):
            patch.setattr(owner, name, self.around(getattr(owner, name)))
        self.write = os.write
        patch.setattr(os, "write", self.torn)

    def tick(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise Crash

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)
        def stepping(*arguments: Any, **named: Any) -> Any:
            self.tick()
            result = step(*arguments, **named)
            try:
                self.tick()
            except Crash:
                if isinstance(result, OutputFile):
                    result.close()  # as the end of a process does
                raise
            return result

        return stepping

    def torn(self, descriptor: int, content: memoryview) -> int:
        """All but the end of a write reaches the file."""
        done = self.write(descriptor, content[:-9] or content)
        self.tick()
        return done


def is_cut_off(command: Coroutine[Any, Any, None], point: int) -> bool:
    """Run a command that ends at a point; False if it was over before that."""
    with pytest.MonkeyPatch.context() as patch:
        Countdown(point, patch)
        try:
            asyncio.run(command)
        except Crash:
            return True
    return False


@dataclass(frozen=True)
class Case:
    """A command, what was there before it, and what is to be there after it.

    Args:
        before: the first run.
        command: the run that is cut off.
        after: the records then published.
        archived: the old output.
        name: of the output.
    """

    before: Run | None
    command: Run
    after: dict[str, int]
    archived: bytes | None = None
    name: str = "out.jsonl"

    def begun(self, folder: Path) -> Place:
        folder.mkdir()
        place = Place(folder, self.name)
        if self.before:
            asyncio.run(self.before(place))
        return place

    def is_over(self, place: Place) -> bool:
        """Whether the command was done, but for its last words."""
        return place.output.exists() and place.records() == self.after and place.remembered("published") == 1

    def check(self, place: Place) -> None:
        """Each record once, the old output kept, and nothing else left behind."""
        assert place.records() == self.after
        archive = place.folder / f"{self.name}.1"
        assert (archive.read_bytes() if archive.exists() else None) == self.archived
        assert place.names == {self.name} | ({archive.name} if self.archived is not None else set())
        with closing(OpenedLedger(place.ledger)) as ledger:
            figures = ledger.figures()
        assert (figures.results + figures.gone, figures.pending) == (len(self.after), 0)


CASES = {
    "fresh": Case(None, lambda place: place.run("abc", failing="b"), {"a": 1, "c": 1}),
    "packed": Case(None, lambda place: place.run("abc"), {"a": 1, "b": 1, "c": 1}, name="out.jsonl.gz"),
    "resumed": Case(
        lambda place: place.run("abcd", limit=2),
        lambda place: place.run("abcd", attempts=2),
        {"a": 1, "b": 1, "c": 2, "d": 2},
    ),
    "grown": Case(
        lambda place: place.run("ab"), lambda place: place.run("bcd", attempts=2), {"a": 1, "b": 1, "c": 2, "d": 2}
    ),
    "retried": Case(
        lambda place: place.run("abc", failing="b"),
        lambda place: place.run("abc", attempts=2, retry_failed=True),
        {"a": 1, "b": 2, "c": 1},
    ),
    "refetched": Case(
        lambda place: place.run("abc"),
        lambda place: place.run("abc", attempts=2, refetch=True),
        {"a": 2, "b": 2, "c": 2},
        lines("abc"),
    ),
    "refetched halfway": Case(
        lambda place: place.run("abcd", limit=2),
        lambda place: place.run("abcd", attempts=2, refetch=True),
        {"a": 2, "b": 2, "c": 2, "d": 2},
        lines("ab"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_whatever_step_a_run_is_cut_off_at_the_same_command_ends_it(case: Case) -> None:
    """Promise G2, at every point in turn."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        for point in itertools.count():
            place = case.begun(Path(folder) / str(point))
            if not is_cut_off(case.command(place), point):
                break
            if not case.is_over(place):
                asyncio.run(case.command(place))
            case.check(place)
    assert point > 15


@pytest.mark.parametrize("name", ["grown", "retried"])
def test_whatever_step_a_run_is_cut_off_at_a_finished_output_keeps_its_name_and_its_bytes(name: str) -> None:
    """Until the one that replaces it is complete."""
    case = CASES[name]
    with TemporaryDirectory(dir=MEMORY) as folder:
        for point in itertools.count():
            place = case.begun(Path(folder) / str(point))
            before = place.output.read_bytes()
            if not is_cut_off(case.command(place), point):
                break
            assert place.output.read_bytes() == before or place.records() == case.after
            assert not list(violations_in(place))
            if place.remembered("published"):  # a run that has nothing to add leaves no copy behind
                asyncio.run(place.run("ab" if name == "grown" else "abc"))
                assert place.names == {"out.jsonl"}
    assert point > 15


def violations_in(place: Place) -> list[object]:
    with gather(place.output, deep=True) as evidence:
        return list(violations(evidence))


async def test_an_output_that_was_to_grow_and_was_refetched_is_kept_with_what_was_added(place: Place) -> None:
    await place.run("ab")
    await place.run("abcd", limit=1)
    assert place.names == {"out.jsonl", "out.jsonl.partial"}
    await place.run("abcd", refetch=True, attempts=2)
    assert place.names == {"out.jsonl", "out.jsonl.1"}
    assert (place.folder / "out.jsonl.1").read_bytes() == lines("abc")


async def test_an_output_that_grew_may_be_read_by_whom_it_might_before(place: Place) -> None:
    await place.run("ab")
    place.output.chmod(0o640)
    await place.run("abc")
    assert place.output.stat().st_mode & 0o777 == 0o640


async def test_a_disk_that_has_no_room_for_the_copy_leaves_all_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.run("ab")
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_data", disk_full)
        with pytest.raises(DiskFailed):
            await place.run("abc")
    assert (place.names, place.output.read_bytes()) == ({"out.jsonl"}, lines("ab"))
    assert not violations_in(place)
    await place.run("abc")
    assert place.output.read_bytes() == lines("abc")


async def test_a_finished_output_that_somebody_changed_while_it_grew_is_not_replaced(place: Place) -> None:
    await place.run("ab")
    await place.run("abcd", limit=1)
    place.output.write_bytes(b"theirs")
    with pytest.raises(PromiseBroken, match=r"something else changed .*out\.jsonl while more was added"):
        await place.run("abcd")
    assert place.output.read_bytes() == b"theirs"
    place.output.rename(place.folder / "theirs")
    await place.run("abcd")
    assert sorted(place.records()) == ["a", "b", "c", "d"]


async def test_failed_works_stay_failed_with_their_reason_until_they_are_asked_again(place: Place) -> None:
    await place.run("abcd", failing="bc")
    async with place.store() as store:
        await store.enrol(works("abcd"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=True)
        await commit(store, (await store.due(0, 1)))
        figures = await store.figures()
    assert (figures.results, figures.failures, figures.pending) == (3, 1, 0)
    with closing(OpenedLedger(place.ledger)) as ledger:
        assert [failure.doi for failure in ledger.failures()] == [doi("c")]


def test_a_refetch_that_was_cut_off_at_any_step_goes_on_without_being_asked_for_again() -> None:
    """Or it had not begun, and all is as it was."""
    case = CASES["refetched"]
    with TemporaryDirectory(dir=MEMORY) as folder:
        for point in itertools.count():
            place = case.begun(Path(folder) / str(point))
            if not is_cut_off(case.command(place), point):
                break
            asyncio.run(place.run("abc", attempts=2))
            if place.names == {"out.jsonl"}:
                assert place.output.read_bytes() == lines("abc")
            else:
                case.check(place)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 30), min_size=2, max_size=5))
def test_however_often_a_run_is_cut_off_the_same_command_ends_it(name: str, points: list[int]) -> None:
    case = CASES[name]
    with TemporaryDirectory(dir=MEMORY) as folder:
        place = case.begun(Path(folder) / "job")
        for point in points:
            if not is_cut_off(case.command(place), point) or case.is_over(place):
                break
        if not case.is_over(place):
            asyncio.run(case.command(place))
        case.check(place)


# Many at once


async def test_a_commit_that_has_begun_is_finished_though_nobody_waits_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    append = OutputFile.append

    def slow_append(output: OutputFile, content: bytes) -> int:
        begun.set()
        may_end.wait()
        return append(output, content)

    monkeypatch.setattr(OutputFile, "append", slow_append)
    async with place.store() as store:
        await store.enrol(works("ab"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        waiter = asyncio.create_task(commit(store, await store.due(0, 10)))
        await asyncio.to_thread(begun.wait)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        may_end.set()
        assert (await store.figures()).results == 2
    assert place.partial.read_bytes() == lines("ab")


async def test_everything_runs_on_one_thread_that_ends_with_the_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One writing connection is a rule."""
    threads: set[threading.Thread] = set()
    transaction = Database.transaction

    def watched(file: Database) -> AbstractContextManager[sqlite3.Connection]:
        threads.add(threading.current_thread())
        return transaction(file)

    monkeypatch.setattr(Database, "transaction", watched)
    async with place.store() as store:
        await store.enrol(works("abcd"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        due = await store.due(0, 10)
        await asyncio.gather(*(commit(store, [work]) for work in due), store.fill_outbox(harvested_only=False))
    (writer,) = threads
    assert writer is not threading.current_thread()
    assert not writer.is_alive()


async def test_the_output_is_let_go_with_the_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Path] = []
    close = OutputFile.close

    def closing_it(output: OutputFile) -> None:
        closed.append(output.path)
        close(output)

    monkeypatch.setattr(OutputFile, "close", closing_it)
    await place.run("ab", limit=1)
    assert closed == [place.output]


async def test_a_store_that_cannot_be_opened_leaves_no_thread(place: Place) -> None:
    place.ledger.write_bytes(b"10.5555/a\n")
    before = threading.active_count()
    with pytest.raises(Misconfigured):
        await place.run("a")
    assert threading.active_count() == before


async def test_a_ledger_that_cannot_be_closed_is_told_unless_something_worse_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Database.close

    def fail(database: Database) -> None:
        close(database)
        raise DiskFailed("cannot be closed")

    async def leave(error: Exception | None) -> None:
        async with place.store():
            if error:
                raise error

    monkeypatch.setattr(Database, "close", fail)
    with pytest.raises(DiskFailed, match="cannot be closed"):
        await leave(None)
    with pytest.raises(PipeClosed):
        await leave(PipeClosed("went away"))


# Other files


async def test_the_failures_file_is_what_the_ledger_says(place: Place) -> None:
    path = place.folder / "out.failures.jsonl"
    await place.run("ab", failing="ab")
    async with place.store() as store:
        await store.enrol([*works("b"), an_invalid_line("x")])
        await write_failures(store, path)
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(line["stage"], line["input"]) for line in found] == [("fetch", doi("b")), ("input", "x")]


async def test_if_the_failures_cannot_be_read_whole_the_old_file_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.folder / "out.failures.jsonl"
    path.write_bytes(b"old")

    def half_of_them(_: Ledger) -> Iterator[Failure]:
        yield a_failure()
        raise DiskFailed("the ledger cannot be read")

    monkeypatch.setattr(Ledger, "failures", half_of_them)
    async with place.store() as store:
        with pytest.raises(DiskFailed):
            await write_failures(store, path)
    assert path.read_bytes() == b"old"


async def test_a_small_file_is_replaced_whole(place: Place) -> None:
    path = place.folder / "out.summary.json"
    async with place.store() as store:
        await store.call(files.write_atomically, path, [b"{}"], ANY)
        await store.call(files.write_atomically, path, [b"[]"], ANY)
    assert (path.read_bytes(), place.names) == (b"[]", {path.name})


# Without an output file


async def test_stdout_gets_the_records_and_the_folder_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    stdout = io.BytesIO()
    async with OpenedStore(None, None, stdout=stdout) as store:
        await store.enrol(works("abc"))
        assert await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        await commit(store, await store.due(0, 10), failing="b")
        assert (await store.figures()).pending == 0
        await store.publish()
    assert stdout.getvalue() == lines("ac")
    assert place.names == set()


async def test_with_a_ledger_stdout_gets_only_what_is_still_due(place: Place) -> None:
    found = []
    for limit, refetch in ((2, False), (9, False), (9, True)):
        stdout = io.BytesIO()
        async with OpenedStore(place.ledger, None, stdout=stdout) as store:
            await store.enrol(works("abcd"))
            await store.begin(service="paperbuzz", source=SOURCE, refetch=refetch, retry_failed=False)
            await commit(store, await store.due(0, limit))
        found.append(stdout.getvalue())
    assert found == [lines("ab"), lines("cd"), lines("abcd")]


async def test_with_a_ledger_failed_works_go_to_stdout_on_request(place: Place) -> None:
    stdout = io.BytesIO()
    for failing, state in (("a", WorkState.DUE), ("", WorkState.FAILURE)):
        async with OpenedStore(place.ledger, None, stdout=stdout) as store:
            await store.enrol(works("ab"))
            await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=True)
            assert store.states_to_ask == (WorkState.FAILURE, WorkState.DUE)
            store.state_to_ask = state
            await commit(store, await store.due(0, 10), failing=failing)
    assert stdout.getvalue() == lines("ba")


async def test_what_a_closed_pipe_did_not_take_is_still_due(place: Place) -> None:
    class Closed(io.BytesIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    async with OpenedStore(place.ledger, None, stdout=Closed()) as store:
        await store.enrol(works("ab"))
        await store.begin(service="paperbuzz", source=SOURCE, refetch=False, retry_failed=False)
        with pytest.raises(PipeClosed):
            await commit(store, await store.due(0, 10))
        assert (await store.figures()).pending == 2


async def test_a_rejected_registration_is_settled_by_its_work(place: Place) -> None:
    async with place.store() as store:
        await store.enrol(works("ab"))
        assert await store.fill_outbox(harvested_only=False) == 2
        first, second = await store.waiting(10)
        await store.settle([first], [(second, a_failure(second.doi, stage=Stage.REGISTER))])
        figures = await store.figures()
    assert (figures.registered, figures.rejected, figures.pending) == (1, 1, 2)
