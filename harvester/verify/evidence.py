"""What the checker looks at, as plain data: works, lines and failures, each side in the same order."""

from collections.abc import Iterable
from dataclasses import dataclass

from harvester.reports.summary import Summary
from harvester.storage.status import LedgerWork


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the output.

    Args:
        number: from 1.
        doi: that it names; empty if none can be read.
        outcome, harvested_at, sha256: that it names.
        problem: why it is no record of this format; empty if it is one.
        record_sha256: of the record's bytes as they stand in the line; None if not computed.
        record_doi: of the record itself; None if not looked at.
    """

    number: int
    doi: str = ""
    outcome: str = ""
    harvested_at: str = ""
    sha256: str = ""
    problem: str = ""
    record_sha256: str | None = None
    record_doi: str | None = None


@dataclass(frozen=True, slots=True)
class OutputEvidence:
    """The output file.

    Args:
        name: it is published under.
        committed: length in bytes that the ledger knows to be committed.
        published: whether the ledger knows it to be published.
        size: of the file under its name; None if there is none.
        partial_size: of the file under its partial name; None if there is none.
        lines: its lines up to the committed length, sorted by DOI.
    """

    name: str
    committed: int
    published: bool
    size: int | None
    partial_size: int | None
    lines: Iterable[Line] = ()


@dataclass(frozen=True, slots=True)
class FailureEntry:
    """A failure, as the ledger or a line of the failures file has it.

    Args:
        doi: of the work; empty for a line of the input that is no DOI.
        stage: where it arose; empty for a line that cannot be read.
        kind: what kind it is.
        content: all of it, as the JSON line it makes; what cannot be read stands as it is.
        problem: why the line is no failure of this format; empty if it is one.
    """

    doi: str
    stage: str
    kind: str
    content: str
    problem: str = ""

    @property
    def sort_key(self) -> str:
        """Failures are sorted by DOI, and those of one DOI by all the rest."""
        return f"{self.doi}\0{self.content}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a job; what is unknown is left out and not compared.

    Args:
        works: what the ledger knows, sorted by DOI.
        noted: the ledger's failures of the last reading, sorted by `sort_key`.
        output: the output file.
        failures: the failures file, sorted by `sort_key`; None also if it is older than the last run.
        summary: the same; a text says why it is none.
        notes: what could not be compared, and why, for people.
    """

    works: Iterable[LedgerWork]
    noted: Iterable[FailureEntry] = ()
    output: OutputEvidence | None = None
    failures: Iterable[FailureEntry] | None = None
    summary: Summary | str | None = None
    notes: tuple[str, ...] = ()
