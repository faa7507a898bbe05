"""What the files of a job are called, and whether they may be written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harvester.core.errors import DiskFailed, Misconfigured, Usage
from harvester.records.packing import FORMATS, output_format
from harvester.storage.output_file import partial_of

LEDGER_ENDING: Final = ".ledger"
FAILURES_ENDING: Final = ".failures.jsonl"
SUMMARY_ENDING: Final = ".summary.json"


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of a job; None where there is none.

    Args:
        output: the published output.
        ledger: what is known of every work.
        failures: what failed and why.
        summary: the figures.
    """

    output: Path | None
    ledger: Path | None
    failures: Path | None
    summary: Path | None


def job_paths(output: str, *, ledger: Path | None = None, failures: Path | None = None) -> Paths:
    """The files of a run with this output. They are beside the output, unless another path is given.

    Args:
        output: `NAME.jsonl`, `.jsonl.gz`, `.jsonl.zst`, or `-` for stdout, which has no files but those given here.
        ledger: another path for the ledger.
        failures: another path for the failures.

    Raises:
        Usage: the output has another ending, or a name that is no text.
    """
    if output == "-":
        return Paths(None, ledger, failures, None)
    path = Path(output).resolve()  # a link to an output is that output
    if not path.name.isprintable() and any("\ud800" <= char <= "\udfff" for char in path.name):
        raise Usage(f"the output {path.name} has a name that is not UTF-8, and the ledger keeps it as text: rename it")
    stem = path.name.removesuffix(output_format(output))
    beside = path.parent
    return Paths(
        path,
        ledger or beside / f"{stem}{LEDGER_ENDING}",
        failures or beside / f"{stem}{FAILURES_ENDING}",
        beside / f"{stem}{SUMMARY_ENDING}",
    )


def ledger_paths(ledger: Path, *, failures: Path | None = None) -> Paths:
    """The files of a job without an output. They are beside its ledger, unless another path is given."""
    return Paths(None, ledger, failures or ledger.with_suffix(FAILURES_ENDING), ledger.with_suffix(SUMMARY_ENDING))


def ledger_of(path: Path) -> Path:
    """The ledger beside an output. A path that is no output is taken for a ledger and returned as it is."""
    for ending in FORMATS:
        if path.name.endswith(ending):
            return path.with_name(path.name.removesuffix(ending) + LEDGER_ENDING)
    return path


def paths_of(path: Path, ledger: Path | None = None, failures: Path | None = None) -> Paths:
    """The files of the job that an output (published or partial) or a ledger belongs to."""
    path = path.absolute()
    path = path.with_name(path.name.removesuffix(".partial"))
    if path.name.endswith(FORMATS):
        return job_paths(str(path), ledger=ledger, failures=failures)
    return ledger_paths(path, failures=failures)


def is_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        DiskFailed: that cannot be found out: the folder cannot be looked into, or the name is too long.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise DiskFailed(f"cannot look at {path}: {error.strerror}. Nothing was changed; name another file.") from error


def require_ledger(paths: Paths) -> None:
    """Refuse to register without a ledger.

    Raises:
        Usage: there is none.
    """
    if not paths.ledger:
        raise Usage("registration needs a ledger, so that it can go on after a stop: name one with --ledger")


def check_paths(inputs: Sequence[str], paths: Paths) -> None:
    """Check, before anything is asked, that the results can be written and would not overwrite an input.

    Args:
        inputs: files that are read, as they were given.
        paths: files that are to be written.

    Raises:
        Usage: two of these files are the same.
        Misconfigured: a folder does not exist.
        DiskFailed: a folder cannot be looked at, or written to.
    """
    named = [path for path in (paths.output, paths.ledger, paths.failures, paths.summary) if path]
    taken = [Path(name).resolve() for name in inputs]
    taken += [path.resolve() for path in named]
    if paths.output:
        taken.append(partial_of(paths.output.resolve()))
    for path in named:
        if taken.count(path.resolve()) > 1:
            raise Usage(f"{path} is named twice, among the inputs and the files to be written. Choose another name.")
    for path in filter(None, (paths.output, paths.ledger, paths.failures)):
        try:
            is_folder = path.parent.is_dir()
        except OSError as error:
            raise DiskFailed(
                f"cannot look at {path.parent}: {error.strerror}. Nothing was asked; choose another place."
            ) from error
        if not is_folder:
            raise Misconfigured(f"the folder {path.parent} does not exist. Make it, or choose another place.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise DiskFailed(f"the folder {path.parent} is not writable. Nothing was asked; choose another place.")
