"""Records as lines, and the output file they are appended to.

The file grows only at its end and only by whole units: for `.jsonl` a unit is some lines, for `.jsonl.gz` one gzip
member, for `.jsonl.zst` one zstd frame. Members and frames may be concatenated (RFC 1952, section 2.2; RFC 8878,
section 3), so that every prefix that ends between two units is itself a complete, valid file. The length up to which
units are committed is kept in the ledger; whatever lies behind it is a torn write and is cut off at the next start.

While a run goes on the file is called `NAME.partial`; publishing renames it to `NAME`.
"""

import fcntl
import gzip
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

import orjson
import zstandard

from harvester.errors import DiskFailed, PipeClosed, PromiseBroken, Usage
from harvester.failpoint import reached
from harvester.outcome import Failure, Result

SCHEMA_VERSION = 1

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def result_lines(results: Iterable[Result]) -> bytes:
    """Results as lines of the output, each with its newline.

    The record itself is copied in as the server's own bytes, as the last member, so that anyone can cut it out again
    and compare it with `sha256`.
    """
    # All at once, for a batch of records is larger than the processor's caches.
    return b"".join(chain.from_iterable(map(_pieces, results)))


def _pieces(result: Result) -> tuple[bytes, ...]:
    head = orjson.dumps(
        {
            "v": SCHEMA_VERSION,
            "doi": result.doi,
            "outcome": result.outcome,
            "harvested_at": result.harvested_at,
            "http_status": result.http_status,
            "attempts": result.attempts,
            "elapsed_ms": result.elapsed_ms,
            "truncated": result.truncated,
            "changed": result.changed,
            "added": result.added,
            "sha256": result.sha256,
        }
    )
    return head[:-1], b',"paperbuzz":', result.paperbuzz, b"}\n"


def failure_line(failure: Failure) -> bytes:
    """One failure as a line of the failures file, with its newline."""
    return (
        orjson.dumps(
            {
                "v": SCHEMA_VERSION,
                "doi": failure.doi,
                "input": failure.input,
                "origin": failure.origin,
                "kind": failure.kind,
                "http_status": failure.http_status,
                "attempts": failure.attempts,
                "message": failure.message,
                "failed_at": failure.failed_at,
                "stage": failure.stage.value,
            }
        )
        + b"\n"
    )


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
    """The function that makes one unit of the file out of whole lines."""
    if ending == ".jsonl.gz":
        return lambda lines: gzip.compress(lines, compresslevel=6, mtime=0)
    if ending == ".jsonl.zst":
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    return lambda lines: lines


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
            reached("before-write")
            reached("mid-write", lambda: os.write(self._descriptor, unit[: len(unit) // 2]))
            done = 0
            while done < len(unit):
                done += os.write(self._descriptor, unit[done:])
            reached("after-write")
            sync_data(self._descriptor)
            reached("after-sync")
        except OSError as error:
            raise DiskFailed(_what_now(partial_of(self.path), error)) from error
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
            raise DiskFailed(_what_now(partial_of(self.path), error)) from error


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
            sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
    except FileExistsError as error:
        raise Usage(
            f"{partial} is being written by another run, with another ledger. Choose another output."
        ) from error
    except OSError as error:
        raise DiskFailed(_what_now(partial, error)) from error
    return OutputFile(path, descriptor, committed)


def _cut_back(partial: Path, descriptor: int, committed: int) -> None:
    found = os.fstat(descriptor).st_size
    if found < committed:
        raise PromiseBroken(
            f"{partial} holds {found:,} bytes, but {committed:,} are known to be committed: something else cut it. "
            "Nothing was changed. Put the file back, or start over with --refetch."
        )
    if found > committed:
        reached("before-truncate")
        os.ftruncate(descriptor, committed)
        reached("after-truncate")
        os.fsync(descriptor)
    os.lseek(descriptor, committed, os.SEEK_SET)


def move(source: Path, target: Path) -> None:
    """Rename within one folder, on stable storage.

    Raises:
        DiskFailed: the file system refuses.
    """
    try:
        reached("before-rename")
        source.rename(target)
        reached("after-rename")
        sync_directory(target.parent)
    except OSError as error:
        raise DiskFailed(_what_now(target, error)) from error


def write_atomically(path: Path, chunks: Iterable[bytes], *, mode: int | None = None) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one.

    Args:
        path: of the file.
        chunks: its content.
        mode: who may read it; None for what the umask says.

    Raises:
        DiskFailed: the file system refuses; the old file is untouched.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            sync_data(file.fileno())
        reached("before-rename")
        fresh.replace(path)
        reached("after-rename")
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):  # half a file must not keep a full disk full
            fresh.unlink(missing_ok=True)
        raise DiskFailed(_what_now(path, error)) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        DiskFailed: the file system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(_what_now(path, error)) from error


def sync_data(descriptor: int) -> None:
    """Force written bytes, and the length, to stable storage.

    macOS has no `fdatasync`, and its `fsync` stops at the drive's cache: `F_FULLFSYNC` does not (its fcntl(2)).
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # some volumes have no such thing; SQLite falls back in the same way
            os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_directory(folder: Path) -> None:
    """Force a folder's entries to stable storage: a new or renamed file may otherwise be gone after power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _what_now(path: Path, error: OSError) -> str:
    return (
        f"cannot write {path}: {error.strerror or error}. What was committed before is safe; "
        "make room or mend the disk, then give the same command again."
    )
