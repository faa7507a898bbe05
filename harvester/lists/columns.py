"""Find the columns of a table that hold the DOIs and the URLs: as the user said, or from the first rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.core.urls.cells import split_cell
from harvester.core.urls.landing import LandingPages
from harvester.lists.cells import holds_dois, looks_like_doi
from harvester.lists.header import names_dois, normalized
from harvester.lists.rows import is_doi, is_nothing

MOST_LISTED = 30
"""How many columns a message names."""

_KBART_NAMES = ("doi", "online_identifier", "title_id", "print_identifier")
"""Where a file in KBART may have the DOI. A column `doi` is no part of KBART, but some presses add it."""

_URL_NAMES = frozenset(
    {"url", "urls", "titleurl", "landingpage", "landingpageurl", "landingurl", "articleurl", "fulltexturl"}
)
"""Names of columns that hold addresses of the work itself.

`Link` is not among them: in exports of databases it is the address of the database's record, and a URL that was
registered by mistake cannot be taken back: OPERAS deletes nothing."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table, counted from 0.

    Args:
        doi: the column with the DOIs.
        urls: the columns with URLs.
        has_header: whether the first row names the columns.
        instead: columns that may hold the DOI where the first does not, in this order; None if the file is not in
            KBART.
        notes: the column of Zotero's Extra, in which a line `DOI: …` is the DOI of a work without one; None if there
            is none.
    """

    doi: int
    urls: tuple[int, ...]
    has_header: bool
    instead: tuple[int, ...] | None = None
    notes: int | None = None


def choose_columns(
    name: str,
    rows: Sequence[Sequence[str]],
    *,
    doi_column: str | None,
    url_column: str | None,
    kbart: bool = False,
    header_given: bool = False,
) -> Columns:
    """Find the columns from the first rows of a table.

    The DOI column is: 1. the one that the user named; 2. the only one called `doi`; 3. of the columns whose names mean
    DOIs, or of all if there is none: the only one that holds DOIs, else the only one that holds bare DOIs, else the
    only one there is.

    Args:
        name: of the file, for messages.
        rows: the first rows of the table.
        doi_column: name or number (from 1) of the DOI column; None to find it.
        url_column: the same for the URL column.
        kbart: whether the file is in KBART, which fixes the names of the columns.
        header_given: whether the user said that the first row is the header.

    Raises:
        InputUnusable: no column fits, or more than one; the message lists the columns.
    """
    first = rows[0] if rows else ()
    has_header = header_given or not any(is_doi(cell) for cell in first)
    columns = _chosen(name, rows, has_header, doi_column, url_column, kbart)
    if has_header and not header_given and columns.doi < len(first) and looks_like_doi(first[columns.doi]):
        # The first row is data, though its DOI is damaged: it is no header, and has to be accounted for.
        return _chosen(name, rows, False, doi_column, url_column, kbart)
    return columns


def _chosen(
    name: str,
    rows: Sequence[Sequence[str]],
    has_header: bool,
    doi_column: str | None,
    url_column: str | None,
    kbart: bool,
) -> Columns:
    header = [cell.strip() for cell in rows[0]] if has_header and rows else []
    table = _Table(name, header, rows[1:] if has_header else rows, max(map(len, rows), default=0))
    kbart = kbart or {"publication_title", "title_url"} <= set(map(str.casefold, header))
    named = [table.named(each) for each in _KBART_NAMES] if kbart and doi_column is None else []
    known = [column for column in named if column is not None]
    if doi_column is not None:
        doi = table.find(doi_column, "--doi-column")
    else:
        doi = known[0] if known else table.doi_column()
    urls = (table.find(url_column, "--url-column"),) if url_column is not None else table.url_columns(doi)
    notes = table.named("Extra") if doi_column is None else None
    return Columns(doi, urls, has_header, tuple(known[1:]) if kbart else None, notes)


class _Table:
    """The first rows of a table, and what can be learnt from them."""

    def __init__(self, name: str, header: list[str], body: Sequence[Sequence[str]], width: int) -> None:
        self._name, self._header, self._body, self._width = printable(name), header, body, width

    def find(self, wanted: str, flag: str) -> int:
        """The column that the user named, by name or by number."""
        found = self.named(wanted)
        if found is not None:
            return found
        if wanted.isdecimal() and 1 <= int(wanted) <= self._width:
            return int(wanted) - 1
        raise InputUnusable(
            f"{self._name} has no column {printable(wanted, 60)}. Its columns are {self._listed(range(self._width))}. "
            f"Name one of them with {flag}, or give its number."
        )

    def named(self, wanted: str) -> int | None:
        """The first column with this name, in any case; None if there is none."""
        names = [name.casefold() for name in self._header]
        return names.index(wanted.strip().casefold()) if wanted.strip().casefold() in names else None

    def doi_column(self) -> int:
        """The DOI column, found by names and contents."""
        exact = [i for i, name in enumerate(self._header) if normalized(name) == "doi"]
        if len(exact) == 1:
            return exact[0]
        named = exact or [i for i, name in enumerate(self._header) if names_dois(name)]
        candidates = [i for i in named or range(self._width) if self._holds_dois(i)]
        bare = [i for i in candidates if not self._holds(i, lambda cell: "://" in cell)]
        for choice in (candidates, bare, named, range(self._width)):
            if len(choice) == 1:
                return choice[0]
        columns = self._listed(candidates or range(self._width))
        if candidates:
            raise InputUnusable(
                f"{self._name} has several columns with DOIs: {columns}. Say which with --doi-column NAME."
            )
        raise InputUnusable(
            f"{self._name} has no column that is named for DOIs or holds them. Its columns are {columns}. "
            "Say which it is with --doi-column NAME, or what the file is with --format."
        )

    def url_columns(self, doi: int) -> tuple[int, ...]:
        """The URL columns: by name, or, in a table without a header, the only column that holds landing pages."""
        if not self._header:
            found = [i for i in range(self._width) if i != doi and self._holds(i, _is_landing_page)]
            return tuple(found) if len(found) == 1 else ()
        return tuple(i for i, name in enumerate(self._header) if normalized(name) in _URL_NAMES and i != doi)

    def _holds_dois(self, column: int) -> bool:
        return self._holds(column, holds_dois)

    def _holds(self, column: int, test: Callable[[str], bool]) -> bool:
        """Whether at least half of the cells that are not empty pass a test."""
        cells = [row[column] for row in self._body if column < len(row) and not is_nothing(row[column])]
        return bool(cells) and 2 * sum(map(test, cells)) >= len(cells)

    def _listed(self, columns: Sequence[int]) -> str:
        """The names of columns, for a message; a number in place of a name that is empty or not unique."""
        times = Counter(self._header)
        given = {i: self._header[i] for i in columns[:MOST_LISTED] if i < len(self._header)}
        names = [
            printable(given[i], 40) if given.get(i) and times[given[i]] == 1 else str(i + 1)
            for i in columns[:MOST_LISTED]
        ]
        return ", ".join(names) + (", …" if len(columns) > MOST_LISTED else "") if names else "none"


_PAGES = LandingPages()


def _is_landing_page(cell: str) -> bool:
    return "://" in cell and any(_PAGES.why_left_out(piece) is None for piece in split_cell(cell))
