"""JSON that is checked whole, and made into Python's objects only where somebody looks.

orjson builds all of a record, of which harvester looks at some dozen values. simdjson checks as much and builds
nothing: a record of 18 kB takes a third of the time, and leaves no tree to be taken down. They refuse the same
documents (see `test_jsonview.py`), save those with integers of more than 64 bits, which only simdjson refuses. So
simdjson may say yes; where it says no, or is not there, orjson has the last word.
"""

from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import orjson

_IS_HERE = find_spec("simdjson") is not None  # it is not packaged for each Python and machine

if TYPE_CHECKING or _IS_HERE:
    from simdjson import Array, Object, Parser
else:
    Array, Object = list, dict

_OBJECTS, _ARRAYS = (dict, Object), (list, Array)

LEAST_BYTES = 4 * 1024
"""Less than this is built sooner than looked into."""

MOST_BYTES = 2 * 1024 * 1024
"""For more than this the parser would need much memory, and keep it."""

_parser = Parser(MOST_BYTES) if _IS_HERE else None


def parsed(body: bytes) -> object:
    """The value that a body is; a large one may be a view, to be looked into with the functions below.

    Of several members of one name the last one counts in the outermost object, as everywhere in what orjson reads.
    A view has to be let go of before the next call, or that one will build everything.

    Raises:
        ValueError: it is no JSON (RFC 8259), or has what some readers do not take: a number beyond all doubles, half a
            surrogate pair, a depth of more than a thousand.
    """
    # One level deeper, as it will stand in a line of the output: what fits only by itself could not be read there.
    text = b"[%b]" % body
    if _parser and LEAST_BYTES <= len(text) <= MOST_BYTES:
        with suppress(ValueError, RuntimeError):
            [value] = elements(_parser.parse(text)) or []
            if not _has_twins(value):
                return value
    [value] = orjson.loads(text)
    return value


def is_object(value: object) -> bool:
    """Whether it has members."""
    return isinstance(value, _OBJECTS)


def member(value: object, name: str) -> object:
    """What stands under a name; None where there is no such member, or `value` is no object."""
    # `get` of a view is slow where there is nothing.
    return value[name] if isinstance(value, _OBJECTS) and name in value else None


def members(values: Iterable[object], name: str) -> list[object]:
    """What stands under a name in those of some values that are objects and have it."""
    return [value[name] for value in values if isinstance(value, _OBJECTS) and name in value]


def names(value: object) -> Iterable[str]:
    """The names of an object's members; none if it is no object."""
    return value if isinstance(value, _OBJECTS) else ()


def elements(value: object) -> list[object] | None:
    """The elements of an array; None if it is none."""
    return list(value) if isinstance(value, _ARRAYS) else None


def _has_twins(value: object) -> bool:
    known = list(names(value))
    return len(known) != len(set(known))
