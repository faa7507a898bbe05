"""Rows: what the reader of every format makes of its input."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi

MAX_KEPT_CHARS = 128 * 1024
"""The greatest length of the DOI and the URLs of one row, in characters. A line may be longer: the rest is not kept.

A DOI has one or two URLs, and cells of tables cannot be longer."""

TOO_MUCH_KEPT = f"its DOI and URLs are longer than {MAX_KEPT_CHARS >> 10} KiB"

WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""All white space of Unicode, which is what `\\s` means in a pattern."""

_NOTHING = frozenset({"", "0", ".", "na", "n/a", "#n/a", "nan", "none", "null", "nil", "-", "--", "–", "—", "?"})
"""What people write where there is no DOI."""

_AROUND = " \t\"',;\u00a0\ufeff"
_URL_START = re.compile(r"(?<![^\s|;,])(?=(?:https?|ftp)://)", re.IGNORECASE)
"""The place where a URL begins, at the start of a cell or behind a separator. It matches no separators itself, because
a search for a run of them would begin again at each of its characters."""
_ONE_URL = re.compile(r"https?://[^\s|;,\"'<>]+\Z")
_AROUND_URL = WHITE_SPACE + "|;,\"'<>"
_RESOLVER = re.compile(r"https?://(?:www\.)?(?:dx\.)?doi\.org/", re.IGNORECASE)


class Row(NamedTuple):
    """One line, row or entry of an input.

    Args:
        number: of the line, from 1; in a JSON document, of the entry.
        text: what stands where the DOI should be; None if nothing does.
        urls: to be registered for the DOI.
        problem: why the row cannot be read, if it cannot.
    """

    number: int
    text: str | None
    urls: tuple[str, ...] = ()
    problem: str | None = None


def is_nothing(text: str) -> bool:
    """Whether a cell is empty, or says that there is nothing, such as `n/a`."""
    return len(text) < 20 and text.strip(_AROUND).lower() in _NOTHING


def is_doi(text: str) -> bool:
    """Whether a cell is a DOI."""
    try:
        parse_doi(text)
    except InvalidDoi:
        return False
    return True


def split_urls(cells: Iterable[str]) -> tuple[str, ...]:
    """The URLs in some cells, each once. White space, `|`, `;` or `,` separates several URLs in one cell.

    Addresses of doi.org are left out: they only repeat the DOI.
    """
    found: dict[str, None] = {}
    for cell in cells:
        if _ONE_URL.match(cell):  # nearly all cells
            if not _RESOLVER.match(cell):
                found[cell] = None
        elif "://" in cell:
            pieces = (piece.strip(_AROUND_URL) for piece in _URL_START.split(cell))
            found.update(dict.fromkeys(piece for piece in pieces if _is_registrable(piece)))
    return tuple(found)


def _is_registrable(url: str) -> bool:
    return _URL_START.match(url) is not None and not _RESOLVER.match(url)


def doi_or_resolver(doi: str, urls: Iterable[str]) -> str | None:
    """Where the DOI is: in its own field, else in the first URL that is an address of doi.org; None if in neither."""
    if not is_nothing(doi):
        return doi
    return next((url for url in map(str.strip, urls) if _RESOLVER.match(url)), None)
