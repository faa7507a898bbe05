"""Open the inputs: paths, globs and stdin, decompressed while they are read."""

import bz2
import glob
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from harvester.core.errors import InputMissing, InputUnusable, Stopped, StopRun, Usage
from harvester.core.ownership import identity_or_path
from harvester.core.text.sanitize import printable
from harvester.records.kinds import DATABASE_MAGIC, LOCK, LOCK_ENDING, LOG_MAGICS, is_of_harvester, is_of_sqlite

STDIN = "-"

BLOCK_BYTES = 256 * 1024

ZSTD_FEED_BYTES = 64
"""Compressed bytes in one step of the zstd decompressor: 4 bytes can become 128 KiB, so 64 can become 2 MiB."""

MAX_WINDOW_BYTES = 32 * 1024 * 1024
"""How far back an archive may refer, which is held in memory: enough for `zstd -19`, `zstd --ultra -20` and `xz -8`."""

XZ_WORKSPACE_BYTES = 2 * 1024 * 1024
"""What the decompressor of xz needs beside that."""

XZ_HEADER_BYTES = 1_100
"""So much of a stream tells how far back it refers: the header of the stream and of its first block."""

_TOO_WIDE = ("Memory usage limit exceeded", "requires too much memory")
"""What the libraries of xz and zstd say about an archive that refers back too far."""

MAX_FILES = 50_000
"""Files that a glob may match: their names are held in memory."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_NOT_A_LIST = {
    b"%PDF": "a PDF. Export the list as text or CSV",
    DATABASE_MAGIC: "a database, such as a ledger. Name a list",
    **dict.fromkeys(LOG_MAGICS, "the log of a database. Name a list"),
}

KNOWN_BY_BYTES = 64 * 1024
"""Unpacked bytes from the beginning of a file by which a file of harvester is told from a list."""


class DamagedArchive(Exception):
    """The compressed input is corrupt or cut off; the message says which."""


NO_FAILURES = ".failures.jsonl"
"""The end of the name of a failures file. If it is empty, nothing else tells whose it is: nothing failed."""


def expand(
    inputs: Sequence[str],
    warn: Callable[[str], None],
    own: Collection[Path] = (),
    *,
    refused: Callable[[StopRun], None] | None = None,
) -> list[str]:
    """The files that the inputs name, each once. The matches of a glob are sorted; `-` stays `-`.

    Files that the job itself writes are no inputs. A glob leaves them out, and also what other jobs wrote, databases,
    and what lies beside those. The files of other jobs can be named, since an output is a list of DOIs as well.

    Args:
        inputs: paths, globs, or `-` for stdin.
        warn: takes a sentence for the user about a file that is named twice, or left out.
        own: files that the job writes. They are not opened: a ledger that is in use would lose its locks by that.
        refused: takes why a file or a glob is left out; None if that is raised.

    Raises:
        InputMissing: a file does not exist or cannot be read, an input is a folder, or a glob matches no list.
        Usage: a file that the job writes is named as an input.
    """
    written = set(map(identity_or_path, own))
    found: dict[str, str] = {}
    for name in inputs:
        for path in _readable_of(name, written, warn, refused):
            key = STDIN if path == STDIN else os.path.realpath(path)
            if key in found:
                warn(f"{printable(path)} is named twice and read once")
            found.setdefault(key, path)
    return list(found.values())


def _readable_of(
    name: str,
    written: Collection[object],
    warn: Callable[[str], None],
    refused: Callable[[StopRun], None] | None,
) -> Iterator[str]:
    """The files of one input that can be read."""
    try:
        paths = [name] if name == STDIN else _matches(name, written, warn)
    except (InputMissing, InputUnusable) as reason:
        if refused is None:
            raise
        refused(reason)
        return
    for path in paths:
        try:
            yield path if path == STDIN else _readable(path)
        except InputMissing as reason:
            if refused is None:
                raise
            refused(reason)


def content_digest(inputs: Sequence[str], own: Collection[Path] = ()) -> str | None:
    """SHA-256 over the names and contents of all inputs; None if one of them can be read only once, such as stdin.

    Args:
        inputs: paths, globs, or `-` for stdin.
        own: files that the job writes.

    Raises:
        InputMissing, Usage: as for `expand`, or a file cannot be read.
    """
    digest = hashlib.sha256()
    for name in expand(inputs, lambda _: None, own):
        if name == STDIN or not Path(name).is_file():
            return None
        try:
            with Path(name).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(name, error) from error
        digest.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _matches(name: str, written: Collection[object], warn: Callable[[str], None]) -> list[str]:
    path = Path(name)
    if not path.exists() and glob.has_magic(name):
        found = (match for match in glob.iglob(name, recursive=True) if not Path(match).is_dir())  # noqa: PTH207 - takes absolute patterns
        matches = sorted(islice(found, MAX_FILES + 1))
        if len(matches) > MAX_FILES:
            raise InputUnusable(
                f"more than {MAX_FILES:,} files match {printable(name)}. Put them together in fewer files first."
            )
        if not matches:
            raise InputMissing(f"no file matches {printable(name)}. Check the folder and the pattern.")
        return _lists_among(matches, name, written, warn)
    if identity_or_path(path) in written:
        raise Usage(f"{printable(name)} is a file that this job writes, and no list. Nothing was asked; name another.")
    return [name]


def _lists_among(
    matches: Sequence[str], pattern: str, written: Collection[object], warn: Callable[[str], None]
) -> list[str]:
    """The matches of a glob without the files of harvester; a sentence for the user says that there were some.

    Raises:
        InputMissing: none is left.
    """
    lists = [match for match in matches if identity_or_path(Path(match)) not in written and not _is_no_list(match)]
    if len(lists) < len(matches):
        first = printable(next(match for match in matches if match not in set(lists)))
        left_out = f"files of harvester itself and databases, such as {first}"
        if not lists:
            raise InputMissing(f"{printable(pattern)} matches only {left_out}. Check the folder and the pattern.")
        warn(f"{printable(pattern)} matches {left_out} ({len(matches) - len(lists):,} in all); they are not read")
    return lists


def _is_no_list(name: str) -> bool:
    """Whether a file begins as those do that harvester, or SQLite for it, writes. What cannot be read is told later."""
    try:
        if not Path(name).is_file():  # to open a pipe may take for ever
            return False
        with Path(name).open("rb") as file:
            head = read_fully(file, KNOWN_BY_BYTES)
    except OSError:
        return False
    if not head and name.endswith(NO_FAILURES):
        return True
    return is_of_sqlite(head) or (name.endswith(LOCK_ENDING) and LOCK.is_ours(head)) or was_made_by_harvester(name)


def was_made_by_harvester(name: str) -> bool:
    """Whether a file, packed or not, begins as an output does, or as failures, a summary or a report do."""
    try:
        return Path(name).is_file() and is_of_harvester(_first_bytes(name))
    except (InputMissing, InputUnusable, DamagedArchive):
        return False


def _first_bytes(name: str) -> bytes:
    head = b""
    with closing(read_blocks(name, stdin=None, warn=lambda _: None, is_stopped=lambda: False)) as blocks:
        for block in blocks:
            head += block
            if len(head) >= KNOWN_BY_BYTES:
                break
    return head


def _readable(name: str) -> str:
    path, shown = Path(name), printable(name)
    if not name:
        raise InputMissing("the name of an input is empty.")
    if path.is_dir():
        raise InputMissing(f"{shown} is a folder. Name the files in it, such as {shown}/*.csv.")
    if not path.exists():
        raise InputMissing(f"{shown} does not exist. Check the name and the folder you are in.")
    if not os.access(path, os.R_OK):
        raise InputMissing(f"{shown} is not readable for you. Check its permissions.")
    return name


def bare_name(name: str) -> str:
    """The name of a file without folder and compression suffix: `a/list.csv.gz` is `list.csv`."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def read_blocks(
    name: str, *, stdin: BinaryIO | None, warn: Callable[[str], None], is_stopped: Callable[[], bool]
) -> Generator[bytes, None, None]:
    """Read an input in decompressed blocks. The compression is recognized by the first bytes, not by the name.

    Args:
        name: a path, or `-` for stdin.
        stdin: binary, for `-`.
        warn: takes a sentence for the user where the name promises another compression.
        is_stopped: whether to break off.

    Raises:
        Stopped: it was broken off.
        InputMissing: the input cannot be read.
        InputUnusable: files of this kind, such as PDF, hold no list.
        DamagedArchive: the archive is corrupt or cut off.
    """
    if name == STDIN:
        if stdin is None:
            raise InputMissing("there is no standard input to read.")
        yield from _decompressed(name, stdin, warn, is_stopped)
        return
    try:
        with Path(name).open("rb") as file:
            yield from _decompressed(name, file, warn, is_stopped)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> InputMissing:
    return InputMissing(f"{printable(name)} cannot be read: {error.strerror or error}.")


def _decompressed(
    name: str, file: BinaryIO, warn: Callable[[str], None], is_stopped: Callable[[], bool]
) -> Iterator[bytes]:
    head = read_fully(file, len(DATABASE_MAGIC))
    for magic, what in _NOT_A_LIST.items():
        if head.startswith(magic):
            raise InputUnusable(f"{printable(name)} is {what}.")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    named = _SUFFIXES.get(Path(name).suffix.lower())
    if named and kind != named and head:
        warn(f"{printable(name)} is not compressed with {named} as its name says; read as {kind or 'plain text'}")
    stream = _Rejoined(head, file, is_stopped)
    if kind is None:
        yield from iter(lambda: stream.read(BLOCK_BYTES), b"")
        return
    try:
        for block in _READERS[kind](stream):
            if is_stopped():  # a few bytes of an archive may hold very much
                raise Stopped
            yield block
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        if any(words in str(error) for words in _TOO_WIDE):
            raise InputUnusable(
                f"{printable(name)} takes more than {MAX_WINDOW_BYTES >> 20} MiB of memory to unpack. Make the archive "
                f"again with the usual level of {kind}."
            ) from error
        raise DamagedArchive(f"the {kind} archive is cut off or corrupt ({printable(str(error), 100)})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedArchive(f"the {kind} archive is corrupt ({printable(str(error), 100)})") from error


def read_fully(file: BinaryIO | io.RawIOBase, size: int) -> bytes:
    """Read exactly `size` bytes, or fewer at the end of the file. A pipe may hand them out in pieces."""
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


class _Rejoined(io.RawIOBase):
    """A stream that gives back the bytes that were already read from it. Closing it leaves the original open.

    Args:
        head: the bytes that were read.
        rest: the stream.
        is_stopped: whether to raise `Stopped` in place of more bytes.
    """

    def __init__(self, head: bytes, rest: BinaryIO, is_stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._head, self._rest, self._is_stopped = head, rest, is_stopped

    def read(self, size: int | None = -1, /) -> bytes:
        if self._is_stopped():
            raise Stopped
        if not self._head:
            return self._rest.read(-1 if size is None else size)
        data, self._head = (self._head, b"") if size is None or size < 0 else (self._head[:size], self._head[size:])
        return data

    def readable(self) -> bool:
        return True


def _read_gzip(stream: _Rejoined) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=stream, mode="rb") as archive:
        yield from iter(lambda: archive.read(BLOCK_BYTES), b"")


def _read_bzip2(stream: _Rejoined) -> Iterator[bytes]:
    with bz2.BZ2File(cast("BinaryIO", stream), "rb") as archive:
        yield from iter(lambda: archive.read(BLOCK_BYTES), b"")


def _read_xz(stream: _Rejoined) -> Iterator[bytes]:
    """Decompress stream by stream. The library's own reader has no limit for memory.

    `xz -9` sets aside 64 MiB, but no more of it is used than the list is long. So it is read as long as it is short.
    """
    data = read_fully(stream, XZ_HEADER_BYTES)
    while data:
        is_wide = _is_wide_xz(data)
        decoder = lzma.LZMADecompressor(memlimit=(1 + is_wide) * MAX_WINDOW_BYTES + XZ_WORKSPACE_BYTES)
        made = 0
        while not decoder.eof:
            block = decoder.decompress(data, BLOCK_BYTES)
            made += len(block)
            if is_wide and made > MAX_WINDOW_BYTES:
                raise lzma.LZMAError(_TOO_WIDE[0])
            yield block
            data = stream.read(BLOCK_BYTES) if decoder.needs_input and not decoder.eof else b""
            if decoder.needs_input and not decoder.eof and not data:
                raise EOFError("the last stream has no end")
        rest = (decoder.unused_data or read_fully(stream, XZ_HEADER_BYTES)).lstrip(b"\0")  # streams may be padded
        data = rest + read_fully(stream, max(0, XZ_HEADER_BYTES - len(rest)))


def _is_wide_xz(start: bytes) -> bool:
    """Whether a stream of xz sets aside more than MAX_WINDOW_BYTES, which its beginning tells."""
    try:
        lzma.LZMADecompressor(memlimit=MAX_WINDOW_BYTES + XZ_WORKSPACE_BYTES).decompress(start, 1)
    except lzma.LZMAError as error:
        return _TOO_WIDE[0] in str(error)
    return False


def _read_zstd(stream: _Rejoined) -> Iterator[bytes]:
    """Decompress frame by frame. The library's own reader does not notice that the last frame is cut off."""
    frame = None
    for fed in iter(lambda: stream.read(ZSTD_FEED_BYTES), b""):
        data = fed
        while data:
            frame = frame or zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
            made = frame.decompress(data)
            yield from (made[at : at + BLOCK_BYTES] for at in range(0, len(made), BLOCK_BYTES))
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame has no end")


_READERS: dict[str, Callable[[_Rejoined], Iterable[bytes]]] = {
    "gzip": _read_gzip,
    "zstd": _read_zstd,
    "bzip2": _read_bzip2,
    "xz": _read_xz,
}
