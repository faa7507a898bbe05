"""Four numbers about the events of a Paperbuzz record. The choice of a night needs no more of a record than these.

Pure: a record in, numbers out. Days are counted since 1970 in UTC.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

EPOCH = date(1970, 1, 1).toordinal()

FORTNIGHT_DAYS = 14

MOST_EVENTS = 1_000_000_000
"""A larger count is taken for none. So no sum in a record exceeds the 64 bits that JSON and the ledger can take."""


class EventHistory(NamedTuple):
    """Four numbers about the events of a record, small enough for the ledger to keep.

    Args:
        total: events in the record.
        fortnight: events of the fourteen days before it was harvested.
        last_day: day of the last event; None if no event has a date.
        born: day on which the article came out; None if the record does not tell.
    """

    total: int
    fortnight: int = 0
    last_day: int | None = None
    born: int | None = None


def day_of(text: object) -> int | None:
    """The day that a text such as `2017-01-31` or `2017-01-31T12:00` begins with; None if it begins with none."""
    if not isinstance(text, str):
        return None
    try:
        return date.fromisoformat(text[:10]).toordinal() - EPOCH
    except ValueError:
        return None


def event_history(record: Mapping[str, object], today: int) -> EventHistory:
    """The history of a Paperbuzz record.

    A source may be missing, and so may any part of it. An event without a readable date, or with one in the future,
    counts in the total only.

    Args:
        record: as the service gave it.
        today: day on which it was harvested.
    """
    total, days = 0, list[tuple[int, int]]()
    for source in _objects(record.get("altmetrics_sources")):
        daily = list(_daily(source.get("events_count_by_day")))
        total += whole(source.get("events_count")) or sum(count for _, count in daily)
        days += [(day, count) for day, count in daily if day is not None and day <= today]
    return EventHistory(
        total=total,
        fortnight=sum(count for day, count in days if today - day <= FORTNIGHT_DAYS),
        last_day=max((day for day, _ in days), default=None),
        born=_born(record.get("metadata"), min((day for day, _ in days), default=None), today),
    )


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def whole(value: object) -> int:
    """A count of events; 0 if the value is none."""
    return value if isinstance(value, int) and 0 < value <= MOST_EVENTS else 0


def _daily(value: object) -> Iterator[tuple[int | None, int]]:
    for item in _objects(value):
        if count := whole(item.get("count")):
            yield day_of(item.get("date")), count


def _born(metadata: object, first_event: int | None, today: int) -> int | None:
    """The day on which the article came out: the first known one of its dates, else that of its first event."""
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
