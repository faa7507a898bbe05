"""Taking in a list: each DOI becomes a work once, each line that is none a failure, and all lines are counted."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import orjson

from harvester.core import failpoint
from harvester.core.errors import InputMissing, Stopped
from harvester.core.model import Blank, Failure, Work
from harvester.core.tasks import prefetched
from harvester.storage.database import Database, WorkState
from harvester.storage.ledger import Ledger

ENROL_CHUNK = 2_000
"""Lines that are enrolled in one transaction."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading of the list found.

    Args:
        lines: lines, rows or entries.
        works: DOIs, each once.
        duplicates: further mentions of them.
        invalid: lines that are no DOI.
        blank: lines with nothing in them.
        dropped: works of an earlier reading that were still due and are listed no more.
    """

    lines: int = 0
    works: int = 0
    duplicates: int = 0
    invalid: int = 0
    blank: int = 0
    dropped: int = 0


def enrol(
    ledger: Ledger,
    lines: Iterable[Work | Failure | Blank],
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    fingerprint: Callable[[], str | None] = lambda: None,
    enrol_as: WorkState = WorkState.DUE,
) -> Reading:
    """Take in a whole list; what an earlier, broken reading left is overwritten.

    Args:
        ledger: takes the works.
        lines: read on a thread of their own.
        is_stopped: whether to break off, which costs nothing but another reading.
        fingerprint: takes that of the list, if it has one; where it is that of the last reading, that one holds.
        enrol_as: state of new works: due, or resting until a night chooses them. In the second case works that left the
            list rest as well, with what is known of them; in the first those that are still due are dropped.

    Raises:
        StopRun: the list cannot be read.
    """
    before = fingerprint()
    if before and (found := ledger.same_reading(before)):
        return Reading(**orjson.loads(found))
    is_first = ledger.is_empty()
    number = ledger.begin_reading()
    counted: Counter[type] = Counter()
    try:
        with closing(_chunks(lines, is_stopped, counted)) as chunks:
            if is_first:
                listed = ledger.bulk_load(number, chunks, state=enrol_as)
            else:
                listed = sum(ledger.enrol(number, works, invalid, state=enrol_as) for works, invalid in chunks)
    except Stopped:
        return Reading()
    reading = Reading(counted.total(), listed, counted[Work] - listed, counted[Failure], counted[Blank])
    # A list that changed while it was read is not known by what it was before, nor by what it became.
    known = before if before and fingerprint() == before else None
    found = orjson.dumps(reading).decode()
    dropped = ledger.end_reading(number, keep=enrol_as is WorkState.RESTING, found=found, fingerprint=known)
    return replace(reading, dropped=dropped)


def _chunks(
    lines: Iterable[Work | Failure | Blank], is_stopped: Callable[[], bool], counted: Counter[type]
) -> Generator[tuple[list[Work], list[Failure]], None, None]:
    """Works and invalid lines, many at a time, and counted; `Stopped` if the reading is to be broken off."""
    rest = iter(lines)
    with prefetched(iter(lambda: list(islice(rest, ENROL_CHUNK)), [])) as chunks:
        for chunk in chunks:
            if is_stopped():
                raise Stopped
            counted.update(map(type, chunk))
            yield [line for line in chunk if type(line) is Work], [line for line in chunk if type(line) is Failure]
            failpoint.hit("enrol")
    if is_stopped():  # then the list may have ended before its end
        raise Stopped


def last_reading(database: Database, ledger: Ledger) -> Reading:
    """What the last reading found; works that one which was cut off has listed since count as listed.

    Raises:
        InputMissing: no list was ever read to its end.
    """
    found = database.meta.found
    if found is None:
        raise InputMissing(
            f"the list of {database.name} was never read to its end, so that it is not known what failed. "
            "Nothing was asked; give the command with its list, and without --only-failed."
        )
    reading = Reading(**orjson.loads(found))
    ledger.drop_broken_reading()
    works, invalid = ledger.figures().works, ledger.invalid()
    lines = works + invalid + reading.duplicates + reading.blank
    return replace(reading, lines=lines, works=works, invalid=invalid, dropped=0)
