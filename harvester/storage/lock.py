"""One run at a time on a ledger: an advisory lock on a file beside it.

A lock on a file holds as long as the file has its name. If somebody deletes or replaces the file, the next run locks
another one. So the lock is known by the identity of its file: it is compared with the name after it was taken, and
`Lock.require` compares it again in each transaction of the ledger.

Ledgers on network file systems are refused, because neither this lock nor those of SQLite can be trusted there.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from harvester.core.errors import DiskFailed, LedgerLost, LockHeld, Misconfigured, Usage
from harvester.core.ownership import FileKind, identity_at, identity_of, refuse_others_file, size_of
from harvester.records.kinds import JOURNAL, LOCK, LOCK_ENDING, LOG, SHARED_MEMORY

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"),
        *("panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
"""File systems that other machines may use at the same time, or that belong to the host of a virtual machine. Neither
`flock` nor the memory that SQLite's write-ahead log shares can be trusted there."""

OPEN_LOCK: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a lock file is opened: a link that somebody put there is not followed, a pipe is not waited for."""

SIDECARS: Final = {"-wal": LOG, "-shm": SHARED_MEMORY, "-journal": JOURNAL}
"""What SQLite keeps beside a ledger, by what its name ends in. It removes and empties these files as it likes."""


class Lock:
    """The lock of a ledger, as long as this process holds it.

    Args:
        path: of the lock file.
        descriptor: of the same file, locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._identity = path, identity_of(descriptor)

    def require(self) -> None:
        """Make sure that the locked file still has its name, so that no other run can hold another one.

        Raises:
            LedgerLost: it was deleted or replaced.
        """
        if identity_at(self._path) != self._identity:
            raise LedgerLost(
                f"the lock {self._path} was deleted or replaced while this run went on, so that another run may have "
                "begun. Nothing more was written; what was committed is kept. When no other run is at work, give the "
                "same command again."
            )


@contextmanager
def lock(ledger: Path, *, recovers: bool = False) -> Iterator[Lock]:
    """Hold the lock of a ledger. The lock ends with the process, however the process ends.

    Args:
        ledger: its path.
        recovers: the ledger may be gone and its log left; both are put aside.

    Raises:
        LockHeld: another process holds it.
        Usage: a file of somebody else is where a file of the ledger would be.
        Misconfigured: the folder is missing, or on a network file system.
        DiskFailed: the lock file cannot be made.
    """
    path = ledger
    try:
        ledger = ledger.resolve()
        path = lock_file(ledger)
        if not ledger.parent.is_dir():
            raise Misconfigured(f"the folder {ledger.parent} does not exist. Make it, or name another place.")
        refuse_network(ledger.parent)
        refuse_others_file(path, LOCK)
        descriptor = _locked(path, ledger)
    except OSError as error:
        raise DiskFailed(f"cannot write {path}: {error.strerror}. Nothing was asked; choose another folder.") from error
    try:
        if not recovers:
            refuse_strange_sidecars(ledger)
        yield Lock(path, descriptor)
    finally:
        _close(descriptor)


def _locked(path: Path, ledger: Path) -> int:
    """Open and lock a lock file; returns its descriptor. The file is made if it is missing."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OPEN_LOCK, 0o666)
        try:
            _take(descriptor, ledger)
            if identity_at(path) == identity_of(descriptor):
                _write_process(descriptor)
                return descriptor
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)  # it was deleted or replaced after it was opened: the lock on it is worth nothing


def _close(descriptor: int) -> None:
    with suppress(OSError):  # even if this reports an error, the file is closed and the lock released
        os.close(descriptor)


def lock_file(ledger: Path) -> Path:
    """The file that is locked for a ledger. Every run writes into it when it begins."""
    ledger = ledger.resolve()  # a link to a ledger is the same ledger
    return ledger.with_name(ledger.name + LOCK_ENDING)


def sidecars(ledger: Path) -> dict[Path, FileKind]:
    """The files that SQLite may keep beside a ledger."""
    ledger = ledger.resolve()
    return {ledger.with_name(ledger.name + ending): kind for ending, kind in SIDECARS.items()}


def refuse_strange_sidecars(ledger: Path) -> None:
    """Refuse what SQLite would take for a part of the ledger, and empty or remove. The ledger must not be open.

    To close any descriptor of these files would drop the locks that SQLite has on them.

    Raises:
        Usage: there is such a file.
        DiskFailed: that cannot be found out.
    """
    for path, kind in sidecars(ledger).items():
        refuse_others_file(path, kind)
        if kind is not SHARED_MEMORY and size_of(path) and size_of(ledger) is None:
            raise Usage(
                f"{path} is there, but not its ledger. It may hold what the ledger lacks, and a new ledger would "
                "remove it. Nothing was changed; put the ledger back, or move this file away."
            )


@contextmanager
def shared_lock(ledger: Path) -> Iterator[None]:
    """Keep runs from beginning while a ledger is looked at. The lock file stays as the last run wrote it.

    Raises:
        LockHeld: a run is at work.
    """
    try:
        descriptor = os.open(lock_file(ledger), os.O_RDONLY | OPEN_LOCK)
    except OSError:  # never locked, or not ours to lock: then it cannot be told whether a run is at work
        yield
        return
    try:
        _share(descriptor, ledger)
        yield
    finally:
        os.close(descriptor)


def _share(descriptor: int, ledger: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(f"a run works with {ledger}. Nothing was looked at; come again when it has ended.") from None


def _take(descriptor: int, ledger: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        raise LockHeld(
            f"another run{f' (process {holder})' if holder.isdigit() else ''} works with {ledger}. "
            "Nothing was changed; wait for it, or stop it."
        ) from None
    except OSError as error:
        raise DiskFailed(
            f"{ledger} cannot be locked: {error.strerror}. Put it on another disk with --ledger."
        ) from error


def _write_process(descriptor: int) -> None:
    with suppress(OSError):  # the process number only serves the message above; the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def refuse_network(folder: Path) -> None:
    """Refuse a folder on a network file system, if this machine tells which it is (Linux does).

    Raises:
        Misconfigured: it is on one.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    kind = file_system_of(folder.resolve(), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Misconfigured(
            f"{folder} is on a network file system ({kind}), where a ledger is not safe. "
            "Put it on a local disk with --ledger PATH; the output may stay where it is."
        )


def file_system_of(folder: Path, mounts: str) -> str:
    r"""The kind of file system a folder is on.

    Args:
        folder: absolute and resolved.
        mounts: the text of `/proc/self/mounts`, in which a blank in a path is written as `\\040` (proc(5)).
    """
    best, kind = -1, ""
    for line in mounts.split("\n"):
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        # The deepest mount point counts. Of two on the same folder the later one covers the earlier.
        if folder.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind
