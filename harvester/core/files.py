"""Files that survive a crash: synced, written beside their name and renamed over it."""

import fcntl
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import DiskFailed


def move(source: Path, target: Path) -> None:
    """Rename within one folder, on stable storage.

    Raises:
        DiskFailed: the file system refuses.
    """
    try:
        failpoint.hit("before-rename")
        source.rename(target)
        failpoint.hit("after-rename")
        sync_directory(target.parent)
    except OSError as error:
        raise DiskFailed(disk_failure_text(target, error)) from error


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
        failpoint.hit("before-rename")
        fresh.replace(path)
        failpoint.hit("after-rename")
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):  # half a file must not keep a full disk full
            fresh.unlink(missing_ok=True)
        raise DiskFailed(disk_failure_text(path, error)) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        DiskFailed: the file system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(disk_failure_text(path, error)) from error


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


def disk_failure_text(path: Path, error: OSError) -> str:
    """What happened to a file, what was kept, and what to do next."""
    return (
        f"cannot write {path}: {error.strerror or error}. What was committed before is safe; "
        "make room or mend the disk, then give the same command again."
    )
