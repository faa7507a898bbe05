"""Plan a recovery, and carry it out.

Nothing is deleted: an old ledger, and an old output that has to be written anew, stay beside the new ones as `NAME.1`.
If the recovery is cut off, the same command does it again from the start, because each new file takes its name as a
whole, the output before the ledger.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from harvester.core.errors import DiskFailed, InputMissing, LedgerDamaged, Misconfigured, PromiseBroken, StopRun, Usage
from harvester.core.files import disk_failure_text, move, sync_data, sync_directory, write_atomically
from harvester.core.model import Figures
from harvester.core.text.sanitize import printable
from harvester.records.kinds import RESULTS
from harvester.records.packing import output_format, packer
from harvester.recovery.rebuild import Lines, Rebuild
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.lock import lock, shared_lock
from harvester.storage.output_file import Seal, partial_of
from harvester.storage.paths import Paths
from harvester.storage.publishing import free_name
from harvester.storage.status import works_by_doi

UNIT_BYTES = 1024 * 1024
"""How many bytes of lines make one unit of an output that is written anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recovery found, and what it would do.

    Args:
        output: the name under which the output is published.
        found: the output as it is there, published or partial.
        ledger: its ledger.
        ledger_problem: why that cannot be used; None if it can, and only has to agree with the output again.
        lines: what was found in the output.
        lost: works that have a record by the old ledger, but none in the output any more.
        figures: the works of the new ledger.
        is_nightly: whether the ledger is that of nightly harvests.
        output_aside: where the old output will stay; None if it can be kept as it is.
        ledger_aside: where the old ledger will stay; None if there is none.
    """

    output: Path
    found: Path
    ledger: Path
    ledger_problem: str | None
    lines: Lines
    lost: int
    figures: Figures
    is_nightly: bool
    output_aside: Path | None
    ledger_aside: Path | None


@contextmanager
def planned(paths: Paths, *, nightly: bool, exclusive: bool, anew: bool = False) -> Iterator["Recovery"]:
    """Find out what can be recovered. It is to be used inside the `with`; no run can begin meanwhile.

    Args:
        paths: of the job.
        nightly: take the ledger for that of nightly harvests if it cannot be asked.
        exclusive: take the lock as a run does, so that the plan may be carried out; otherwise nothing is written.
        anew: make a new ledger even if the old one can be read.

    Raises:
        InputMissing: there is no output.
        PromiseBroken: there are two of them.
        Misconfigured: the ledger is that of another output, or of a later version, or somebody else's database.
        LockHeld: a run is at work.
        DiskFailed: something cannot be read.
    """
    output, ledger = paths.output, paths.ledger
    if output is None or ledger is None:
        raise Usage(
            "name the output of a run; a ledger alone tells nothing. A ledger of registrations has no output: move it "
            "away and register again. OPERAS keeps what it has, and takes the rest."
        )
    ledger = ledger.resolve()  # a link stays, and what it stands for is replaced
    with lock(ledger, recovers=True) if exclusive else shared_lock(ledger), ExitStack() as databases:
        database = databases.enter_context(closing(Database(None)))
        try:
            problem = "is not used" if anew else _problem_of(ledger, output, database)
            recovery = _recovery(paths, output, ledger, database, problem, nightly=nightly)
        except LedgerDamaged as damage:  # SQLite finds nothing wrong in it, but what it says makes no sense
            database = databases.enter_context(closing(Database(None)))
            recovery = _recovery(paths, output, ledger, database, _told(damage), nightly=nightly)
        yield recovery


def _recovery(
    paths: Paths, output: Path, ledger: Path, database: Database, problem: str | None, *, nightly: bool
) -> "Recovery":
    """Make the new ledger in a temporary one, which is empty or has a copy of the old one, and the plan."""
    found = _only(output)
    rebuild = Rebuild(database)
    lines = rebuild.take_lines(found)
    lost = rebuild.reconcile(output, paths.failures)
    plan = Plan(
        output=output,
        found=found,
        ledger=ledger,
        ledger_problem=problem,
        lines=lines,
        lost=lost,
        figures=rebuild.figures(),
        is_nightly=nightly if problem is not None else database.meta.night is not None,
        output_aside=None if lines.is_clean else free_name(output),
        ledger_aside=free_name(ledger) if ledger.exists() else None,
    )
    return Recovery(plan, rebuild, database)


def _only(output: Path) -> Path:
    """The output as it is there, published or partial."""
    there = [path for path in (output, partial_of(output)) if path.is_file()]
    if not there:
        raise InputMissing(f"there is no {output}, nor a partial one, and so there is nothing to recover from.")
    if len(there) == 2:
        raise PromiseBroken(
            f"both {output} and {there[1].name} exist, which no run leaves behind. Nothing was changed; "
            "move away the one that is not to be recovered."
        )
    return there[0]


def _problem_of(ledger: Path, output: Path, database: Database) -> str | None:
    """Copy the old ledger into a temporary one; returns why it cannot be used, None if it can."""
    if not ledger.is_file():
        return "is missing"
    try:
        with closing(Database(ledger, read_only=True)) as old:
            old.require_sound()
    except (LedgerDamaged, InputMissing) as problem:
        return _told(problem)
    except Misconfigured as problem:
        if isinstance(problem.__cause__, sqlite3.DatabaseError):
            return "is no database any more"
        raise  # it is somebody else's, or a later version's
    database.copy_from(ledger)
    database.prepare()
    if database.meta.output is None and Ledger(database).is_empty():
        return "is empty"
    if database.meta.output not in (None, output.name):
        raise Misconfigured(
            f"the ledger {ledger} belongs to the output {printable(str(database.meta.output))}, not to {output.name}. "
            "Nothing was changed. Name that output, or another ledger with --ledger."
        )
    if database.meta.archive is not None:
        raise Usage(
            f"a refetch of {output.name} was cut off before the old output got another name. Nothing was changed; "
            "give the command of the refetch again."
        )
    _read_through(database)
    return None


def _read_through(database: Database) -> None:
    """Make sense of all that a ledger says of works and failures.

    Raises:
        LedgerDamaged: it makes no sense.
    """
    for _ in chain[object](works_by_doi(database), Ledger(database).failures()):
        pass
    Ledger(database).figures()


def _told(problem: StopRun) -> str:
    """What is wrong with a ledger, in short."""
    return str(problem.__cause__ or problem)


class Recovery:
    """A recovery that was planned.

    Args:
        plan: what it would do.
        rebuild: the new ledger.
        database: its temporary file.
    """

    def __init__(self, plan: Plan, rebuild: Rebuild, database: Database) -> None:
        self.plan = plan
        self._rebuild, self._database = rebuild, database

    def carry_out(self) -> None:
        """Put the new files in place, and keep the old ones.

        Raises:
            DiskFailed: a file cannot be written.
        """
        plan = self.plan
        fresh_output = self._write_output() if plan.output_aside else None
        length, seal = Seal.of(fresh_output or plan.found, plan.lines.records)
        self._rebuild.bind(
            plan.output,
            published=plan.found == plan.output,
            length=length,
            seal=seal,
            night_is_open=self._is_night_open(),
        )
        try:
            fresh_ledger = _unused(plan.ledger, ".new")
            self._database.save_as(fresh_ledger)
            if fresh_output and plan.output_aside:
                _replace(plan.found, fresh_output, plan.output_aside)
            self._replace_ledger(fresh_ledger)
        except OSError as error:
            raise DiskFailed(disk_failure_text(Path(error.filename or plan.ledger), error)) from error

    def _is_night_open(self) -> bool | None:
        """Whether the next night has to finish this one first; None outside nights."""
        if not self.plan.is_nightly:
            return None
        is_whole = self.plan.found == self.plan.output and not self.plan.lost
        return bool(self._database.meta.night) or not is_whole

    def _write_output(self) -> Path:
        """Write the good lines into a file of their own; returns its path."""
        found = self.plan.found
        fresh = _unused(found, ".recovered")
        pack = packer(output_format(self.plan.output.name))
        write_atomically(fresh, map(pack, _gathered(self._rebuild.good_lines(found))), RESULTS)
        return fresh

    def _replace_ledger(self, fresh: Path) -> None:
        """The old log goes with the old ledger: beside the new one it would destroy that."""
        ledger, aside = self.plan.ledger, self.plan.ledger_aside
        _sync(fresh)
        if aside is not None:
            _keep(ledger, aside)
        kept = aside or free_name(ledger)
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                ledger.with_name(ledger.name + ending).rename(kept.with_name(kept.name + ending))
        fresh.replace(ledger)
        sync_directory(ledger.parent)


def _unused(path: Path, ending: str) -> Path:
    """A name for a new file beside another; what has such a name already is not ours to replace."""
    fresh = path.with_name(path.name + ending)
    return free_name(fresh) if fresh.exists() else fresh


def _gathered(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in pieces that each make one unit."""
    piece, size = [], 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= UNIT_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _replace(old: Path, fresh: Path, aside: Path) -> None:
    _keep(old, aside)
    fresh.replace(old)
    sync_directory(old.parent)


def _keep(old: Path, aside: Path) -> None:
    """Give a file another name. It keeps the old one as well, so that at no time no file has that."""
    try:
        os.link(old, aside)
    except FileExistsError:
        raise
    except OSError:  # some file systems have no links
        move(old, aside)


def _sync(path: Path) -> None:
    """Force a file that nobody has open to stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_data(descriptor)
    finally:
        os.close(descriptor)
