"""What is said of works that were in hand when a run died. Pure; see `harvester.harvest.suspects`."""

from collections.abc import Sequence
from datetime import datetime

from harvester.core.clock import timestamp
from harvester.core.errors import Unforeseen
from harvester.core.model import DueWork, Failure, failed
from harvester.core.text.sanitize import printable


def died_with(in_hand: Sequence[DueWork]) -> str:
    """The warning at a start after a run that died.

    Args:
        in_hand: the works that it had in hand, at least one.
    """
    first = _named(in_hand[0])
    if len(in_hand) == 1:
        return (
            f"the last run was cut off while only {first} was in hand. It is asked last; if it is what ended the run, "
            "take it off the list, or give the same command again until it becomes a failure."
        )
    return (
        f"the last run was cut off while {len(in_hand):,} works were in hand, from {first} to {_named(in_hand[-1])}. "
        "They are asked last, a few at a time, in case one of them is what ended it."
    )


def _named(due: DueWork) -> str:
    return f"{printable(due.doi)} ({printable(due.origin)})" if due.origin else printable(due.doi)


def died_each_time(due: DueWork, now: datetime) -> Failure:
    """The failure of a work that was alone in hand each time that a run died."""
    cause = Unforeseen(
        "each of the last runs that asked for it was cut off: killed, perhaps for want of memory, or crashed"
    )
    return failed(due, cause, timestamp(now), attempts=0)
