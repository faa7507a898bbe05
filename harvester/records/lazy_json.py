"""JSON that is checked whole, and made into Python's objects only where somebody looks.

orjson builds all of a record, of which harvester looks at some dozen values. simdjson checks as much and builds
nothing: a record of 18 kB takes a third of the time, and leaves no tree to be taken down. They refuse the same
documents (see `test_jsonview.py`), save those with integers of more than 64 bits, which only simdjson refuses. So
simdjson may say yes; where it says no, or is not there, orjson has the last word.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

import orjson

if TYPE_CHECKING:
    from simdjson import Array, Object, Parser
else:
    try:
        from simdjson import Array, Object, Parser
    except (ImportError, RuntimeError):  # it is not packaged for each Python and machine, or does not run here
        Array, Object, Parser = list, dict, lambda _: None

T = TypeVar("T")

LEAST_BYTES = 4 * 1024
"""Less than this is built sooner than looked into."""

MOST_BYTES = 1024 * 1024
"""The largest records have 400 kB. The parser keeps its memory, up to twelve times the size of a document."""

_OBJECTS, _ARRAYS = (dict, Object), (list, Array)

_parser: Parser | None = Parser(MOST_BYTES)


def look_into(body: bytes, look: Callable[[object], T]) -> T:
    """What somebody sees in a document.

    Args:
        body: the document.
        look: is given the value that it is, to be looked into with the functions below. It may be a view, which must
            not be kept. It may be called twice: of several members with one name the last one counts, which a view
            does not tell, so that everything is built where one is looked for (`each_member` aside).

    Raises:
        ValueError: it is no JSON (RFC 8259), or has what some readers do not take: a number beyond all doubles, half a
            surrogate pair, a depth of more than a thousand.
    """
    # One level deeper, as it will stand in a line of the output: what fits only by itself could not be read there.
    text = b"[%b]" % body
    if _parser and LEAST_BYTES <= len(text) <= MOST_BYTES:
        # RuntimeError: somebody keeps a view.
        with suppress(ValueError, RuntimeError):
            return look(_only(_parser.parse(text)))
    return look(_only(orjson.loads(text)))


def is_object(value: object) -> bool:
    """Whether it can have members."""
    return isinstance(value, _OBJECTS)


def member(value: object, name: str) -> object:
    """What stands under a name; None where there is no such member, or `value` is no object."""
    return members(value, name)[0]


def members(value: object, *wanted: str) -> list[object]:
    """What stands under each of some names; None for one that is not there, and for all if `value` is no object."""
    if not isinstance(value, _OBJECTS):
        return [None] * len(wanted)
    # A view takes longer to say that it does not have a name than to list those that it has.
    there = tuple(value)
    found = []
    for name in wanted:
        times = there.count(name)
        if times > 1:
            raise ValueError(f"several members are called {name}")
        found.append(value[name] if times else None)
    return found


def each_member(values: Sequence[object], name: str) -> list[object]:
    """What stands under a name in each of some values; None where there is no such member.

    Seven times as quick as `member` for each, for no names are listed where all have it. The price: of several members
    with that name a view tells the first, a built value the last. So it is for what a server may claim as it likes.
    """
    objects = cast("Sequence[Mapping[str, object]]", values)
    try:
        return [value[name] for value in objects]
    except (KeyError, TypeError):
        return [value[name] if isinstance(value, _OBJECTS) and name in tuple(value) else None for value in values]


def names(value: object) -> Iterable[str]:
    """The names of an object's members; none if it is no object."""
    return value if isinstance(value, _OBJECTS) else ()


def elements(value: object) -> list[object] | None:
    """The elements of an array; None if it is none."""
    return list(value) if isinstance(value, _ARRAYS) else None


def _only(values: object) -> object:
    found = elements(values)
    if found is None or len(found) != 1:
        raise ValueError("it is not one value")
    return found[0]
