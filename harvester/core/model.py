"""The words that all rooms share: a work, a failure with its reason, and figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from harvester.core.errors import GiveUp, TryAgain

LIST_FORMATS: Final = (
    "auto", "txt", "csv", "tsv", "kbart", "json", "jsonl", "ris", "bibtex", "wos", "nbib", "enw", "mrk", "xml",
)  # fmt: skip
"""What a list of DOIs may be given as; `auto` finds out."""


OUTPUT_ENDINGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""The ending of an output's name, which says how it is packed."""


class Stage(StrEnum):
    """Where a failure arose."""

    INPUT = "input"
    FETCH = "fetch"
    REGISTER = "register"


class Outcome(StrEnum):
    """What a record has in it (wire fact P4).

    `ok`: metadata and open-access data. `empty`: neither metadata nor events. `degraded`: events without metadata, or
    metadata without open-access data.
    """

    OK = "ok"
    EMPTY = "empty"
    DEGRADED = "degraded"


class Work(NamedTuple):
    """A DOI to harvest, with the URLs to register for it. It is a tuple because a list may have millions.

    Args:
        doi: canonical (see `harvester.core.doi`).
        urls: to be registered with OPERAS, in the order of the input.
        origin: where it was read first, `file:line`.
        left_out: the addresses of the input that are not to be registered, and why.
    """

    doi: str
    urls: tuple[str, ...] = ()
    origin: str = ""
    left_out: tuple["Failure", ...] = ()


@dataclass(frozen=True, slots=True)
class Blank:
    """A line, row or entry of the input that has nothing that could be a DOI."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no record, or no registration.

    Args:
        doi: canonical, or None if the text is no DOI.
        input: the text as it stood in the input, cut to a readable length.
        origin: where it was read first, `file:line`.
        kind: a `harvester.core.errors.FailureKind`, or one that a later version wrote.
        http_status: of the last answer, if there was one.
        attempts: requests made for it.
        message: what happened, for a person.
        failed_at: UTC timestamp.
        stage: where it arose.
    """

    doi: str | None
    input: str
    origin: str
    kind: str
    http_status: int | None
    attempts: int
    message: str
    failed_at: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class Figures:
    """The works of a list, counted. The figures of several lists that share no work can be added up.

    Args:
        works: DOIs in the list, each once.
        results: of these, with a record, those of earlier runs included.
        failures: of these, without a record, for a reason.
        pending: of these, still to be asked.
        gone: works with a result or failure that left the list; they count nowhere else.
        outcomes: results by outcome.
        failures_by_kind: failures by kind.
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses.
        registration_pending: works that wait to be registered, those that left the list included.
        resting: works of the list that a nightly harvest does not ask tonight; 0 in any other run.
        held_back: works of the list that are not registered because their record is empty.
        urls_left_out: URLs of the list that are not registered, because they are no landing pages.
    """

    works: int = 0
    results: int = 0
    failures: int = 0
    pending: int = 0
    gone: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    failures_by_kind: Mapping[str, int] = field(default_factory=dict)
    registered: int = 0
    rejected: int = 0
    registration_pending: int = 0
    resting: int = 0
    held_back: int = 0
    urls_left_out: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            works=self.works + other.works,
            results=self.results + other.results,
            failures=self.failures + other.failures,
            pending=self.pending + other.pending,
            gone=self.gone + other.gone,
            outcomes=_added(self.outcomes, other.outcomes),
            failures_by_kind=_added(self.failures_by_kind, other.failures_by_kind),
            registered=self.registered + other.registered,
            rejected=self.rejected + other.rejected,
            registration_pending=self.registration_pending + other.registration_pending,
            resting=self.resting + other.resting,
            held_back=self.held_back + other.held_back,
            urls_left_out=self.urls_left_out + other.urls_left_out,
        )


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


class DueWork(NamedTuple):
    """A work that is to be asked for now.

    Args:
        work_id: its key.
        doi: canonical.
        origin: where it was read first, `file:line`; a failure names it.
    """

    work_id: int
    doi: str
    origin: str


@dataclass(frozen=True, slots=True)
class PendingRegistration:
    """A work that waits to be registered with OPERAS.

    Args:
        work_id: its key in the ledger.
        doi: canonical.
        urls: to be attached; may be empty.
        origin: where it was read first, `file:line`.
    """

    work_id: int
    doi: str
    urls: tuple[str, ...] = ()
    origin: str = ""


def failed(
    work: DueWork | PendingRegistration,
    error: TryAgain | GiveUp,
    failed_at: str,
    *,
    attempts: int,
    message: str = "",
    stage: Stage = Stage.FETCH,
) -> Failure:
    """The failure of a work.

    Args:
        work: that failed.
        error: of its last attempt.
        failed_at: when, as a timestamp.
        attempts: requests that were made for it.
        message: what happened, if there is more to tell than the error does.
        stage: in which it failed.
    """
    return Failure(
        doi=work.doi,
        input=work.doi,
        origin=work.origin,
        kind=error.kind,
        http_status=error.status,
        attempts=attempts,
        message=message or str(error),
        failed_at=failed_at,
        stage=stage,
    )
