"""What a ledger says about a harvest, read while a run may be writing it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harvester.core.errors import InputMissing
from harvester.core.model import Failure, Figures, Stage
from harvester.storage.ledger import Ledger
from harvester.storage.paths import ledger_of


@dataclass(frozen=True, slots=True)
class Status:
    """A ledger in figures.

    Args:
        ledger: its path.
        output: the name of the output it belongs to, if it has one.
        complete: whether that output is published.
        figures: its works, counted.
    """

    ledger: str
    output: str | None
    complete: bool
    figures: Figures


@dataclass(frozen=True, slots=True)
class OutputState:
    """What a ledger knows of its output.

    Args:
        name: the name under which it is published; None if the job has no output.
        committed: bytes of it that are committed.
        published: whether it is known to be published.
        archive: the name that the output before it gets; None if there is none to be renamed.
    """

    name: str | None
    committed: int
    published: bool
    archive: str | None


@dataclass(frozen=True, slots=True)
class LedgerWork:
    """A work as the ledger knows it.

    Args:
        doi: canonical.
        state: a `harvester.storage.database.WorkState`, if all is well.
        listed: whether the last reading of the input listed it.
        outcome, harvested_at, sha256: of its record; None without one.
        failed: whether there is a failure of the stage `fetch`.
        registration: a `harvester.storage.database.Registration`; None if it was never to be registered.
        refused: whether there is a failure of the stage `register`.
    """

    doi: str
    state: int
    listed: bool = True
    outcome: str | None = None
    harvested_at: str | None = None
    sha256: str | None = None
    failed: bool = False
    registration: int | None = None
    refused: bool = False


def status(path: Path) -> Status:
    """The figures of a ledger.

    Args:
        path: of a ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as ledger:
        output = output_state(ledger)
        return Status(ledger.file.name, output.name, output.published, ledger.figures())


def failures_of(path: Path) -> Iterator[Failure]:
    """The failures that a ledger knows.

    Args:
        path: of a ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as ledger:
        yield from ledger.failures()


@contextmanager
def opened_ledger(path: Path) -> Iterator[Ledger]:
    """Open a ledger to look at it.

    Args:
        path: of the ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with ledger_at(ledger_of(path)) as ledger:
        yield ledger


@contextmanager
def ledger_at(path: Path) -> Iterator[Ledger]:
    """Open a ledger to look at it, as `opened_ledger` does, but by its own path alone."""
    if not path.is_file():
        raise InputMissing(f"there is no ledger {path}. Name the output of a run, or its ledger.")
    with closing(Ledger(path, read_only=True)) as ledger:
        yield ledger


def output_state(ledger: Ledger) -> OutputState:
    """What a ledger knows of its output."""
    name, archive = ledger.file.get("output"), ledger.file.get("archive")
    return OutputState(
        name=name if isinstance(name, str) else None,
        committed=ledger.file.number("length"),
        published=bool(ledger.file.number("published")),
        archive=archive if isinstance(archive, str) else None,
    )


WORKS_BY_DOI = """
SELECT doi, work.state, listed >= :reading, outcome, harvested_at, sha256,
       EXISTS (SELECT 1 FROM failure WHERE failure.work_id = work.id AND stage = :fetch),
       registration.state,
       EXISTS (SELECT 1 FROM failure WHERE failure.work_id = work.id AND stage = :register)
FROM work LEFT JOIN registration ON registration.work_id = work.id ORDER BY doi
"""


def works_by_doi(ledger: Ledger) -> Iterator[LedgerWork]:
    """All works of a ledger in the order of their DOIs, which SQLite compares as Python does: by code points."""
    stages = {"fetch": Stage.FETCH, "register": Stage.REGISTER}
    with ledger.file.reading() as db:
        for doi, state, listed, outcome, harvested_at, sha256, failed, registration, refused in db.execute(
            WORKS_BY_DOI, {"reading": ledger.file.number("reading"), **stages}
        ):
            yield LedgerWork(
                doi, state, bool(listed), outcome, harvested_at, sha256, bool(failed), registration, bool(refused)
            )
