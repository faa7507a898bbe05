"""Write files so that they survive a crash: sync them, and rename a finished file over the old one.

No file of others is touched by that: a new name has to be free, and an old file has to be ours (`core.ownership`).
"""

import errno
import fcntl
import os
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from harvester.core import failpoint
from harvester.core.errors import DiskFailed
from harvester.core.ownership import FileKind, objection

CANNOT_TELL: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""Errors of a file system, or of a sandbox around the process, that does not know how to rename exclusively."""


NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system says that cannot sync folders."""


def move(source: Path, target: Path) -> None:
    """Rename a file within its folder to a name that is free, and sync the folder.

    Raises:
        DiskFailed: the name is taken, or the file system reports an error.
    """
    try:
        failpoint.hit("before-rename")
        _rename_to_free_name(source, target)
        failpoint.hit("after-rename")
        sync_directory(target.parent)
    except OSError as error:
        raise DiskFailed(disk_failure_text(target, error)) from error


def replace(source: Path, target: Path) -> None:
    """Put a file in the place of another one in its folder, and sync the folder.

    Raises:
        DiskFailed: the file system reports an error.
    """
    try:
        failpoint.hit("before-rename")
        source.replace(target)
        failpoint.hit("after-rename")
        sync_directory(target.parent)
    except OSError as error:
        raise DiskFailed(disk_failure_text(target, error)) from error


def write_atomically(path: Path, chunks: Iterable[bytes], kind: FileKind, *, mode: int | None = None) -> None:
    """Replace a file as a whole: after a crash it is either the old one or the new one.

    Args:
        path: of the file.
        chunks: its new content.
        kind: of the file; an old file of another kind is not replaced.
        mode: its permissions; None to let the umask decide.

    Raises:
        DiskFailed: what is there was not made by harvester, or the file system reports an error; the old file is
            unchanged.
    """
    fresh = None
    try:
        fresh, descriptor = _new_file_beside(path, kind)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            sync_data(file.fileno())
        failpoint.hit("before-rename")
        _put_in_place(fresh, path, kind)
        failpoint.hit("after-rename")
        sync_directory(path.parent)
    except OSError as error:
        if fresh is not None:
            with suppress(OSError):  # half a file must not keep a full disk full
                fresh.unlink(missing_ok=True)
        raise DiskFailed(disk_failure_text(path, error)) from error


def temporary_of(path: Path) -> Path:
    """The name under which a file is written until it is whole; the next run removes what a crash left there."""
    return path.with_name(f"{path.name}.new")


def _new_file_beside(path: Path, kind: FileKind) -> tuple[Path, int]:
    """Make an empty file that is to take the place of another: its path, and a descriptor open for writing.

    If a file of somebody else has the name that is meant for it, another name is drawn.
    """
    fresh = temporary_of(path)
    if objection(fresh, kind) is None:
        fresh.unlink(missing_ok=True)
    else:
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    return fresh, os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _put_in_place(fresh: Path, path: Path, kind: FileKind) -> None:
    """Give a finished file its name. Whatever has that name is looked at only now: it may have come a moment ago."""
    if found := objection(path, kind):
        raise FileExistsError(errno.EEXIST, f"it {found}")
    if os.path.lexists(path):
        fresh.replace(path)
    else:
        _rename_to_free_name(fresh, path)


def _rename_to_free_name(source: Path, target: Path) -> None:
    """Rename a file; if something has the new name, also something that came this moment, nothing is changed.

    Raises:
        FileExistsError: the name is taken.
        OSError: the file system reports another error.
    """
    if _rename_exclusively(source, target):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    source.rename(target)


def _rename_exclusively(source: Path, target: Path) -> bool:
    """Rename a file in one step that fails if the new name is taken; False if that cannot be done here.

    Python has no function for it; these are renameat2(2) of Linux and renamex_np(2) of macOS.
    """
    import ctypes  # takes 8 ms, and is needed only where a run ends

    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin":
        rename_excl = 4
        failed = libc.renamex_np(old, new, rename_excl)
    elif hasattr(libc, "renameat2"):
        at_fdcwd, rename_noreplace = -100, 1
        failed = libc.renameat2(at_fdcwd, old, at_fdcwd, new, rename_noreplace)
    else:
        return False
    if not failed:
        return True
    if (number := ctypes.get_errno()) in CANNOT_TELL:
        return False
    raise OSError(number, os.strerror(number))


def remove(path: Path, kind: FileKind | None = None) -> None:
    """Remove a file, if it exists.

    Args:
        path: of the file.
        kind: of the file, if it may be somebody else's; None if this process made it.

    Raises:
        DiskFailed: it was not made by harvester, or the file system reports an error.
    """
    try:
        if kind and (found := objection(path, kind)):
            raise FileExistsError(errno.EEXIST, f"it {found}")
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
    to_do = "move away what has that name" if isinstance(error, FileExistsError) else "make room or mend the disk"
    return (
        f"cannot write {path}: {error.strerror or error}. What was committed before is safe; "
        f"{to_do}, then give the same command again."
    )
