"""Where lists come from: files, globs, stdin; archives; encodings; lines."""

import bz2
import encodings.aliases
import gzip
import io
import lzma
import os
import pkgutil
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.core.errors import InputMissing, InputUnusable, Stopped, StopRun, Usage
from harvester.core.model import Failure, Work
from harvester.lists import ListOptions, fingerprint, read_list
from harvester.lists import inputs as module
from harvester.lists.lines import byte_lines

LIST = b"10.5555/a\n10.5555/b\n"


class Reading:
    """Reads lists and keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def dois(self, *inputs: Path | str, stdin: bytes = b"", encoding: str = "auto") -> list[str | None]:
        items = read_list(
            [str(name) for name in inputs],
            ListOptions(encoding=encoding),
            warn=self.warnings.append,
            now="",
            stdin=io.BytesIO(stdin),
        )
        return [item.doi for item in items if isinstance(item, Work | Failure)]


@pytest.fixture
def reading() -> Reading:
    return Reading()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_inputs_are_read_in_their_order_and_globs_sorted(tmp_path: Path, reading: Reading) -> None:
    for name in ("2", "1", "3"):
        written(tmp_path / f"{name}.txt", f"10.5555/{name}\n".encode())
    assert reading.dois(tmp_path / "3.txt", tmp_path / "[12].txt") == ["10.5555/3", "10.5555/1", "10.5555/2"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path, reading: Reading) -> None:
    assert reading.dois(written(tmp_path / "a[1].txt", LIST)) == ["10.5555/a", "10.5555/b"]


def test_a_file_named_twice_is_read_once_with_a_warning(tmp_path: Path, reading: Reading) -> None:
    path = written(tmp_path / "a.txt", LIST)
    assert len(reading.dois(path, tmp_path / "." / "*.txt")) == 2
    assert "named twice" in reading.warnings[0]


def test_stdin_is_a_dash(reading: Reading) -> None:
    assert reading.dois("-", stdin=LIST) == ["10.5555/a", "10.5555/b"]


def test_a_pipe_is_read_like_a_file(reading: Reading) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, LIST)
    os.close(write_end)
    try:
        assert reading.dois(f"/dev/fd/{read_end}") == ["10.5555/a", "10.5555/b"]
    finally:
        os.close(read_end)


@pytest.mark.parametrize("name", ["nothing.txt", "*.nothing", "."])
def test_a_missing_input_is_told_before_anything_is_read(name: str, tmp_path: Path) -> None:
    first = written(tmp_path / "a.txt", LIST)
    with pytest.raises(InputMissing):
        read_list([str(first), str(tmp_path / name)], ListOptions(), warn=lambda _: None, now="")


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_an_archive_of_several_members_is_read_whole(kind: str, tmp_path: Path, reading: Reading) -> None:
    data = COMPRESSORS[kind](b"10.5555/a\n") + COMPRESSORS[kind](b"10.5555/b\n")
    assert reading.dois(written(tmp_path / f"a.txt.{kind}", data)) == ["10.5555/a", "10.5555/b"]


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_an_archive_is_known_by_its_bytes(kind: str, reading: Reading) -> None:
    assert reading.dois("-", stdin=COMPRESSORS[kind](LIST)) == ["10.5555/a", "10.5555/b"]


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_an_archive_that_is_cut_off_is_told_and_never_taken_for_whole(
    kind: str, tmp_path: Path, reading: Reading
) -> None:
    lines = b"".join(b"10.5555/%d\n" % number for number in range(50_000))
    path = written(tmp_path / f"a.txt.{kind}", COMPRESSORS[kind](lines)[:-12])
    with pytest.raises(InputUnusable, match=r"cut off or corrupt.*up to line \d+"):
        reading.dois(path)


def test_a_plain_file_with_the_name_of_an_archive_is_read_with_a_warning(tmp_path: Path, reading: Reading) -> None:
    assert len(reading.dois(written(tmp_path / "a.txt.gz", LIST))) == 2
    assert "not compressed" in reading.warnings[0]


def test_an_archive_of_the_highest_level_is_read_unless_it_takes_too_much_memory(
    monkeypatch: pytest.MonkeyPatch, reading: Reading
) -> None:
    monkeypatch.setattr(module, "MAX_WINDOW_BYTES", 4 * 1024 * 1024)
    for preset, size, is_read in ((4, 5_000_000, True), (6, 1_000, True), (6, 5_000_000, False), (7, 1_000, False)):
        packed = lzma.compress(LIST + b"#" * size, preset=preset)
        if is_read:
            assert reading.dois("-", stdin=packed) == ["10.5555/a", "10.5555/b"]
        else:
            with pytest.raises(InputUnusable, match=r"more than 4 MiB of memory to unpack.*usual level of xz"):
                reading.dois("-", stdin=packed)


def test_an_archive_of_zstd_that_refers_back_too_far_is_refused(reading: Reading) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(InputUnusable, match=r"more than 32 MiB of memory to unpack.*usual level of zstd"):
        reading.dois("-", stdin=packer.compress(LIST) + packer.flush())


def test_xz_streams_may_be_padded_and_nothing_else_may_follow_them(reading: Reading) -> None:
    packed = lzma.compress(b"10.5555/a\n")
    assert reading.dois("-", stdin=packed + bytes(8) + packed) == ["10.5555/a", "10.5555/a"]
    with pytest.raises(InputUnusable, match="cut off or corrupt"):
        reading.dois("-", stdin=packed + b"10.5555/b\n")


def test_very_many_files_are_refused_before_their_names_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    for name in "abcd":
        written(tmp_path / f"{name}.txt", LIST)
    with pytest.raises(InputUnusable, match="more than 3 files match"):
        read_list([str(tmp_path / "*.txt")], ListOptions(), warn=lambda _: None, now="")


@pytest.mark.parametrize(
    "packed",
    [b"10.5555/a\n" * 100_000, gzip.compress(bytes(10_000_000)), b"\x1f\x8b\x08\x08" + b"a" * 99],
    ids=["plain", "bomb", "name without end"],
)
def test_a_stop_breaks_off_a_list_between_two_blocks(packed: bytes) -> None:
    asked = iter([False] * 3)
    stdin = io.BytesIO(packed)
    with pytest.raises(Stopped):
        list(
            read_list(
                ["-"],
                ListOptions(),
                warn=lambda _: None,
                now="",
                stdin=stdin,
                is_stopped=lambda: next(asked, True),
            )
        )


@pytest.mark.parametrize("data", [b"PK\x03\x04xlsx", b"%PDF-1.7", b"\xd0\xcf\x11\xe0doc"])
def test_a_file_that_is_no_list_is_named_for_what_it_is(data: bytes, tmp_path: Path, reading: Reading) -> None:
    with pytest.raises(InputUnusable, match=r"save the list as CSV|Export the list"):
        reading.dois(written(tmp_path / "a", data))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_known_by_its_mark_or_its_zeros(encoding: str, reading: Reading) -> None:
    assert reading.dois("-", stdin="10.5555/ä1\n10.5555/b\n".encode(encoding)) == ["10.5555/ä1", "10.5555/b"]


def test_what_is_not_utf_8_is_windows_1252_line_by_line_and_told_once(reading: Reading) -> None:
    data = b"10.5555/a\n" * 40_000 + b"10.5555/\xe9\n10.5555/\x81\n" + "10.5555/é\n".encode()
    dois = reading.dois("-", stdin=data)
    assert dois[40_000:] == ["10.5555/é", None, "10.5555/é"]
    assert len(reading.warnings) == 1


def test_a_named_encoding_is_used(reading: Reading) -> None:
    assert reading.dois("-", stdin="10.5555/ж\n".encode("cp1251"), encoding="windows-1251") == ["10.5555/ж"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "U16"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_and_32_are_read_without_a_mark_in_the_order_their_zeros_tell(
    encoding: str, order: str, reading: Reading
) -> None:
    data = "10.5555/é\n10.5555/ж\n".encode(f"{'utf-32' if '32' in encoding else 'utf-16'}-{order}")
    assert reading.dois("-", stdin=data, encoding=encoding) == ["10.5555/é", "10.5555/ж"]


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of unicode-escape
@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x80\n10.5555/a\n", bytes(range(256)) * 3, b"xn--a\n", b"\\ud800\\U00110000"]
)
def test_every_encoding_of_python_reads_a_list_or_refuses_it_in_words(data: bytes, reading: Reading) -> None:
    known = {module.name for module in pkgutil.iter_modules(encodings.__path__)} | set(encodings.aliases.aliases)
    for name in known:
        with suppress(StopRun):
            reading.dois("-", stdin=data, encoding=name)


def test_text_that_waits_for_the_end_of_one_character_is_refused(reading: Reading) -> None:
    with pytest.raises(InputUnusable, match="not in utf-7"):
        reading.dois("-", stdin=b"+" + b"A" * 4_000_000, encoding="utf-7")


def test_an_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(Usage, match="klingon"):
        read_list([], ListOptions(encoding="klingon"), warn=lambda _: None, now="")


def test_lines_end_with_lf_crlf_or_cr_and_nowhere_else(reading: Reading) -> None:
    data = "10.5555/a\r10.5555/b\r\n10.5555/c\n10.5555/d\u2028e\n10.5555/f\x85g".encode()
    assert reading.dois("-", stdin=data) == ["10.5555/a", "10.5555/b", "10.5555/c", None, None]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b""]), max_size=20), st.data())
def test_where_blocks_end_changes_no_line(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    blocks = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]
    expected = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found = [line for batch in byte_lines(blocks) for line in batch]
    assert found == (expected if expected[-1] else expected[:-1])


def test_a_line_in_tiny_blocks_is_cut_like_any_other() -> None:
    blocks = [b"10.5555/a\n", *[b"x"] * 50, b"\r", b"\n10.5555/b", b"\n", b"y" * 41]
    found = [line for batch in byte_lines(blocks, 40) for line in batch]
    assert found == [b"10.5555/a", b"x" * 41, b"10.5555/b", b"y" * 41]


def test_a_line_without_end_is_one_failure_and_memory_stays_flat(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * 1024 * 1024)
        file.write(b"\n10.5555/a\n")
    tracemalloc.start()
    try:
        assert reading.dois(path) == [None, "10.5555/a"]
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_list_is_read_as_it_comes() -> None:
    stream = io.BytesIO(LIST * 100_000)
    items = read_list(["-"], ListOptions(), warn=lambda _: None, now="", stdin=stream)
    assert isinstance(next(items), Work)
    assert stream.tell() < 1_000_000


# The fingerprint


def test_a_list_has_the_same_fingerprint_until_its_content_changes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", LIST)
    first = fingerprint([str(path)], ListOptions())
    os.utime(path, (1, 1))
    assert fingerprint([str(path)], ListOptions()) == first
    written(path, LIST.replace(b"b", b"c"))
    assert first != fingerprint([str(path)], ListOptions())


def test_who_reads_with_other_options_or_more_files_sees_another_fingerprint(tmp_path: Path) -> None:
    one, two = (str(written(tmp_path / name, LIST)) for name in ("a.txt", "b.txt"))
    prints = {
        fingerprint(inputs, options)
        for inputs in ([one], [two], [one, two], [two, one])
        for options in (ListOptions(), ListOptions(doi_column="2"), ListOptions(encoding="cp1252"))
    }
    assert len(prints) == 12


def test_what_can_be_read_but_once_has_no_fingerprint_and_is_not_touched_for_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    listed = str(written(tmp_path / "a.txt", LIST))
    assert fingerprint([listed, "-"], ListOptions()) is None
    assert fingerprint([str(pipe), listed], ListOptions()) is None


def test_a_fingerprint_of_nothing_is_refused_as_a_reading_would_be(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="does not exist"):
        fingerprint([str(tmp_path / "none.txt")], ListOptions())
