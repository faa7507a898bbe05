"""What a run is asked to do, where it writes, and the world it does it in, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO

from harvester.core.clock import Clock
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.storage.paths import Paths


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
class Context:
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
    warn: Callable[[str], None]
    stdin: BinaryIO
    stdout: BinaryIO
    state: Path | None = None
