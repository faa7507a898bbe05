"""What is to be scheduled, and what its configuration has to be like."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path, PurePosixPath

from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured

STATE = PurePosixPath("/var/lib/harvester")
"""What systemd's `StateDirectory=harvester` is; the daily budget is kept here."""


WATCHDOG = "5min"
"""Longer than anything that may hold the event loop, such as a slow disk's sync."""


STOP_SECONDS = 90
"""Answers under way have ten seconds, then they are committed; the rest is for a slow disk."""


START_SECONDS = 1800
"""Until READY=1: cutting back the output and enrolling millions of DOIs comes before it."""


ORDINARY = (0, 3, 4)
"""Exit codes of an ordinary night."""


NO_USE_TRYING_AGAIN = (2, 12, 65, 66, 70, 78)
"""Exit codes that a person has to do something about."""


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """What is to be scheduled.

    Args:
        settings: of the config file alone, since the environment of today is not that of the night.
        config: path of the config file; as typed for GitHub, absolute for all others.
        config_text: its text.
        program: absolute path of `harvester` where it will run.
        at: when, in UTC.
        version: of harvester.
        image: container image, for Kubernetes.
        needs: further folders that the program needs to read, such as that of the interpreter.
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
    """Each path in the config that is written to, or only read, with the name of its setting."""
    if written:
        yield "[output] path", settings.output.path or ""
        single = [("output", "failures"), ("ledger", "path"), ("metrics", "textfile")]
    else:
        yield from (("[input] files", each) for each in settings.input.files)
        single = [("operas", "password_file")]
    for section, name in single:
        if path := getattr(getattr(settings, section), name):
            yield f"[{section}] {name}", str(path)


def all_config_paths(settings: Settings) -> list[tuple[str, str]]:
    """All paths in the config, with the names of their settings."""
    return [*config_paths(settings, written=True), *config_paths(settings, written=False)]


def refuse_unattended(settings: Settings) -> None:
    """Refuse a config that only a person at a terminal could use."""
    if not settings.output.path or settings.output.path == "-":
        raise Misconfigured("a scheduled harvest needs a file to write to: set path in [output] of the configuration.")
    if not settings.input.files:
        raise Misconfigured("a scheduled harvest needs lists to read: set files in [input] of the configuration.")
    if "-" in settings.input.files:
        raise Misconfigured('[input] files has "-", standard input, to which nobody will write at night. Name a file.')
    for name, text in all_config_paths(settings):
        if not text.isprintable():
            raise Misconfigured(f"{name} = {text!r} has a character that cannot stand in a schedule. Rename it.")


def refuse_relative(plan: SchedulePlan) -> None:
    """Refuse paths that would lead elsewhere at night, or to where nothing lasts."""
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
            raise Misconfigured(f"{name} = {text!r}: temporary folders do not last. Choose one such as {STATE}.")


def folder_of(text: str) -> PurePosixPath:
    """The folder of a file; of a glob, the one in which the search begins."""
    path = PurePosixPath(text)
    fixed = [part for part in path.parts if not re.search(r"[*?\[]", part)]
    return PurePosixPath(*fixed[: len(path.parts) - 1])


def config_folders(settings: Settings, *, written: bool) -> list[PurePosixPath]:
    """The folders of these files, without those that are inside of another one."""
    found = {
        folder_of(text) for name, text in config_paths(settings, written=written) if name != "[operas] password_file"
    }
    if written:
        found |= {STATE}
    return sorted(each for each in found if not any(each != other and each.is_relative_to(other) for other in found))


def file_head(name: str, goes_to: str, steps: Sequence[str], plan: SchedulePlan) -> str:
    """The comment at the head of a file: what made it, where it goes, and what to type then."""
    lines = [f"{name}, made by harvester {plan.version} (harvester schedule).", f"Goes to {goes_to}"]
    return "\n".join(f"# {line}" for line in [*lines, *(f"  {step}" for step in steps)])
