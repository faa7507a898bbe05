"""JSON documents and JSON Lines.

An entry is a string or an object. An object has its DOI under `doi`, in any case (Crossref, CSL-JSON, OpenAlex,
Unpaywall, and harvester's own records), or where DataCite and Semantic Scholar keep it. A document is a list of
entries, one entry, or an object that contains exactly one list.

Documents, lines and entries may have any size. Of a large entry, only the members with the DOI and the URLs are built.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

import orjson

from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.lists.json_text import BadJson, JsonText
from harvester.lists.rows import TOO_MUCH_KEPT, Row, doi_or_resolver, split_urls

MAX_BUILT_BYTES = 256 * 1024
"""The greatest size of an entry or a line that is built as a whole, and of what is built of a larger one."""

MAX_OBJECT_BYTES = 1024 * 1024
"""The greatest size of a document that is built as a whole. A larger one has to have a list in it."""

MAX_SHOWN_BYTES = 1_000
"""How much is kept of a large line that is no JSON."""

_INSIDE = ("externalids", "ids", "attributes", "message")
"""Objects inside an entry that may hold its DOI: Semantic Scholar, OpenAlex, DataCite, one work from Crossref."""

_URL_KEYS = ("url", "urls", "landing_page", "landing_page_url", "title_url")

_OVERSIZE: Final = object()
"""Stands for an entry whose DOI and URLs have more than MAX_BUILT_BYTES."""


class JsonKeys(NamedTuple):
    """The keys that the user named, in any case.

    Args:
        doi: of the DOI; None for `doi`, also in the objects inside an entry that may hold it.
        url: of the URLs; None for the usual ones.
    """

    doi: str | None = None
    url: str | None = None

    def of_doi(self) -> str:
        """The key of the DOI."""
        return self.doi or "doi"

    def of_urls(self) -> tuple[str, ...]:
        """The keys of the URLs."""
        return (self.url,) if self.url else _URL_KEYS


class _NotAList(Exception):
    """A document is no list of DOIs; the message says why."""

    def __init__(self, why: str = "it should be a list of strings, or of objects with a key doi") -> None:
        super().__init__(why)


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
        if text.peek():
            raise BadJson("something follows its end")
    except BadJson as error:
        place = f"line {text.line:,}" + (f", after entry {number:,}" if number else "")
        raise InputUnusable(
            f"{printable(name)} is not valid JSON ({place}: {printable(str(error), 100)}). "
            "If it has one object a line, say --format jsonl."
        ) from None
    except _NotAList as error:
        raise InputUnusable(f"{printable(name)} is JSON, but no list of DOIs: {error}.") from None


def _entries(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    """The entries of a document."""
    first = text.peek()
    if first == b"[":
        yield from _items(text, keys)
    elif first and (whole := text.value(MAX_OBJECT_BYTES)) is not None:
        yield from _entries_in(_built(whole), keys)
    elif first == b"{":
        yield from _entries_in_large(text, keys)
    elif first:
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
    if isinstance(document, dict):
        if _doi_of(document, keys) is not None:
            return [document]
        inner = document.get("message")
        values = [*document.values(), *(inner.values() if isinstance(inner, dict) else ())]
        lists = [value for value in values if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    raise _NotAList


def _entries_in_large(text: JsonText, keys: JsonKeys) -> Iterator[object]:
    """The entries of a document that is too large to be built, which is an object with one list in it."""
    listed = False
    for name in _outer_members(text):
        if _key(name) == keys.of_doi().lower():
            raise _NotAList(
                f"it is one work of more than {MAX_OBJECT_BYTES >> 20} MiB. Make it one line (jq -c), and say "
                "--format jsonl"
            )
        if text.peek() != b"[":
            text.skip()
        elif listed:
            raise _NotAList("there are several lists in it")
        else:
            listed = True
            yield from _items(text, keys)
    if not listed:
        raise _NotAList


def _outer_members(text: JsonText) -> Iterator[bytes]:
    """The members of an object, and of the object `message` in it."""
    for name in text.members():
        if _key(name) == "message" and text.peek() == b"{":
            yield from text.members()
        else:
            yield name


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
                entry = orjson.loads(line if line.isascii() else decode(line))
            except orjson.JSONDecodeError:
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
    if not isinstance(entry, dict):
        return Row(number, _shown(entry), problem="neither a string nor an object with a key doi")
    addresses = [url for key in keys.of_urls() for url in _strings(_get(entry, key))]
    doi = _doi_of(entry, keys)
    if doi is not None and not isinstance(doi, str):
        return Row(number, _shown(doi), problem="the DOI is not a string")
    text = doi_or_resolver(doi or "", addresses)
    return Row(number, text, split_urls(addresses) if text is not None else ())


def _thinned(text: JsonText, keys: JsonKeys) -> bytes | None:
    """Read an entry of any size. Returns it with DOI and URLs alone; None if these have more than MAX_BUILT_BYTES."""
    first = text.peek()
    if first != b"{":
        text.skip()
        return b"[]" if first == b"[" else None
    wanted = frozenset(key.lower() for key in (keys.of_doi(), *keys.of_urls()))
    return _thinned_object(text, wanted, () if keys.doi else _INSIDE)


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
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadJson(error.msg) from None


def _key(name: bytes) -> str:
    """The name of a member in lower case; empty if it is no JSON."""
    try:
        return str(orjson.loads(name)).lower()
    except orjson.JSONDecodeError:
        return ""


def _shown(value: object) -> str:
    """A value that is no DOI, for a message. A list or an object may be nested deeply."""
    return "[…]" if isinstance(value, list) else "{…}" if isinstance(value, dict) else str(value)


def _doi_of(entry: Mapping[str, object], keys: JsonKeys) -> object:
    """What stands where the DOI should be; None if nothing does. Of a list with one item, that item."""
    key = keys.of_doi()
    found = _get(entry, key)
    if found is None and keys.doi is None:
        inside = (_get(entry, name) for name in _INSIDE)
        found = next((_get(inner, key) for inner in inside if isinstance(inner, dict) and _get(inner, key)), None)
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _get(entry: Mapping[str, object], key: str) -> object:
    """The value of a key, whose case may differ; None if it is missing."""
    if key in entry:
        return entry[key]
    return next((value for name, value in entry.items() if name.lower() == key.lower()), None)


def _strings(value: object) -> list[str]:
    """The strings in a value: the value itself, or the items of a list."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]
