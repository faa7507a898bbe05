"""Tables: CSV with any usual delimiter, TSV, KBART.

The column with the DOIs is found by its name, else by what is in it. A row is a data row; the header is none. A cell may
hold line ends if it is quoted.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row, as_urls
from harvester.doilist.sniff import is_doi, table_delimiter
from harvester.errors import InputUnusable
from harvester.text import printable

_NAMES = frozenset({"doi", "dois", "di", "digital object identifier", "digital object identifier (doi)", "doi number"})
"""Names that mean the DOI of the row itself."""

_LIKELY = re.compile(r"(?:^|[^a-z])dois?(?:$|[^a-z])")
"""Names with the word DOI in them: `article_doi`, `old_doi`, `doi link`."""

_KBART = "online_identifier"

_URL_NAMES = frozenset(
    {"url", "urls", "title_url", "landing_page", "landing page", "landing_page_url", "landing page url"}
)
"""Names of columns whose addresses are the work's own. A database's `Link` is not."""

SAMPLED = 200
"""Rows that are looked at to find the DOI column."""

csv.field_size_limit(10 * 1024 * 1024)


def rows(lines: Lines, *, doi_column: str | None, url_column: str | None) -> Iterator[Row]:
    """A row a data row, at the line it begins on.

    Raises:
        InputUnusable: the DOI column cannot be told, or a named column is not there.
    """
    table = _Table(lines)
    rest = iter(table)
    begin = list(islice(rest, SAMPLED + 1))
    if not begin:
        return
    header = _header(begin, wanted=bool(doi_column or url_column))
    data = begin[1:] if header else begin
    names = [name.strip().strip("\ufeff") for name in begin[0][1]] if header else []
    if len(names) == 1:
        table.rejoin = True
        data = [(number, [table.delimiter.join(cells)], cut) for number, cells, cut in data]
    chooser = _Chooser(lines.name, names, [cells for _, cells, _ in data])
    doi_at = chooser.doi_column(doi_column)
    url_at = chooser.url_columns(url_column)
    for number, cells, cut in chain(data, rest):
        text = cells[0] if cut and cells else _cell(cells, doi_at)
        yield Row(number, text, tuple(url for at in url_at for url in as_urls(_cell(cells, at))))


def _cell(cells: Sequence[str], at: int) -> str:
    return cells[at] if at < len(cells) else ""


class _Table:
    """The rows of a table: line number, cells, and whether the row was too long and is only its beginning."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.delimiter = table_delimiter([line for line in lines.sample() if line.strip()]) or ","
        self.rejoin = False
        self._overlong: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[tuple[int, list[str], bool]]:
        reader = csv.reader(self._texts(), delimiter=self.delimiter)
        while True:
            begin = self._lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                cells = ["(a cell that never ends)"]
            for number, text in self._overlong:
                yield number, [text], True
            self._overlong.clear()
            yield begin, [self.delimiter.join(cells)] if self.rejoin and cells else cells, False
        for number, text in self._overlong:
            yield number, [text], True

    def _texts(self) -> Iterator[str]:
        for text, cut in self._lines:
            if cut:
                self._overlong.append((self._lines.number, text))
            else:
                yield text + "\n"


def _header(begin: Sequence[tuple[int, list[str], bool]], *, wanted: bool) -> bool:
    """Whether the first row is a header: it holds no DOI, and something to call columns by."""
    cells = begin[0][1]
    return not any(map(is_doi, cells)) and (wanted or any(cell.strip() for cell in cells))


class _Chooser:
    """Finds columns.

    Args:
        source: name of the file, for messages.
        names: of the columns; empty without a header.
        sample: some rows.
    """

    def __init__(self, source: str, names: Sequence[str], sample: Sequence[Sequence[str]]) -> None:
        self._source = printable(source)
        self._names = names
        self._plain = [name.lower() for name in names]
        self._sample = sample

    def doi_column(self, wanted: str | None) -> int:
        """The index of the column with the DOIs.

        The cases, in order: 1. the user says; 2. one name that means just that; 3. one name with the word in it, among
        those that hold DOIs; 4. one column that holds DOIs; 5. a single column, whatever it holds.
        """
        if wanted is not None:
            return self._named(wanted, "--doi-column")
        exact = [at for at, name in enumerate(self._plain) if name in _NAMES]
        if len(exact) == 1:
            return exact[0]
        likely = exact or [at for at, name in enumerate(self._plain) if _LIKELY.search(name)]
        holding = self._holding_dois()
        for candidates in ([at for at in likely if at in holding] or likely, holding):
            if len(candidates) > 1:
                raise InputUnusable(
                    f"{self._source} has several columns with DOIs: {self._list(candidates)}. "
                    "Say which one with --doi-column NAME."
                )
            if candidates:
                return candidates[0]
        if max((len(cells) for cells in self._sample), default=1) <= 1:
            return 0
        raise InputUnusable(
            f"{self._source} has no column with DOIs; its columns are {self._list(range(self._width()))}. "
            "Say which one with --doi-column NAME, or the format with --format."
        )

    def url_columns(self, wanted: str | None) -> list[int]:
        """The indexes of the columns with URLs to register."""
        if wanted is not None:
            return [self._named(wanted, "--url-column")]
        return [at for at, name in enumerate(self._plain) if name in _URL_NAMES]

    def _named(self, wanted: str, flag: str) -> int:
        if wanted.lower() in self._plain:
            return self._plain.index(wanted.lower())
        if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= self._width():
            return int(wanted) - 1
        raise InputUnusable(
            f"{self._source} has no column {printable(wanted, 60)} ({flag}); "
            f"its columns are {self._list(range(self._width()))}."
        )

    def _holding_dois(self) -> list[int]:
        """Columns in which at least half of the cells with something in them are DOIs."""
        found = []
        for at in range(self._width()):
            cells = [cell for row in self._sample if (cell := _cell(row, at)).strip()]
            dois = sum(map(is_doi, cells))
            if dois and dois * 2 >= len(cells):
                found.append(at)
        return found

    def _width(self) -> int:
        return len(self._names) or max((len(cells) for cells in self._sample), default=0)

    def _list(self, columns: Sequence[int]) -> str:
        return ", ".join(printable(self._names[at], 40) if self._names else str(at + 1) for at in columns) or "none"
