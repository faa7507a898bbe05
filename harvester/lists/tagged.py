"""Formats of tagged lines: RIS and Web of Science. Entries are cut out here, so that a broken one costs itself only."""

import re
from collections.abc import Iterable, Iterator

import rispy

from harvester.lists.rows import Row, doi_or_resolver, split_urls

MAX_ENTRY_CHARS = 4 * 1024 * 1024

_RIS_TAG = re.compile(r"([A-Z][A-Z0-9]) {1,2}- ?")
"""Two blanks by the standard; some exports write one."""

_WOS_TAG = re.compile(r"([A-Z][A-Z0-9])(?: |\Z)")


def read_ris(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a RIS file: DOI in `DO`, URLs in `UR` and in `LK`."""
    for number, entry in _entries(lines, _RIS_TAG, begin="TY", end="ER"):
        yield _oversize(number, entry) or _ris_row(number, entry)


def _ris_row(number: int, entry: list[str]) -> Row:
    text = "\n".join(_RIS_TAG.sub(r"\1  - ", line, count=1) for line in entry)
    try:
        found = rispy.loads(f"{text}\nER  - \n")
    except Exception as error:  # noqa: BLE001 - whatever the library makes of a broken entry is that entry's own
        return Row(number, entry[0], problem=f"the RIS entry cannot be read ({type(error).__name__})")
    fields = found[0] if found else {}
    addresses = [*fields.get("urls", ()), *fields.get("unknown_tag", {}).get("LK", ())]
    doi = doi_or_resolver(str(fields.get("doi", "")), addresses)
    return Row(number, doi, split_urls(addresses) if doi is not None else ())


def read_wos(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a tagged Web of Science export: DOI in `DI`, or a book's in `D2`."""
    for number, entry in _entries(lines, _WOS_TAG, begin="PT", end="ER"):
        yield _oversize(number, entry) or _wos_row(number, entry)


def _wos_row(number: int, entry: list[str]) -> Row:
    fields = {line[:2]: line[3:] for line in reversed(entry) if _WOS_TAG.match(line)}
    dois = (doi_or_resolver(fields.get(tag, ""), ()) for tag in ("DI", "D2", "DL"))
    return Row(number, next((doi for doi in dois if doi is not None), None))


def _oversize(number: int, entry: list[str]) -> Row | None:
    if sum(map(len, entry)) <= MAX_ENTRY_CHARS:
        return None
    return Row(number, entry[0], problem=f"an entry longer than {MAX_ENTRY_CHARS >> 20} MiB")


def _entries(lines: Iterable[str], tag: re.Pattern[str], *, begin: str, end: str) -> Iterator[tuple[int, list[str]]]:
    """Each entry's first line number and lines; a new beginning ends an entry that has no end.

    Of an entry over the limit only as many lines are kept as show that it is.
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
