"""Find the line with the names of the columns: often something stands above it, such as a title or "exported on …"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harvester.lists.cells import holds_dois, looks_like_doi
from harvester.lists.rows import is_nothing

MOST_ABOVE = 60
"""How many lines are looked at for the names."""

MOST_BELOW = 40
"""How many lines below are looked at for DOIs."""

MAX_HEADER_CHARS = 32 * 1024

_CELL = re.compile(r'"((?:[^"]|"")*)"')
_DOI_NAMES = frozenset({"di", "digitalobjectidentifier", "onlineidentifier"})
"""Names of DOI columns without the word DOI: of Web of Science, spelled out, and of KBART."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where the names of the columns are.

    Args:
        line: its number, from 1; also 1 if only blank lines and comments are above it.
        delimiter: between the names; None if there is only one.
    """

    line: int
    delimiter: str | None


def find_header(sample: Sequence[str], signs: str, wanted: str | None = None) -> Header | None:
    """The first line that names a column for DOIs, and has DOIs in this column below; None if there is none.

    Below a line with a DOI there is no header any more: nothing that may be a work is passed over unasked.

    Args:
        sample: the first lines of the file.
        signs: that may be delimiters.
        wanted: the name of the column, if the user said it. No DOIs need to be below it then.
    """
    for index, line in enumerate(sample[:MOST_ABOVE]):
        if wanted is None and _is_row(line, signs):
            return None
        if is_nothing(line) or len(line) > MAX_HEADER_CHARS or looks_like_doi(line):
            continue
        below = sample[index + 1 : index + 1 + MOST_BELOW]
        for sign in [*sorted((sign for sign in signs if sign in line), key=line.count, reverse=True), None]:
            if _is_header(line, sign, below, wanted):
                is_first = all(is_nothing(other) or other.startswith("#") for other in sample[:index])
                return Header(1 if is_first else index + 1, sign)
    return None


def _is_row(line: str, signs: str) -> bool:
    """Whether a line has DOIs already. No header comes below: what looks like one is a line without a DOI."""
    if not looks_like_doi(line) or len(line) > MAX_HEADER_CHARS:
        return False
    return holds_dois(line) or any(
        holds_dois(cell) for sign in signs if sign in line for cell in split_line(line, sign)
    )


def split_line(line: str, delimiter: str | None) -> list[str]:
    """The cells of one line, with quotes taken off; a cell that goes on in the next line ends here."""
    if delimiter is None:
        return [line.strip(' "\ufeff')]
    if '"' in line:
        inner = str.maketrans({delimiter: "\0"})
        line = _CELL.sub(lambda match: match[1].translate(inner), line)
    return [cell.replace("\0", delimiter).strip(' "\ufeff') for cell in line.split(delimiter)]


def normalized(name: str) -> str:
    """The letters and digits of a column name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def names_dois(name: str) -> bool:
    """Whether a column name means DOIs, such as `articleDOI` or `Digital Object Identifier`."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return "doi" in words or "dois" in words or normalized(name) in _DOI_NAMES


def _is_header(line: str, sign: str | None, below: Sequence[str], wanted: str | None) -> bool:
    cells = split_line(line, sign)
    if wanted is not None:
        return wanted.strip().casefold() in [cell.casefold() for cell in cells]
    named = [i for i, cell in enumerate(cells) if names_dois(cell) and len(cell) < 60 and (sign or len(cell) < 30)]
    if not named:
        return False
    rows = [split_line(row, sign) for row in below]
    return any(holds_dois(row[i]) for i in named for row in rows if i < len(row))
