"""Failures in groups, with what to do about each kind."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harvester.core.errors import FailureKind
from harvester.core.model import Failure

ADVICE: Final[Mapping[str, tuple[str, str]]] = {
    FailureKind.INVALID_DOI: (
        "The text is no DOI.",
        "Correct the lines in the list; the failures file names file and line.",
    ),
    FailureKind.TIMEOUT: (
        "No complete answer in time, in any attempt.",
        "Often passes by itself. Where it stays, raise timeout or lower concurrency under [paperbuzz].",
    ),
    FailureKind.CONNECTION: (
        "No connection to Paperbuzz, or it broke off, in every attempt.",
        "Look at this machine's network and name resolution; `harvester check` tries both services.",
    ),
    FailureKind.HTTP: (
        "Paperbuzz answers with an error, in every attempt.",
        (
            "A few 500s are for good, each for its DOI alone. Where there are many, the service has trouble: "
            "`harvester check` says whether it still has."
        ),
    ),
    FailureKind.INVALID_JSON: (
        "The answer is no JSON, or not the object that was promised.",
        (
            "A few: a mistake of the service with these DOIs. Many: something else answers in its place; see base_url "
            "and the network in between."
        ),
    ),
    FailureKind.DOI_MISMATCH: (
        "The answer is the record of another DOI; nothing of it was kept.",
        "Compare the spelling of these DOIs with their publisher's: the service cleans and cuts what it is sent.",
    ),
    FailureKind.TOO_LARGE: (
        "The answer is larger than max_body.",
        "Raise max_body under [paperbuzz] if the machine has the memory.",
    ),
    FailureKind.REDIRECT: (
        "The answer points to another host, or in circles.",
        "The service may have moved: see base_url under [paperbuzz].",
    ),
    FailureKind.REJECTED: (
        "OPERAS does not take the DOI or one of its URLs; the record was harvested all the same.",
        "Correct the URLs in the list; the failures file says which.",
    ),
}
"""By kind of failure: the cause, and what to do."""


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that are alike.

    Args:
        kind: of all of them.
        http_status: of all of them; None if there was no answer.
        count: how many.
        example: the first one's DOI, or its input if that is no DOI.
        message: the first one's.
    """

    kind: str
    http_status: int | None
    count: int
    example: str
    message: str


class FailureGroups:
    """Puts failures that are alike together, one after the other, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._first: dict[tuple[str, int | None], Failure] = {}

    def add(self, failure: Failure) -> None:
        """One more."""
        key = failure.kind, failure.http_status
        self._counts[key] += 1
        self._first.setdefault(key, failure)

    def largest_first(self) -> tuple[Group, ...]:
        """What was added, in groups."""
        return tuple(
            Group(kind, status, count, first.doi or first.input, first.message)
            for (kind, status), count in self._counts.most_common()
            for first in [self._first[kind, status]]
        )
