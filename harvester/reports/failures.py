"""Failures in groups, with what to do about each kind."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harvester.core.errors import FailureKind
from harvester.core.model import Failure


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person should know about one kind of failure.

    Args:
        cause: why works fail in this way, in a sentence.
        to_do: what can be done about it, in sentences.
    """

    cause: str
    to_do: str


ADVICE: Final[Mapping[str, Advice]] = {
    FailureKind.INVALID_DOI: Advice(
        "The text is no DOI.",
        "Correct the lines in the list; the failures file names file and line.",
    ),
    FailureKind.TIMEOUT: Advice(
        "No complete answer in time, in any attempt.",
        "Often passes by itself. Where it stays, raise timeout or lower concurrency under [{section}].",
    ),
    FailureKind.CONNECTION: Advice(
        "No connection to {title}, or it broke off, in every attempt.",
        "Look at this machine's network and name resolution; `harvester check` tries both services.",
    ),
    FailureKind.HTTP: Advice(
        "{title} answers with an error, in every attempt.",
        "A few 500s are for good, each for its DOI alone. Where there are many, the service has trouble: "
        "`harvester check` says whether it still has.",
    ),
    FailureKind.INVALID_JSON: Advice(
        "The answer is no JSON, or not the object that was promised.",
        "A few: a mistake of the service with these DOIs. Many: something else answers in its place; see base_url "
        "and the network in between.",
    ),
    FailureKind.DOI_MISMATCH: Advice(
        "The answer is the record of another DOI; nothing of it was kept.",
        "Compare the spelling of these DOIs with their publisher's: the service cleans and cuts what it is sent.",
    ),
    FailureKind.TOO_LARGE: Advice(
        "The answer is larger than max_body.",
        "Raise max_body under [{section}] if the machine has the memory.",
    ),
    FailureKind.REDIRECT: Advice(
        "The answer points to another host, or in circles.",
        "The service may have moved: see base_url under [{section}].",
    ),
    FailureKind.INTERNAL: Advice(
        "The record made harvester itself fail, in a way that nobody foresaw.",
        "Please report it with the DOI and the traceback in the log. All other DOIs are as they should be.",
    ),
    FailureKind.REJECTED: Advice(
        "OPERAS does not take the DOI or one of its URLs; the record was harvested all the same.",
        "Correct the URLs in the list; the failures file says which.",
    ),
    FailureKind.URL_LEFT_OUT: Advice(
        "The URL is no landing page, or not for all to see; its DOI is registered without it.",
        "Correct it in the list, or name its host in allow_hosts under [operas] if it is the work's own page.",
    ),
}
"""By kind of failure. `{title}` stands for the provider, `{section}` for its section of the settings."""


UNKNOWN: Final = Advice("See the failures file.", "See the failures file.")
"""About a kind that a later version wrote into the ledger."""


def advice_on(kind: str, title: str = "Paperbuzz", section: str = "paperbuzz") -> Advice:
    """What to say about a kind of failure.

    Args:
        kind: of the failures.
        title: of the provider that was asked, for people.
        section: of the settings where the provider is configured.
    """
    advice = ADVICE.get(kind, UNKNOWN)
    return Advice(*(text.format(title=title, section=section) for text in (advice.cause, advice.to_do)))


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one kind with one HTTP status.

    Args:
        kind: of all of them.
        http_status: of all of them; None if there was no answer.
        count: how many.
        example: the first one's DOI, or its input if that is no DOI.
        message: the first one's, as it came from outside.
    """

    kind: str
    http_status: int | None
    count: int
    example: str
    message: str


class FailureGroups:
    """Groups failures as they are added, one by one; the memory it needs does not grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._first: dict[tuple[str, int | None], Failure] = {}

    def add(self, failure: Failure) -> None:
        """Add one failure to its group."""
        key = failure.kind, failure.http_status
        self._counts[key] += 1
        self._first.setdefault(key, failure)

    def largest_first(self) -> tuple[FailureGroup, ...]:
        """All groups, the largest first."""
        return tuple(
            FailureGroup(kind, status, count, first.doi or first.input, first.message)
            for (kind, status), count in self._counts.most_common()
            for first in [self._first[kind, status]]
        )
