"""What was found in a file: how it is read, what it gives, what looks wrong. Shown before anything is registered."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harvester.core.text.sanitize import printable
from harvester.core.urls.cells import split_cell
from harvester.core.urls.landing import LandingPages, LeftOut
from harvester.lists.columns import Columns
from harvester.lists.rows import is_doi, is_nothing

EXAMPLES = 3
"""How many works and lines without a DOI are kept to be shown."""

MAX_HOSTS = 1_000
"""So many hosts are counted each for itself; the rest together, as `OTHERS`."""

OTHERS = "(others)"

MAX_EXAMPLE_CHARS = 200


@dataclass(frozen=True, slots=True)
class UsedColumns:
    """What is read of a table, in words for people.

    Args:
        doi: the column with the DOIs.
        urls: the columns with the addresses.
        unused: columns that hold addresses or DOIs and are not read, each with what it holds.
        wrong: what looks wrong with the columns that are read.
    """

    doi: str = ""
    urls: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(slots=True)
class FileNotes:
    """What one file gives. It is filled while the file is read.

    Args:
        name: of the file, printable.
        format: as it is read.
        encoding: as it is read.
        columns: of a table; empty for any other format.
        works: lines, rows or entries that hold a DOI, further mentions included.
        invalid: those that hold something else.
        blank: those that hold nothing.
        hosts: how many addresses there are to be registered, by host.
        left_out: how many there are that are not, by reason.
        first_left_out: for each reason, where the first one is, and the address.
        examples: the first works, each with its addresses.
        bad_lines: the first lines that hold no DOI: where, what, and why.
    """

    name: str
    format: str = ""
    encoding: str = ""
    columns: UsedColumns = field(default_factory=UsedColumns)
    works: int = 0
    invalid: int = 0
    blank: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    first_left_out: dict[LeftOut, tuple[str, str]] = field(default_factory=dict)
    examples: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    bad_lines: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """Lines, rows or entries."""
        return self.works + self.invalid + self.blank

    def add_work(self, doi: str, urls: tuple[str, ...]) -> None:
        """Count a work, and its addresses by host."""
        self.works += 1
        if self.works <= EXAMPLES:
            self.examples.append((doi, tuple(url[:MAX_EXAMPLE_CHARS] for url in urls[:EXAMPLES])))
        for url in urls:
            host = host_of(url)
            self.hosts[host if host in self.hosts or len(self.hosts) < MAX_HOSTS else OTHERS] += 1

    def add_invalid(self, origin: str, text: str, why: str) -> None:
        """Count a line that holds no DOI."""
        self.invalid += 1
        if self.invalid <= EXAMPLES:
            self.bad_lines.append((origin, text, why))

    def add_left_out(self, reason: LeftOut, origin: str, url: str) -> None:
        """Count an address that is not to be registered."""
        self.left_out[reason] += 1
        if reason not in self.first_left_out:
            self.first_left_out[reason] = origin, url


def host_of(url: str) -> str:
    """The host of a web address, in lower case."""
    return url.split("/", 3)[2].lower() if url.count("/", 0, 9) >= 2 else ""


def describe_columns(rows: Sequence[Sequence[str]], columns: Columns) -> UsedColumns:
    """Describe what is read of a table, and which columns are not read although they hold addresses or DOIs.

    Args:
        rows: the first rows, the header included.
        columns: as they were chosen.
    """
    header = rows[0] if rows and columns.has_header else ()
    body = rows[1:] if columns.has_header else rows

    def label(column: int) -> str:
        named = header[column].strip() if column < len(header) else ""
        return printable(named, 60) or f"number {column + 1}"

    def holds(column: int, test: Callable[[str], bool]) -> bool:
        cells = [row[column] for row in body if column < len(row) and not is_nothing(row[column])]
        return bool(cells) and 2 * sum(map(test, cells)) >= len(cells)

    def is_empty(column: int) -> bool:
        return all(column >= len(row) or is_nothing(row[column]) for row in body)

    used = {columns.doi, *columns.urls}
    unused = []
    for column in range(max(map(len, rows), default=0)):
        if column not in used and holds(column, holds_address):
            unused.append(f"{label(column)} holds URLs and is not used; --url-column {label(column)} uses it")
        elif column not in used and holds(column, is_doi):
            unused.append(f"{label(column)} holds DOIs and is not used; --doi-column {label(column)} uses it")
    wrong = [
        f"fewer than half of the first cells in column {label(column)} hold an address with https://"
        for column in columns.urls
        if not is_empty(column) and not holds(column, lambda cell: "://" in cell)
    ]
    return UsedColumns(label(columns.doi), tuple(map(label, columns.urls)), tuple(unused), tuple(wrong))


_ANY = LandingPages()


def holds_address(cell: str) -> bool:
    """Whether there is an address in a cell that may be a landing page, or a database's record."""
    if "://" not in cell:
        return False
    return any(_ANY.why_left_out(piece) in (None, LeftOut.DATABASE) for piece in split_cell(cell))
