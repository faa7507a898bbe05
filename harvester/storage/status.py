"""What a ledger says about a harvest, read while a run may be writing it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harvester.core.errors import InputMissing
from harvester.core.model import Failure, Figures, Stage
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.paths import is_there, ledger_of


@dataclass(frozen=True, slots=True)
class Status:
    """The figures of a ledger.

    Args:
        ledger: its path.
        output: the name of the output that it belongs to; None if it has none yet.
        complete: whether that output is published.
        figures: its works, counted.
    """

    ledger: str
    output: str | None
    complete: bool
    figures: Figures


@dataclass(frozen=True, slots=True)
class LedgerWork:
    """A work as the ledger knows it.

    Args:
        doi: canonical.
        state: a `harvester.storage.database.WorkState`, if all is well.
        listed: whether the last reading of the input listed it.
        outcome, harvested_at, sha256: of its record; None without one.
        failed: whether there is a failure of the stage `fetch`.
        registration: a `harvester.storage.database.RegistrationState`; None if it was never to be registered.
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
    with opened_ledger(path) as database:
        meta = database.meta
        return Status(database.name, meta.output, meta.published, Ledger(database).figures())


def failures_of(path: Path) -> Iterator[Failure]:
    """The failures that a ledger knows.

    Args:
        path: of a ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as database:
        yield from Ledger(database).failures(with_urls=True)


@contextmanager
def opened_ledger(path: Path) -> Iterator[Database]:
    """Open a ledger's file to look at it.

    Args:
        path: of the ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with ledger_at(ledger_of(path)) as database:
        yield database


def require_ledger_file(path: Path) -> None:
    """Refuse a ledger that is not there.

    Raises:
        InputMissing: it is not.
    """
    if not is_there(path):
        if path.exists():
            raise InputMissing(f"{path} is no file, and so no ledger. Name the output of a run, or its ledger.")
        raise InputMissing(f"there is no ledger {path}. Name the output of a run, or its ledger.")


@contextmanager
def ledger_at(path: Path) -> Iterator[Database]:
    """Open a ledger's file to look at it, as `opened_ledger` does, but by its own path alone."""
    require_ledger_file(path)
    with closing(Database(path, read_only=True)) as database:
        yield database
        database.require_unchanged()


WORKS = """
SELECT doi, work.state, listed >= :reading, outcome, harvested_at, sha256,
       EXISTS (SELECT 1 FROM failure WHERE failure.work_id = work.id AND stage = :fetch),
       registration.state,
       EXISTS (SELECT 1 FROM failure WHERE failure.work_id = work.id AND stage = :register)
FROM work LEFT JOIN registration ON registration.work_id = work.id
"""


def works_by_doi(database: Database) -> Iterator[LedgerWork]:
    """All works of a ledger in the order of their DOIs, which SQLite compares as Python does: by code points."""
    return _works(database, f"{WORKS} ORDER BY doi")


def work_of(database: Database, doi: str) -> LedgerWork | None:
    """The work of a canonical DOI as a ledger knows it; None if it does not."""
    return next(_works(database, f"{WORKS} WHERE doi = :doi", doi=doi), None)


def _works(database: Database, query: str, **given: str) -> Iterator[LedgerWork]:
    stages = {"fetch": Stage.FETCH, "register": Stage.REGISTER}
    with database.reading() as db:
        for doi, state, listed, outcome, harvested_at, sha256, failed, registration, refused in db.execute(
            query, {"reading": database.meta.reading, **stages, **given}
        ):
            if not isinstance(doi, str):
                raise TypeError("a DOI that is no text")
            yield LedgerWork(
                doi, state, bool(listed), outcome, harvested_at, sha256, bool(failed), registration, bool(refused)
            )
