"""Tables: comma, semicolon, tab or pipe between the cells, quotes around those that need them.

A quote that is opened and never closed would swallow the rest of the file into one cell. A row may therefore go over
some lines only; where it would go further, its first line is taken as it stands.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harvester.lists.columns import Columns, choose_columns
from harvester.lists.lines import MAX_LINE_BYTES
from harvester.lists.rows import Row, doi_or_resolver, is_doi, is_nothing, split_urls

DELIMITERS = "\t;,|"

MAX_ROW_LINES = 200
MAX_ROW_CHARS = 128 * 1024
"""The csv module takes no longer cell."""

_QUOTED = re.compile(r'"[^"]*"')
_SICI_END = re.compile(r"\.co;2-.", re.IGNORECASE)
_EXCEL_HINT = re.compile(r"sep=(.)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is read.

    Args:
        delimiter: between cells.
        columns: where things stand.
        kbart: whether its online_identifier may hold other identifiers than DOIs.
    """

    delimiter: str
    columns: Columns
    kbart: bool = False


def find_delimiter(sample: Sequence[str], *, only: str = DELIMITERS) -> str | None:
    """What stands between the cells, by the first lines; None for a single column.

    It is the sign that the first line has, and the most lines have as often as the first. Where most lines are a DOI as
    they stand, commas and all, the first line has to be a header with a column for DOIs, or four in five lines have to
    agree: else the signs are part of the DOIs.
    """
    lines = [line for line in sample if not _is_aside(line)]
    if not lines:
        return None
    hint = _EXCEL_HINT.match(lines[0].strip())
    if hint:
        return hint[1]
    counts = {sign: [_between_cells(line, sign) for line in lines] for sign in only}
    candidates = [sign for sign in only if counts[sign][0]]
    best = max(candidates, key=lambda sign: _agreement(counts[sign]), default=None)
    if best is None or 2 * sum(map(is_doi, lines)) <= len(lines) or _names_doi(lines[0].split(best)):
        return best
    return best if 5 * _agreement(counts[best])[0] >= 4 * len(lines) else None


def _names_doi(cells: Sequence[str]) -> bool:
    return any(cell.strip(" \"'\ufeff").lower() in ("doi", "dois") for cell in cells)


def _agreement(counts: list[int]) -> tuple[int, int]:
    return sum(count == counts[0] for count in counts), counts[0]


def _between_cells(line: str, sign: str) -> int:
    """How often a sign stands between cells: not in quotes, not in the `;2-X` of a SICI, not at the line's end."""
    bare = _SICI_END.sub("", _QUOTED.sub("q", line)).rstrip(sign + " ")
    return bare.count(sign)


def _is_aside(line: str) -> bool:
    """A blank line, or a comment above the header."""
    return is_nothing(line) or (line.startswith("#") and not any(sign in line for sign in DELIMITERS))


def plan_table(
    name: str,
    sample: Sequence[str],
    delimiter: str,
    *,
    doi_column: str | None,
    url_column: str | None,
    kbart: bool = False,
) -> Table:
    """Decide how to read a table, by its first lines.

    Raises:
        InputUnusable: the column of DOIs cannot be told.
    """
    rows = [cells for _, cells, _ in _cells(sample, delimiter) if cells and not _is_empty(cells)]
    columns = choose_columns(name, rows[:200], doi_column=doi_column, url_column=url_column, kbart=kbart)
    return Table(delimiter, columns, kbart)


def read_table(lines: Iterable[str], table: Table) -> Iterator[Row]:
    """The rows of a table; its header is none."""
    columns = table.columns
    header_due = columns.has_header
    for number, cells, line in _cells(lines, table.delimiter):
        if cells is None:
            yield Row(number, line, problem=f"a row longer than {MAX_LINE_BYTES:,} bytes")
        elif header_due and not _is_empty(cells):
            header_due = False
        else:
            yield _row(number, cells, table)


def _row(number: int, cells: Sequence[str], table: Table) -> Row:
    columns = table.columns
    doi = cells[columns.doi] if columns.doi < len(cells) else ""
    if table.kbart and "10." not in doi:
        doi = ""  # an ISSN, an ISBN or a proprietary number, as KBART allows
    addresses = [cells[i] for i in columns.urls if i < len(cells)]
    text = doi_or_resolver(doi, addresses)
    return Row(number, text, split_urls(addresses) if text is not None and addresses else ())


def _is_empty(cells: Sequence[str]) -> bool:
    return all(is_nothing(cell) for cell in cells)


def _cells(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, Sequence[str] | None, str]]:
    """Each row's first line number, its cells (None if it is too long), and its first line."""
    source = iter(lines)
    waiting: deque[str] = deque()
    number = 0
    header_seen = False
    while True:
        line = waiting.popleft() if waiting else next(source, None)
        if line is None:
            return
        number += 1
        if not header_seen and _EXCEL_HINT.match(line.strip()):
            continue
        if not header_seen and _is_aside(line):
            yield number, (), line
            continue
        header_seen = True
        if len(line) > MAX_LINE_BYTES:
            yield number, None, line
            continue
        if '"' not in line:
            yield number, line.split(delimiter), line
            continue
        more = _continuation(line, source, waiting, delimiter)
        yield number, _parsed([line, *more], delimiter), line
        number += len(more)


def _continuation(line: str, source: Iterator[str], waiting: deque[str], delimiter: str) -> list[str]:
    """The lines that belong to a row because a quote is open; lines looked at in vain go back to `waiting`."""
    if line.count('"') % 2 == 0 or not _is_open(line, delimiter):
        return []
    more: list[str] = []
    size = len(line)
    while len(more) < MAX_ROW_LINES and size < MAX_ROW_CHARS:
        following = waiting.popleft() if waiting else next(source, None)
        if following is None:
            break
        more.append(following)
        size += len(following)
        if following.count('"') % 2 and not _is_open("\n".join([line, *more]), delimiter):
            return more
    waiting.extendleft(reversed(more))
    return []


def _is_open(text: str, delimiter: str) -> bool:
    """Whether a quoted cell has no end."""
    try:
        for _ in csv.reader([text], delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _parsed(lines: list[str], delimiter: str) -> Sequence[str]:
    """The cells of a row: by the rules; if it breaks them, leniently; if a quote has no end, cut at every sign."""
    text = "\n".join(lines)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        pass
    try:
        if not _is_open(text, delimiter):
            return next(csv.reader([text], delimiter=delimiter))
    except csv.Error:  # a cell over the module's limit
        pass
    return [cell.strip('" ') for cell in text.split(delimiter)]
