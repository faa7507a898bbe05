"""The verdict on a night: whether a person has to do something, in one sentence. Pure.

Of five cases the first that holds:

1. the run ended early, and the next night goes on by itself (`GOES_ON`): "Not finished: …";
2. it is complete, but more works failed than are allowed: "Look at this: …";
3. it ended in another way, which only a person can mend (credentials, disk, settings, …): "Look at this: …";
4. it is complete, but something looks wrong: "Look at this: …";
5. "All is well: …".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from signal import SIGINT, SIGTERM
from typing import Final

from harvester.core.errors import (
    COMPLETE,
    TOO_MANY_FAILURES,
    Interrupted,
    OutOfBudget,
    PipeClosed,
    ServiceDown,
    TimeIsUp,
)
from harvester.core.text.sanitize import safe_line
from harvester.core.text.wording import are, counted
from harvester.reports.anomalies import Anomaly
from harvester.reports.summary import Summary

GOES_ON: Final = frozenset(
    {
        *(ending.exit_code for ending in (OutOfBudget, TimeIsUp, PipeClosed, ServiceDown)),
        *(Interrupted(number).exit_code for number in (SIGINT, SIGTERM)),
    }
)
"""Exit codes after which the next night goes on by itself: budget or time used up, service down, stopped."""


MAX_SENTENCE: Final = 1_000
"""Characters of a verdict; only the reason that a run gives for its end could make it longer."""


class Conclusion(StrEnum):
    """What a night asks of a person."""

    ALL_IS_WELL = "all-is-well"
    NOT_FINISHED = "not-finished"
    LOOK_AT_THIS = "look-at-this"


LEADS: Final = {
    Conclusion.ALL_IS_WELL: "All is well",
    Conclusion.NOT_FINISHED: "Not finished",
    Conclusion.LOOK_AT_THIS: "Look at this",
}
"""How the sentence of a verdict begins."""


@dataclass(frozen=True, slots=True)
class NightVerdict:
    """The verdict on a night.

    Args:
        conclusion: what it asks of a person.
        sentence: the same with the reason; one line, printable, without addresses of people.
    """

    conclusion: Conclusion
    sentence: str


def night_verdict(summary: Summary, suspected: Sequence[Anomaly]) -> NightVerdict:
    """The verdict on a night.

    Args:
        summary: of its run.
        suspected: what looks wrong, the worst first.
    """
    conclusion, clause = _concluded(summary, suspected)
    return NightVerdict(conclusion, safe_line(f"{LEADS[conclusion]}: {clause}.", MAX_SENTENCE))


def _concluded(summary: Summary, suspected: Sequence[Anomaly]) -> tuple[Conclusion, str]:
    """The conclusion with its reason, a clause without a full stop; the cases are those at the top of this file."""
    code, more = summary.exit.code, _and_more(len(suspected), "anomaly", "anomalies")
    reason = _first_sentence(summary.exit.reason) or summary.exit.name
    if code in GOES_ON:
        return Conclusion.NOT_FINISHED, f"{_left_to_do(summary)} ({reason}){more}"
    if code == TOO_MANY_FAILURES:
        failed = counted(summary.figures.failures, "work")
        return Conclusion.LOOK_AT_THIS, f"{failed} failed, more than are allowed{more}"
    if code != COMPLETE:
        return Conclusion.LOOK_AT_THIS, f"{reason}{more}"
    if suspected:
        return Conclusion.LOOK_AT_THIS, f"{suspected[0].claim}{_and_more(len(suspected) - 1, 'more', 'more')}"
    return Conclusion.ALL_IS_WELL, _all_done(summary)


def _all_done(summary: Summary) -> str:
    if not any(summary.requests.values()):
        return "nothing was due, and nothing was asked"
    figures = summary.figures
    has = "has" if figures.results == 1 else "have"
    return f"of {counted(figures.works, 'work')} {figures.results:,} {has} a record and {figures.failures:,} failed"


def _left_to_do(summary: Summary) -> str:
    figures, parts = summary.figures, []
    if figures.pending:
        of_works = f"{figures.pending:,} of {counted(figures.works, 'work')}"
        parts.append(f"{of_works} {are(figures.pending)} still to be asked")
    if figures.registration_pending:
        waiting = figures.registration_pending
        parts.append(f"{waiting:,} {'waits' if waiting == 1 else 'wait'} to be registered")
    return " and ".join(parts) or "the night ended early"


def _first_sentence(text: str) -> str:
    """The text up to the first full stop that ends it or has a space after it."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def _and_more(count: int, one: str, many: str) -> str:
    return f"; {counted(count, one, many)} below" if count else ""
