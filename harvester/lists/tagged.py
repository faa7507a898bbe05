"""Formats of tagged lines: RIS and Web of Science.

We cut out the entries ourselves and parse each by itself, so a broken entry spoils no other entry.
"""

import re
from collections.abc import Iterable, Iterator

import rispy

from harvester.lists.rows import Row, doi_or_resolver, split_urls

MAX_ENTRY_CHARS = 4 * 1024 * 1024

_RIS_TAG = re.compile(r"([A-Z][A-Z0-9]) {1,2}- ?")
"""The standard has two blanks; some programs write one."""

_WOS_TAG = re.compile(r"([A-Z][A-Z0-9])(?: |\Z)")


def read_ris(lines: Iterable[str]) -> Iterator[Row]:
    """Read a RIS file: the DOI is in `DO`, URLs are in `UR` and `LK`."""
    for number, entry in _entries(lines, _RIS_TAG, begin="TY", end="ER"):
        yield _oversize(number, entry) or _ris_row(number, entry)


def _ris_row(number: int, entry: list[str]) -> Row:
    text = "\n".join(_RIS_TAG.sub(r"\1  - ", line, count=1) for line in entry)
    try:
        found = rispy.loads(f"{text}\nER  - \n")
    except Exception as error:  # noqa: BLE001 - the library may raise anything; only this entry is lost
        return Row(number, entry[0], problem=f"the RIS entry cannot be read ({type(error).__name__})")
    fields = found[0] if found else {}
    addresses = [*fields.get("urls", ()), *fields.get("unknown_tag", {}).get("LK", ())]
    doi = doi_or_resolver(str(fields.get("doi", "")), addresses)
    return Row(number, doi, split_urls(addresses) if doi is not None else ())


def read_wos(lines: Iterable[str]) -> Iterator[Row]:
    """Read a tagged export of Web of Science: the DOI is in `DI`, that of a book in `D2`."""
    for number, entry in _entries(lines, _WOS_TAG, begin="PT", end="ER"):
        yield _oversize(number, entry) or _wos_row(number, entry)


def _wos_row(number: int, entry: list[str]) -> Row:
    fields = {line[:2]: line[3:] for line in reversed(entry) if _WOS_TAG.match(line)}
    dois = (doi_or_resolver(fields.get(tag, ""), ()) for tag in ("DI", "D2", "DL"))
    return Row(number, next((doi for doi in dois if doi is not None), None))


def _oversize(number: int, entry: list[str]) -> Row | None:
    """A row with the problem that the entry is too long; None if it is not."""
    if sum(map(len, entry)) <= MAX_ENTRY_CHARS:
        return None
    return Row(number, entry[0], problem=f"an entry longer than {MAX_ENTRY_CHARS >> 20} MiB")


def _entries(lines: Iterable[str], tag: re.Pattern[str], *, begin: str, end: str) -> Iterator[tuple[int, list[str]]]:
    """Cut a file into entries: the number of the first line, and the lines, of each.

    A `begin` tag also ends an entry whose `end` tag is missing. Of an entry over the limit only so many lines are kept
    that `_oversize` sees it.
    """
    entry: list[str] = []
    start = size = 0
    for number, line in enumerate(lines, 1):
        match = tag.match(line)
        name = match[1] if match else ""
        if name in (begin, end) and entry:
            yield start, entry
            entry = []
        if name == begin:
            start, size, entry = number, 0, [line]
        elif entry and size <= MAX_ENTRY_CHARS:
            entry.append(line)
            size += len(line)
    if entry:
        yield start, entry
