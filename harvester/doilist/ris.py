"""RIS: records from `TY  -` to `ER  -`, each parsed by rispy on its own, so that a broken one stops no other."""

import re
from collections.abc import Iterator

import rispy

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row, as_urls

MAX_RECORD = 5_000
"""Lines of a record that are kept; a file that never ends a record is not held in memory."""

_BEGIN = re.compile(r"\s*TY\s{1,2}-")
_END = re.compile(r"\s*ER\s{1,2}-")


def rows(lines: Lines) -> Iterator[Row]:
    """A row a record, at the line of its `TY`."""
    begin, record = 0, list[str]()
    for text, _ in lines:
        starts = _BEGIN.match(text)
        if starts and begin:
            yield _row(begin, record)
        if starts:
            begin, record = lines.number, []
        if begin and len(record) < MAX_RECORD:
            record.append(text.strip())
        if begin and _END.match(text):
            yield _row(begin, record)
            begin = 0
    if begin:
        yield _row(begin, record)


def _row(number: int, record: list[str]) -> Row:
    text = "\n".join(line for line in record if not _END.match(line)) + "\nER  - \n"
    try:
        entries = rispy.loads(text)
    except Exception:  # noqa: BLE001 - whatever a parser raises at a broken record costs that record alone
        return Row(number, f"broken RIS record: {record[0]}")
    entry = entries[0] if entries else {}
    urls = entry.get("urls") or []
    doi = str(entry.get("doi") or "")
    return Row(number, doi, tuple(url for text in urls for url in as_urls(str(text))))
