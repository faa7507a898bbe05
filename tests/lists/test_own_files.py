"""What harvester wrote itself is no list: a glob leaves it out, and the files of the job itself are not even opened."""

import gzip
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from harvester.core.errors import InputMissing, InputUnusable, Usage
from harvester.lists import fingerprint
from harvester.lists.inputs import expand
from harvester.lists.reader import ListOptions, read_list
from harvester.records.lines import failure_line, result_lines
from harvester.reports.summary import as_json
from tests.folders import ROOT
from tests.reports.test_summary import SUMMARY
from tests.support import a_failure, a_result

OUTPUT = result_lines([a_result(paperbuzz=b'{"doi":"10.5555/a","x":"%b"}' % (b"y" * 200_000))])


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one list, and with whatever another job may leave there."""
    (tmp_path / "a-list.txt").write_bytes(b"10.5555/a\n")
    (tmp_path / "old.jsonl").write_bytes(OUTPUT)
    (tmp_path / "old.jsonl.partial").write_bytes(OUTPUT)
    (tmp_path / "old.jsonl.gz").write_bytes(gzip.compress(OUTPUT))
    (tmp_path / "old.jsonl.zst").write_bytes(zstandard.compress(OUTPUT))
    (tmp_path / "old.failures.jsonl").write_bytes(failure_line(a_failure()))
    (tmp_path / "old.summary.json").write_bytes(as_json(SUMMARY))
    (tmp_path / "old.report.txt").write_bytes((ROOT / "tests/reports/pages/quiet.txt").read_bytes())
    (tmp_path / "old.ledger.lock").write_bytes(b"4711")
    with closing(sqlite3.connect(tmp_path / "old.ledger")) as db:
        db.execute("CREATE TABLE work (doi)")  # before the next two: SQLite would remove them
    (tmp_path / "old.ledger-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(28))
    (tmp_path / "old.ledger-shm").write_bytes(b"\x18\xe2\x2d\x00" + bytes(28))
    return tmp_path


def test_a_glob_leaves_out_what_harvester_wrote_and_says_so(folder: Path, warnings: list[str]) -> None:
    assert expand([f"{folder}/*"], warnings.append) == [str(folder / "a-list.txt")]
    [said] = warnings
    assert "11 in all" in said
    assert "they are not read" in said


@pytest.mark.parametrize("page", sorted((ROOT / "tests/reports/pages").iterdir()), ids=lambda page: page.name)
def test_every_report_is_known(page: Path, folder: Path) -> None:
    (folder / "b.txt").write_bytes(page.read_bytes())
    assert expand([f"{folder}/*.txt"], lambda _: None) == [str(folder / "a-list.txt")]


def test_a_glob_that_matches_no_list_is_told(folder: Path) -> None:
    with pytest.raises(InputMissing, match=r"matches only files of harvester itself and databases, such as .*jsonl"):
        expand([f"{folder}/*.jsonl"], lambda _: None)


@pytest.mark.parametrize("name", ["old.jsonl", "old.jsonl.gz", "old.failures.jsonl"])
def test_what_another_job_wrote_can_be_named(folder: Path, name: str, warnings: list[str]) -> None:
    items = list(read_list([str(folder / name)], ListOptions(), warn=warnings.append, now=""))
    assert [getattr(item, "doi", None) for item in items] == ["10.5555/a"]


@pytest.mark.parametrize("name", ["old.ledger", "old.ledger-wal"])
def test_a_database_is_never_a_list(folder: Path, name: str) -> None:
    with pytest.raises(InputUnusable, match="database"):
        list(read_list([str(folder / name)], ListOptions(), warn=lambda _: None, now=""))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that are opened."""
    names: list[str] = []
    original = Path.open

    def noting(self: Path, *args: object, **kwargs: object) -> object:
        names.append(self.name)
        return original(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", noting)
    return names


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_the_files_of_the_job_are_left_out_unopened_whatever_they_are_called(
    tmp_path: Path, link: object, opened: list[str], warnings: list[str]
) -> None:
    (tmp_path / "own.ledger").write_bytes(b"10.5555/b\n")
    (tmp_path / "list.txt").write_bytes(b"10.5555/a\n")
    if callable(link):
        link(tmp_path / "own.ledger", tmp_path / "other-name")
    own, options = [tmp_path / "own.ledger"], ListOptions()
    opened.clear()
    items = list(read_list([f"{tmp_path}/*"], options, warn=warnings.append, now="", own=own))
    assert fingerprint([f"{tmp_path}/*"], options, own) == fingerprint([f"{tmp_path}/*.txt"], options)
    assert len(items) == len(warnings) == 1
    assert set(opened) == {"list.txt"}


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_file_of_the_job_that_is_named_is_refused(tmp_path: Path, link: object) -> None:
    own, named = tmp_path / "own.jsonl", tmp_path / "own.jsonl"
    own.write_bytes(b'"10.5555/a"\n')
    if callable(link):
        named = tmp_path / "list.jsonl"
        link(own, named)
    with pytest.raises(Usage, match="this job writes"):
        expand([str(named)], lambda _: None, [own])


def test_a_list_of_ones_own_records_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"v":1,"doi":"10.5555/a","outcome":"ok"}\n')
    (tmp_path / "b.txt").write_bytes(b"SQLite for librarians\n")
    assert len(expand([f"{tmp_path}/*"], lambda _: None)) == 2
