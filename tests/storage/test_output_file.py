"""Records as lines, byte for byte; and files that are whole after every append, whatever the disk does."""

import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core import files
from harvester.core.errors import DiskFailed, LockHeld, PipeClosed, PromiseBroken, Stopped, Usage
from harvester.core.files import move, sync_data, sync_directory, write_atomically
from harvester.core.model import Stage
from harvester.records.lines import failure_line, result_lines
from harvester.records.packing import FORMATS, output_format
from harvester.storage import output_file
from harvester.storage.output_file import OutputFile, Seal, Stdout, open_output, partial_of
from tests.support import ANY, a_failure, a_result

FULL = OSError(errno.ENOSPC, "No space left on device")


def unpacked(content: bytes, ending: str) -> bytes:
    """What a reader who knows nothing of us makes of a file."""
    if ending == ".jsonl.gz":
        return gzip.decompress(content)
    if ending == ".jsonl.zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
    return content


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"out{request.param}"


def read(path: Path) -> bytes:
    """The lines in a partial output."""
    return unpacked(partial_of(path).read_bytes(), output_format(path.name))


def written(path: Path, *appends: bytes) -> int:
    """A partial output with these appends, closed; its length."""
    output = open_output(path, 0)
    for lines in appends:
        output.append(lines)
    output.close()
    return output.length


def failing(error: OSError) -> Callable[..., int]:
    """A system call that fails."""

    def fail(*_: object) -> int:
        raise error

    return fail


# Lines


def test_a_result_is_this_line_byte_for_byte() -> None:
    record = b'{"doi": "10.5334/bbc",  "n":1.0,"u":"\\u00fc\xc3\xbc"}'
    result = a_result("10.5334/bbc", paperbuzz=record, outcome="degraded", attempts=3, changed=True, truncated=None)
    assert result_lines([result]) == (
        b'{"v":1,"doi":"10.5334/bbc","outcome":"degraded","harvested_at":"2026-11-21T03:54:06.372Z","http_status":200,'
        b'"attempts":3,"elapsed_ms":12,"truncated":null,"changed":true,"added":null,'
        b'"sha256":"' + hashlib.sha256(record).hexdigest().encode() + b'",'
        b'"paperbuzz":{"doi": "10.5334/bbc",  "n":1.0,"u":"\\u00fc\xc3\xbc"}}\n'
    )


def test_a_failure_is_this_line_byte_for_byte() -> None:
    failure = a_failure("10.5555/ü", kind="http", text="doi:10.5555/Ü", origin="a.csv:7", http_status=404, attempts=2)
    assert (
        failure_line(failure)
        == (
            '{"v":1,"doi":"10.5555/ü","input":"doi:10.5555/Ü","origin":"a.csv:7","kind":"http","http_status":404,'
            '"attempts":2,"message":"no answer within 35 s","failed_at":"2026-11-21T03:54:06.372Z","stage":"fetch"}\n'
        ).encode()
    )


def test_what_a_failure_does_not_have_is_null() -> None:
    line = json.loads(failure_line(a_failure(None, text="see the catalogue", stage=Stage.INPUT)))
    assert (line["doi"], line["http_status"], line["stage"]) == (None, None, "input")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.sampled_from([", ", ",", " \t, "]), st.booleans())
def test_anyone_can_cut_the_servers_bytes_out_again_and_check_them(
    record: dict[str, object], comma: str, ascii_only: bool
) -> None:
    """Promise G12."""
    server = json.dumps(record, separators=(comma, ":"), ensure_ascii=ascii_only).encode()
    line = result_lines([a_result(paperbuzz=server)])
    head, _, tail = line.partition(b',"paperbuzz":')
    assert tail == server + b"}\n"
    assert json.loads(head + b"}")["sha256"] == hashlib.sha256(tail[:-2]).hexdigest()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_failure_is_one_line_whatever_stands_in_the_input(text: str, message: str) -> None:
    line = failure_line(a_failure(text=text, message=message))
    assert (line.count(b"\n"), line.count(b"\r")) == (1, 0)
    assert (json.loads(line)["input"], json.loads(line)["message"]) == (text, message)


# Names


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("out.jsonl", ".jsonl"),
        ("out.jsonl.gz", ".jsonl.gz"),
        ("some.where/out.v2.jsonl.zst", ".jsonl.zst"),
        ("out.gz.jsonl", ".jsonl"),
    ],
)
def test_the_ending_of_the_name_says_how_it_is_packed(name: str, ending: str) -> None:
    assert output_format(name) == ending


@pytest.mark.parametrize(
    "name", ["out", "out.json", "out.JSONL", "out.jsonl.bz2", "out.gz", "outjsonl", ".jsonl", "folder/.jsonl.zst", ""]
)
def test_any_other_name_is_refused_with_those_that_are_not(name: str) -> None:
    with pytest.raises(Usage, match=r"\.jsonl, \.jsonl\.gz or \.jsonl\.zst, or be - for stdout"):
        output_format(name)


# Appending


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.binary(min_size=1), min_size=1, max_size=6))
def test_the_file_is_whole_and_readable_after_every_append(ending: str, appends: list[bytes]) -> None:
    """Promise G3: each append is one complete unit, so every committed length ends a valid file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"out{ending}"
        output = open_output(path, 0)
        before = 0
        for number, lines in enumerate(appends, 1):
            committed = output.append(lines)
            content = partial_of(path).read_bytes()
            assert committed == output.length == len(content)
            assert unpacked(content[before:], ending) == lines
            assert unpacked(content, ending) == b"".join(appends[:number])
            before = committed
        output.close()


def test_a_zstd_frame_carries_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.zst"
    written(path, b"{}\n")
    assert zstandard.get_frame_parameters(partial_of(path).read_bytes()).has_checksum


def test_the_time_of_day_is_not_in_the_file(tmp_path: Path) -> None:
    """Bytes 4 to 8 of a gzip member are its time; 0 is none (RFC 1952, section 2.3.1)."""
    path = tmp_path / "out.jsonl.gz"
    written(path, b"{}\n")
    assert partial_of(path).read_bytes()[4:8] == bytes(4)


def test_lines_are_synced_after_they_are_all_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    output = open_output(path, 0)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    lengths = [output.append(b"{}\n"), output.append(b"[]\n")]
    output.close()
    assert sizes == lengths


def test_a_short_write_is_completed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_write = os.write
    output = open_output(path, 0)
    monkeypatch.setattr(os, "write", lambda descriptor, content: really_write(descriptor, content[:3]))
    lines = b'{"doi":"10.5555/a"}\n' * 20
    assert output.append(lines) == partial_of(path).stat().st_size
    output.close()
    assert read(path) == lines


def test_a_failed_write_names_the_file_and_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise G8."""
    output = open_output(path, 0)
    committed = output.append(b"{}\n")
    monkeypatch.setattr(os, "write", failing(FULL))
    with pytest.raises(DiskFailed, match=r"No space left.*is safe; make room.*give the same command again") as caught:
        output.append(b"[]\n")
    output.close()
    assert str(partial_of(path)) in str(caught.value)
    assert output.length == committed


def test_a_failed_sync_commits_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = open_output(path, 0)
    monkeypatch.setattr(files, "sync_data", failing(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DiskFailed, match="Input/output error"):
        output.append(b"{}\n")
    output.close()
    assert output.length == 0


def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "out.jsonl.partial", os.O_WRONLY | os.O_CREAT)
    OutputFile(tmp_path / "out.jsonl", descriptor, 0, Seal()).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


# Touched by others while it is open


def replaced(path: Path) -> None:
    """What editors and sync tools do: the same bytes, in another file."""
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    fresh.rename(path)


TOUCHES: dict[str, Callable[[Path], object]] = {
    "replaced": replaced,
    "cut": lambda path: os.truncate(path, 1),
    "emptied": lambda path: path.write_bytes(b""),
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"mine"),
    "deleted": Path.unlink,
    "moved away": lambda path: path.rename(path.with_name("x")),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_a_file_that_something_else_touched_is_not_written_any_more(
    path: Path, touch: Callable[[Path], object]
) -> None:
    """Promise G2."""
    output = open_output(path, 0)
    output.append(b"{}\n")
    touch(partial_of(path))
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    for attempt in (lambda: output.append(b"[]\n"), output.require_whole):
        with pytest.raises(PromiseBroken, match=r"out\.jsonl.*Nothing more was written.*give the same command again"):
            attempt()
    output.close()
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_a_file_that_is_touched_during_an_append_is_noticed_before_the_unit_counts(
    path: Path, touch: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = open_output(path, 0)
    monkeypatch.setattr(files, "sync_data", lambda _descriptor: touch(partial_of(path)))
    with pytest.raises(PromiseBroken):
        output.append(b"{}\n")
    output.close()


def test_a_byte_that_was_changed_anywhere_is_noticed_before_publishing(path: Path) -> None:
    output = open_output(path, 0)
    for _ in range(3):
        output.append(b"{}\n")
    output.require_whole()
    with partial_of(path).open("r+b") as file:
        file.write(b"x")
    with pytest.raises(PromiseBroken, match=r"has other bytes than were written.*`harvester recover`"):
        output.require_whole()
    output.close()


def test_a_stop_is_heard_while_a_large_output_is_read_before_publishing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = open_output(path, 0)
    output.append(b"{}\n" * 10)
    monkeypatch.setattr(output_file, "READ_BYTES", 10)
    monkeypatch.setattr(output_file, "BYTES_BETWEEN_CHECKS", output.length + 1)
    output.require_whole(lambda: True)  # so small that nobody has to wait for it
    output.append(b"{}\n" * 10)
    output.require_whole()
    with pytest.raises(Stopped):
        output.require_whole(lambda: True)
    output.close()


def test_a_file_is_written_by_one_at_a_time(path: Path) -> None:
    """Promise G6: the lock of a ledger can be deleted, this one not."""
    output = open_output(path, 0)
    committed = output.append(b"{}\n")
    with pytest.raises(LockHeld, match="another run writes"):
        open_output(path, 0)
    output.close()
    assert partial_of(path).stat().st_size == committed
    open_output(path, committed).close()


def test_a_file_system_without_locks_is_written_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(OSError(errno.ENOLCK, "No locks available")))
    assert written(path, b"{}\n")


# What it is known by


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_a_seal_is_of_all_bytes_however_they_came(units: list[bytes]) -> None:
    seal = Seal()
    for unit in units:
        seal = seal.extended(memoryview(unit), 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        path.write_bytes(b"".join(units))
        length, whole = Seal.of(path, 2 * len(units))
        assert (length, whole.crc32, whole.records) == (len(b"".join(units)), seal.crc32, seal.records)
        assert seal.fits(path, length)
        assert whole.fits(path, length)
        assert Seal.from_text(seal.as_text()) == seal


@pytest.mark.parametrize("other", [b"{}\n[]", b"{}\n", b"[]\n{}\n", b""])
def test_a_seal_does_not_fit_another_file(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(other)
    assert not Seal().extended(memoryview(b"{}\n"), 1).extended(memoryview(b"[]\n"), 1).fits(path, 6)


@pytest.mark.parametrize("text", ["", "[]", "[1,2]", '["a","b",3,4]', "{}", "[0,[],null,null]", "7"])
def test_a_damaged_seal_fits_no_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.jsonl"
    path.touch()
    assert not Seal.from_text(text).fits(path, 0)


# Opening


def test_a_new_output_is_partial_and_its_folder_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[tuple[Path, bool]] = []
    monkeypatch.setattr(files, "sync_directory", lambda folder: there.append((folder, partial_of(path).exists())))
    written(path)
    assert there == [(path.parent, True)]
    assert not path.exists()


def test_the_folder_is_synced_again_for_a_file_that_is_not_new(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that made it may have died between the two."""
    synced: list[Path] = []
    partial_of(path).touch()
    monkeypatch.setattr(files, "sync_directory", synced.append)
    written(path)
    assert synced == [path.parent]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FORMATS), st.binary(min_size=1), st.binary(), st.binary(min_size=1))
def test_a_torn_tail_is_cut_off_and_the_next_lines_follow(ending: str, kept: bytes, tail: bytes, more: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"out{ending}"
        committed = written(path, kept)
        with partial_of(path).open("ab") as file:
            file.write(tail)
        output = open_output(path, committed)
        assert partial_of(path).stat().st_size == committed
        output.append(more)
        output.close()
        assert read(path) == kept + more


def test_what_was_never_committed_is_cut_off_whole(path: Path) -> None:
    written(path, b"{}\n")
    open_output(path, 0).close()
    assert partial_of(path).read_bytes() == b""


def test_the_cut_is_on_disk_before_anything_is_appended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = written(path, b"{}\n")
    with partial_of(path).open("ab") as file:
        file.write(b"torn")
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    open_output(path, committed).close()
    assert sizes[0] == committed


def test_a_file_shorter_than_committed_is_refused_and_left_alone(path: Path) -> None:
    committed = written(path, b"{}\n")
    content = partial_of(path).read_bytes()
    with pytest.raises(PromiseBroken, match=rf"holds {committed} bytes, but {committed + 1} .*--refetch"):
        open_output(path, committed + 1)
    assert partial_of(path).read_bytes() == content


def test_a_refused_file_is_not_kept_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    really_open = os.open

    def remember(*arguments: object) -> int:
        opened.append(really_open(*arguments))  # type: ignore[arg-type] # whatever it was called with
        return opened[-1]

    written(path)
    monkeypatch.setattr(os, "open", remember)
    with pytest.raises(PromiseBroken):
        open_output(path, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_no_file_is_made_up_in_place_of_a_lost_one(path: Path) -> None:
    with pytest.raises(DiskFailed, match="No such file"):
        open_output(path, 1)
    assert not partial_of(path).exists()


def test_a_file_that_cannot_be_cut_back_is_a_failure_of_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, b"{}\n")
    monkeypatch.setattr(os, "ftruncate", failing(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DiskFailed, match="Input/output error"):
        open_output(path, 0)


# Stdout


class Stream(io.BytesIO):
    """A stream that says how much of it was flushed.

    Args:
        error: raised on flushing, where a buffered stream finds out.
    """

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.error, self.flushed = error, 0

    def flush(self) -> None:
        if self.error:
            raise self.error
        self.flushed = self.tell()


def test_stdout_gets_the_lines_at_once_and_as_they_are() -> None:
    stream = Stream()
    sink = Stdout(stream)
    assert [sink.append(b"{}\n"), sink.append(b"[1]\n")] == [3, 7]
    assert stream.getvalue() == b"{}\n[1]\n"
    assert stream.flushed == 7


def test_a_reader_that_went_away_is_no_failure_of_the_disk() -> None:
    with pytest.raises(PipeClosed):
        Stdout(Stream(BrokenPipeError(errno.EPIPE, "Broken pipe"))).append(b"{}\n")


def test_stdout_into_a_file_on_a_full_disk_is_one() -> None:
    with pytest.raises(DiskFailed, match="stdout: No space left on device"):
        Stdout(Stream(FULL)).append(b"{}\n")


class Unbuffered(io.RawIOBase):
    """What `sys.stdout.buffer` is under `PYTHONUNBUFFERED=1`: a write may take less than it is given."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: Any, /) -> int:
        self.content += bytes(content[:3])
        return min(3, len(content))


def test_a_short_write_to_unbuffered_stdout_is_completed() -> None:
    stream = Unbuffered()
    Stdout(cast("BinaryIO", stream)).append(b"{}\n[1]\n")
    assert stream.content == b"{}\n[1]\n"


# Renaming and replacing


def test_a_move_is_on_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(files, "sync_directory", lambda folder: synced.append((folder, target.exists())))
    move(source, target)
    assert synced == [(tmp_path, True)]
    assert (source.exists(), target.read_bytes()) == (False, b"x")


def test_a_move_that_fails_names_the_new_name(tmp_path: Path) -> None:
    with pytest.raises(DiskFailed, match=r"cannot write .*/b: No such file"):
        move(tmp_path / "a", tmp_path / "b")


def test_a_replaced_file_is_whole_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    events: list[tuple[str, int, bytes]] = []
    monkeypatch.setattr(
        files, "sync_data", lambda descriptor: events.append(("data", os.fstat(descriptor).st_size, path.read_bytes()))
    )
    monkeypatch.setattr(files, "sync_directory", lambda _: events.append(("folder", 0, path.read_bytes())))
    write_atomically(path, [b"ne", b"w!"], ANY)
    assert events == [("data", 4, b"old"), ("folder", 0, b"new!")]
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def half_of_it() -> Iterator[bytes]:
    yield b"half"
    raise FULL


def test_if_the_content_cannot_be_had_or_written_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with pytest.raises(DiskFailed, match=r"summary\.json: No space left"):
        write_atomically(path, half_of_it(), ANY)
    assert path.read_bytes() == b"old"


def test_if_the_content_cannot_be_synced_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, "sync_data", failing(FULL))
    with pytest.raises(DiskFailed):
        write_atomically(path, [b"new"], ANY)
    assert path.read_bytes() == b"old"


def test_what_a_crash_left_of_a_replacement_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    (tmp_path / "summary.json.new").write_bytes(b"a long torn rest")
    write_atomically(path, [b"new"], ANY)
    assert path.read_bytes() == b"new"


# Syncing


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no fdatasync")
def test_data_is_synced_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    sync_data(7)
    assert synced == [7]


def test_on_macos_the_drive_is_asked_to_empty_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, command: asked.append((descriptor, command)))
    sync_data(7)
    assert asked == [(7, 51)]


def test_a_folder_is_synced_and_let_go_even_if_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def fail(descriptor: int) -> None:
        assert os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        synced.append(descriptor)
        raise FULL

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        sync_directory(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(synced[0])
