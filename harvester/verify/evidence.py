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
        doi: the DOI that the line names; empty if none can be read.
        outcome, harvested_at, sha256: what the line says of its record.
        problem: why it is no record of this format; empty if it is one.
        record_sha256: digest of the record's bytes as they stand in the line; None if it was not computed.
        record_doi: the DOI in the record itself; None if nobody looked.
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
        name: the name under which it is published.
        committed: bytes that are committed, as far as the ledger knows.
        published: whether the ledger knows it to be published.
        size: bytes of the file with its name; None if there is no such file.
        partial_size: bytes of the file with its partial name; None if there is no such file.
        grows: whether the finished output keeps its name while more is added to a copy of it, the partial output.
        is_known: whether the bytes that were committed last are where the ledger knows them.
        lines: its lines up to the committed length, sorted by DOI.
    """

    name: str
    committed: int
    published: bool
    size: int | None
    partial_size: int | None
    is_known: bool = True
    lines: Iterable[Line] = ()
    grows: bool = False


@dataclass(frozen=True, slots=True)
class FailureEntry:
    """A failure, as the ledger or a line of the failures file has it.

    Args:
        doi: DOI of the work; empty for a line of the input that is no DOI.
        stage: where it arose; empty for a line that cannot be read.
        kind: what kind of failure it is.
        content: the whole failure as a JSON line; a line that cannot be read stands as it is.
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
    """All that is known of a job. What is None is unknown, and is not compared.

    Args:
        works: the works in the ledger, sorted by DOI.
        noted: the failures of the last reading in the ledger, sorted by `sort_key`.
        output: the output file.
        failures: the lines of the failures file, sorted by `sort_key`; None also if it is older than the last run.
        summary: the summary, or why it cannot be read; None also if it is older than the last run.
        notes: what could not be compared, and why, for people.
    """

    works: Iterable[LedgerWork]
    noted: Iterable[FailureEntry] = ()
    output: OutputEvidence | None = None
    failures: Iterable[FailureEntry] | None = None
    summary: Summary | str | None = None
    notes: tuple[str, ...] = ()
