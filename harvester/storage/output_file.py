"""The output file, to which lines are appended; or stdout in its place.

The file grows only at its end and only by whole units. For `.jsonl` a unit is some lines, for `.jsonl.gz` one gzip
member, for `.jsonl.zst` one zstd frame. Members and frames may be concatenated (RFC 1952, section 2.2; RFC 8878,
section 3), so that every prefix that ends between two units is itself a complete, valid file. The ledger keeps the
length up to which units are committed. Whatever comes after it is a torn write, which the next start cuts off.

While a run goes on the file is called `NAME.partial`; publishing renames it to `NAME`.

A name and a length do not make a file the one that was written: editors and sync tools replace files, and a ledger may
come from a backup. So the ledger also keeps a `Seal` of the committed bytes, the open file is compared with its name
and its length at every append, and it is read once more before it is published.
"""

import fcntl
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import orjson

from harvester.core import failpoint, files
from harvester.core.errors import DiskFailed, LockHeld, PipeClosed, PromiseBroken, Stopped, Usage
from harvester.core.files import disk_failure_text
from harvester.core.ownership import identity_at, identity_of
from harvester.records.packing import output_format, packer

TAIL_BYTES = 64 * 1024
"""How much of the last unit is known by a digest: enough to tell any two outputs apart, and read in no time."""


READ_BYTES = 1024 * 1024

BYTES_BETWEEN_CHECKS = 64 * READ_BYTES
"""How much is read between two looks at the stop: a fraction of a second. A smaller output is published."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the committed bytes of an output are known by.

    Args:
        tail: how many bytes at their end `sha256` is of.
        sha256: of these, in hex. It tells at each start, at no cost, whether output and ledger belong together.
        crc32: of all committed bytes (`zlib.crc32`); None if a part of them was written before seals were kept. It can
            be carried on from unit to unit, and tells before publishing whether any byte was changed.
        records: how many lines they are; None as for `crc32`. As many works of the ledger have a record.
    """

    tail: int = 0
    sha256: str = hashlib.sha256().hexdigest()
    crc32: int | None = 0
    records: int | None = 0

    def extended(self, unit: "memoryview[int]", records: int) -> "Seal":
        """The seal after one more unit with so many records."""
        tail = unit[-TAIL_BYTES:]
        crc32 = None if self.crc32 is None else zlib.crc32(unit, self.crc32)
        known = None if self.records is None else self.records + records
        return Seal(len(tail), hashlib.sha256(tail).hexdigest(), crc32, known)

    @classmethod
    def of(cls, path: Path, records: int) -> tuple[int, Self]:
        """The length of a file in bytes, and the seal of all of them; there are so many records in it."""
        crc32, length = 0, 0
        with path.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                crc32, length = zlib.crc32(chunk, crc32), length + len(chunk)
            file.seek(max(0, length - TAIL_BYTES))
            tail = file.read()
        return length, cls(len(tail), hashlib.sha256(tail).hexdigest(), crc32, records)

    def as_text(self) -> str:
        """The seal as JSON, for the ledger."""
        return orjson.dumps([self.tail, self.sha256, self.crc32, self.records]).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The seal that `as_text` wrote. A text that is none, as in a damaged ledger, is the seal of no file."""
        try:
            tail, sha256, *counted = orjson.loads(text)
            crc32, records = (None if number is None else int(number) for number in counted)
            return cls(int(tail), str(sha256), crc32, records)
        except (ValueError, TypeError):
            return cls(0, "", None, None)

    def fits(self, path: Path, length: int) -> bool:
        """Whether a file has these bytes at this length.

        Args:
            path: of the file.
            length: bytes that are committed.

        Raises:
            OSError: it cannot be read.
        """
        if not 0 <= self.tail <= length:
            return False
        with path.open("rb") as file:
            file.seek(length - self.tail)
            return hashlib.sha256(file.read(self.tail)).hexdigest() == self.sha256


class Sink(Protocol):
    """Where result lines go; only the writer thread uses it.

    Attributes:
        seal: of what was appended; None if nothing can be compared later.
    """

    @property
    def seal(self) -> Seal | None: ...  # noqa: D102 - see above

    def append(self, lines: bytes) -> int:
        """Append whole lines and put them on stable storage; returns the new length in bytes.

        Raises:
            DiskFailed: it could not be done. Nothing may be appended afterwards.
        """
        ...


class Stdout:
    """Writes result lines to a pipe. A line may come twice, and such a run cannot be resumed.

    Args:
        stream: binary, usually `sys.stdout.buffer`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.seal = None
        self._stream = stream
        self._length = 0

    def append(self, lines: bytes) -> int:
        """Write and flush the lines.

        Raises:
            PipeClosed: the reader went away.
            DiskFailed: stdout is a file that cannot be written.
        """
        try:
            rest = memoryview(lines)
            while rest:  # an unbuffered stdout may write less than it was given
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()
        except BrokenPipeError:
            raise PipeClosed("whoever read stdout went away") from None
        except OSError as error:
            raise DiskFailed(f"cannot write to stdout: {error.strerror}.") from error
        self._length += len(lines)
        return self._length


class OutputFile:
    """The output file of a run, opened for appending; `open_output` makes it.

    Args:
        path: the name under which it is published.
        descriptor: open for reading and writing on `NAME.partial`, positioned at `length`.
        length: committed bytes.
        seal: of these.
    """

    def __init__(self, path: Path, descriptor: int, length: int, seal: Seal) -> None:
        self.path = path
        self.length = length
        self.seal = seal
        self._partial = partial_of(path)
        self._descriptor = descriptor
        self._identity = identity_of(descriptor)
        self._pack = packer(output_format(path.name))

    def append(self, lines: bytes) -> int:
        """Append one unit and sync it to the disk; see `Sink`.

        Raises:
            PromiseBroken: something else changed, replaced or deleted the file.
        """
        unit = memoryview(self._pack(lines))
        try:
            self._require_unchanged()
            failpoint.hit("before-write")
            failpoint.hit("mid-write", lambda: os.write(self._descriptor, unit[: len(unit) // 2]))
            done = 0
            while done < len(unit):
                done += os.write(self._descriptor, unit[done:])
            failpoint.hit("after-write")
            files.sync_data(self._descriptor)
            failpoint.hit("after-sync")
            self.length, self.seal = self.length + len(unit), self.seal.extended(unit, lines.count(b"\n"))
            self._require_unchanged()  # before the ledger counts the unit
        except OSError as error:
            raise DiskFailed(disk_failure_text(self._partial, error)) from error
        return self.length

    def require_whole(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Make sure that the file is the one that was written, and that none of its bytes was changed.

        Args:
            is_stopped: whether to break off. A large file takes minutes.

        Raises:
            PromiseBroken: it is not.
            DiskFailed: it cannot be read.
            Stopped: it was broken off.
        """
        try:
            self._require_unchanged()
            if self.seal.crc32 not in (None, self._crc32(is_stopped)):
                raise PromiseBroken(
                    f"{self._partial} has other bytes than were written: something else changed it, or the disk did. "
                    f"It was not published, and nothing was lost besides. {WAY_OUT}"
                )
        except OSError as error:
            raise DiskFailed(disk_failure_text(self._partial, error)) from error

    def _require_unchanged(self) -> None:
        found = os.fstat(self._descriptor)
        if identity_at(self._partial) != self._identity:
            raise PromiseBroken(
                f"{self._partial} was deleted, moved or replaced while this run went on. Nothing more was written. "
                "Put the file back, then give the same command again."
            )
        if found.st_size != self.length:
            raise PromiseBroken(
                f"{self._partial} holds {found.st_size:,} bytes, but this run left it with {self.length:,}: something "
                "else changed it. Nothing more was written. Put the file back, then give the same command again."
            )

    def _crc32(self, is_stopped: Callable[[], bool]) -> int:
        """Of the whole file."""
        crc32, position, checked = 0, 0, 0
        while chunk := os.pread(self._descriptor, READ_BYTES, position):
            crc32, position = zlib.crc32(chunk, crc32), position + len(chunk)
            if position - checked >= BYTES_BETWEEN_CHECKS:
                if is_stopped():
                    raise Stopped
                checked = position
        return crc32

    def close(self) -> None:
        """Close the file.

        Raises:
            DiskFailed: the file system reports a failed write only now, as NFS may.
        """
        try:
            os.close(self._descriptor)
        except OSError as error:
            raise DiskFailed(disk_failure_text(self._partial, error)) from error


WAY_OUT = (
    "Put the file back, or save with `harvester recover` what is there; `harvester run` can also start over with "
    "--refetch."
)
"""What to do if an output is not what the ledger knows."""


def partial_of(path: Path) -> Path:
    """The name of an output while it is not complete."""
    return path.with_name(path.name + ".partial")


def open_output(path: Path, committed: int, seal: Seal | None = None, *, new: bool = False) -> OutputFile:
    """Open the partial output for appending, cut back to its committed length. It is created if nothing is committed.

    The file itself is locked as long as it is open: the lock of the ledger can be deleted apart from it.

    Args:
        path: the name under which it will be published.
        committed: length in bytes.
        seal: of the committed bytes; None if it is not known.
        new: this ledger has not made the file yet, so that a file of this name belongs to somebody else.

    Raises:
        Usage: the file belongs to somebody else.
        LockHeld: another process has it open for writing.
        PromiseBroken: the file is shorter than what is committed, so something else changed it.
        DiskFailed: the file system refuses.
    """
    partial = partial_of(path)
    try:
        create = os.O_CREAT * (not committed) | os.O_EXCL * new
        descriptor = os.open(partial, os.O_RDWR | create | os.O_CLOEXEC, 0o666)
        try:
            _lock(partial, descriptor)
            _cut_back(partial, descriptor, committed)
            # Also if the file is not new: the run that made it may have crashed before it synced the folder.
            files.sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
    except FileExistsError as error:
        raise Usage(
            f"{partial} is being written by another run, with another ledger. Choose another output."
        ) from error
    except OSError as error:
        raise DiskFailed(disk_failure_text(partial, error)) from error
    return OutputFile(path, descriptor, committed, seal or (Seal(crc32=None, records=None) if committed else Seal()))


def _lock(partial: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(
            f"another run writes {partial}. Nothing was changed in it; wait for that run, or stop it."
        ) from None
    except OSError:  # some network file systems have no locks; then the lock of the ledger has to do
        return


def _cut_back(partial: Path, descriptor: int, committed: int) -> None:
    found = os.fstat(descriptor).st_size
    if found < committed:
        raise PromiseBroken(
            f"{partial} holds {found:,} bytes, but {committed:,} are known to be committed: something else cut it. "
            f"Nothing was changed. {WAY_OUT}"
        )
    if found > committed:
        failpoint.hit("before-truncate")
        os.ftruncate(descriptor, committed)
        failpoint.hit("after-truncate")
        os.fsync(descriptor)
    os.lseek(descriptor, committed, os.SEEK_SET)
