"""Plain lists: one DOI a line.

Blank lines are skipped, and so are comments: a line that begins with `#`, or the rest of a line after white space and
`#`. URLs to register may follow the DOI after white space.
"""

import re
from collections.abc import Iterable, Iterator

from harvester.lists.rows import Row, is_nothing, split_urls

_HEADER = re.compile(r"\W*(?:dois?|digital object identifier|doi[ _-]?(?:number|url|link)?)\W*\Z", re.IGNORECASE)
_DOI_THEN_URLS = re.compile(
    r"(\S*10\..*?)[\s,;|]+((?:https?|ftp)://\S+(?:\s+(?:https?|ftp)://\S+)*)\s*\Z", re.IGNORECASE
)
_COMMENT = re.compile(r"\s#.*\Z")


def read_plain(lines: Iterable[str], *, has_header: bool = False) -> Iterator[Row]:
    """Read a plain list.

    Args:
        lines: of the file.
        has_header: whether the first line that is not blank is a header.
    """
    header_due = True
    for number, line in enumerate(lines, 1):
        if header_due and not is_nothing(line):
            header_due = False
            if has_header or is_header(line):
                continue
        yield _row(number, line)


def is_header(line: str) -> bool:
    """Whether a line is a header, such as `DOI`."""
    return len(line) < 40 and _HEADER.match(line) is not None


def _row(number: int, line: str) -> Row:
    if line.startswith("10.") and "#" not in line and "://" not in line:  # nearly all lines: keep them cheap
        return Row(number, line)
    text = line.lstrip()
    if text.startswith("#") or is_nothing(text):
        return Row(number, None)
    text = _COMMENT.sub("", text) if "#" in text else text
    split = _DOI_THEN_URLS.match(text) if "://" in text else None
    return Row(number, split[1], split_urls([split[2]])) if split else Row(number, text)
