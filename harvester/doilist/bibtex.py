"""BibTeX: entries from one `@` at a line's start to the next, each parsed by bibtexparser on its own."""

import logging
import re
from collections.abc import Iterator

from bibtexparser.entrypoint import parse_string

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row, as_urls

MAX_ENTRY = 5_000
"""Lines of an entry that are kept; a file that never ends an entry is not held in memory."""

_BEGIN = re.compile(r"\s*@\s*([A-Za-z]+)\s*[{(]")
_NO_ENTRIES = frozenset({"comment", "string", "preamble"})
_ESCAPED = re.compile(r"\\([_&%#$])|[{}]")

logging.getLogger("bibtexparser").addHandler(logging.NullHandler())
logging.getLogger("bibtexparser").propagate = False
"""What it says of a broken entry we say ourselves."""


def rows(lines: Lines) -> Iterator[Row]:
    """A row an entry, at its first line."""
    begin, entry = 0, list[str]()
    for text, _ in lines:
        match = _BEGIN.match(text)
        if match:
            if begin:
                yield _row(begin, entry)
            begin, entry = (0 if match[1].lower() in _NO_ENTRIES else lines.number), []
        if begin and len(entry) < MAX_ENTRY:
            entry.append(text)
    if begin:
        yield _row(begin, entry)


def _row(number: int, entry: list[str]) -> Row:
    library = parse_string("\n".join(entry))
    if not library.entries:
        return Row(number, f"broken BibTeX entry: {entry[0].strip()}")
    fields = {field.key.lower(): str(field.value) for field in library.entries[0].fields}
    return Row(number, _plain(fields.get("doi", "")), as_urls(_plain(fields.get("url", ""))))


def _plain(value: str) -> str:
    """A value without braces and TeX's escapes."""
    return _ESCAPED.sub(lambda match: match[1] or "", value)
