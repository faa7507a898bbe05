"""The plan of a scheduled harvest, and what its configuration has to fulfil."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path, PurePosixPath
from typing import Final

from harvester.config.settings import Settings
from harvester.core.errors import (
    COMPLETE,
    TOO_MANY_FAILURES,
    CredentialsRefused,
    InputMissing,
    InputUnusable,
    Misconfigured,
    PromiseBroken,
    TimeIsUp,
    Usage,
)
from harvester.core.ownership import FileKind

STATE_FOLDER = PurePosixPath("/var/lib/harvester")
"""The folder of systemd's `StateDirectory=harvester`. The daily budget is remembered there."""

WATCHDOG = "5min"
"""Longer than anything that may block the event loop, such as a sync of a slow disk."""

STOP_SECONDS = 90
"""Ten seconds for answers under way, the rest for committing them to a slow disk."""

START_SECONDS = 1800
"""Until READY=1. Before it the output is cut back and the list is enrolled, which may be millions of DOIs."""

ORDINARY_EXIT_CODES = (COMPLETE, TOO_MANY_FAILURES, TimeIsUp.exit_code)
"""Exit codes of an ordinary night."""

NO_RETRY_EXIT_CODES = tuple(
    ending.exit_code
    for ending in (Usage, CredentialsRefused, InputUnusable, InputMissing, PromiseBroken, Misconfigured)
)
"""Exit codes after which another attempt is useless: a person has to do something first."""


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """A scheduled harvest.

    Args:
        settings: from the configuration file alone; today's environment will not be there at night.
        config: path of the configuration file: relative to the repository for GitHub, else absolute.
        config_text: the text of that file.
        program: absolute path of `harvester` on the machine that will run it.
        at: time of day to start, in UTC.
        version: of harvester.
        image: container image, for Kubernetes.
        needs: further folders that the program has to read, such as that of the Python installation.
    """

    settings: Settings
    config: Path
    config_text: str
    program: Path
    at: time
    version: str
    image: str
    needs: tuple[Path, ...] = ()


def config_paths(settings: Settings, *, written: bool) -> Iterator[tuple[str, str]]:
    """All paths in the configuration that are written to, or that are only read, each with the name of its setting."""
    if written:
        yield "[output] path", settings.output.path or ""
        single = [("output", "failures"), ("ledger", "path"), ("metrics", "textfile")]
    else:
        yield from (("[input] files", each) for each in settings.input.files)
        single = [("operas", "password_file")]
        single += [("network", name) for name in ("ca_bundle", "client_cert", "client_key")]
    for section, name in single:
        if path := getattr(getattr(settings, section), name):
            yield f"[{section}] {name}", str(path)


def all_config_paths(settings: Settings) -> list[tuple[str, str]]:
    """All paths in the configuration, each with the name of its setting."""
    return [*config_paths(settings, written=True), *config_paths(settings, written=False)]


def require_unattended(settings: Settings) -> None:
    """Require a configuration that works without a person at a terminal.

    Raises:
        Misconfigured: it does not; the message says what to change.
    """
    if not settings.output.path or settings.output.path == "-":
        raise Misconfigured("a scheduled harvest needs a file to write to: set path in [output] of the configuration.")
    if not settings.input.files:
        raise Misconfigured("a scheduled harvest needs lists to read: set files in [input] of the configuration.")
    if "-" in settings.input.files:
        raise Misconfigured('[input] files has "-", standard input, to which nobody will write at night. Name a file.')
    for name, text in all_config_paths(settings):
        if not text.isprintable():
            raise Misconfigured(f"{name} = {text!r} has a character that cannot stand in a schedule. Rename it.")


def require_absolute_paths(plan: SchedulePlan) -> None:
    """Require paths that mean the same at night, in folders that are kept.

    Raises:
        Misconfigured: a path is relative, contains `..`, or is in a temporary folder or directly in `/`.
    """
    for name, text in all_config_paths(plan.settings):
        if not text.startswith("/"):
            raise Misconfigured(
                f"{name} = {text!r} is relative to the folder you are in, and a scheduled harvest starts in another. "
                "Give the whole path, beginning with /."
            )
    for name, text in all_config_paths(plan.settings):
        folder = folder_of(text)
        if ".." in folder.parts or len(folder.parts) < 2:
            raise Misconfigured(f"{name} = {text!r}: put it into a folder of its own, named without `..`.")
        if folder.is_relative_to("/tmp") or folder.is_relative_to("/var/tmp"):  # noqa: S108 - refused, not used
            raise Misconfigured(f"{name} = {text!r}: temporary folders do not last. Choose one such as {STATE_FOLDER}.")


def folder_of(text: str) -> PurePosixPath:
    """The folder of a file, or the folder in which the search for a glob begins."""
    path = PurePosixPath(text)
    fixed = [part for part in path.parts if not re.search(r"[*?\[]", part)]
    return PurePosixPath(*fixed[: len(path.parts) - 1])


def config_folders(settings: Settings, *, written: bool) -> list[PurePosixPath]:
    """The folders of all paths that are written to, or only read; without folders that are inside of another one."""
    found = {
        folder_of(text) for name, text in config_paths(settings, written=written) if name != "[operas] password_file"
    }
    if written:
        found |= {STATE_FOLDER}
    return sorted(each for each in found if not any(each != other and each.is_relative_to(other) for other in found))


MADE_BY: Final = ", made by harvester "
MADE_WITH: Final = " (harvester schedule)."
"""What stands before and after the version in the first line of each file."""


def _is_made_here(head: bytes) -> bool:
    first = head.partition(b"\n")[0]
    return first.startswith(b"# ") and MADE_BY.encode() in first and first.endswith(MADE_WITH.encode())


SCHEDULE: Final = FileKind("a file of harvester schedule", _is_made_here)


def header_comment(name: str, goes_to: str, steps: Sequence[str], plan: SchedulePlan) -> str:
    """The comment at the top of a file: what made it, where to put it, and what to type then."""
    lines = [f"{name}{MADE_BY}{plan.version}{MADE_WITH}", f"Goes to {goes_to}"]
    return "\n".join(f"# {line}" for line in [*lines, *(f"  {step}" for step in steps)])
