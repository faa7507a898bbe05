"""What the checker looks at, as plain data: works, lines, failures and requests, each side in the same order."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

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
class Input:
    """What the last list held, counted by somebody else than harvester.

    Args:
        dois: canonical.
        lines, duplicates, invalid, blank: as in the summary; None if unknown.
    """

    dois: Collection[str]
    lines: int | None = None
    duplicates: int | None = None
    invalid: int | None = None
    blank: int | None = None


class Asked(Protocol):
    """A request as a service logged it; `harvester.sandbox.requestlog.RequestLog` is one."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def time(self) -> float: ...  # noqa: D102
    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def fault(self) -> str | None: ...  # noqa: D102
    @property
    def elapsed_seconds(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the services saw of all runs into this ledger, from the first; nothing was refetched.

    Args:
        requests: in the order of their start.
        repeats_allowed: good answers beyond the first of each DOI: kills x (concurrency + uncommitted answers), and
            one for each probe with a known DOI after a fault.
        kills: how often a run was killed; each may leave one POST behind that nobody waits for.
        registered: DOIs that OPERAS holds; None if nothing was registered.
    """

    requests: Iterable[Asked]
    repeats_allowed: int = 0
    kills: int = 0
    registered: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a job; what is unknown is left out and not compared.

    Args:
        works: what the ledger knows, sorted by DOI.
        noted: the ledger's failures of the last reading, sorted by `sort_key`.
        output: the output file.
        failures: the failures file, sorted by `sort_key`; None also if it is older than the last run.
        summary: the same; a text says why it is none.
        input: the list.
        traffic: the requests.
        notes: what could not be compared, and why, for people.
    """

    works: Iterable[LedgerWork]
    noted: Iterable[FailureEntry] = ()
    output: OutputEvidence | None = None
    failures: Iterable[FailureEntry] | None = None
    summary: Summary | str | None = None
    input: Input | None = None
    traffic: Traffic | None = None
    notes: tuple[str, ...] = ()
