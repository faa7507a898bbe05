"""What a Paperbuzz record tells of its events, in four small numbers: all that is kept of it to choose by.

Pure: a record in, numbers out. Days are counted since 1970 in UTC.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

EPOCH = date(1970, 1, 1).toordinal()

FORTNIGHT_DAYS = 14


class History(NamedTuple):
    """What a record told, in four small numbers for the ledger to keep.

    Args:
        total: events in it.
        fortnight: those of the fourteen days before it was harvested.
        last_day: of the last event; None if no event has a date.
        born: day on which the article came out; None if the record does not tell.
    """

    total: int
    fortnight: int = 0
    last_day: int | None = None
    born: int | None = None


def day_of(text: object) -> int | None:
    """The day of `2017-01-31` or of a longer text that begins so; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return date.fromisoformat(text[:10]).toordinal() - EPOCH
    except ValueError:
        return None


def history_of(record: Mapping[str, object], today: int) -> History:
    """What a Paperbuzz record of this day tells of its events.

    Sources come and go, and so do their parts. An event whose date cannot be read, or lies ahead, counts in the total
    alone.
    """
    total, days = 0, list[tuple[int, int]]()
    for source in _objects(record.get("altmetrics_sources")):
        daily = list(_daily(source.get("events_count_by_day")))
        total += _whole(source.get("events_count")) or sum(count for _, count in daily)
        days += [(day, count) for day, count in daily if day is not None and day <= today]
    return History(
        total=total,
        fortnight=sum(count for day, count in days if today - day <= FORTNIGHT_DAYS),
        last_day=max((day for day, _ in days), default=None),
        born=_born(record.get("metadata"), min((day for day, _ in days), default=None), today),
    )


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _daily(value: object) -> Iterator[tuple[int | None, int]]:
    for item in _objects(value):
        if count := _whole(item.get("count")):
            yield day_of(item.get("date")), count


def _born(metadata: object, first_event: int | None, today: int) -> int | None:
    """The day the article came out: as issued, or as created where that is not known to the day, or its first event."""
    fields = metadata if isinstance(metadata, dict) else {}
    for name in ("published-online", "issued", "created"):
        day = _date_parts(fields.get(name))
        if day is not None and day <= today:
            return day
    return first_event


def _date_parts(value: object) -> int | None:
    match value:
        case {"date-parts": [[int(year), int(month), int(day)], *_]}:
            return day_of(f"{year:04}-{month:02}-{day:02}")
        case _:
            return None
