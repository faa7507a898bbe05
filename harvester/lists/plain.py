"""Plain lists: one DOI a line.

Blank lines are skipped, and so are comments: a line that begins with `#`, or the rest of a line after white space and
`#`. URLs to register may follow the DOI after white space.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from harvester.core.urls.cells import WHITE_SPACE
from harvester.lists.cells import holds_dois
from harvester.lists.rows import Row, is_nothing, split_urls

_HEADER = re.compile(r"\W*(?:dois?|digital object identifier|doi[ _-]?(?:number|url|link)?)\W*\Z", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_URL = re.compile(r"(?:https?|ftp)://\S", re.IGNORECASE)
_URL_IN_WORD = re.compile(r"(?<=[,;|])(?:https?|ftp)://\S", re.IGNORECASE)
_SEPARATORS = WHITE_SPACE + ",;|"
_COMMENT = re.compile(r"\s#.*\Z")


def read_plain(lines: Iterable[str], *, has_header: bool = False, above: int = 0) -> Iterator[Row]:
    """Read a plain list.

    Args:
        lines: of the file.
        has_header: whether the first line that is not blank is a header.
        above: how many lines above the header are left out.
    """
    header_due = True
    for number, line in enumerate(islice(lines, above, None), above + 1):
        if header_due and not is_nothing(line) and not line.startswith("#"):
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
    start = _start_of_urls(text) if "://" in text else None
    start = None if start is not None and holds_dois(text) else start  # the addresses are those of other DOIs
    return (
        Row(number, text)
        if start is None
        else Row(number, text[:start].rstrip(_SEPARATORS), split_urls([text[start:]]))
    )


def _start_of_urls(text: str) -> int | None:
    """Where the URLs begin that follow a DOI; None if none do.

    The first word holds the DOI, and the last words are URLs. The first URL may also follow a comma, semicolon or pipe
    in the word before them.
    """
    start: int | None = None
    before = (0, 0)  # the last word that is no URL
    for number, word in enumerate(_WORD.finditer(text)):
        if number == 0:
            doi = text.find("10.", *word.span())
            if doi < 0:
                return None
            before = (doi, word.end())
        elif not _URL.match(text, word.start()):
            start, before = None, word.span()
        elif start is None:
            start = word.start()
    glued = _URL_IN_WORD.search(text, *before)
    return glued.start() if glued else start
