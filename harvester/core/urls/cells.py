"""Cut a cell into addresses.

In a cell people put several addresses, remarks, and addresses without `https://`. An address ends at the first white
space, because it holds none. What follows is another address, or a remark. A remark is known by the sign or the word
that it begins with. Otherwise nobody can tell it from the rest of an address with blanks in it, and the piece stays
whole: it is known by its white space then (`harvester.core.urls.landing`). Nothing is decided here; each piece is an
address, or something else.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""All white space of Unicode, which is what `\\s` means in a pattern."""

NOTHING = frozenset({"", "0", ".", "na", "n/a", "#n/a", "nan", "none", "null", "nil", "-", "--", "–", "—", "?"})
"""What people write in a cell in which there is nothing."""

_PLAIN = re.compile(r"https?://[^\s|;,\"'<>()\[\]&\\]+\Z", re.IGNORECASE)
"""A cell that is one address: nearly all of them."""

_START = re.compile(r"(?<![^\s|;,<>()\"'\[\]])(?:(?:https?|ftp)://|www\.)(?=[^\s|])", re.IGNORECASE)
"""Where an address begins: at the start of a cell, or behind a separator, a bracket or a quote."""

_END = re.compile(r"[\s|\"]|[;,](?=\s|\Z)")

_TAG = re.compile(r"</?(?:a|b|br|div|em|i|li|p|span|strong|sub|sup|td|tr|u)/?>", re.IGNORECASE)

_REMARK = re.compile(
    r"[^\w/.%?&=]|"
    r"(?:abgerufen|accessed|checked|doi|ebook|epub|free|full|html|isbn|issn|kindle|last|mobi|oa|online|open|paperback|pdf|"
    r"print|retrieved|viewed|xml|zugriff)\b|"
    r"(?:n/a|na|none|null)\Z|(?:\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4})\b",
    re.IGNORECASE,
)
"""How a remark begins."""

_SIGNS = WHITE_SPACE + "|;,\"'"
_CLOSERS = {")": "(", "]": "[", ">": "<"}


def split_cell(cell: str) -> Iterator[str]:
    """Yield the pieces of a cell: addresses as they stand there, and what else there is. An empty cell has none.

    It takes linear time.
    """
    if _PLAIN.match(cell):
        yield cell
        return
    text = cell.replace("&amp;", "&").strip(_SIGNS)
    starts = [found.start() for found in _START.finditer(text)]
    if _says_something(before := text[: starts[0]] if starts else text):
        yield before.strip(_SIGNS)
    for start, following in pairwise([*starts, len(text)]):
        yield from _address_and_rest(text[start:following])


def _address_and_rest(text: str) -> Iterator[str]:
    """An address at the beginning of a text, then what follows it; both in one piece if they cannot be told apart."""
    end = _END.search(text)
    address = text[: end.start()] if end else text
    if "<" in address and (tag := _TAG.search(address)):
        address = address[: tag.start()]
    sign, rest = text[len(address) :][:1], text[len(address) :].strip(_SIGNS)
    address = _without_closers(address.rstrip("'|;,"))
    if not _says_something(rest):
        yield address
    elif not sign.isspace() or _REMARK.match(rest):
        yield address
        yield rest
    else:
        yield f"{address} {rest}"


def _without_closers(address: str) -> str:
    """An address without the brackets at its end that it does not open: `<https://x.example/1>` has one."""
    open_ones = {closer: address.count(closer) - address.count(opener) for closer, opener in _CLOSERS.items()}
    end = len(address)
    while end and open_ones.get(address[end - 1], 0) > 0:
        open_ones[address[end - 1]] -= 1
        end -= 1
    return address[:end]


def _says_something(text: str) -> bool:
    bare = text.strip(_SIGNS + "()[]<>{}")
    return len(bare) >= 20 or bare.lower() not in NOTHING
