"""Rows: what the reader of every format makes of its input."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi
from harvester.core.urls.cells import NOTHING, split_cell

MAX_KEPT_CHARS = 128 * 1024
"""The greatest length of the DOI and the URLs of one row, in characters. A line may be longer: the rest is not kept.

A DOI has one or two URLs, and cells of tables cannot be longer."""

TOO_MUCH_KEPT = f"its DOI and URLs are longer than {MAX_KEPT_CHARS >> 10} KiB"

_AROUND = " \t\"',;\u00a0\ufeff"
_RESOLVER = re.compile(r"https?://(?:www\.)?(?:dx\.)?doi\.org/", re.IGNORECASE)


class Row(NamedTuple):
    """One line, row or entry of an input.

    Args:
        number: of the line, from 1; in a JSON document, of the entry.
        text: what stands where the DOI should be; None if nothing does.
        urls: what stands where addresses of the work should be, in pieces; each an address or something else.
        problem: why the row cannot be read, if it cannot.
    """

    number: int
    text: str | None
    urls: tuple[str, ...] = ()
    problem: str | None = None


def is_nothing(text: str) -> bool:
    """Whether a cell is empty, or says that there is nothing, such as `n/a`."""
    return len(text) < 20 and text.strip(_AROUND).lower() in NOTHING


def is_doi(text: str) -> bool:
    """Whether a cell is a DOI."""
    try:
        parse_doi(text)
    except InvalidDoi:
        return False
    return True


def split_urls(cells: Iterable[str]) -> tuple[str, ...]:
    """The pieces of some cells, each once: addresses, and what else stands there; see `harvester.core.urls.cells`."""
    return tuple(dict.fromkeys(piece for cell in cells for piece in split_cell(cell)))


def doi_or_resolver(doi: str, urls: Iterable[str]) -> str | None:
    """Where the DOI is: in its own field, else in the first URL that is an address of doi.org; None if in neither."""
    if not is_nothing(doi):
        return doi
    return next((url for url in map(str.strip, urls) if _RESOLVER.match(url)), None)


def row_with(number: int, doi: str | None, addresses: Iterable[str]) -> Row:
    """The row of a line or entry. Where there is no DOI, addresses are nobody's, and are not kept."""
    return Row(number, doi, split_urls(addresses) if doi is not None else ())
