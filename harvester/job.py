"""What a run is asked to do, where it writes, and the world it does it in, as plain data."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO

from harvester.clock import Clock, Stop
from harvester.errors import DiskFailed, Misconfigured, Usage
from harvester.jsonl import output_format, partial_of
from harvester.report import Tally

PLACES = ("{date}", "{run_id}")
"""What a nightly harvest fills in in the name of its output."""


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


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do.

    Args:
        inputs: files, globs, `-` for stdin.
        paths: where everything goes.
        register: whether results are registered with OPERAS.
        refetch: start a new output.
        retry_failed: ask failed works again.
        only_failed: ask the failed works again and no others; without inputs, those of the last reading.
        wait: wait when the daily budget is used up.
        max_failures: more failures than this end the run with 3; None for any number.
        unattended: nobody watches: OPERAS that does not let us in does not keep us from harvesting.
    """

    inputs: tuple[str, ...]
    paths: Paths
    register: bool = False
    refetch: bool = False
    retry_failed: bool = False
    only_failed: bool = False
    wait: bool = False
    max_failures: int | None = None
    unattended: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """What is passed in from outside.

    Args:
        clock: time.
        random: spreads pauses.
        stop: the wish to end early.
        tally: the live figures, for whoever shows progress.
        notice: takes a sentence for the user.
        stdin: binary, for the input `-`.
        stdout: binary, for the output `-`.
        state: folder of the daily budget; None for the user's state directory.
    """

    clock: Clock
    random: Random
    stop: Stop
    tally: Tally
    notice: Callable[[str], None]
    stdin: BinaryIO
    stdout: BinaryIO
    state: Path | None = None


def job_paths(output: str, *, ledger: Path | None = None, failures: Path | None = None) -> Paths:
    """The files of a run with this output: beside it, unless named otherwise.

    Args:
        output: `NAME.jsonl`, `.jsonl.gz`, `.jsonl.zst`, or `-` for stdout, which has no files but those named.
        ledger: another place for the ledger.
        failures: another place for the failures.

    Raises:
        Usage: the output has another ending.
    """
    if output == "-":
        return Paths(None, ledger, failures, None)
    path = Path(output).resolve()  # a link to an output is that output
    stem = path.name.removesuffix(output_format(output))
    beside = path.parent
    return Paths(
        path,
        ledger or beside / f"{stem}.ledger",
        failures or beside / f"{stem}.failures.jsonl",
        beside / f"{stem}.summary.json",
    )


def refuse_places(inputs: Sequence[str], paths: Paths) -> None:
    """Find out before anything is asked that the results could not be written, or would overwrite something.

    Raises:
        Usage: two of these files are one.
        Misconfigured: a folder does not exist.
        DiskFailed: a folder cannot be looked at, or written to.
    """
    named = [path for path in (paths.output, paths.ledger, paths.failures, paths.summary) if path]
    taken = [Path(name).resolve() for name in inputs]
    taken += [path.resolve() for path in named]
    if paths.output:
        taken.append(partial_of(paths.output.resolve()))
    for place in named:
        if taken.count(place.resolve()) > 1:
            raise Usage(f"{place} is named twice, among the inputs and the files to be written. Choose another name.")
    for path in (paths.output, paths.ledger, paths.failures):
        if path is None:
            continue
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
