"""JSON documents and JSON Lines.

An entry is a string or an object. An object has its DOI under `doi`, in any case (Crossref, CSL-JSON, OpenAlex,
Unpaywall, and harvester's own records), or where DataCite and Semantic Scholar keep it. A document is a list of
entries, one entry, or an object that contains exactly one list.
"""

from collections.abc import Iterable, Iterator, Mapping

import orjson

from harvester.core.errors import InputUnusable
from harvester.core.sanitize import printable
from harvester.lists.rows import Row, doi_or_resolver, split_urls

MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""A JSON document is held in memory as a whole. Larger lists have to be JSON Lines."""

MAX_JSON_LINE_BYTES = 32 * 1024 * 1024

_INSIDE = ("externalids", "ids", "attributes", "message")
"""Objects inside an entry that may hold its DOI: Semantic Scholar, OpenAlex, DataCite, one work from Crossref."""

_URL_KEYS = ("url", "urls", "landing_page", "landing_page_url", "title_url")


def read_document(name: str, blocks: Iterable[bytes], doi_key: str | None, url_key: str | None) -> Iterator[Row]:
    """Read one JSON document. The numbers of the rows count entries, not lines.

    Raises:
        InputUnusable: the document is not JSON, too large, or no list of DOIs.
    """
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > MAX_DOCUMENT_BYTES:
            raise InputUnusable(
                f"{printable(name)} is a JSON document of more than {MAX_DOCUMENT_BYTES >> 20} MiB. "
                "Make it JSON Lines, one object a line (jq -c '.[]')."
            )
    if not data.strip():
        return
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputUnusable(
            f"{printable(name)} is not valid JSON (line {error.lineno}, column {error.colno}: "
            f"{printable(error.msg, 100)}). If it has one object a line, say --format jsonl."
        ) from None
    for number, entry in enumerate(_entries(name, document, doi_key), 1):
        yield entry_row(number, entry, doi_key, url_key)


def _entries(name: str, document: object, doi_key: str | None) -> list[object]:
    if isinstance(document, list):
        return document
    if isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        if _doi_of(document, doi_key) is not None:
            return [document]
        inner = document.get("message")
        lists = [value for value in _values(document, inner) if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    raise InputUnusable(
        f"{printable(name)} is JSON, but no list of DOIs: it should be a list of strings, or of objects with a key doi."
    )


def _values(document: Mapping[str, object], inner: object) -> list[object]:
    return [*document.values(), *(inner.values() if isinstance(inner, dict) else ())]


def read_json_lines(lines: Iterable[str], doi_key: str | None, url_key: str | None) -> Iterator[Row]:
    """Read JSON Lines. A broken line becomes a row with a problem."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            yield Row(number, None)
        elif len(line) > MAX_JSON_LINE_BYTES:
            yield Row(number, line[:1000], problem=f"a line longer than {MAX_JSON_LINE_BYTES >> 20} MiB")
        else:
            try:
                entry = orjson.loads(line)
            except (orjson.JSONDecodeError, UnicodeEncodeError):
                yield Row(number, line, problem="the line is not valid JSON")
            else:
                yield entry_row(number, entry, doi_key, url_key)


def entry_row(number: int, entry: object, doi_key: str | None, url_key: str | None) -> Row:
    """Make a row of one entry."""
    if isinstance(entry, str):
        return Row(number, doi_or_resolver(entry, ()))
    if entry is None:
        return Row(number, None)
    if not isinstance(entry, dict):
        return Row(number, str(entry), problem="neither a string nor an object with a key doi")
    addresses = [url for key in ([url_key] if url_key else _URL_KEYS) for url in _strings(_get(entry, key))]
    doi = _doi_of(entry, doi_key)
    if doi is not None and not isinstance(doi, str):
        return Row(number, str(doi)[:1000], problem="the DOI is not a string")
    text = doi_or_resolver(doi or "", addresses)
    return Row(number, text, split_urls(addresses) if text is not None else ())


def _doi_of(entry: Mapping[str, object], doi_key: str | None) -> object:
    """What stands where the DOI should be; None if nothing does. Of a list with one item, that item."""
    key = doi_key or "doi"
    found = _get(entry, key)
    if found is None and doi_key is None:
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
