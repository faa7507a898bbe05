"""How an output is packed, and how its lines are read back, however damaged the file may be.

We do not use the libraries' readers. Ours tell if the last gzip member or zstd frame is unfinished. And they stop at a
given length, because what comes after the committed length of an output was never promised.
"""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from harvester.core.errors import DiskFailed, Usage
from harvester.core.model import OUTPUT_ENDINGS
from harvester.core.text.sanitize import printable

FORMATS = OUTPUT_ENDINGS


def output_format(name: str) -> str:
    """The ending of an output's name that says how it is packed: one of `FORMATS`.

    Raises:
        Usage: another ending.
    """
    for ending in FORMATS:
        if name.endswith(ending) and len(Path(name).name) > len(ending):
            return ending
    raise Usage(f"the output {name} must end in .jsonl, .jsonl.gz or .jsonl.zst, or be - for stdout")


def packer(ending: str) -> Callable[[bytes], bytes]:
    """The function that packs whole lines into one unit of the file: a gzip member, a zstd frame, or plain lines."""
    if ending == ".jsonl.gz":
        return lambda lines: gzip.compress(lines, compresslevel=6, mtime=0)
    if ending == ".jsonl.zst":
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    return lambda lines: lines


LONGEST_LINE = 256 * 1024 * 1024
"""A longer line is taken for damage. It is eight times the largest body that a run takes by default."""


READ_AT_A_TIME = 1024 * 1024


PACKED_CHUNK = 4096
"""Bytes that are unpacked at a time. At zstd's highest ratio, 4 bytes for 128 KiB, that makes 128 MiB."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in place of a line from which on the file cannot be read.

    Args:
        problem: why not, to stand behind "line 17".
    """

    problem: str


def raw_lines(path: Path, length: int | None = None) -> Iterator[bytes | Unreadable]:
    """The lines of a file, each with its line feed.

    Args:
        path: of an output or a failures file; its ending says how it is packed.
        length: bytes to read; None for all.

    Yields:
        Each line. If the file cannot be read to its end, the last item says why.

    Raises:
        DiskFailed: the file cannot be read.
        Usage: the ending is none that is known.
    """
    if not path.is_file():
        yield Unreadable("cannot be read: what has its name is a folder or a device")
        return
    try:
        with path.open("rb") as file, _unpacked(path, Prefix(file, length)) as lines:
            yield from iter(lambda: _line(lines), b"")
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        yield Unreadable(f"cannot be unpacked, nor anything after it: {printable(str(error), 120)}")
    except OSError as error:
        raise DiskFailed(f"{path} cannot be read: {error.strerror or error}. Nothing was changed.") from error


def _line(lines: io.BufferedReader) -> bytes:
    """The next line, at most `LONGEST_LINE` of it; empty at the end. A long one is gathered without a second copy."""
    line = lines.readline(READ_AT_A_TIME)
    if len(line) < READ_AT_A_TIME or line.endswith(b"\n"):
        return line
    whole = io.BytesIO()
    while line and whole.tell() < LONGEST_LINE:
        whole.write(line)
        line = b"" if line.endswith(b"\n") else lines.readline(READ_AT_A_TIME)
    return whole.getvalue()


class Prefix(io.RawIOBase):
    """The first bytes of an open file.

    Args:
        file: open for reading.
        length: how many bytes; None for all.
    """

    def __init__(self, file: BinaryIO, length: int | None) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """Fill a buffer, or as much of it as there are bytes left."""
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        content = self._file.read(wanted)
        buffer[: len(content)] = content
        if self._left is not None:
            self._left -= len(content)
        return len(content)


class Unit(Protocol):
    """Unpacks one unit of an output: one gzip member, or one zstd frame."""

    @property
    def eof(self) -> bool:
        """Whether the unit has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes that were given to it, but belong to the next unit."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """Unpack some more bytes."""
        ...


class Unpacked(io.RawIOBase):
    """The content of a packed file, unit after unit. Unlike the libraries' own readers it tells if the last has no end.

    Args:
        packed: the packed file.
        fresh: makes an object that unpacks one unit.
    """

    def __init__(self, packed: io.RawIOBase, fresh: Callable[[], Unit]) -> None:
        self._packed, self._fresh = packed, fresh
        self._unit: Unit | None = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """Fill a buffer with the next unpacked bytes.

        Raises:
            EOFError: the last unit has no end.
        """
        while not self._ready and (chunk := self._rest or self._packed.read(PACKED_CHUNK)):
            self._unit = self._unit or self._fresh()
            self._ready = memoryview(self._unit.decompress(chunk))
            self._rest = self._unit.unused_data
            if self._unit.eof:
                self._unit = None
        if not self._ready and self._unit:
            raise EOFError("it ends within a member or frame")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _unpacked(path: Path, packed: Prefix) -> io.BufferedReader:
    ending = output_format(path.name.removesuffix(".partial"))
    fresh: dict[str, Callable[[], Unit]] = {
        ".jsonl.gz": lambda: zlib.decompressobj(wbits=31),
        ".jsonl.zst": zstandard.ZstdDecompressor().decompressobj,
    }
    lines = Unpacked(packed, fresh[ending]) if ending in fresh else packed
    return io.BufferedReader(lines, 1 << 20)
