"""What a ledger says about a harvest; it can be read while a run writes it."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harvester.core.errors import InputMissing
from harvester.core.model import Failure
from harvester.storage.database import Database
from harvester.storage.ledger import Ledger
from harvester.storage.paths import ledger_of


@dataclass(frozen=True, slots=True)
class Status:
    """The figures of a ledger.

    Args:
        ledger: its path.
        output: the name of the output that it belongs to; None if it has none yet.
        complete: whether that output is published.
        works, results, failures, pending, gone, outcomes, failures_by_kind, registered, rejected, registration_pending,
            resting: as in the summary of a run.
    """

    ledger: str
    output: str | None
    complete: bool
    works: int
    results: int
    failures: int
    pending: int
    gone: int
    outcomes: Mapping[str, int]
    failures_by_kind: Mapping[str, int]
    registered: int
    rejected: int
    registration_pending: int
    resting: int


def status(path: Path) -> Status:
    """Read the figures of a ledger; a run may be writing it.

    Args:
        path: of a ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as database:
        return Status(
            ledger=database.name,
            output=database.meta.output,
            complete=database.meta.published,
            **asdict(Ledger(database).figures()),
        )


def failures_of(path: Path) -> Iterator[Failure]:
    """The failures in a ledger; a run may be writing it.

    Args:
        path: of a ledger, or of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    with opened_ledger(path) as database:
        yield from Ledger(database).failures()


@contextmanager
def opened_ledger(path: Path) -> Iterator[Database]:
    """Open a ledger for reading, by its own path or by that of the output beside it.

    Raises:
        InputMissing: there is no ledger.
        Misconfigured: the file is no ledger.
    """
    ledger_path = ledger_of(path)
    if not ledger_path.is_file():
        raise InputMissing(f"there is no ledger {ledger_path}. Name the output of a run, or its ledger.")
    with closing(Database(ledger_path, read_only=True)) as database:
        yield database
