"""Where the limits of a service are kept for all runs of a user: files in the user's state folder."""

import hashlib
from pathlib import Path

from platformdirs import user_state_path

from harvester.core.errors import DiskFailed, Misconfigured
from harvester.core.text.address import canonical

SET_IT = "Set XDG_STATE_HOME to a folder that all runs share."


def state_folder(given: Path | None = None) -> Path:
    """The folder of the files that all runs of a user share.

    Args:
        given: the folder, if it is not the user's.

    Raises:
        Misconfigured: this user has none.
    """
    if given is not None:
        return given
    try:
        folder = user_state_path("harvester")
    except (RuntimeError, KeyError, OSError) as error:
        raise Misconfigured(
            f"it cannot be told where your home folder is ({error}), and so not where the rate and the daily budget "
            f"are kept. Nothing was asked. {SET_IT}"
        ) from None
    if not folder.is_absolute():  # what an older platformdirs makes of a home folder that is not known
        raise Misconfigured(
            f"your home folder is not known, and {folder} would be another folder in each place. It is where the rate "
            f"and the daily budget are kept. Nothing was asked. {SET_IT}"
        )
    return folder


def service_file(folder: Path, name: str, base_url: str, suffix: str) -> Path:
    """A file of a service: the same one however its address is spelled, and another for each other service.

    Args:
        folder: of all such files.
        name: what it holds, `budget`.
        base_url: of the service.
        suffix: of the file, `.sqlite`.
    """
    return folder / f"{name}-{_digest(canonical(base_url))}{suffix}"


def file_by_spelling(folder: Path, name: str, base_url: str, suffix: str) -> Path:
    """The file of a service in a release that told services apart by the spelling of their addresses."""
    return folder / f"{name}-{_digest(base_url)}{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_folder(folder: Path) -> None:
    """Make the folder, if it is not there.

    Raises:
        DiskFailed: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(
            f"the folder {folder} for the daily budget and the rate cannot be made: {error.strerror}. "
            "Nothing was asked; mend it, or choose another with XDG_STATE_HOME."
        ) from error
