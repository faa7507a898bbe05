"""Read back what nights remember in a ledger: JSON that an older or later version wrote, or somebody's hand.

Each function takes the text as it is in the ledger, or None. What is not of the right form is as if it had never been
remembered: a night begins without it and learns anew.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import orjson

from harvester.records.events import EventHistory


def _parsed(text: str | None) -> object:
    try:
        return orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return None


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number that counts something."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(text: str | None) -> float:
    """A number; 0 if there is none."""
    value = _parsed(text)
    return float(value) if is_number(value) else 0.0


def numbers(text: str | None) -> list[float]:
    """A list of numbers; an empty one if any of them is none."""
    values = _parsed(text)
    return [float(value) for value in values] if isinstance(values, list) and all(map(is_number, values)) else []


def texts(text: str | None) -> list[str]:
    """A list of texts; other items are left out."""
    values = _parsed(text)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def rows(text: str | None, length: int) -> list[list[Any]]:
    """A list of rows of numbers, some of them null; rows of another length or with anything else are left out."""
    values = _parsed(text)
    return [row for row in values if _is_row(row, length)] if isinstance(values, list) else []


def _is_row(row: object, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(each is None or is_number(each) for each in row)


def members(text: str | None) -> Mapping[str, object]:
    """An object; an empty one if it is none."""
    values = _parsed(text)
    return values if isinstance(values, dict) else {}


def counts(value: object) -> dict[str, int]:
    """Counts by name, of a parsed object; members that are no count are left out."""
    return {name: count for name, count in value.items() if is_count(count)} if isinstance(value, dict) else {}


def history(text: str | None) -> EventHistory | None:
    """The numbers about the events of a record; None if they are not there, or not whole."""
    values = _parsed(text)
    if not isinstance(values, list) or len(values) != len(EventHistory._fields):
        return None
    total, fortnight, *days = values
    if not (is_count(total) and is_count(fortnight) and all(day is None or isinstance(day, int) for day in days)):
        return None
    return EventHistory(total, fortnight, *days)
