"""Which column of a table holds the DOIs, and which the URLs: decided from its first rows, or asked."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harvester.core.errors import InputUnusable
from harvester.core.sanitize import printable
from harvester.lists.rows import is_doi, is_nothing, split_urls

_DOI_NAMES = frozenset({"di", "digitalobjectidentifier", "onlineidentifier"})
"""Names of DOI columns that do not say so: Web of Science, spelled out, KBART."""

_URL_NAMES = frozenset(
    {"url", "urls", "titleurl", "landingpage", "landingpageurl", "landingurl", "articleurl", "fulltexturl"}
)
"""Names of columns with the work's own addresses. A database's `Link` is that of the database's record, and what was
registered stays registered (pitfall 22)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things stand in a row, from 0.

    Args:
        doi: the column of DOIs.
        urls: the columns of URLs.
        has_header: whether the first row names the columns.
    """

    doi: int
    urls: tuple[int, ...]
    has_header: bool


def choose_columns(
    name: str, rows: Sequence[Sequence[str]], *, doi_column: str | None, url_column: str | None, kbart: bool = False
) -> Columns:
    """Decide by the first rows of a table.

    The DOI column, in order: 1. what the user said, by name or number; 2. the one called `doi`; 3. the only one with a
    DOI column's name, or the only one of those that holds DOIs; 4. the only one that holds DOIs.

    Args:
        name: of the file, for messages.
        rows: the first ones.
        doi_column: a name, or a number from 1.
        url_column: likewise.
        kbart: whether the file is in KBART, where the columns are known.

    Raises:
        InputUnusable: there is no such column, or more than one; the message lists them.
    """
    first = rows[0] if rows else ()
    has_header = not any(is_doi(cell) for cell in first)
    body = rows[1:] if has_header else rows
    table = _Table(name, [cell.strip() for cell in first] if has_header else [], body, max(map(len, rows), default=0))
    if doi_column is not None:
        doi = table.find(doi_column, "--doi-column")
    else:
        known = table.named("online_identifier") if kbart else None
        doi = table.doi_column() if known is None else known
    if url_column is not None:
        return Columns(doi, (table.find(url_column, "--url-column"),), has_header)
    return Columns(doi, table.url_columns(doi), has_header)


class _Table:
    """The first rows of a table, and the questions asked of them."""

    def __init__(self, name: str, header: list[str], body: Sequence[Sequence[str]], width: int) -> None:
        self._name, self._header, self._body, self._width = printable(name), header, body, width

    def find(self, wanted: str, flag: str) -> int:
        """The column that the user names."""
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
        """The first column of that name, in whatever case."""
        names = [name.casefold() for name in self._header]
        return names.index(wanted.strip().casefold()) if wanted.strip().casefold() in names else None

    def doi_column(self) -> int:
        """The column of DOIs, told by names and contents."""
        exact = [i for i, name in enumerate(self._header) if _key(name) == "doi"]
        if len(exact) == 1:
            return exact[0]
        named = exact or [i for i, name in enumerate(self._header) if _names_dois(name)]
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
        """The columns that are named for URLs and hold some; where nothing has a name, the only one that holds some."""
        if not self._header:
            found = [
                i for i in range(self._width) if i != doi and self._holds(i, lambda cell: bool(split_urls([cell])))
            ]
            return tuple(found) if len(found) == 1 else ()
        named = [i for i, name in enumerate(self._header) if _key(name) in _URL_NAMES and i != doi]
        return tuple(i for i in named if self._holds(i, lambda cell: "://" in cell) or not self._body)

    def _holds_dois(self, column: int) -> bool:
        return self._holds(column, is_doi)

    def _holds(self, column: int, test: Callable[[str], bool]) -> bool:
        """Whether at least half of the cells that are not empty pass."""
        cells = [row[column] for row in self._body if column < len(row) and not is_nothing(row[column])]
        return bool(cells) and 2 * sum(map(test, cells)) >= len(cells)

    def _listed(self, columns: Sequence[int]) -> str:
        """Their names; numbers for those whose name would not tell them from others."""
        unique = {
            i for i in columns if i < len(self._header) and self._header[i] and self._header.count(self._header[i]) == 1
        }
        names = [printable(self._header[i], 40) if i in unique else str(i + 1) for i in columns]
        return ", ".join(names[:30]) + (", …" if len(names) > 30 else "") if names else "none"


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _names_dois(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return "doi" in words or "dois" in words or _key(name) in _DOI_NAMES
