"""The output file, to which lines are appended; or stdout in its place.

The file grows only at its end and only by whole units. For `.jsonl` a unit is some lines, for `.jsonl.gz` one gzip
member, for `.jsonl.zst` one zstd frame. Members and frames may be concatenated (RFC 1952, section 2.2; RFC 8878,
section 3), so that every prefix that ends between two units is itself a complete, valid file. The ledger keeps the
length up to which units are committed. Whatever comes after it is a torn write, which the next start cuts off.

While a run goes on the file is called `NAME.partial`; publishing renames it to `NAME`.
"""

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from harvester.core import failpoint, files
from harvester.core.errors import DiskFailed, PipeClosed, PromiseBroken, Usage
from harvester.core.files import disk_failure_text
from harvester.records.packing import output_format, packer


class Sink(Protocol):
    """Where result lines go; only the writer thread uses it."""

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
        descriptor: open for writing on `NAME.partial`, positioned at `length`.
        length: committed bytes.
    """

    def __init__(self, path: Path, descriptor: int, length: int) -> None:
        self.path = path
        self.length = length
        self._descriptor = descriptor
        self._pack = packer(output_format(path.name))

    def append(self, lines: bytes) -> int:
        """Append one unit and sync it to the disk; see `Sink`."""
        unit = memoryview(self._pack(lines))
        try:
            failpoint.hit("before-write")
            failpoint.hit("mid-write", lambda: os.write(self._descriptor, unit[: len(unit) // 2]))
            done = 0
            while done < len(unit):
                done += os.write(self._descriptor, unit[done:])
            failpoint.hit("after-write")
            files.sync_data(self._descriptor)
            failpoint.hit("after-sync")
        except OSError as error:
            raise DiskFailed(disk_failure_text(partial_of(self.path), error)) from error
        self.length += len(unit)
        return self.length

    def close(self) -> None:
        """Close the file.

        Raises:
            DiskFailed: the file system reports a failed write only now, as NFS may.
        """
        try:
            os.close(self._descriptor)
        except OSError as error:
            raise DiskFailed(disk_failure_text(partial_of(self.path), error)) from error


def partial_of(path: Path) -> Path:
    """The name of an output while it is not complete."""
    return path.with_name(path.name + ".partial")


def open_output(path: Path, committed: int, *, new: bool = False) -> OutputFile:
    """Open the partial output for appending, cut back to its committed length. It is created if nothing is committed.

    Args:
        path: the name under which it will be published.
        committed: length in bytes.
        new: this ledger has not made the file yet, so that a file of this name belongs to somebody else.

    Raises:
        Usage: the file belongs to somebody else.
        PromiseBroken: the file is shorter than what is committed, so something else changed it.
        DiskFailed: the file system refuses.
    """
    partial = partial_of(path)
    try:
        create = os.O_CREAT * (not committed) | os.O_EXCL * new
        descriptor = os.open(partial, os.O_WRONLY | create | os.O_CLOEXEC, 0o666)
        try:
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
    return OutputFile(path, descriptor, committed)


def _cut_back(partial: Path, descriptor: int, committed: int) -> None:
    found = os.fstat(descriptor).st_size
    if found < committed:
        raise PromiseBroken(
            f"{partial} holds {found:,} bytes, but {committed:,} are known to be committed: something else cut it. "
            "Nothing was changed. Put the file back, or start over with --refetch."
        )
    if found > committed:
        failpoint.hit("before-truncate")
        os.ftruncate(descriptor, committed)
        failpoint.hit("after-truncate")
        os.fsync(descriptor)
    os.lseek(descriptor, committed, os.SEEK_SET)
