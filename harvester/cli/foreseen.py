"""Errors of the system and of the language that nobody caught on their way, in words.

Whoever calls the system is to turn its errors into ours, since he knows what he was doing. Nobody can foresee all of
them: a link that points to itself, a folder that was deleted under our feet, a file system with an errno of its own.
Here is the last place where such an error becomes a sentence and an exit code. What is left is a mistake of ours.
"""

import errno
import os
import sqlite3

from harvester.core.errors import DiskFailed, Misconfigured, PromiseBroken, StopRun
from harvester.core.tasks import first_error

SAFE = "What was committed before is safe"

AGAIN = "then give the same command again"


def in_words(error: BaseException) -> StopRun | None:
    """The error that ends the run with a sentence; None if it is a mistake in harvester.

    Args:
        error: that nobody caught.
    """
    if isinstance(error, BaseExceptionGroup):
        error = first_error(error)
    match error:
        case StopRun():
            return error
        case OSError():
            return _of_system(error)
        case RuntimeError() if str(error).startswith("Symlink loop"):  # what pathlib says before Python 3.13
            return DiskFailed(f"{error}: a link that leads back to itself. Nothing was changed; name another file.")
        case UnicodeError():
            return _of_text(error)
        case ValueError() if "null byte" in str(error) or "null character" in str(error):
            return Misconfigured(
                "the name of a file has a NUL character in it. Nothing was changed; name another file."
            )
        case MemoryError():
            return DiskFailed(f"there is not enough memory. {SAFE}; make room, {AGAIN}.")
        case RecursionError():
            return PromiseBroken(
                f"something that was read is nested too deeply to be looked at. {SAFE}. Please report this, with the "
                "lines that --log-level debug adds."
            )
        case sqlite3.Error():
            return DiskFailed(f"a database cannot be used: {error}. {SAFE}; make room or mend the disk, {AGAIN}.")
    return None


def _of_system(error: OSError) -> StopRun:
    if isinstance(error, FileNotFoundError) and not error.filename and not _is_here():
        return DiskFailed("the folder that you are in was deleted. Nothing was changed; go to another one.")
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.ELOOP:
        return DiskFailed(f"{where}{what}: a link that leads back to itself. Nothing was changed; name another file.")
    return DiskFailed(f"the system reports an error: {where}{what}. {SAFE}; mend the cause, {AGAIN}.")


def _is_here() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - it is only asked whether there is one
    except OSError:
        return False
    return True


def _of_text(error: UnicodeError) -> StopRun | None:
    """Names of files may be any bytes; the ledger and JSON hold text."""
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return Misconfigured(
            f"the name of a file or folder is not UTF-8: {error.object}. Nothing was changed; give it another name."
        )
    return None
