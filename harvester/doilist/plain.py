"""Text files: a DOI a line, with the dirt that comes with it."""

from collections.abc import Iterator

from harvester.doilist.lines import Lines
from harvester.doilist.row import Row


def rows(lines: Lines) -> Iterator[Row]:
    """A row a line; lines that begin with `#` are comments, and so nothing."""
    for text, _ in lines:
        yield Row(lines.number, "" if text.lstrip().startswith("#") else text)
