"""Halving a batch that is refused, until the refused entries are found."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from harvester.core.model import PendingRegistration


@dataclass(frozen=True, slots=True)
class Send:
    """A batch to be sent.

    Args:
        entries: of the batch.
        final: whether a refusal is the last word where the batch is a single entry.
    """

    entries: Sequence[PendingRegistration]
    final: bool


def bisect(entries: Sequence[PendingRegistration]) -> Generator[Send, bool, None]:
    """What to send until every entry of a batch is accepted or refused alone.

    Yields what is to be sent next and is sent back whether it was accepted. Among n entries k bad ones cost at most
    2k⌈log2 n⌉ + 2 sendings; the promise of 2k(⌈log2 n⌉ + 1) + 2 leaves two more for each bad entry standing alone.
    """
    if (yield Send(entries, final=False)) or (yield Send(entries, final=True)):
        return
    parts = _halves(entries)
    while parts:
        part = parts.pop()
        if not (yield Send(part, final=True)):
            parts += _halves(part)


def _halves(entries: Sequence[PendingRegistration]) -> list[Sequence[PendingRegistration]]:
    """Both halves, the first one last; nothing of a single entry."""
    middle = len(entries) // 2
    return [entries[middle:], entries[:middle]] if middle else []
