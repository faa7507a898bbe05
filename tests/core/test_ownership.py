"""Whose file it is: what is ours is known by what it is, and a file of others outlives every write."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester.core import files
from harvester.core.errors import DiskFailed, Usage
from harvester.core.files import move, remove, write_atomically
from harvester.core.ownership import FileKind, identity_or_path, objection, refuse_others_file

KIND = FileKind("a note", lambda head: head.startswith(b"note"))

THEIRS = b"the only copy\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


@pytest.mark.parametrize("content", [None, b"", b"note 1\n"])
def test_what_is_not_there_is_empty_or_of_its_kind_may_be_replaced(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert objection(path, KIND) is None
    write_atomically(path, [b"note 2\n"], KIND)
    assert path.read_bytes() == b"note 2\n"
    remove(path, KIND)
    assert not path.exists()


def a_file(path: Path) -> None:
    path.write_bytes(THEIRS)


def a_link(path: Path) -> None:
    path.with_name("note").write_bytes(b"note of somebody\n")
    path.symlink_to("note")


def a_link_that_leads_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


STRANGE: dict[Callable[[Path], None], str] = {
    a_file: "it is not a note",
    a_link: "is a link",
    a_link_that_leads_nowhere: "is a link",
    a_folder: "is a folder",
    a_pipe: "is a device, a pipe",
}


@pytest.mark.parametrize(("put", "words"), STRANGE.items())
def test_everything_else_is_refused_in_words_and_stays(path: Path, put: Callable[[Path], None], words: str) -> None:
    put(path)
    before, names = path.lstat(), set(os.listdir(path.parent))  # noqa: PTH208 - names alone
    with pytest.raises(Usage, match=words):
        refuse_others_file(path, KIND)
    with pytest.raises(DiskFailed, match=f"it .*{words}.*move away what has that name"):
        write_atomically(path, [b"note\n"], KIND)
    with pytest.raises(DiskFailed, match=words):
        remove(path, KIND)
    assert path.lstat().st_ino == before.st_ino
    assert set(os.listdir(path.parent)) == names  # noqa: PTH208


@pytest.mark.parametrize("put", STRANGE)
def test_a_file_is_written_whatever_has_the_name_that_was_meant_for_it_until_then(
    path: Path, put: Callable[[Path], None]
) -> None:
    taken = path.with_name("a.txt.new")
    put(taken)
    before, names = taken.lstat(), set(os.listdir(path.parent))  # noqa: PTH208
    write_atomically(path, [b"note\n"], KIND)
    assert (path.read_bytes(), taken.lstat().st_ino) == (b"note\n", before.st_ino)
    assert set(os.listdir(path.parent)) == names | {path.name}  # noqa: PTH208


@pytest.mark.parametrize("old", [None, b"note 1\n"])
def test_a_file_that_comes_while_ours_is_written_is_not_replaced(
    path: Path, old: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old is not None:
        path.write_bytes(old)
    monkeypatch.setattr(files, "sync_data", lambda _: path.write_bytes(THEIRS))
    with pytest.raises(DiskFailed):
        write_atomically(path, [b"note 2\n"], KIND)
    assert path.read_bytes() == THEIRS
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def comes_after_it_was_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's file comes in the very last moment: nothing that looks for it beforehand can see it."""
    rename = files._rename_to_free_name

    def late(source: Path, target: Path) -> None:
        path.write_bytes(THEIRS)
        rename(source, target)

    monkeypatch.setattr(files, "_rename_to_free_name", late)


@pytest.mark.parametrize("knows_how", [True, False])
def test_a_name_that_is_taken_in_the_last_moment_is_left_to_who_took_it(
    path: Path, knows_how: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_after_it_was_looked_for(path, monkeypatch)
    if not knows_how:
        monkeypatch.setattr(files, "_rename_exclusively", lambda *_: False)
    with pytest.raises(DiskFailed, match=r"File exists\. What was committed before is safe; move away"):
        write_atomically(path, [b"note\n"], KIND)
    assert path.read_bytes() == THEIRS


def test_a_file_is_moved_to_a_free_name_alone(path: Path) -> None:
    source = path.with_name("source")
    source.write_bytes(b"ours")
    path.symlink_to("nowhere")
    with pytest.raises(DiskFailed, match="File exists"):
        move(source, path)
    assert (source.read_bytes(), path.is_symlink()) == (b"ours", True)
    path.unlink()
    move(source, path)
    assert (source.exists(), path.read_bytes()) == (False, b"ours")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has another call")
def test_a_file_system_that_cannot_rename_exclusively_is_asked_to_rename(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = path.with_name("source")
    source.write_bytes(b"ours")
    monkeypatch.setattr(files, "_rename_exclusively", lambda *_: False)
    move(source, path)
    assert path.read_bytes() == b"ours"


def test_two_names_of_one_file_have_one_identity_and_no_two_files_do(path: Path) -> None:
    path.write_bytes(b"")
    hard, soft, other = (path.with_name(name) for name in ("hard", "soft", "other"))
    hard.hardlink_to(path)
    soft.symlink_to(path)
    assert identity_or_path(path) == identity_or_path(hard) == identity_or_path(soft) != identity_or_path(other)
    assert identity_or_path(other) == identity_or_path(other.parent / "x" / ".." / "other")
