"""Write files so that they survive a crash: sync them, and rename a finished file over the old one."""

import errno
import fcntl
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import DiskFailed

NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system says that cannot sync folders."""


def move(source: Path, target: Path) -> None:
    """Rename a file within its folder, and sync the folder.

    Raises:
        DiskFailed: the file system reports an error.
    """
    try:
        failpoint.hit("before-rename")
        source.rename(target)
        failpoint.hit("after-rename")
        sync_directory(target.parent)
    except OSError as error:
        raise DiskFailed(disk_failure_text(target, error)) from error


def write_atomically(path: Path, chunks: Iterable[bytes], *, mode: int | None = None) -> None:
    """Replace a file as a whole: after a crash it is either the old one or the new one.

    Args:
        path: of the file.
        chunks: its new content.
        mode: its permissions; None to let the umask decide.

    Raises:
        DiskFailed: the file system reports an error; the old file is unchanged.
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
    """Remove a file, if it exists.

    Raises:
        DiskFailed: the file system reports an error.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(disk_failure_text(path, error)) from error


def sync_data(descriptor: int) -> None:
    """Force the content and the length of a file to stable storage.

    macOS has no `fdatasync`, and its `fsync` leaves the data in the cache of the drive. `F_FULLFSYNC` does not (see its
    fcntl(2)).
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # some volumes do not support it; SQLite falls back in the same way
            os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_directory(folder: Path) -> None:
    """Force the entries of a folder to stable storage. Otherwise a new or renamed file may be lost with the power.

    Some file systems (FUSE, SMB) have no such thing for folders, and say so. SQLite goes on there too.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def disk_failure_text(path: Path, error: OSError) -> str:
    """The message about a disk error: what happened, what is safe, and what to do next."""
    return (
        f"cannot write {path}: {error.strerror or error}. What was committed before is safe; "
        "make room or mend the disk, then give the same command again."
    )
