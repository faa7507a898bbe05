"""Make text from outside safe to show and to store: escape control characters, mask secrets.

Everything here takes time in proportion to the length of the text, whatever stands in it. A text may have millions of
characters, of which a message shows a hundred. So whoever shows a masked text calls `safe_line`, which cuts it first.
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

MAX_SHOWN = 512
"""How many characters of a text from a server or a file are kept in a message (wire fact O2)."""

_SPARE = 4096
"""How much more of a text is masked than is wanted, and how far beyond that secrets are looked for, in characters.
Addresses and passwords are shorter, also if escaped."""

_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
_MAX_LOCAL = 64
_AT_HOST = re.compile(r"(?:@|%40)([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]+)+)")
"""The second half of an e-mail address. The first half is looked for backwards from it, so that text without the sign
costs hardly anything. The lengths are those of RFC 5321, 4.5.3.1."""
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s++[A-Za-z0-9+/_.=~-]+", re.IGNORECASE)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}")
"""No `\\b` in front: in `Bearer%20eyJ…` a digit precedes the token."""

_BACKSLASH = r"(?:\\|%(?:25)*5c)"
_MAX_BACKSLASHES = 64
"""In a row: a backslash that is escaped six times."""

_hidden: dict[str, tuple[re.Pattern[str], str]] = {}
"""Each secret that `hide` was told, its pattern and what is shown in its place; the longest first.

It belongs to the process and is never emptied: an old token may still turn up in a traceback. It stays small: a
password, two addresses and a token a day. A new dict replaces the old one, so that other threads see one of the two.
"""


def hide(secret: str, shown: str = "***") -> None:
    """Make `redacted` mask a secret from now on, also if it is escaped as in a URL, JSON, HTML or a `repr`.

    Args:
        secret: an empty text is ignored.
        shown: what is shown in its place.
    """
    global _hidden
    if secret and secret not in _hidden:
        known = {**_hidden, secret: (_spelled(secret), shown)}
        # The longest first: one secret may be part of another.
        _hidden = {each: known[each] for each in sorted(known, key=len, reverse=True)}


def _spelled(secret: str) -> re.Pattern[str]:
    """A pattern for all ways in which servers and libraries write a secret, even if it is escaped several times.

    A text may be all backslashes, so their number is bounded, and no two parts of the pattern that match any number of
    them follow each other. Of the backslashes that a secret begins with only the last one is masked.
    """
    parts = [_BACKSLASH if part.startswith("\\") else _ways(part) for part in re.findall(r"\\+|[^\\]", secret)]
    pattern = parts[0]
    for before, part in pairwise(parts):
        if part == _BACKSLASH:
            pattern += f"{part}{{1,{_MAX_BACKSLASHES}}}"
        elif before == _BACKSLASH or _is_plain(part):
            pattern += part
        else:
            pattern += rf"\\{{0,{_MAX_BACKSLASHES}}}+{part}"
    return re.compile(pattern, re.IGNORECASE)


def _ways(char: str) -> str:
    """A pattern for the ways to write one character, without the backslashes before it."""
    if _is_plain(char):
        return char
    ways = {char, html.escape(char), "+" if char == " " else char}
    ways |= {escaped[1:-1].lstrip("\\") for escaped in (json.dumps(char), repr(char))}
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return rf"(?:{'|'.join([encoded, *map(re.escape, ways)])})"


def _is_plain(char: str) -> bool:
    """Whether nobody escapes a character."""
    return char.isascii() and char.isalnum()


def safe_line(text: str, limit: int = MAX_SHOWN) -> str:
    """One printable line of a text, with the secrets in it masked: what a message shows of it.

    Args:
        text: untrusted, of any length.
        limit: how many characters to keep; an ellipsis stands for the rest.
    """
    return printable(masked(text, limit), limit)


def masked(text: str, limit: int) -> str:
    """The beginning of a text, with the secrets in it masked. The rest is not looked through.

    A secret that lies across the cut is left out as a whole, since half of it would not be recognized.

    Args:
        text: untrusted, of any length.
        limit: how many characters are wanted. There may be a few more, or fewer if much is masked; then an ellipsis
            stands for the rest.
    """
    cut = limit + _SPARE
    if len(text) <= cut:
        return redacted(text)
    return redacted(text[: _before_secrets(text[: cut + _SPARE], cut)]) + "…"


def _before_secrets(text: str, cut: int) -> int:
    """Where to cut a text: at `cut`, or before the secrets that lie across it."""
    for start, end in sorted(_secrets(text), reverse=True):
        if start < cut < end:
            cut = start
    return cut


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Where the secrets in a text begin and end."""
    for pattern in (*(pattern for pattern, _ in _hidden.values()), _CREDENTIALS, _TOKEN):
        for match in pattern.finditer(text):
            yield match.span()
    for start, host in _addresses(text):
        yield start, host.end()


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    r"""Make one line of a text, with an escape such as `\\x1b` for each character that is not printable.

    Args:
        text: untrusted. If secrets in it have to be masked as well, call `safe_line`.
        limit: how many characters to keep; an ellipsis stands for the rest.
    """
    shown = "".join(char if char.isprintable() else _escaped(char) for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _escaped(char: str) -> str:
    if unicodedata.category(char) == "Zs":
        return " "
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def redacted(text: str) -> str:
    """Mask the secrets that `hide` was told, and whatever looks like a token, credentials or an e-mail address.

    All of the text is looked through. For a message, which shows the beginning of a text, call `safe_line`.
    """
    for pattern, shown in _hidden.values():
        text = pattern.sub(shown.replace("\\", r"\\"), text)
    text = _CREDENTIALS.sub(r"\1 ***", text)
    text = _TOKEN.sub("***", text)
    return _without_addresses(text)


def _without_addresses(text: str) -> str:
    """Mask all e-mail addresses."""
    parts, done = [], 0
    for start, host in _addresses(text):
        parts.append(f"{text[done:start]}{text[start]}***@{host[1]}")
        done = host.end()
    return "".join([*parts, text[done:]])


def _addresses(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """The e-mail addresses in a text: where each begins, and the match of `_AT_HOST`."""
    done = 0
    for host in _AT_HOST.finditer(text):
        before = text[max(done, host.start() - _MAX_LOCAL) : host.start()]
        start = host.start() - len(before) + len(before.rstrip(_LOCAL))
        if start < host.start():
            yield start, host
            done = host.end()


def mask_email(address: str) -> str:
    """`jane@press.example` as `j***@press.example`."""
    name, _, host = address.replace("%40", "@").partition("@")
    return f"{name[:1]}***@{host}"
