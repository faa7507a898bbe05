"""JSON that is checked as a whole, but built into Python objects only where somebody looks.

harvester looks at a dozen values of a record. orjson builds all of it. simdjson checks as much and builds nothing: a
record of 18 kB takes a third of the time, and leaves no objects to be freed. Both refuse the same documents, except
those with integers of more than 64 bits, which only simdjson refuses (see `tests/records/test_lazy_json.py`). So what
simdjson accepts is accepted; where it refuses a document, or is not installed, orjson decides. A document whose objects
would take too much memory is built by nobody, see `harvester.records.large_json`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

import orjson

from harvester.records import large_json

if TYPE_CHECKING:
    from simdjson import Array, Object, Parser
else:
    try:
        from simdjson import Array, Object, Parser
    except (ImportError, RuntimeError):  # it is not packaged for each Python and machine, or does not run here
        Array, Object, Parser = list, dict, lambda _: None

T = TypeVar("T")

LEAST_BYTES = 4 * 1024
"""A smaller document is built faster by orjson than it is looked into."""

MOST_BYTES = 1024 * 1024
"""The largest records have 400 kB. The parser keeps its memory, up to twelve times the size of a document."""

CHEAP_BYTES = large_json.MOST_COST // (large_json.COST_A_TOKEN + large_json.MOST_BYTES_A_CHARACTER)
"""No document of this size costs too much, whatever is in it."""

_OBJECTS, _ARRAYS = (dict, Object), (list, Array)

_parser: Parser | None = Parser(MOST_BYTES)


def look_into(body: bytes, look: Callable[[object], T], *, built: bool = False) -> T:
    """Look into a document.

    Args:
        body: the document.
        look: a function that takes the document's value and looks into it with the functions below. The value may be a
            view, which must not be kept. It may be called twice. With duplicate keys the last counts, but a simdjson
            view returns the first; if a wanted key is repeated, the document is parsed again with orjson
            (`each_member` does without).
        built: whether `look` wants all of it as Python's own objects. To build them at once is faster than to look into
            a view first. A record that would cost too much is never built: then `look` gets what
            `harvester.records.large_json.seen` sees.

    Returns:
        What `look` returned.

    Raises:
        ValueError: the body is no JSON (RFC 8259), or has something that some readers refuse: a number too large for a
            double, half a surrogate pair, a depth of more than a thousand.
    """
    if len(body) > CHEAP_BYTES and large_json.cost(body) > large_json.MOST_COST:
        return look(large_json.seen(body))
    # One level deeper, as it will stand in a line of the output: what fits only by itself could not be read there.
    text = b"[%b]" % body
    if _parser and not built and LEAST_BYTES <= len(text) <= MOST_BYTES:
        # RuntimeError: somebody keeps a view.
        with suppress(ValueError, RuntimeError):
            return look(_only(_parser.parse(text)))
    return look(_only(orjson.loads(text)))


def is_object(value: object) -> bool:
    """Whether a value is a JSON object."""
    return isinstance(value, _OBJECTS)


def member(value: object, name: str) -> object:
    """The member with this name; None if there is none, or if `value` is no object."""
    return members(value, name)[0]


def members(value: object, *wanted: str) -> list[object]:
    """The members with these names. None stands for each that is missing, and for all if `value` is no object."""
    if not isinstance(value, _OBJECTS):
        return [None] * len(wanted)
    # Listing all names of a view is faster than asking it for one that it does not have.
    there = tuple(value)
    found = []
    for name in wanted:
        times = there.count(name)
        if times > 1:
            raise ValueError(f"several members are called {name}")
        found.append(value[name] if times else None)
    return found


def each_member(values: Sequence[object], name: str) -> list[object]:
    """The member with this name in each of some values; None where there is none.

    Seven times as fast as `member` for each, because no names are listed where all values have it. The price: with
    duplicate keys a view returns the first and a built value the last. So use it only where that does no harm.
    """
    objects = cast("Sequence[Mapping[str, object]]", values)
    try:
        return [value[name] for value in objects]
    except (KeyError, TypeError):
        return [value[name] if isinstance(value, _OBJECTS) and name in tuple(value) else None for value in values]


def names(value: object) -> Iterable[str]:
    """The names of an object's members; nothing if `value` is no object."""
    return value if isinstance(value, _OBJECTS) else ()


def elements(value: object) -> list[object] | None:
    """The elements of an array; None if `value` is no array."""
    return list(value) if isinstance(value, _ARRAYS) else None


def _only(values: object) -> object:
    found = elements(values)
    if found is None or len(found) != 1:
        raise ValueError("it is not one value")
    return found[0]
