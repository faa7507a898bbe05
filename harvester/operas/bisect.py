"""Bisect a batch that was refused, until its bad entries are found."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from harvester.core.model import PendingRegistration


@dataclass(frozen=True, slots=True)
class Send:
    """A batch to be sent.

    Args:
        entries: of the batch.
        final: whether a single entry is bad if this batch is refused; otherwise the same batch is sent again first.
    """

    entries: Sequence[PendingRegistration]
    final: bool


def bisect(entries: Sequence[PendingRegistration]) -> Generator[Send, bool, None]:
    """Yield the batches to send until every entry was accepted, or refused when it was sent alone.

    The caller sends back into the generator whether a batch was accepted. A batch of n entries with k bad ones takes at
    most 2k⌈log2 n⌉ + 2 requests. The promise is 2k(⌈log2 n⌉ + 1) + 2: it leaves two more requests for each bad entry
    that was found, see `harvester.operas.registrar`.
    """
    if (yield Send(entries, final=False)) or (yield Send(entries, final=True)):
        return
    parts = _halves(entries)
    while parts:
        part = parts.pop()
        if not (yield Send(part, final=True)):
            parts += _halves(part)


def _halves(entries: Sequence[PendingRegistration]) -> list[Sequence[PendingRegistration]]:
    """Both halves, in the order of a stack: the first half is on top. Nothing for a single entry."""
    middle = len(entries) // 2
    return [entries[middle:], entries[:middle]] if middle else []
