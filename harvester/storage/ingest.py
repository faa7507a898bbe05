"""Read a list into the ledger: each DOI becomes one work, each line that is no DOI a failure, all lines are counted."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Self

import orjson

from harvester.core import failpoint
from harvester.core.errors import InputMissing, Stopped
from harvester.core.model import Blank, Failure, Work
from harvester.core.tasks import prefetched, unless_stopped
from harvester.storage.database import Database, WorkState
from harvester.storage.ledger import Ledger

ENROL_CHUNK = 2_000
"""Lines that are enrolled in one transaction, at the most."""

ENROL_URL_CHARS = 512 * 1024
"""URLs that are enrolled in one transaction, in characters and at the most, but for those of its last work.

The rest of a work is short, and three chunks are in memory at a time: one is read, one waits, one is written."""

URL_OVERHEAD = 64
"""What a URL takes in memory beside its characters, in bytes."""


LEFT_OUT_CHARS = 512
"""What a URL that is left out takes in memory, in characters."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading of the list found.

    Args:
        lines: lines, rows or entries.
        works: DOIs, each counted once.
        duplicates: further mentions of the same DOIs.
        invalid: lines that are no DOI.
        blank: lines with nothing in them.
        dropped: works of an earlier reading that were still due and are no longer listed.
    """

    lines: int = 0
    works: int = 0
    duplicates: int = 0
    invalid: int = 0
    blank: int = 0
    dropped: int = 0

    @classmethod
    def from_json(cls, text: str | None) -> Self | None:
        """The reading that a ledger remembers; None if there is none, or if it is not whole."""
        try:
            members = orjson.loads(text or "null")
        except orjson.JSONDecodeError:
            return None
        names = [field.name for field in fields(cls)]
        if not isinstance(members, dict) or not all(isinstance(members.get(name), int) for name in names):
            return None
        return cls(**{name: members[name] for name in names})


def enrol(
    ledger: Ledger,
    lines: Iterable[Work | Failure | Blank],
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    fingerprint: Callable[[], str | None] = lambda: None,
    enrol_as: WorkState = WorkState.DUE,
) -> Reading:
    """Read a whole list into the ledger. What an earlier, interrupted reading left is overwritten.

    Args:
        ledger: takes the works.
        lines: of the list. They are read on a thread of their own, which a stop leaves behind where it is.
        is_stopped: whether to stop reading. Nothing is lost by that; the list is read again at the next start. It is
            asked by several threads.
        fingerprint: computes the fingerprint of the list, None if it has none. If it is that of the last reading, the
            list is not read again.
        enrol_as: state of new works: due, or resting until a night chooses them. If resting, works that left the list
            rest as well, and what is known of them is kept. If due, works that left the list and are still due are
            dropped.

    Returns:
        What was found; nothing if the reading was stopped.

    Raises:
        StopRun: the list cannot be read.
    """
    try:
        return _enrol(ledger, lines, is_stopped, lambda: unless_stopped(fingerprint, is_stopped), enrol_as)
    except Stopped:
        return Reading()


def _enrol(
    ledger: Ledger,
    lines: Iterable[Work | Failure | Blank],
    is_stopped: Callable[[], bool],
    fingerprint: Callable[[], str | None],
    enrol_as: WorkState,
) -> Reading:
    before = fingerprint()
    if before and (last := Reading.from_json(ledger.reuse_reading(before))):
        return last
    is_first = ledger.is_empty()
    number = ledger.begin_reading()
    counted: Counter[type] = Counter()
    with closing(_chunks(lines, is_stopped, counted)) as chunks:
        if is_first:
            listed = ledger.bulk_load(number, chunks, state=enrol_as, is_stopped=is_stopped)
        else:
            listed = sum(ledger.enrol(number, works, invalid, state=enrol_as) for works, invalid in chunks)
    reading = Reading(counted.total(), listed, counted[Work] - listed, counted[Failure], counted[Blank])
    # If the list changed while it was read, no fingerprint tells what was read, and the next run reads it again.
    known = before if before and fingerprint() == before else None
    found = orjson.dumps(reading).decode()
    dropped = ledger.end_reading(number, keep=enrol_as is WorkState.RESTING, found=found, fingerprint=known)
    return replace(reading, dropped=dropped)


def _chunks(
    lines: Iterable[Work | Failure | Blank], is_stopped: Callable[[], bool], counted: Counter[type]
) -> Generator[tuple[list[Work], list[Failure]], None, None]:
    """Yield works and invalid lines in chunks, and count all lines by type; raise `Stopped` if reading is to end."""
    rest = iter(lines)
    with prefetched(iter(lambda: _chunk(rest), []), is_stopped) as chunks:
        for chunk in chunks:
            counted.update(map(type, chunk))
            works = [line for line in chunk if type(line) is Work]
            failures = [line for line in chunk if type(line) is Failure]
            yield works, [*failures, *(failure for work in works for failure in work.left_out)]
            failpoint.hit("enrol")
    if is_stopped():  # a stop also ends the lines early, so this may not be the end of the list
        raise Stopped


def _chunk(lines: Iterator[Work | Failure | Blank]) -> list[Work | Failure | Blank]:
    """The next lines, so many that they may be in memory together; an empty list at the end."""
    chunk: list[Work | Failure | Blank] = []
    room = ENROL_URL_CHARS
    for line in islice(lines, ENROL_CHUNK):
        chunk.append(line)
        if type(line) is Work and (line.urls or line.left_out):
            room -= sum(map(len, line.urls)) + URL_OVERHEAD * len(line.urls) + LEFT_OUT_CHARS * len(line.left_out)
            if room < 0:
                break
    return chunk


def last_reading(database: Database, ledger: Ledger) -> Reading:
    """What the last complete reading found, for a run that reads no list.

    If a later reading was interrupted, the works that it listed count as listed.

    Raises:
        InputMissing: no list was ever read to its end.
        LedgerDamaged: it is remembered, but not so that it makes sense.
    """
    with database.reading():
        found = database.meta.found
        reading = Reading.from_json(found)
        if found and reading is None:
            raise ValueError(found)
    if reading is None:
        raise InputMissing(
            f"the list of {database.name} was never read to its end, so that it is not known what failed. "
            "Nothing was asked; give the command with its list, and without --only-failed."
        )
    ledger.drop_broken_reading()
    works, invalid = ledger.figures().works, ledger.invalid()
    lines = works + invalid + reading.duplicates + reading.blank
    return replace(reading, lines=lines, works=works, invalid=invalid, dropped=0)
