"""Formats of tagged lines: RIS and Web of Science.

We cut out the entries ourselves and read each by itself, so a broken entry spoils no other entry. Of its tags only
those with the DOI and the URLs are kept, so a long entry costs no more than a short one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harvester.lists.rows import MAX_KEPT_CHARS, TOO_MUCH_KEPT, Row, doi_or_resolver, split_urls

MAX_ENTRY_CHARS = 4 * 1024 * 1024

_RIS_TAG = re.compile(r"([A-Z][A-Z0-9]) {1,2}- ?")
"""The standard has two blanks; some programs write one."""

_WOS_TAG = re.compile(r"([A-Z][A-Z0-9])(?: |\Z)")


def read_ris(lines: Iterable[str]) -> Iterator[Row]:
    """Read a RIS file: the DOI is in `DO`, URLs are in `UR` and `LK`."""
    for number, entry, problem in _entries(lines, _RIS_TAG, begin="TY", end="ER", wanted=("DO", "UR", "LK")):
        yield Row(number, " ".join(entry)[:200], problem=problem) if problem else _ris_row(number, entry)


def _ris_row(number: int, entry: Sequence[str]) -> Row:
    fields = _fields(entry, _RIS_TAG)
    # A value of several lines stays one cell: perhaps they are several addresses, perhaps one that was broken.
    addresses = ["\n".join(value) for tag in ("UR", "LK") for value in fields.get(tag, ())]
    doi = doi_or_resolver(" ".join(fields["DO"][0]) if "DO" in fields else "", addresses)
    return Row(number, doi, split_urls(addresses) if doi is not None else ())


def read_wos(lines: Iterable[str]) -> Iterator[Row]:
    """Read a tagged export of Web of Science: the DOI is in `DI`, that of a book in `D2`."""
    for number, entry, problem in _entries(lines, _WOS_TAG, begin="PT", end="ER", wanted=("DI", "D2", "DL")):
        yield Row(number, " ".join(entry)[:200], problem=problem) if problem else _wos_row(number, entry)


def _wos_row(number: int, entry: Sequence[str]) -> Row:
    fields = _fields(entry, _WOS_TAG)
    dois = (doi_or_resolver(fields[tag][0][0], ()) for tag in ("DI", "D2", "DL") if tag in fields)
    return Row(number, next((doi for doi in dois if doi is not None), None))


def _fields(entry: Sequence[str], tag: re.Pattern[str]) -> Mapping[str, list[list[str]]]:
    """The values of each tag in an entry; each value is the lines that it takes."""
    fields: dict[str, list[list[str]]] = {}
    value: list[str] = []
    for line in entry:
        if match := tag.match(line):
            value = []
            fields.setdefault(match[1], []).append(value)
        value.append(line[match.end() :].strip() if match else line.strip())
    return fields


def _entries(
    lines: Iterable[str], tag: re.Pattern[str], *, begin: str, end: str, wanted: Sequence[str]
) -> Iterator[tuple[int, list[str], str | None]]:
    """Cut a file into entries. A `begin` tag also ends an entry whose `end` tag is missing.

    Args:
        lines: of the file.
        tag: matches a tag. A line without one continues the value of the tag before.
        begin: the tag that begins an entry.
        end: the tag that ends it.
        wanted: the tags whose lines are kept.

    Returns:
        For each entry the number of its first line, its lines with wanted tags, and why it cannot be read, if so.
    """
    kept: list[str] = []
    start = size = kept_size = 0  # there is no entry while `start` is 0
    is_wanted = False
    for number, line in enumerate(lines, 1):
        match = tag.match(line)
        name = match[1] if match else ""
        if name in (begin, end) and start:
            yield start, kept, _problem(size, kept_size)
            start = 0
        if name == begin:
            start, kept, size, kept_size = number, [], 0, 0
        if match:
            is_wanted = name in wanted
        size += len(line)
        if start and is_wanted:
            kept_size += len(line) + 1
            if kept_size <= MAX_KEPT_CHARS:
                kept.append(line)
    if start:
        yield start, kept, _problem(size, kept_size)


def _problem(size: int, kept_size: int) -> str | None:
    """Why an entry of this size cannot be read; None if it can."""
    if size > MAX_ENTRY_CHARS:
        return f"an entry longer than {MAX_ENTRY_CHARS >> 20} MiB"
    return TOO_MUCH_KEPT if kept_size > MAX_KEPT_CHARS else None
