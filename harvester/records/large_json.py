"""JSON that would cost too much to build: it is checked as a whole, and built only where somebody looks.

An answer of 32 MiB may hold ten million empty arrays, which take a gigabyte as objects; or one letter that makes each
character of a long string take four bytes. So the cost is estimated before anything is built. What costs more than
`MOST_COST` is checked by msgspec, which skips over values and builds none. Three things that it does not look at are
checked here: UTF-8, the depth, and numbers that are too large for a double. So no document is taken that orjson would
refuse, and none is refused that it would take, except for more than 500 levels and numbers of thousands of digits. All
of it takes time in proportion to the length, and little memory.
"""

import codecs
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import TypeVar

import msgspec
import orjson

MOST_COST = 8 * 1024 * 1024
"""Bytes that objects built of one document may take. The largest records, with 400 kB, take about five million."""

COST_A_TOKEN = 100
"""Bytes that orjson takes at most for each bracket, colon or comma: an object with one member takes the most."""

MOST_BYTES_A_CHARACTER = 4

MOST_IN_SOURCES = 20_000
"""Commas in a large list of sources that is still looked into source by source."""

MOST_DEPTH = 500
"""The deepest nesting of a document that is too large to be built. orjson reads 1,024 levels; how many msgspec skips
over depends on Python's stack, but it is more than these."""

PIECE_BYTES = 64 * 1024
"""Of a long document so much is looked at at a time."""

LONGEST_NUMBER = 4096
"""A number in a document too large to be built has fewer characters than this."""

LONGEST_PLAIN = 4096
"""Bytes of a name, number or URL that is read out of a part too large to be built."""

_NO_TOKENS = bytes(sorted({*range(256)} - {*b",:[{"}))
_NUMBER = re.compile(rb"-?[0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+")
_NUMBER_GOES_ON = re.compile(rb"[-+.0-9eE]*+")
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 300
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(sorted({*range(256)} - {*_STEPS}))
_NOTHING = msgspec.Raw()
_STRING, _ARRAY, _OBJECT = b'"[{'

T = TypeVar("T")


class Unbuilt(dict[str, object]):
    """An object that would cost too much: it has only members that harvester looks at, and cannot be compared."""


UNKNOWN_SOURCE = Unbuilt()
"""Stands for all sources where they are too many to be looked at."""


class _Record(msgspec.Struct):
    doi: msgspec.Raw = _NOTHING
    altmetrics_sources: msgspec.Raw = _NOTHING
    metadata: msgspec.Raw = _NOTHING
    open_access: msgspec.Raw = _NOTHING


class _Source(msgspec.Struct):
    source_id: msgspec.Raw = _NOTHING
    events_count: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct):
    URL: msgspec.Raw = _NOTHING
    resource: msgspec.Raw = _NOTHING
    best_oa_location: msgspec.Raw = _NOTHING
    crossref_url: msgspec.Raw = _NOTHING
    oadoi_url: msgspec.Raw = _NOTHING


class _KnownPart(_Part, forbid_unknown_fields=True):
    pass


class _Resource(msgspec.Struct):
    primary: msgspec.Raw = _NOTHING


class _Primary(msgspec.Struct):
    URL: msgspec.Raw = _NOTHING


class _Location(msgspec.Struct):
    url_for_landing_page: msgspec.Raw = _NOTHING
    url: msgspec.Raw = _NOTHING


def cost(document: bytes | memoryview) -> int:
    """How many bytes the objects of a document take at most if it is built; exact only up to `MOST_COST`.

    It is counted and not parsed: each value that takes memory of its own has a bracket, a colon or a comma. Text takes
    a byte a character, or up to four as soon as there is anything but ASCII in it.
    """
    tokens, is_ascii = 0, True
    for piece in _pieces(document):
        tokens += len(piece.translate(None, _NO_TOKENS))
        is_ascii = is_ascii and piece.isascii() and b"\\u" not in piece and not piece.endswith(b"\\")
        if tokens * COST_A_TOKEN > MOST_COST:
            break
    return tokens * COST_A_TOKEN + len(document) * (1 if is_ascii else MOST_BYTES_A_CHARACTER)


def seen(body: bytes | memoryview) -> object:
    """A record that costs too much to be built, with everything in it that harvester looks at.

    Args:
        body: the document.

    Returns:
        Its members by name, as far as they are looked at. A part that is too large is an `Unbuilt`; where that says
        nothing it is None.

    Raises:
        ValueError: the body is no JSON object, or has something that some readers refuse.
    """
    record = _decoded(body, _Record)
    _check_text(body)
    _check_outside_of_strings(body)
    left = MOST_COST
    found: dict[str, object] = {}
    for name in record.__struct_fields__:
        part = memoryview(getattr(record, name))
        if part and (costs := cost(part)) <= left:
            left -= costs
            found[name] = orjson.loads(part)
        elif part:
            found[name] = _unbuilt(name, part)
    return found


def _decoded(body: bytes | memoryview, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def _unbuilt(name: str, part: memoryview) -> object:
    """What stands for a part that costs too much."""
    if name == "doi":
        # Enough to show whose record it claims to be; no DOI is that long.
        return bytes(part[1:LONGEST_PLAIN]).decode("utf-8", "replace") + "…" if part[0] == _STRING else None
    if name == "altmetrics_sources":
        return _unbuilt_sources(part) if part[0] == _ARRAY else None
    return _unbuilt_object(part) if part[0] == _OBJECT else None


def _unbuilt_sources(part: memoryview) -> list[object]:
    if sum(piece.count(b",") for piece in _pieces(part)) > MOST_IN_SOURCES:
        return [UNKNOWN_SOURCE]
    sources = [memoryview(source) for source in _decoded(part, list[msgspec.Raw])]
    return [Unbuilt(_plain_members(source, _Source)) if source[0] == _OBJECT else None for source in sources]


def _unbuilt_object(part: memoryview) -> Unbuilt:
    found = Unbuilt(_plain_members(part, _Part))
    location = memoryview(_decoded(part, _Part).best_oa_location)
    if location and location[0] == _OBJECT:
        found["best_oa_location"] = Unbuilt(_plain_members(location, _Location))
    resource = memoryview(_decoded(part, _Part).resource)
    primary = memoryview(_decoded(resource, _Resource).primary) if resource and resource[0] == _OBJECT else resource
    if primary and primary[0] == _OBJECT:
        found["resource"] = Unbuilt(primary=Unbuilt(_plain_members(primary, _Primary)))
    if not _has_only(part, _KnownPart):
        found[""] = None  # stands for all others, which have names that nobody looks for
    return found


def _has_only(part: memoryview, kind: type[msgspec.Struct]) -> bool:
    """Whether an object has no members but those of `kind`."""
    try:
        msgspec.json.decode(part, type=kind)
    except msgspec.ValidationError:
        return False
    return True


def _plain_members(part: memoryview, kind: type[msgspec.Struct]) -> dict[str, object]:
    """The wanted members of an object. None stands for lists, objects and long texts."""
    known = _decoded(part, kind)
    values = {name: memoryview(getattr(known, name)) for name in known.__struct_fields__}
    return {name: _plain(value) for name, value in values.items() if value}


def _plain(value: memoryview) -> object:
    is_plain = len(value) <= LONGEST_PLAIN and value[0] not in (_ARRAY, _OBJECT)
    return orjson.loads(value) if is_plain else None


def _pieces(document: bytes | memoryview) -> Iterator[bytes]:
    view = memoryview(document)
    return (bytes(view[at : at + PIECE_BYTES]) for at in range(0, len(view), PIECE_BYTES))


def _check_text(body: bytes | memoryview) -> None:
    """Raise a `ValueError` if the body is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for piece in _pieces(body):
        decoder.decode(piece)
    decoder.decode(b"", final=True)


def _check_outside_of_strings(body: bytes | memoryview) -> None:
    """Raise a `ValueError` if valid JSON is nested too deeply, or has a number that is too large for a double."""
    depth = 0
    for text in _outside_of_strings(body):
        brackets = text.translate(None, _NO_BRACKETS)
        outer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if depth + 1 + _opened(outer) > MOST_DEPTH:  # otherwise there is no need to look closely
            deepest = max(accumulate(map(_STEPS.__getitem__, brackets), initial=depth))
            if deepest > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH:,} levels deep")
        depth += 2 * _opened(outer) - len(outer)
        shape = text.translate(_SHAPE)
        if b"e0" in shape or b"e+" in shape or _MANY_DIGITS in shape:
            _check_numbers(text)


def _opened(brackets: bytes) -> int:
    return brackets.count(b"[") + brackets.count(b"{")


def _check_numbers(text: bytes) -> None:
    for number in _NUMBER.findall(text):
        if len(number) >= LONGEST_NUMBER:
            raise ValueError(f"a number has {LONGEST_NUMBER:,} characters or more")
        if math.isinf(float(number)):
            raise ValueError("a number is too large for a double")


def _outside_of_strings(body: bytes | memoryview) -> Iterator[bytes]:
    """Valid JSON without what is inside of strings, piece by piece; no number is cut in two."""
    start, is_inside = 0, False
    while start < len(body):
        end = start + PIECE_BYTES
        piece = bytes(body[start:end])
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # the escape ends with the next byte
            end += 1
            piece = bytes(body[start:end])
        # Pairs of backslashes first: then a backslash before a quotation mark escapes it.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = parts[is_inside::2]
        is_inside ^= len(parts) % 2 == 0
        if not is_inside and _NUMBER_GOES_ON.fullmatch(piece[-1:]):
            rest = _NUMBER_GOES_ON.match(body, end, end + LONGEST_NUMBER)
            assert rest is not None  # noqa: S101 - it matches nothing as well
            if len(rest[0]) == LONGEST_NUMBER:
                raise ValueError(f"a number has {LONGEST_NUMBER:,} characters or more")
            outside[-1] += rest[0]
            end = rest.end()
        yield b'"'.join(outside)
        start = end
