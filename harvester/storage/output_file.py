"""Records as lines, and the output file they are appended to.

The file grows only at its end and only by whole units: for `.jsonl` a unit is some lines, for `.jsonl.gz` one gzip
member, for `.jsonl.zst` one zstd frame. Members and frames may be concatenated (RFC 1952, section 2.2; RFC 8878,
section 3), so that every prefix that ends between two units is itself a complete, valid file. The length up to which
units are committed is kept in the ledger; whatever lies behind it is a torn write and is cut off at the next start.

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
    """Where result lines go; only the writer thread touches it."""

    def append(self, lines: bytes) -> int:
        """Put whole lines behind everything before, on stable storage; return the length that is committed by that.

        Raises:
            DiskFailed: it could not be done; nothing may be appended after that.
        """
        ...


class Stdout:
    """Result lines to a pipe: at least once, without resuming.

    Args:
        stream: binary, usually `sys.stdout.buffer`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._length = 0

    def append(self, lines: bytes) -> int:
        """Write and flush.

        Raises:
            PipeClosed: whoever read went away.
            DiskFailed: stdout is a file that cannot be written.
        """
        try:
            rest = memoryview(lines)
            while rest:  # an unbuffered stdout may take less than all of it
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()
        except BrokenPipeError:
            raise PipeClosed("whoever read stdout went away") from None
        except OSError as error:
            raise DiskFailed(f"cannot write to stdout: {error.strerror}.") from error
        self._length += len(lines)
        return self._length


class OutputFile:
    """The output file of a run, opened for appending; made by `open_output`.

    Args:
        path: the name it is published under.
        descriptor: open for writing on `NAME.partial`, positioned at `length`.
        length: committed bytes.
    """

    def __init__(self, path: Path, descriptor: int, length: int) -> None:
        self.path = path
        self.length = length
        self._descriptor = descriptor
        self._pack = packer(output_format(path.name))

    def append(self, lines: bytes) -> int:
        """Append one unit, synced; see `Sink`."""
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
        """Let go of the file.

        Raises:
            DiskFailed: the file system says only now that something went wrong, as NFS may.
        """
        try:
            os.close(self._descriptor)
        except OSError as error:
            raise DiskFailed(disk_failure_text(partial_of(self.path), error)) from error


def partial_of(path: Path) -> Path:
    """The name of an output while it is not complete."""
    return path.with_name(path.name + ".partial")


def open_output(path: Path, committed: int, *, new: bool = False) -> OutputFile:
    """Open the partial output for appending, cut back to its committed length; a new one is created.

    Args:
        path: the name it will be published under.
        committed: bytes.
        new: whether nobody can have made it yet, so that one that is there is somebody else's.

    Raises:
        Usage: it is somebody else's.
        PromiseBroken: the file is shorter than what is committed: something else changed it.
        DiskFailed: the file system refuses.
    """
    partial = partial_of(path)
    try:
        create = os.O_CREAT * (not committed) | os.O_EXCL * new
        descriptor = os.open(partial, os.O_WRONLY | create | os.O_CLOEXEC, 0o666)
        try:
            _cut_back(partial, descriptor, committed)
            # Even if the file is not new: the run that made it may have ended before it came to this.
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
