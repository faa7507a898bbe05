"""What the files of a job are called, and whether they may be written."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harvester.core.errors import DiskFailed, Misconfigured, Usage
from harvester.core.files import temporary_of
from harvester.core.ownership import identity_or_path, is_link, refuse_others_file, size_of
from harvester.records.kinds import FAILURES, SUMMARY
from harvester.records.packing import FORMATS, output_format
from harvester.storage.lock import lock_file, sidecars
from harvester.storage.output_file import partial_of

LEDGER_ENDING: Final = ".ledger"
FAILURES_ENDING: Final = ".failures.jsonl"
SUMMARY_ENDING: Final = ".summary.json"
REPORT_ENDING: Final = ".report.txt"


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
    refuse_link_of_others(Path(output))
    path = Path(os.path.realpath(output))  # a link to an output is that output
    if not path.name.isprintable() and any("\ud800" <= char <= "\udfff" for char in path.name):
        raise Usage(f"the output {path.name} has a name that is not UTF-8, and the ledger keeps it as text: rename it")
    stem = stem_of(path)
    beside = path.parent
    return Paths(
        path,
        ledger or beside / f"{stem}{LEDGER_ENDING}",
        failures or beside / f"{stem}{FAILURES_ENDING}",
        beside / f"{stem}{SUMMARY_ENDING}",
    )


def stem_of(output: Path) -> str:
    """The name of an output without the ending that says how it is packed."""
    return output.name.removesuffix(output_format(output.name))


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
    """Check, before anything is asked, that the results can be written and would not overwrite a file of others.

    The same is looked at again when the files are written. Which files a glob matches is looked at when lists are read,
    see `harvester.lists.inputs.expand`.

    Args:
        inputs: files that are read, as they were given.
        paths: files that are to be written.

    Raises:
        Usage: two of these files are the same, or somebody else's file would be overwritten.
        Misconfigured: a folder does not exist.
        DiskFailed: a folder cannot be looked at, or written to.
    """
    _refuse_links(paths)
    _refuse_same(inputs, paths)
    for path in filter(None, (paths.output, paths.ledger, paths.failures)):
        _require_folder(path.parent)
    if paths.failures:
        refuse_others_file(paths.failures, FAILURES)
    if paths.summary:
        refuse_others_file(paths.summary, SUMMARY)


def own_files(paths: Paths) -> list[Path]:
    """All files of a job, whether they are there or not: none of them is a list, whatever a glob matches."""
    own = [path for path in (paths.output, paths.failures, paths.summary) if path]
    own += [temporary_of(path) for path in (paths.failures, paths.summary) if path]
    if paths.output:
        own += [partial_of(paths.output), paths.output.with_name(stem_of(paths.output) + REPORT_ENDING)]
    if paths.ledger:
        own += [paths.ledger, lock_file(paths.ledger), *sidecars(paths.ledger)]
    return own


def _refuse_same(inputs: Sequence[str], paths: Paths) -> None:
    own = own_files(paths)
    taken = Counter(map(identity_or_path, [*map(Path, inputs), *own]))
    for path in own:
        if taken[identity_or_path(path)] > 1:
            raise Usage(f"{path} is named twice, among the inputs and the files to be written. Choose another name.")


def _refuse_links(paths: Paths) -> None:
    """Refuse a link in the place of output or ledger if somebody else made it, or if it leads nowhere.

    Links of the user's own are followed: to a ledger that is there, and to an output in any folder (`job_paths`).
    """
    ledger = paths.ledger
    if ledger and is_link(ledger):
        refuse_link_of_others(ledger)
        if not is_there(ledger) or not size_of(ledger):
            raise Usage(f"{ledger} is a link that leads to no ledger. Nothing was changed; name the ledger itself.")
    if paths.output and is_link(paths.output):  # `job_paths` followed it, unless it leads in a circle
        raise Usage(f"{paths.output} is a link that leads in a circle. Nothing was changed; choose another output.")


def refuse_link_of_others(path: Path) -> None:
    """Refuse to follow a link that neither this user nor root made: in a shared folder it may lead anywhere.

    Raises:
        Usage: it is one.
    """
    if is_link(path) and path.lstat().st_uid not in (0, os.geteuid()):
        raise Usage(f"{path} is a link that somebody else made. Nothing was changed; name the file itself.")


def _require_folder(folder: Path) -> None:
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise DiskFailed(
            f"cannot look at {folder}: {error.strerror}. Nothing was asked; choose another place."
        ) from error
    if not is_folder:
        raise Misconfigured(f"the folder {folder} does not exist. Make it, or choose another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DiskFailed(f"the folder {folder} is not writable. Nothing was asked; choose another place.")
