"""What was found in a file: how it is read, what it gives, what looks wrong. Shown before anything is registered."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from shlex import quote

from harvester.core.errors import FailureKind
from harvester.core.model import Failure, Stage
from harvester.core.text.sanitize import printable
from harvester.core.urls.cells import split_cell
from harvester.core.urls.landing import IN_WORDS, SILENT, LandingPages, LeftOut, without_credentials
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
        works: DOIs, further mentions included.
        invalid: those that hold something else.
        blank: those that hold nothing.
        hosts: how many addresses there are to be registered, by host.
        left_out: how many there are that are not, by reason.
        first_left_out: for each reason, where the first one is, and the address.
        examples: the first works, each with its addresses.
        bad_lines: the first lines that hold no DOI: where, what, and why.
        lost: signs that were taken off at the end of DOIs: how often, and where first.
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
    lost: dict[str, tuple[int, str]] = field(default_factory=dict)

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

    def add_lost(self, sign: str, origin: str) -> None:
        """Count a sign that was taken off at the end of a DOI."""
        times, first = self.lost.get(sign, (0, origin))
        self.lost[sign] = times + 1, first

    def add_left_out(self, reason: LeftOut, origin: str, url: str) -> None:
        """Count an address that is not to be registered."""
        self.left_out[reason] += 1
        if reason not in self.first_left_out:
            self.first_left_out[reason] = origin, url

    def warnings(self) -> Iterator[str]:
        """What looks wrong, in sentences."""
        if not (self.works or self.invalid or self.blank):
            yield f"{self.name} holds nothing"
        elif not self.works:
            column = f" in column {self.columns.doi}" if self.columns.doi else ""
            example = f" ({self.bad_lines[0][0]}: {self.bad_lines[0][2]})" if self.bad_lines else ""
            yield (
                f"{self.name} gives no DOI: of {self.invalid + self.blank:,} lines, {self.invalid:,} hold none"
                f"{column}{example}, {self.blank:,} are empty there"
            )
        for sign, (times, first) in self.lost.items():
            taken_off = f"{times:,} {'DOI' if times == 1 else 'DOIs'} (the first: {first})"
            yield f"{self.name}: a {'full stop' if sign == '.' else 'slash'} at the end was taken off {taken_off}"
        yield from (f"{self.name}: {sentence}" for sentence in (*self.columns.wrong, *self.columns.unused))
        for reason, times in self.left_out.items():
            if reason is not LeftOut.REPEATS_DOI:
                what = f"{times:,} {'URL is' if times == 1 else 'URLs are'} left out, because {IN_WORDS[reason]}"
                if reason is LeftOut.TEXT:
                    what = f"{times:,} {'text' if times == 1 else 'texts'} in URL columns hold no address"
                where, url = self.first_left_out[reason]
                yield f"{self.name}: {what} (the first: {where}: {url})"


@dataclass(frozen=True, slots=True)
class Sorter:
    """Sorts the addresses of the works of one file.

    Args:
        pages: tells landing pages.
        notes: of the file; they count what is left out.
        now: a timestamp.
    """

    pages: LandingPages
    notes: FileNotes
    now: str

    def sort_out(
        self, pieces: Iterable[str], doi: str, origin: str, *, several: bool
    ) -> tuple[tuple[str, ...], tuple[Failure, ...]]:
        """Sort what stands where the addresses of a work should be.

        Args:
            pieces: of the cells, see `harvester.core.urls.cells`.
            doi: of the work.
            origin: `file:line`.
            several: whether the line names further works. Nobody knows then whose page an address is.

        Returns:
            The landing pages, and a failure for each address that is none. Text that is no address is only counted, and
            so is an address of a resolver that repeats the DOI.
        """
        urls: list[str] = []
        left_out: list[Failure] = []
        for piece in pieces:
            reason = self.pages.why_left_out(piece, doi) or (LeftOut.SEVERAL_DOIS if several else None)
            if reason is None:
                urls.append(piece)
                continue
            shown = printable(without_credentials(piece), MAX_EXAMPLE_CHARS)
            self.notes.add_left_out(reason, origin, shown)
            if reason not in SILENT:
                message = f"this URL is not registered: {IN_WORDS[reason]}"
                left_out.append(url_left_out(doi, shown, origin, message, self.now))
        return tuple(urls), tuple(left_out)


def url_left_out(doi: str, url: str, origin: str, message: str, now: str) -> Failure:
    """What is told about an address that is not registered; its DOI is registered all the same."""
    return Failure(doi, url, origin, FailureKind.URL_LEFT_OUT, None, 0, message, now, Stage.REGISTER)


def host_of(url: str) -> str:
    """The host of a web address, in lower case."""
    return url.split("/", 3)[2].lower() if url.count("/", 0, 9) >= 2 else ""


def describe_columns(
    rows: Sequence[Sequence[str]], columns: Columns, *, doi_given: bool, urls_given: bool
) -> UsedColumns:
    """Describe what is read of a table, and which columns are not read although they hold addresses or DOIs.

    Args:
        rows: the first rows, the header included.
        columns: as they were chosen.
        doi_given: whether the user chose the column with the DOIs.
        urls_given: whether the user chose the column with the addresses.
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

    used = {columns.doi, *columns.urls, *(columns.instead or ()), columns.notes}
    unused = []
    for column in range(max(map(len, rows), default=0)):
        if column in used:
            continue
        if not urls_given and holds(column, holds_address):
            unused.append(f"{label(column)} holds URLs and is not used; --url-column {quote(label(column))} uses it")
        elif not doi_given and holds(column, is_doi):
            unused.append(f"{label(column)} holds DOIs and is not used; --doi-column {quote(label(column))} uses it")
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
