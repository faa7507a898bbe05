"""Tables: cells separated by comma, semicolon, tab or pipe, with quotes around the cells that need them.

A quote that is never closed would make one cell of the rest of the file. So a row may span a limited number of lines;
if it would need more, its first line is read as a row by itself.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from harvester.lists.cells import doi_in_note, holds_dois, looks_like_doi
from harvester.lists.columns import Columns, choose_columns
from harvester.lists.header import MOST_ABOVE, find_header, split_line
from harvester.lists.lines import MAX_LINE_BYTES
from harvester.lists.notes import UsedColumns, describe_columns
from harvester.lists.rows import Row, doi_or_resolver, is_doi, is_nothing, row_with

DELIMITERS = "\t;,|"

MAX_ROW_LINES = 200
MAX_ROW_CHARS = 128 * 1024
"""How long a row of several lines may be."""

csv.field_size_limit(2 * MAX_LINE_BYTES)  # of the whole process; nobody else reads tables in it

_QUOTED = re.compile(r'"[^"]*"')
_SICI_END = re.compile(r"\.co;2-.", re.IGNORECASE)
_LONE_NAME = re.compile(r"[\"']?dois?[\"']?((?P<sign>[,;|\t])[,;|\t \"]*)\Z", re.IGNORECASE)
_EXCEL_HINT = re.compile(r"sep=(.)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is read.

    Args:
        delimiter: between the cells.
        columns: where DOIs and URLs are.
        above: how many lines stand above the header, or above the first row.
        described: the columns in words.
    """

    delimiter: str
    columns: Columns
    above: int = 0
    described: UsedColumns = UsedColumns()


def find_delimiter(sample: Sequence[str], *, only: str = DELIMITERS) -> str | None:
    """Find the delimiter from the first lines; None for a single column.

    Candidates are the signs in the first line. The best is the one that most lines contain as often as the first line.
    DOIs may contain these signs too. So if most lines are a DOI as a whole, the best sign counts only if the first line
    is a header with a DOI column, or if four in five lines agree.

    Args:
        sample: the first lines.
        only: the signs that may be delimiters.
    """
    lines = [line for line in sample if not _is_blank_or_comment(line)]
    if not lines:
        return None
    hint = _EXCEL_HINT.match(lines[0].strip())
    if hint:
        return hint[1]
    header = find_header(sample, only)
    if header is not None and header.delimiter is not None and header.line > 1:
        return header.delimiter
    lone = _LONE_NAME.match(lines[0].strip(" \ufeff"))
    if lone and lone[1][:1] in only:  # further columns have no name
        return lone[1][0]
    counts = {sign: [_between_cells(line, sign) for line in lines] for sign in only}
    candidates = [sign for sign in only if counts[sign][0]]
    if not candidates:
        return _below_a_title(lines, only)
    best = max(candidates, key=lambda sign: _agreement(counts[sign]), default=None)
    if best is None or 2 * sum(map(is_doi, lines)) <= len(lines) or _names_doi(lines[0].split(best)):
        return best
    return best if 5 * _agreement(counts[best])[0] >= 4 * len(lines) else None


def _below_a_title(lines: Sequence[str], only: str) -> str | None:
    """The delimiter of a table below a title: that of the first row with a DOI, if a line above has it as often."""
    for i, line in enumerate(lines[:MOST_ABOVE]):
        if looks_like_doi(line):
            signs = [sign for sign in only if any(map(is_doi, split_line(line, sign))) and not is_doi(line)]
            alike = [sign for sign in signs if _between_cells(line, sign) in _counts(lines[:i], sign)]
            return alike[0] if alike else None
    return None


def _counts(lines: Sequence[str], sign: str) -> set[int]:
    """How often a sign is in the lines that have it."""
    return {_between_cells(line, sign) for line in lines} - {0}


def _names_doi(cells: Sequence[str]) -> bool:
    return any(cell.strip(" \"'\ufeff").lower() in ("doi", "dois") for cell in cells)


def _agreement(counts: list[int]) -> tuple[int, int]:
    """How many lines contain a sign as often as the first line; and how often that is."""
    return sum(count == counts[0] for count in counts), counts[0]


def _between_cells(line: str, sign: str) -> int:
    """How often a sign separates cells. In quotes, in the `;2-X` of a SICI and at the end of the line it does not."""
    bare = _SICI_END.sub("", _QUOTED.sub("q", line)).rstrip(sign + " ")
    return bare.count(sign)


def _is_blank_or_comment(line: str) -> bool:
    """Whether a line above the header is blank or a comment."""
    return is_nothing(line) or (line.startswith("#") and not any(sign in line for sign in DELIMITERS))


def plan_table(
    name: str,
    sample: Sequence[str],
    delimiter: str,
    *,
    doi_column: str | None,
    url_column: str | None,
    kbart: bool = False,
    header_row: int | None = None,
) -> Table:
    """Decide from its first lines how to read a table. For the other arguments see `choose_columns`.

    Args:
        name: of the file, for messages.
        sample: its first lines.
        delimiter: between the cells.
        doi_column: name or number of the DOI column; None to find it.
        url_column: the same for the URL column.
        kbart: whether the file is in KBART.
        header_row: the number of the line with the names, from 1; None to find it.

    Raises:
        InputUnusable: it is not clear which column holds the DOIs.
    """
    above = header_row - 1 if header_row is not None else _lines_above(sample, delimiter, doi_column)
    rows = [cells for _, cells, _ in _cells(sample[above:], delimiter) if cells and not _is_empty(cells)]
    columns = choose_columns(
        name,
        rows[:200],
        doi_column=doi_column,
        url_column=url_column,
        kbart=kbart,
        header_given=header_row is not None,
    )
    given = {"doi_given": doi_column is not None, "urls_given": url_column is not None}
    return Table(delimiter, columns, above, describe_columns(rows[:200], columns, **given))


def _lines_above(sample: Sequence[str], delimiter: str, doi_column: str | None) -> int:
    """How many lines stand above the header.

    The header is the line that names the DOI column; else, if a single cell stands in the first row and several in the
    rows with DOIs, the first row with several cells.
    """
    wanted = None if doi_column is None or doi_column.isdecimal() else doi_column
    header = find_header(sample, delimiter, wanted)
    if header is not None and header.delimiter == delimiter:
        return header.line - 1
    rows = [(number, cells) for number, cells, _ in _cells(sample[: MOST_ABOVE + 1], delimiter) if cells]
    first = next((i for i, (_, cells) in enumerate(rows) if any(map(is_doi, cells))), None)
    if not first:
        return 0
    width = _filled(rows[first][1])
    filled = [_filled(cells) for _, cells in rows[:first]]
    if width < 2 or max(filled) < 2 or next((count for count in filled if count), 0) > 1:
        return 0
    return next(rows[i][0] - 1 for i, count in enumerate(filled) if count > 1)


def _filled(cells: Sequence[str]) -> int:
    return sum(not is_nothing(cell) for cell in cells)


def read_table(lines: Iterable[str], table: Table) -> Iterator[Row]:
    """Read a table; its header, and what stands above it, are skipped."""
    columns = table.columns
    header_due = columns.has_header
    source = iter(lines)
    for _ in islice(source, table.above):
        pass
    for number, cells, line in _cells(source, table.delimiter, table.above):
        if cells is None:
            yield Row(number, line, problem=f"a row longer than {MAX_LINE_BYTES:,} bytes")
        elif header_due and not _is_empty(cells):
            header_due = False
        else:
            yield _row(number, cells, table)


def _row(number: int, cells: Sequence[str], table: Table) -> Row:
    columns = table.columns
    doi = cells[columns.doi] if columns.doi < len(cells) else ""
    addresses = [cells[i] for i in columns.urls if i < len(cells)]
    if columns.instead is not None and "10." not in doi:  # an ISSN, an ISBN or a proprietary number, as KBART allows
        text = doi_or_resolver("", addresses) or _first_doi(cells[i] for i in columns.instead if i < len(cells))
    else:
        text = doi_or_resolver(doi, addresses)
    if text is None and columns.notes is not None and columns.notes < len(cells):
        text = doi_in_note(cells[columns.notes])
    return row_with(number, text, addresses)


def _first_doi(cells: Iterable[str]) -> str | None:
    return next((cell for cell in cells if "10." in cell and holds_dois(cell)), None)


def _is_empty(cells: Sequence[str]) -> bool:
    return all(is_nothing(cell) for cell in cells)


def _cells(lines: Iterable[str], delimiter: str, above: int = 0) -> Iterator[tuple[int, Sequence[str] | None, str]]:
    """Cut a table into rows: the number of the first line, the cells (None if too long) and the first line of each.

    Args:
        lines: of the table.
        delimiter: between the cells.
        above: how many lines were read before.
    """
    source = iter(lines)
    waiting: deque[str] = deque()
    number = above
    header_seen = False
    while True:
        line = waiting.popleft() if waiting else next(source, None)
        if line is None:
            return
        number += 1
        if not header_seen and _EXCEL_HINT.match(line.strip()):
            continue
        if not header_seen and _is_blank_or_comment(line):
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
    """The further lines of a row whose quote is still open. Lines that do not close it go back to `waiting`."""
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
    """Whether the last quote is not closed."""
    try:
        for _ in csv.reader([text], delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _parsed(lines: list[str], delimiter: str) -> Sequence[str]:
    """The cells of a row: 1. read strictly; 2. else leniently; 3. if a quote stays open, split at every delimiter."""
    text = "\n".join(lines)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        pass
    try:
        if not _is_open(text, delimiter):
            return next(csv.reader([text], delimiter=delimiter))
    except csv.Error:  # a cell is longer than the csv module takes
        pass
    return [cell.strip('" ') for cell in text.split(delimiter)]
