"""The checker: what is honest passes, in every state a run may leave, and each single falsehood is found and named."""

import gzip
import os
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import pytest_asyncio
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harvester.config.load import load
from harvester.core.errors import HarvesterError, InputMissing, LockHeld, Misconfigured
from harvester.harvest.job import Mode
from harvester.harvest.registration import register
from harvester.harvest.run import run
from harvester.records.packing import packer
from harvester.reports.summary import Exit, Summary
from harvester.sandbox.options import DEMO_ACCOUNTS, SandboxOptions
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.server import Sandbox
from harvester.storage.database import RegistrationState, WorkState
from harvester.storage.lock import lock
from harvester.storage.paths import Paths, job_paths
from harvester.storage.status import LedgerWork
from harvester.verify import checks
from harvester.verify.checks import PROMISES, Violation, verdict
from harvester.verify.evidence import Evidence, FailureEntry, Line, OutputEvidence
from harvester.verify.gather import entry_of, gather, read_lines, sorted_on_disk
from tests import oracle
from tests.jobs import harvest_job, registration_job
from tests.oracle import Input, Traffic, violations
from tests.records.test_schema import outside
from tests.reports.test_summary import SUMMARY
from tests.support import a_failure
from tests.tool import Tool, dois

ENDINGS = ("jsonl", "jsonl.gz", "jsonl.zst")
PROBES = 3
"""How often a good DOI may be asked again to tell whether the service fails, or the one bad DOI of the list."""

FAILED = "10.5555/500-1"
REFUSED = "10.1234/ä"
"""OPERAS does not take it."""
LISTED = [*dois(20), FAILED, REFUSED]
LINES = [*LISTED, LISTED[0], "", "no doi"]


@dataclass
class Desk:
    """A folder with a list, and a sandbox that answers.

    Args:
        folder: where everything is.
        sandbox: what is asked.
        ending: of the output.
    """

    folder: Path
    sandbox: Sandbox
    ending: str = "jsonl"

    @property
    def output(self) -> Path:
        return self.folder / f"out.{self.ending}"

    async def run(self, lines: Iterable[str] = LINES, *, budget: int = 0, **options: Any) -> Summary:
        """Harvest the lines, in this process."""
        (self.folder / "dois.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        given = {
            "paperbuzz.base_url": self.sandbox.paperbuzz_url,
            "paperbuzz.email": "demo@example.org",
            "paperbuzz.rate": 1000,
            "paperbuzz.max_attempts": 1,
            "paperbuzz.daily_budget": budget,
            "operas.base_url": self.sandbox.operas_url,
            "operas.rate": 1000,
        }
        settings, password = load(None, {}, given).settings, DEMO_ACCOUNTS[0].password
        job = harvest_job(settings, [self.folder / "dois.txt"], job_paths(str(self.output)), password, **options)
        return await run(job, outside(self.folder))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Sandbox(SandboxOptions()) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harvested(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a complete harvest for each format."""
    folders = {}
    for ending in ENDINGS:
        folders[ending] = tmp_path_factory.mktemp("harvested")
        async with Sandbox(SandboxOptions()) as sandbox:
            assert (await Desk(folders[ending], sandbox, ending).run()).exit.code == 0
    return folders


@pytest.fixture
def copy(harvested: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with a complete harvest of its own, to be falsified."""
    return shutil.copytree(harvested["jsonl"], tmp_path / "copy")


def checked(path: Path, *, given: Input | None = None, traffic: Traffic | None = None) -> list[Violation]:
    """What a deep look finds."""
    with gather(path, deep=True) as evidence:
        return violations(evidence, given=given, traffic=traffic)


# What is honest


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_complete_run_holds_with_all_its_evidence(desk: Desk, ending: str) -> None:
    desk.ending = ending
    report = await desk.run()
    assert (report.exit.code, report.figures.failures, report.figures.rejected) == (0, 1, 1)
    traffic = Traffic(desk.sandbox.log, repeats_allowed=PROBES, registered=desk.sandbox.operas.registered)
    given = Input(set(LISTED), lines=25, duplicates=1, invalid=1, blank=1)
    with gather(desk.output, deep=True) as evidence:
        found = verdict(evidence)
    assert checked(desk.output, given=given, traffic=traffic) == []
    assert found.shown == {}
    assert found.notes == ()
    assert (found.counts.records, found.counts.records_hashed, found.counts.failure_lines) == (21, 21, 3)


async def test_a_stopped_run_holds_and_so_does_the_one_that_finishes_it(desk: Desk) -> None:
    assert (await desk.run(budget=9)).exit.code == 4
    assert desk.output.with_name("out.jsonl.partial").exists()
    assert checked(desk.output) == []
    assert checked(desk.output.with_name("out.jsonl.partial")) == []
    assert (await desk.run()).exit.code == 0
    assert checked(desk.output, traffic=Traffic(desk.sandbox.log, repeats_allowed=PROBES)) == []


async def test_a_refetch_and_a_retry_hold(desk: Desk) -> None:
    await desk.run()
    await desk.run(mode=Mode.REFETCH)
    assert checked(desk.output) == []
    await desk.run(mode=Mode.RETRY_FAILED, retry_failures=True)
    assert checked(desk.output) == []


async def test_works_that_left_the_list_keep_their_records(desk: Desk) -> None:
    await desk.run()
    assert (await desk.run(dois(5))).figures.gone == 17
    given = Input(set(dois(5)), lines=5)
    with gather(desk.output) as evidence:
        found = verdict(evidence)
    assert checked(desk.output, given=given) == []
    assert found.shown == {}
    assert (found.counts.figures.works, found.counts.figures.gone, found.counts.records) == (5, 17, 21)


async def test_a_list_without_a_single_good_doi_holds(desk: Desk) -> None:
    assert (await desk.run([FAILED])).exit.code == 0
    assert checked(desk.output) == []


def ledger_says(folder: Path, sql: str, *values: object) -> None:
    """Change the ledger behind harvester's back."""
    db = sqlite3.connect(folder / "out.ledger")
    assert db.execute(sql, values).rowcount
    db.commit()
    db.close()


def killed(folder: Path) -> None:
    """As after a run that began and left no summary: it has written into its lock file."""
    (folder / "out.ledger.lock").write_bytes(b"1")


def test_what_a_kill_leaves_behind_is_no_violation(copy: Path) -> None:
    """The output was renamed, but the ledger does not know it yet; failures and summary are those of the run before."""
    killed(copy)
    ledger_says(copy, "UPDATE meta SET value = 0 WHERE key = 'published'")
    ledger_says(copy, "DELETE FROM failure WHERE stage = 'input'")
    with gather(copy / "out.jsonl") as evidence:
        found = verdict(evidence)
    assert found.shown == {}
    assert "left no summary" in found.notes[0]


async def test_an_output_that_is_longer_than_a_restored_ledger_knows_is_no_violation(desk: Desk) -> None:
    """The next run cuts it back. An output that the ledger knows to be complete may not be longer."""
    await desk.run(budget=9)
    backup = (desk.folder / "out.ledger").read_bytes()
    await desk.run()
    (desk.folder / "out.summary.json").unlink()
    (desk.folder / "out.ledger").write_bytes(backup)
    assert checked(desk.output) == []
    content = desk.output.read_bytes()
    desk.output.write_bytes(content.replace(b'"v":1', b'"v":2'))
    assert "bytes, but the ledger knows" in checked(desk.output)[0].words


def test_a_torn_write_behind_the_committed_length_is_no_violation(copy: Path) -> None:
    killed(copy)
    ledger_says(copy, "UPDATE meta SET value = 0 WHERE key = 'published'")
    partial = (copy / "out.jsonl").rename(copy / "out.jsonl.partial")
    partial.write_bytes(partial.read_bytes() + b'{"v":1,"doi":"10.5')
    assert checked(copy / "out.jsonl") == []


def test_an_archive_that_is_still_to_be_renamed_is_no_violation(copy: Path) -> None:
    killed(copy)
    ledger_says(copy, "UPDATE meta SET value = 0 WHERE key IN ('published', 'length')")
    ledger_says(copy, "INSERT OR REPLACE INTO meta VALUES ('archive', 'out.jsonl.1')")
    ledger_says(copy, "UPDATE work SET state = 0, outcome = NULL, harvested_at = NULL, sha256 = NULL")
    ledger_says(copy, "DELETE FROM failure WHERE stage = 'fetch'")
    assert checked(copy / "out.jsonl") == []


def test_a_job_that_is_named_by_its_ledger_is_the_same_job(copy: Path) -> None:
    with gather(copy / "out.ledger", deep=True) as evidence:
        found = verdict(evidence)
    assert found.shown == {}
    assert found.counts.records == 21


async def test_a_registration_alone_holds(desk: Desk) -> None:
    ledger = desk.folder / "r.ledger"
    (desk.folder / "dois.txt").write_text("\n".join(LISTED), encoding="utf-8")
    given = {"operas.base_url": desk.sandbox.operas_url, "operas.rate": 1000, "operas.email": "demo@example.org"}
    paths = Paths(None, ledger, desk.folder / "r.failures.jsonl", desk.folder / "r.summary.json")
    settings, password = load(None, {}, given).settings, DEMO_ACCOUNTS[0].password
    job = registration_job(settings, [desk.folder / "dois.txt"], paths, password)
    assert (await register(job, outside(desk.folder))).exit.code == 0
    assert (
        checked(
            ledger, traffic=Traffic(desk.sandbox.log, repeats_allowed=PROBES, registered=desk.sandbox.operas.registered)
        )
        == []
    )


def test_files_that_are_elsewhere_can_be_named(copy: Path) -> None:
    (copy / "out.failures.jsonl").rename(copy / "f.jsonl")
    (copy / "out.ledger").rename(copy / "l.ledger")
    with gather(copy / "out.jsonl", ledger=copy / "l.ledger", failures=copy / "f.jsonl") as evidence:
        assert violations(evidence) == []


# What is not


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "out.jsonl").read_bytes().splitlines(keepends=True)


def rewritten(folder: Path, lines: Iterable[bytes]) -> None:
    """Another output, of which the ledger knows the length, so that nothing but its lines is wrong."""
    (folder / "out.jsonl").write_bytes(b"".join(lines))
    length = (folder / "out.jsonl").stat().st_size
    ledger_says(folder, "UPDATE meta SET value = ? WHERE key = 'length'", length)


def first_doi(folder: Path) -> str:
    return str(orjson.loads(lines_of(folder)[0])["doi"])


def line_becomes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The first line of the output, changed."""

    def mutate(folder: Path) -> None:
        first, *rest = lines_of(folder)
        assert change(first) != first
        rewritten(folder, [change(first), *rest])

    return mutate


def member_becomes(**members: object) -> Callable[[Path], None]:
    """Other values before the record, whose bytes stay as they are."""

    def change(line: bytes) -> bytes:
        head, name, record = line.partition(b',"paperbuzz":')
        return orjson.dumps(orjson.loads(head + b"}") | members)[:-1] + name + record

    return line_becomes(change)


def drop_a_line(folder: Path) -> None:
    rewritten(folder, lines_of(folder)[1:])


def double_a_line(folder: Path) -> None:
    rewritten(folder, [*lines_of(folder), lines_of(folder)[0]])


def add_a_stranger(folder: Path) -> None:
    line = lines_of(folder)[0].replace(first_doi(folder).encode(), b"10.5555/stranger", 1)
    rewritten(folder, [*lines_of(folder), line])


def swap_two_dois(folder: Path) -> None:
    first, second, *rest = lines_of(folder)
    one, other = (b'"doi":"%b","outcome"' % orjson.loads(line)["doi"].encode() for line in (first, second))
    rewritten(folder, [first.replace(one, other), second.replace(other, one), *rest])


def swap_two_records(folder: Path) -> None:
    heads = [line.partition(b',"paperbuzz":') for line in lines_of(folder)]
    heads[0], heads[1] = (heads[0][0], *heads[1][1:]), (heads[1][0], *heads[0][1:])
    rewritten(folder, [b"".join(parts) for parts in heads])


def row(change: str) -> Callable[[Path], None]:
    """The first line's work, changed in the ledger."""
    statement = f"UPDATE work SET {change} WHERE doi = ?"  # noqa: S608 - ours, below
    return lambda folder: ledger_says(folder, statement, first_doi(folder))


def of_work(statement: str) -> Callable[[Path], None]:
    statement += " (SELECT id FROM work WHERE doi = ?)"
    return lambda folder: ledger_says(folder, statement, first_doi(folder))


MUTANTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a line dropped": (drop_a_line, {"G2"}),
    "a line doubled": (double_a_line, {"G2"}),
    "a byte of a record changed": (line_becomes(lambda line: line[:-4] + b" " + line[-4:]), {"G12"}),
    "a record encoded anew": (
        line_becomes(lambda line: line.replace(b'"altmetrics_sources":', b'"altmetrics_sources": ', 1)),
        {"G12"},
    ),
    "two DOIs swapped": (swap_two_dois, {"G2", "G11"}),
    "two records swapped": (swap_two_records, {"G11", "G12"}),
    "a line cut": (line_becomes(lambda line: line[:99] + b"\n"), {"G2", "G3"}),
    "NUL bytes in place of a line": (line_becomes(lambda line: b"\0" * len(line)), {"G2", "G3"}),
    "a line that is no object": (line_becomes(lambda _: b"[]\n"), {"G2", "G3"}),
    "another version": (member_becomes(v=2), {"G3"}),
    "a member of another type": (member_becomes(attempts="1"), {"G3"}),
    "another outcome": (member_becomes(outcome="degraded?"), {"G2"}),
    "another time": (member_becomes(harvested_at="2020-01-01T00:00:00.000Z"), {"G2"}),
    "another digest": (member_becomes(sha256="0" * 64), {"G2", "G12"}),
    "ledger: another outcome": (row("outcome = 'empty?'"), {"G1", "G2"}),
    "ledger: another time": (row("harvested_at = '2020'"), {"G2"}),
    "ledger: another digest": (row("sha256 = NULL"), {"G2"}),
    "ledger: due again": (row("state = 0"), {"G1", "G2"}),
    "ledger: failed for no reason": (row("state = 2"), {"G1"}),
    "ledger: in no known state": (row("state = 7"), {"G1"}),
    "ledger: forgotten": (of_work("DELETE FROM work WHERE id ="), {"G1", "G2"}),
    "ledger: rejected for no reason": (of_work("UPDATE registration SET state = 2 WHERE work_id ="), {"G1", "G10"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_falsehood_is_found_under_its_promise_and_with_its_doi(copy: Path, name: str) -> None:
    mutate, promises = MUTANTS[name]
    doi = first_doi(copy)
    mutate(copy)
    found = checked(copy / "out.jsonl")
    assert {each.promise for each in found} == promises
    assert any(each.doi == doi and doi in each.words for each in found)


@pytest.mark.parametrize(
    "mutate", [row("listed = 0"), of_work("UPDATE registration SET state = 0 WHERE work_id =")], ids=["list", "outbox"]
)
def test_what_only_changes_a_figure_contradicts_the_summary(copy: Path, mutate: Callable[[Path], None]) -> None:
    mutate(copy)
    found = checked(copy / "out.jsonl")
    assert {each.promise for each in found} == {"G1"}
    assert all("the summary has" in each.words for each in found)


def test_a_record_of_a_doi_that_nobody_knows_is_found(copy: Path) -> None:
    add_a_stranger(copy)
    assert {(each.promise, each.doi) for each in checked(copy / "out.jsonl")} == {
        ("G2", "10.5555/stranger"),
        ("G11", "10.5555/stranger"),
    }


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("cut", [1, 5, 300])
def test_an_output_that_was_cut_is_found_in_every_format(
    harvested: dict[str, Path], tmp_path: Path, ending: str, cut: int
) -> None:
    folder = shutil.copytree(harvested[ending], tmp_path / "copy")
    output = folder / f"out.{ending}"
    output.write_bytes(output.read_bytes()[:-cut])
    found = checked(output)
    assert "G3" in {each.promise for each in found}
    assert any("are known" in each.words or "to be committed" in each.words for each in found)


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("position", [0, 30, -2])
def test_a_byte_that_rotted_in_a_packed_output_is_found(
    harvested: dict[str, Path], tmp_path: Path, ending: str, position: int
) -> None:
    folder = shutil.copytree(harvested[ending], tmp_path / "copy")
    content = bytearray((folder / f"out.{ending}").read_bytes())
    content[position] ^= 0x55
    (folder / f"out.{ending}").write_bytes(content)
    assert "G3" in {each.promise for each in checked(folder / f"out.{ending}")}


@pytest.mark.parametrize("ending", ENDINGS)
def test_garbage_at_the_end_is_found(harvested: dict[str, Path], tmp_path: Path, ending: str) -> None:
    folder = shutil.copytree(harvested[ending], tmp_path / "copy")
    with (folder / f"out.{ending}").open("ab") as file:
        file.write(b"\0" * 100)
    assert [each.promise for each in checked(folder / f"out.{ending}")] == ["G3"]


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst"])
def test_a_committed_length_that_ends_within_a_unit_is_found(tmp_path: Path, ending: str) -> None:
    unit = packer(f".{ending}")(b'{"v":1}\n' * 1000)
    (tmp_path / f"o.{ending}").write_bytes(unit)
    for length in (len(unit) - 1, len(unit) // 2):
        output = read(tmp_path / f"o.{ending}", length)
        assert output[-1].problem, length


def read(path: Path, length: int) -> list[Line]:
    return list(read_lines(path, length, deep=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "out.jsonl").unlink(), "gone"),
        (lambda folder: (folder / "out.jsonl").rename(folder / "out.jsonl.partial"), "gone"),
        (lambda folder: shutil.copy(folder / "out.jsonl", folder / "out.jsonl.partial"), "both"),
        (lambda folder: ledger_says(folder, "UPDATE meta SET value = 0 WHERE key = 'published'"), "does not know it"),
        (lambda folder: ledger_says(folder, "UPDATE meta SET value = 9 WHERE key = 'length'"), "bytes"),
    ],
)
def test_an_output_that_is_not_where_the_ledger_says_is_found(
    copy: Path, change: Callable[[Path], object], words: str
) -> None:
    change(copy)
    assert any(each.promise == "G3" and words in each.words for each in checked(copy / "out.jsonl"))


def test_a_partial_output_that_lost_something_is_found(copy: Path) -> None:
    killed(copy)
    ledger_says(copy, "UPDATE meta SET value = 0 WHERE key = 'published'")
    partial = (copy / "out.jsonl").rename(copy / "out.jsonl.partial")
    partial.write_bytes(partial.read_bytes()[:-700])
    assert {each.promise for each in checked(copy / "out.jsonl")} == {"G2", "G3"}


def failures_become(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        path = folder / "out.failures.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return mutate


def without(doi: str) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [line for line in lines if doi.encode() not in line]


@pytest.mark.parametrize(
    ("mutate", "doi"),
    [
        (failures_become(without(FAILED)), FAILED),
        (failures_become(without(REFUSED)), REFUSED),
        (failures_become(without("no doi")), ""),
        (failures_become(lambda lines: [*lines, lines[-1]]), None),
        (
            failures_become(lambda lines: [line.replace(b'"kind":"http"', b'"kind":"timeout"') for line in lines]),
            FAILED,
        ),
        (lambda folder: ledger_says(folder, "DELETE FROM failure WHERE stage = 'fetch'"), FAILED),
        (lambda folder: ledger_says(folder, "UPDATE failure SET message = 'x' WHERE stage = 'fetch'"), FAILED),
        (lambda folder: ledger_says(folder, "UPDATE work SET state = 1 WHERE state = 2"), FAILED),
        (lambda folder: (folder / "out.failures.jsonl").unlink(), FAILED),
    ],
)
def test_failures_that_are_not_the_ledgers_are_found(
    copy: Path, mutate: Callable[[Path], None], doi: str | None
) -> None:
    mutate(copy)
    found = [each for each in checked(copy / "out.jsonl") if each.promise == "G1"]
    assert any(doi is None or each.doi == doi for each in found)


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"[]\n", b'{"v":1}\n', b'{"cut', b"\xff\xfe\n", b'{"doi":7}\n'])
def test_a_failures_file_that_cannot_be_read_is_found(copy: Path, line: bytes) -> None:
    failures_become(lambda lines: [*lines, line])(copy)
    assert "G3" in {each.promise for each in checked(copy / "out.jsonl")}


FIGURES = [
    *("lines", "works", "duplicates", "invalid", "blank", "results", "failures", "pending", "gone"),
    *("registered", "rejected", "registration_pending"),
]


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_of_the_summary_that_is_wrong_is_found(copy: Path, name: str) -> None:
    path = copy / "out.summary.json"
    summary = orjson.loads(path.read_bytes())
    summary[name] += 1
    path.write_bytes(orjson.dumps(summary))
    assert {each.promise for each in checked(copy / "out.jsonl")} <= {"G1", "G10"}
    assert checked(copy / "out.jsonl")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"[]", b"{}", b'{"exit":1}', orjson.dumps({"v": 1, "exit": {}}), b"\xff"]
)
def test_a_summary_that_is_none_is_found(copy: Path, content: bytes) -> None:
    (copy / "out.summary.json").write_bytes(content)
    assert [each.promise for each in checked(copy / "out.jsonl")] == ["G1"]


@pytest.mark.parametrize("name", ["out.summary.json", "out.failures.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_found_and_not_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert any("no regular file" in each.words for each in checked(copy / "out.jsonl"))


@pytest.mark.parametrize("wrong", ["12", None, 1.5, {"a": "b"}])
def test_a_summary_whose_figures_are_none_is_found(copy: Path, wrong: object) -> None:
    path = copy / "out.summary.json"
    for name in ("results", "outcomes"):
        path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {name: wrong}))
    assert ["no figure" in each.words for each in checked(copy / "out.jsonl")] == [True]


def test_a_run_at_work_is_waited_for_and_none_can_begin_meanwhile(copy: Path) -> None:
    with lock(copy / "out.ledger"), pytest.raises(LockHeld), gather(copy / "out.jsonl"):
        pass
    with gather(copy / "out.jsonl"), pytest.raises(LockHeld), lock(copy / "out.ledger"):
        pass


def test_a_look_leaves_failures_and_summary_to_be_compared_by_the_next_one(copy: Path) -> None:
    for _ in range(2):
        with gather(copy / "out.jsonl") as evidence:
            assert evidence.summary is not None


@pytest.mark.parametrize(
    ("name", "error"),
    [("none.jsonl", InputMissing), ("out.jsonl.zst", Misconfigured), ("dois.txt", Misconfigured)],
)
def test_what_belongs_to_no_job_is_refused(copy: Path, name: str, error: type[HarvesterError]) -> None:
    with pytest.raises(error), gather(copy / name):
        pass


# The pure function, on evidence made by hand

TIME = "2026-11-21T03:54:06.372Z"


def a_work(doi: str, state: int = WorkState.RESULT, **more: Any) -> LedgerWork:
    found = {"outcome": "ok", "harvested_at": TIME, "sha256": "0" * 64} if state == WorkState.RESULT else {}
    return LedgerWork(doi, state, failed=state == WorkState.FAILURE, **{**found, **more})


def a_line(work: LedgerWork, number: int = 1) -> Line:
    told = work.outcome or "", work.harvested_at or "", work.sha256 or ""
    return Line(number, work.doi, *told, record_sha256=work.sha256, record_doi=work.doi)


def evidence_of(works: Iterable[LedgerWork], **more: Any) -> Evidence:
    """All that an honest, finished run of these works would leave, but for the summary."""
    works = sorted(works, key=lambda work: work.doi)
    lines = [a_line(work, number) for number, work in enumerate(works, 1) if work.state == WorkState.RESULT]
    output = OutputEvidence("o.jsonl", 100, published=True, size=100, partial_size=None, lines=lines)
    notes = [entry_of(a_failure(work.doi)) for work in works if work.state == WorkState.FAILURE and work.listed]
    return replace(Evidence(works, noted=notes, failures=list(notes), output=output), **more)


names = st.text(min_size=1, max_size=12).map(lambda text: "10.1/" + text)
some_works = st.dictionaries(names, st.tuples(st.sampled_from(WorkState), st.booleans()), min_size=1).map(
    lambda given: [a_work(doi, state, listed=listed) for doi, (state, listed) in given.items()]
)


@given(some_works)
def test_whatever_the_works_an_honest_job_holds(works: list[LedgerWork]) -> None:
    found = verdict(evidence_of(works))
    assert found.shown == {}
    listed = [work.state for work in works if work.listed]
    assert (found.counts.figures.works, found.counts.figures.results) == (len(listed), listed.count(WorkState.RESULT))


@given(some_works, st.data())
def test_any_line_lost_or_doubled_is_named(works: list[LedgerWork], data: st.DataObject) -> None:
    evidence = evidence_of(works)
    assert evidence.output is not None
    lines = list(evidence.output.lines)
    if not lines:
        return
    index = data.draw(st.integers(0, len(lines) - 1))
    times = data.draw(st.sampled_from([0, 2]))
    changed = replace(evidence.output, lines=[*lines[:index], *[lines[index]] * times, *lines[index + 1 :]])
    found = violations(replace(evidence, output=changed))
    assert [(each.promise, each.doi) for each in found] == [("G2", lines[index].doi)]
    assert all(char.isprintable() for each in found for char in each.words)


@given(st.lists(st.builds(a_failure, names, message=st.text(max_size=9))))
def test_failures_are_sorted_on_disk_as_in_memory(failures: list[Any]) -> None:
    notes = [entry_of(failure) for failure in failures]
    found = sorted_on_disk(notes, lambda note: note.sort_key, FailureEntry)
    assert list(found) == sorted(notes, key=lambda note: note.sort_key)


def test_works_and_input_are_the_same_dois() -> None:
    evidence = evidence_of([a_work("10.1/a"), a_work("10.1/b"), a_work("10.1/gone", listed=False)])
    found = violations(evidence, given=Input({"10.1/a", "10.1/c"}))
    assert {(each.promise, each.doi) for each in found} == {("G1", "10.1/b"), ("G1", "10.1/c")}


def test_counts_of_the_input_are_compared_with_the_summary() -> None:
    summary = replace(SUMMARY, exit=Exit(0, "complete", ""))
    given = Input((), lines=1, duplicates=2, invalid=3, blank=4)
    found = violations(replace(evidence_of([]), summary=summary), given=given)
    words = " ".join(each.words for each in found)
    for name, count in (("lines", 1), ("duplicates", 2), ("invalid", 3), ("blank", 4)):
        assert f"{name} = {getattr(SUMMARY, name):,}, the input {count}" in words


def asked(doi: str, status: int = 200, fault: str | None = None) -> LoggedRequest:
    return LoggedRequest(1, "paperbuzz", 0.0, 0.0, 0, "GET", f"/v0/doi/{doi}", key=doi, status=status, fault=fault)


def posted(start: float, seconds: float, status: int = 200) -> LoggedRequest:
    return LoggedRequest(
        1, "operas", start, 0.0, 0, "POST", "/api/uriset", key="/api/uriset x", status=status, elapsed_seconds=seconds
    )


A, B = a_work("10.1/a"), a_work("10.1/b", WorkState.FAILURE)


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        (Traffic([asked("10.1/a"), asked("10.1/b", 500), asked("/v0/")]), []),
        (Traffic([asked("10.1/a", 500), asked("10.1/b", 500)]), [("G11", "10.1/a")]),
        (Traffic([asked("10.1/a", fault="wrong-doi"), asked("10.1/b", 500)]), [("G11", "10.1/a")]),
        (Traffic([asked("10.1/a")]), [("G1", "10.1/b")]),
        (Traffic([asked("10.1/a"), asked("10.1/b"), asked("10.1/c")]), [("G11", "10.1/c")]),
        (Traffic([asked("10.1/a"), asked("10.1/a"), asked("10.1/b")]), [("G4", "10.1/a")]),
        (Traffic([asked("10.1/a"), asked("10.1/a"), asked("10.1/b")], repeats_allowed=1), []),
        (Traffic([asked("10.1/a"), asked("10.1/b"), posted(0, 1), posted(1, 1)]), []),
        (Traffic([asked("10.1/a"), asked("10.1/b"), posted(0, 2), posted(1, 2), posted(2, 1)]), [("G10", "")]),
        (Traffic([asked("10.1/a"), asked("10.1/b"), posted(0, 2), posted(1, 1)], kills=1), []),
        (Traffic([asked("10.1/a"), asked("10.1/b"), posted(0, 2, status=0), posted(1, 1)]), []),
    ],
)
def test_the_request_log_is_held_against_the_works(traffic: Traffic, expected: list[tuple[str, str]]) -> None:
    found = violations(evidence_of([A, B]), traffic=traffic)
    assert [(each.promise, each.doi) for each in found] == expected


@pytest.mark.parametrize(
    ("registration", "held", "is_broken"),
    [
        (RegistrationState.ACKNOWLEDGED, ["10.1/a"], False),
        (RegistrationState.ACKNOWLEDGED, [], True),
        (RegistrationState.WAITING, [], True),
        (None, ["10.1/a"], True),
    ],
)
def test_a_finished_registration_is_held_against_operas(
    registration: RegistrationState | None, held: list[str], is_broken: bool
) -> None:
    works = [a_work("10.1/a", registration=registration)]
    traffic = Traffic([asked("10.1/a")], registered=held)
    found = violations(evidence_of(works, summary=SUMMARY), traffic=traffic)
    assert (("G10", "10.1/a") in {(each.promise, each.doi) for each in found}) == is_broken


def promises_named_in(module: ModuleType) -> set[str]:
    return set(re.findall(r'iolation\("(G\d+)"', Path(str(module.__file__)).read_text(encoding="utf-8")))


def test_every_promise_that_is_listed_is_looked_at_and_no_other() -> None:
    assert promises_named_in(checks) == set(PROMISES)
    assert promises_named_in(checks) | promises_named_in(oracle) == set(oracle.PROMISES)


# The command


@pytest.fixture
def harvester(copy: Path) -> Tool:
    return Tool(copy, Sandbox())


def test_what_holds_is_said_with_figures_and_exit_0(harvester: Tool) -> None:
    run = harvester("verify", "out.jsonl", "--deep")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "22 works = 21 results + 1 failure + 0 pending" in run.stdout
    assert "21 records, each once" in run.stdout
    assert "BROKEN" not in run.stdout
    for name in PROMISES.values():
        assert name in run.stdout


def test_without_a_deep_look_nothing_is_said_about_bytes(harvester: Tool) -> None:
    run = harvester("verify", "out.jsonl")
    assert "own bytes" not in run.stdout
    promises = orjson.loads(harvester("verify", "out.jsonl", "--json").stdout)["promises"]
    assert promises["G12"] == {"name": "own bytes", "holds": None, "violations": 0, "shown": []}


def test_what_is_broken_is_said_with_the_dois_and_exit_70(harvester: Tool) -> None:
    doi = first_doi(harvester.folder)
    drop_a_line(harvester.folder)
    run = harvester("verify", "out.jsonl")
    assert run.returncode == 70
    assert f"{doi} has a record by the ledger, but there is none in the output" in run.stdout
    assert "exactly once" in run.stderr
    content = orjson.loads(harvester("verify", "out.jsonl", "--json").stdout)
    assert content["holds"] is False
    assert [each["doi"] for each in content["promises"]["G2"]["shown"]] == [doi]


def test_of_many_violations_the_first_are_shown_and_the_rest_is_counted(harvester: Tool) -> None:
    rewritten(harvester.folder, [b"?\n"] * 5000)
    run = harvester("verify", "out.jsonl")
    assert run.returncode == 70
    assert "… and 4,980 more" in run.stdout
    assert len(run.stdout.splitlines()) < 60


def replaced(name: str, content: bytes | None) -> Callable[[Path], None]:
    """Another content for a file, or a folder in its place."""

    def mutate(folder: Path) -> None:
        (folder / name).unlink()
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)

    return mutate


@pytest.mark.parametrize("name", ["out.jsonl", "out.failures.jsonl", "out.summary.json"])
@pytest.mark.parametrize("content", [None, b"\0" * 4096, b"\x1b[2J\xff\n" * 9, gzip.compress(b"{}\n", mtime=0)])
def test_no_damage_to_a_file_costs_more_than_exit_70(harvester: Tool, name: str, content: bytes | None) -> None:
    replaced(name, content)(harvester.folder)
    run = harvester("verify", "out.jsonl", "--deep")
    assert run.returncode == 70, run.stderr
    assert "Traceback" not in run.stderr
    assert "\x1b[2J" not in run.stdout
    assert "\0" not in run.stdout


@pytest.mark.parametrize(
    ("mutate", "codes"),
    [
        (lambda folder: (folder / "out.ledger").unlink(), {66}),
        (replaced("out.ledger", None), {66}),
        (replaced("out.ledger", b"\0" * 4096), {78}),
        (replaced("out.ledger", b""), {66}),
        (lambda folder: damage(folder / "out.ledger"), {70, 74}),
    ],
)
def test_a_ledger_that_cannot_be_used_is_told_in_one_sentence(
    harvester: Tool, mutate: Callable[[Path], object], codes: set[int]
) -> None:
    mutate(harvester.folder)
    run = harvester("verify", "out.jsonl")
    assert run.returncode in codes, run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) == 1


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xa5" * 8192
    path.write_bytes(content)


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst"])
def test_damage_to_a_packed_output_costs_no_more(harvested: dict[str, Path], tmp_path: Path, ending: str) -> None:
    folder = shutil.copytree(harvested[ending], tmp_path / "copy")
    size = (folder / f"out.{ending}").stat().st_size
    for content in (b"\0" * size, b"x" * size, zstandard.compress(b"{}") + b"\0" * size):
        (folder / f"out.{ending}").write_bytes(content[:size])
        run = Tool(folder, Sandbox())("verify", f"out.{ending}")
        assert run.returncode == 70, run.stderr
        assert "Traceback" not in run.stderr
        assert "cannot be unpacked" in run.stdout
