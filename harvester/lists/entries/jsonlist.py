"""JSON documents and JSON Lines.

An entry is a string or an object. An object has its DOI under `doi`, in any case (Crossref, CSL-JSON, OpenAlex,
Unpaywall, and harvester's own records), or where `json_entry` knows it to be. A document is an entry, a list of
entries, or an object with such a list somewhere in it. Further documents may follow.

Documents, lines and entries may have any size. Of a large entry, only the members with the DOI and the URLs are built.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final

import orjson

from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.lists.entries.json_entry import INSIDE, JsonKeys, has_doi, lists_in, row_of, shown
from harvester.lists.entries.json_text import BadJson, JsonText, parsed
from harvester.lists.rows import TOO_MUCH_KEPT, Row, doi_or_resolver

MAX_BUILT_BYTES = 256 * 1024
"""The greatest size of an entry or a line that is built as a whole, and of what is built of a larger one."""

MAX_OBJECT_BYTES = 1024 * 1024
"""The greatest size of a document that is built as a whole. A larger one has to have a list in it."""

MAX_SHOWN_BYTES = 1_000
"""How much is kept of a large line that is no JSON."""

_LISTS = ("results", "items", "data", "records", "docs", "works", "publications", "hits", "result", "entry")
"""Keys under which services give a list of works: OpenAlex, Crossref, DataCite, HAL, Zenodo, Europe PMC, Scopus."""

_LOOKED_AT = 1_000
"""How many entries of a list are looked at to see whether it is one of works."""

_NESTED = 4
"""How deep in a document a list of works may be."""

_OVERSIZE: Final = object()
"""Stands for an entry whose DOI and URLs have more than MAX_BUILT_BYTES."""


_KEYS_TOLD = "a key such as doi, DOI, dois or prism:doi"


class _NotAList(Exception):
    """A document is no list of DOIs; the message says why."""

    def __init__(self, why: str = f"no list in it has objects with {_KEYS_TOLD}") -> None:
        super().__init__(f"{why}. Say where the DOI is with --doi-column, such as response.docs.doi")


# Documents


def read_document(name: str, blocks: Iterable[bytes], keys: JsonKeys) -> Iterator[Row]:
    """Read one JSON document. The numbers of the rows count entries, not lines.

    Raises:
        InputUnusable: the document is not JSON, or no list of DOIs. In a large one this may come to light only after
            some entries.
    """
    text, number = JsonText(blocks), 0
    try:
        for number, entry in enumerate(_entries(text, keys), 1):
            yield entry_row(number, entry, keys)
    except BadJson as error:
        place = f"line {text.line:,}" + (f", after entry {number:,}" if number else "")
        raise InputUnusable(
            f"{printable(name)} is not valid JSON ({place}: {printable(str(error), 100)}). "
            "If it has one object a line, say --format jsonl."
        ) from None
    except _NotAList as error:
        raise InputUnusable(f"{printable(name)} is JSON, but no list of DOIs: {error}.") from None


def _entries(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    """The entries of a document, and of those that follow it."""
    while text.peek():
        yield from _entries_of_one(text, keys)
        if text.peek() == b",":  # objects that somebody took out of a list
            text.take(b",")


def _entries_of_one(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    first = text.peek()
    if first == b"[":
        yield from _items(text, keys)
    elif (whole := text.value(MAX_OBJECT_BYTES)) is not None:
        yield from _entries_in(_built(whole), keys)
    elif first == b"{":
        yield from _entries_in_large(text, keys)
    else:
        raise _NotAList


def _items(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    """The items of an array."""
    for items in text.batches(MAX_BUILT_BYTES):
        if items is not None:
            yield from items
        else:
            thin = _thinned(text, keys)
            yield _OVERSIZE if thin is None else _built(thin)


def _entries_in(document: object, keys: JsonKeys) -> list[object]:
    """The entries of a document that was built."""
    if isinstance(document, str):
        return [document]
    if not isinstance(document, dict):
        raise _NotAList
    if (column := _column_in(document, keys)) is not None:
        return column
    if has_doi(document, keys):
        return [document]
    lists = list(lists_in(document, _NESTED))
    if keys.doi:
        lists = [(path, found) for path, found in lists if keys.path()[: path.count(".") + 1] == _split(path)] or lists
    with_dois = [each for each in lists if any(has_doi(entry, keys) for entry in each[1][:_LOOKED_AT])]
    for some in (with_dois, [each for each in with_dois if _split(each[0])[-1] in _LISTS], lists):
        if len(some) == 1:
            return some[0][1]
    if with_dois:
        raise _several(path for path, _ in with_dois)
    raise _NotAList


def _column_in(document: Mapping[str, object], keys: JsonKeys) -> list[object] | None:
    """The DOIs of a table that is written column by column; None if it is none."""
    for name in (keys.doi.lower(),) if keys.doi else ("doi", "dois"):
        column = next((value for key, value in document.items() if key.lower() == name), None)
        if isinstance(column, dict) and all(key.isdecimal() for key in column):
            column = list(column.values())
        if isinstance(column, list) and all(item is None or isinstance(item, str) for item in column):
            return column
    return None


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.lower().split("."))


def _several(paths: Iterable[str]) -> _NotAList:
    named = ", ".join(printable(path, 40) for path in islice(paths, 5))
    return _NotAList(f"there are several lists in it ({named})")


def _entries_in_large(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    """The entries of a document that is too large to be built, which is an object with one list of works in it."""
    taken: tuple[str, ...] = ()
    for path in _outer_members(text):
        if path == ("doi",) and text.peek() != b"[":
            raise _NotAList(
                f"it is one work of more than {MAX_OBJECT_BYTES >> 20} MiB. Make it one line (jq -c), and say "
                "--format jsonl"
            )
        is_known = keys.path()[: len(path)] == path if keys.doi else path[-1] in _LISTS or path == ("doi",)
        is_outer = len(path) == 1 or path[:-1] == ("message",)
        is_better = is_outer and not keys.doi and not (taken and taken[-1] in _LISTS)
        if text.peek() != b"[" or not (is_known or is_better):
            text.skip()
        elif taken:
            raise _several([".".join(taken), ".".join(path)])
        else:
            taken = path
            yield from _items(text, keys)
    if not taken:
        raise _NotAList


def _outer_members(text: JsonText, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the members of an object, and of those in objects inside it. It stands at the value of each."""
    for name in text.members():
        here = (*path, _key(name))
        if text.peek() == b"{" and len(path) < _NESTED:
            yield from _outer_members(text, here)
        else:
            yield here


# JSON Lines


def read_json_lines(lines: Iterable[bytes], decode: Callable[[bytes], str], keys: JsonKeys) -> Iterator[Row]:
    """Read JSON Lines. A broken line becomes a row with a problem.

    Args:
        lines: of the file. Each that has more than MAX_BUILT_BYTES went through `shortened`.
        decode: makes text of a line that need not be UTF-8.
        keys: of DOIs and URLs.
    """
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_BUILT_BYTES:
            yield entry_row(number, _OVERSIZE, keys)
        elif not line.strip():
            yield Row(number, None)
        else:
            try:
                entry = parsed(line if line.isascii() else decode(line))
            except ValueError:
                yield Row(number, decode(line), problem="the line is not valid JSON")
            else:
                yield entry_row(number, entry, keys)


def shortened(pieces: Iterable[bytes], keys: JsonKeys) -> bytes:
    """What stands for a line that is too large to be built: the same entry with the DOI and the URLs alone.

    Args:
        pieces: of the line.
        keys: of DOIs and URLs.

    Returns:
        A line of JSON; one that is no JSON if the given one is not; one of more than MAX_BUILT_BYTES if DOI and URLs
        are as large.
    """
    rest = iter(pieces)
    first = next(rest, b"")
    text = JsonText(chain([first], rest))
    try:
        thin = _thinned(text, keys)
        if text.peek():
            raise BadJson("something follows the entry")
    except BadJson:
        # The ellipsis keeps a line from being JSON whose first part is.
        return first[:MAX_SHOWN_BYTES].decode("utf-8", "ignore").encode() + "…".encode()
    return b" " * (MAX_BUILT_BYTES + 1) if thin is None else thin


# Entries


def entry_row(number: int, entry: object, keys: JsonKeys) -> Row:
    """Make a row of one entry."""
    if isinstance(entry, str):
        return Row(number, doi_or_resolver(entry, ()))
    if entry is None:
        return Row(number, None)
    if entry is _OVERSIZE:
        return Row(number, "", problem=TOO_MUCH_KEPT)
    if isinstance(entry, list) and entry and all(isinstance(item, str) for item in entry):
        return Row(number, "; ".join(entry))
    if not isinstance(entry, dict):
        return Row(number, shown(entry), problem="neither a string nor an object with a key doi")
    return row_of(number, entry, keys)


def _thinned(text: JsonText, keys: JsonKeys) -> bytes | None:
    """Read an entry of any size. Returns it with DOI and URLs alone; None if these have more than MAX_BUILT_BYTES."""
    first = text.peek()
    if first != b"{":
        text.skip()
        return b"[]" if first == b"[" else None
    return _thinned_object(text, keys.wanted(), () if keys.doi else INSIDE)


def _thinned_object(text: JsonText, wanted: Container[str], inside: Container[str]) -> bytes | None:
    """The same for an object: its wanted members, and those of the objects inside it."""
    kept: list[bytes] = []
    room = MAX_BUILT_BYTES
    for name in text.members():
        key, value = _key(name), None
        if room and key in inside and text.peek() == b"{":
            value = _thinned_object(text, wanted, ())
        elif room and key in wanted:
            value = text.value(room)
            if value is None:
                text.skip()
        else:
            text.skip()
            continue
        room = 0 if value is None else max(0, room - len(name) - len(value) - 2)
        kept.append(b"%b:%b" % (name, value or b""))
    return b"{%b}" % b",".join(kept) if room else None


def _built(text: bytes) -> object:
    """The Python object of a JSON text."""
    try:
        return parsed(text)
    except ValueError as error:
        raise BadJson(getattr(error, "msg", str(error))) from None


def _key(name: bytes) -> str:
    """The name of a member in lower case; empty if it is no JSON."""
    try:
        return str(orjson.loads(name)).lower()
    except orjson.JSONDecodeError:
        return ""
