"""Whose file is it: what harvester did not make is never replaced, removed or followed as a link.

Theory. Some files are written anew at every end of a run. A name does not say who made the file that has it, and
neither does the ledger: a file has to be known after a backup was restored, and after an upgrade. So a file is known by
what it is. It is ours if it is a regular file that begins as files of its kind do. An empty file is nobody's loss.
Everything else stays as it is: files of others, links, folders, devices, pipes.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from harvester.core.errors import DiskFailed, Usage

HEAD_BYTES: Final = 1024 * 1024
"""Bytes from the beginning of a file by which it is known: more than the longest line of a failures file."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that harvester writes.

    Args:
        name: with its article, for messages, such as "a failures file".
        is_ours: whether a file that begins with these bytes, at most `HEAD_BYTES`, is of this kind.
    """

    name: str
    is_ours: Callable[[bytes], bool]


class FileIdentity(NamedTuple):
    """Tells a file from every other on this machine, whatever its name.

    Args:
        device: the file system that it is on.
        inode: its number there.
    """

    device: int
    inode: int


def identity_at(path: Path) -> FileIdentity | None:
    """The identity of the file that has this name now; None if no file has it."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileIdentity(found.st_dev, found.st_ino)


def identity_of(descriptor: int) -> FileIdentity:
    """The identity of an open file, whatever became of its name."""
    found = os.fstat(descriptor)
    return FileIdentity(found.st_dev, found.st_ino)


def identity_or_path(path: Path) -> FileIdentity | str:
    """What two names have in common exactly if they are names of one file: its identity.

    That holds for links of both kinds, and for names that a file system takes for the same. A file that is not there
    yet has its absolute path instead.
    """
    try:
        return identity_at(path) or os.path.realpath(path)
    except OSError:
        return os.path.realpath(path)


def is_link(path: Path) -> bool:
    """Whether a name is that of a symbolic link; what cannot be looked at is told by whoever opens it."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def objection(path: Path, kind: FileKind) -> str | None:
    """Why a file may not be replaced or removed, in words to stand behind "it"; None if nothing speaks against it.

    Args:
        path: of the file; nothing may be there.
        kind: what harvester would write there.

    Raises:
        OSError: the file cannot be looked at.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):  # not even opened: to open a device may start something
        return _what_it_is(mode)
    try:
        head = _head(path)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return f"cannot be read ({error.strerror}), so that it is not known whose it is"
    if head and not kind.is_ours(head):
        return f"was not made by harvester: it is not {kind.name}"
    return None


def _what_it_is(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a link, which harvester does not follow here"
    return "is a folder" if stat.S_ISDIR(mode) else "is a device, a pipe or a socket"


def _head(path: Path) -> bytes:
    """The first bytes of a regular file; a pipe or link that has taken its place is neither waited for nor followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(HEAD_BYTES)


def refuse_others_file(path: Path, kind: FileKind) -> None:
    """Refuse to begin where somebody else's file, or no file at all, has the name of one that a run writes.

    Raises:
        Usage: it has.
        DiskFailed: that cannot be found out.
    """
    try:
        found = objection(path, kind)
    except OSError as error:
        raise DiskFailed(
            f"cannot look at {path}: {error.strerror}. Nothing was asked; choose another place."
        ) from error
    if found:
        raise Usage(
            f"{path} is there already, and it {found}. Nothing was asked and nothing was changed; "
            "choose another name, or move it away if it is yours."
        )


def size_of(path: Path) -> int | None:
    """The length of a file in bytes; None if it is not there.

    Raises:
        DiskFailed: that cannot be found out.
    """
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskFailed(
            f"cannot look at {path}: {error.strerror}. Nothing was asked; choose another place."
        ) from error
