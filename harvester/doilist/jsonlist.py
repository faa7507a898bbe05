"""JSON: a document that holds a list, or JSON Lines; entries are texts, or objects with a `doi`."""

from collections.abc import Iterator

import orjson

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row, as_urls
from harvester.errors import InputUnusable
from harvester.text import printable

MAX_DOCUMENT = 256 * 1024 * 1024
"""Bytes. A document has to be held in memory as a whole; JSON Lines does not."""

_LISTS = ("dois", "items", "works", "results", "data", "records", "references", "message")
"""Where an object may hold its list."""


def document(lines: Lines) -> Iterator[Row]:
    """A row an entry of the list that a document is, or holds.

    Raises:
        InputUnusable: no JSON, no list in it, or too large.
    """
    name = printable(lines.name)
    content = lines.document(MAX_DOCUMENT)
    if content is None:
        raise InputUnusable(f"{name} is larger than a JSON document may be here (256 MiB); make JSON Lines of it.")
    try:
        tree = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InputUnusable(f"{name} is no valid JSON: {printable(str(error), 120)}.") from None
    entries = _list_in(tree)
    if entries is None:
        raise InputUnusable(
            f"{name} holds no list of DOIs. Known are a list of texts or of objects with a doi, "
            f"or an object that holds one under {', '.join(_LISTS)}."
        )
    for number, entry in enumerate(entries, 1):
        yield _entry(number, entry)


def rows(lines: Lines) -> Iterator[Row]:
    """A row a line of JSON Lines; a line that is no JSON is a row of its own text, and so a failure."""
    for text, cut in lines:
        if not text.strip():
            yield Row(lines.number, "")
            continue
        try:
            yield Row(lines.number, text) if cut else _entry(lines.number, orjson.loads(text))
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            yield Row(lines.number, text)


def _list_in(tree: object) -> list[object] | None:
    if isinstance(tree, list):
        return tree
    if not isinstance(tree, dict):
        return None
    if _member(tree, "doi") is not None:
        return [tree]
    for key in _LISTS:
        found = _list_in(_member(tree, key))
        if found is not None:
            return found
    return None


def _member(entry: dict[object, object], name: str) -> object:
    """A member of an object, whatever the case of its name."""
    return next((value for key, value in entry.items() if isinstance(key, str) and key.lower() == name), None)


def _entry(number: int, entry: object) -> Row:
    if isinstance(entry, dict):
        doi = _member(entry, "doi")
        if doi is None:
            return Row(number, "")
        urls = tuple(url for name in ("url", "urls") for url in _urls(_member(entry, name)))
        return Row(number, doi if isinstance(doi, str) else orjson.dumps(doi).decode(), urls)
    if entry is None:
        return Row(number, "")
    return Row(number, entry if isinstance(entry, str) else orjson.dumps(entry).decode())


def _urls(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return as_urls(value)
    if isinstance(value, list):
        return tuple(url for item in value if isinstance(item, str) for url in as_urls(item))
    return ()
