"""Web of Science's tagged text: two-letter tags at the line's start, a record from `PT` to `ER`."""

from collections.abc import Iterator

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row


def rows(lines: Lines) -> Iterator[Row]:
    """A row a record, with what its `DI` says; the first one if there are several."""
    begin, doi, at = 0, "", 0
    for text, _ in lines:
        tag, value = text[:2], text[3:].strip()
        if tag == "PT":
            begin, doi, at = lines.number, "", lines.number
        elif tag == "DI" and begin and not doi:
            doi, at = value, lines.number
        elif tag == "ER" and begin:
            yield Row(at, doi)
            begin = 0
    if begin:
        yield Row(at, doi)
