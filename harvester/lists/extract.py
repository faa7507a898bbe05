"""Take the DOIs out of any text, such as prose or HTML: only if asked to, for it guesses where a name ends."""

import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from harvester.lists.rows import Row

_NAME = re.compile(r"(?<![0-9A-Za-z.])10\.[0-9]{4,9}/[^\s\"<>\u00a0]{1,500}+")
_AT_END = ".,;:!?'`’”»…*_"
_CLOSING = {")": "(", "]": "[", "}": "{"}
_IN_ADDRESS = re.compile(r"(?:https?://|doi\.org/|[?&=])[^\s\"<>]{0,200}\Z", re.IGNORECASE)
_BEFORE = 240
"""How many characters before a name are looked at, to tell whether it stands in an address."""


def read_any_text(lines: Iterable[str]) -> Iterator[Row]:
    """The DOIs in some lines, each once a line; a line without one is blank."""
    for number, line in enumerate(lines, 1):
        names = dict.fromkeys(_names(line))
        yield from (Row(number, name) for name in names)
        if not names:
            yield Row(number, None)


def _names(line: str) -> Iterator[str]:
    for found in _NAME.finditer(line):
        name = found[0]
        before = line[max(0, found.start() - _BEFORE) : found.start()]
        if _IN_ADDRESS.search(before):
            name = unquote(name.split("?")[0].split("#")[0].split("&")[0])
        yield _without_end(html.unescape(name).split('"')[0])


def _without_end(name: str) -> str:
    """A name without the punctuation of the text around it."""
    while name:
        last = name[-1]
        opening = _CLOSING.get(last)
        if last not in _AT_END and (opening is None or name.count(opening) >= name.count(last)):
            return name
        name = name[:-1]
    return name
