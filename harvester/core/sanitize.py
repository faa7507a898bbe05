"""Make text from outside safe to show and to store: escape control characters, mask secrets."""

import html
import json
import re
import unicodedata

MAX_SHOWN = 512
"""How many characters of a text from a server or a file are kept in a message (wire fact O2)."""

_EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}(?:@|%40)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]+)+")
"""The lengths are those of RFC 5321, 4.5.3.1. Without them the search would take quadratic time."""
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/_.=~-]+", re.IGNORECASE)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}")
"""No `\\b` in front: in `Bearer%20eyJ…` a digit precedes the token."""

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
        pattern = re.compile("".join(map(_spelled, secret)), re.IGNORECASE)
        known = {**_hidden, secret: (pattern, shown)}
        # The longest first: one secret may be part of another.
        _hidden = {each: known[each] for each in sorted(known, key=len, reverse=True)}


def _spelled(char: str) -> str:
    """A pattern for all ways in which servers and libraries write a character, even if it is escaped several times."""
    if char.isascii() and char.isalnum():
        return char
    ways = {char, html.escape(char), "+" if char == " " else char}
    ways |= {escaped[1:-1].lstrip("\\") or char for escaped in (json.dumps(char), repr(char))}
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return rf"\\*(?:{'|'.join([encoded, *map(re.escape, ways)])})"


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    r"""Make one line of a text, with an escape such as `\\x1b` for each character that is not printable.

    Args:
        text: untrusted.
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
    """Mask the secrets that `hide` was told, and whatever looks like a token, credentials or an e-mail address."""
    for pattern, shown in _hidden.values():
        text = pattern.sub(shown, text)
    text = _CREDENTIALS.sub(r"\1 ***", text)
    text = _TOKEN.sub("***", text)
    return _EMAIL.sub(lambda match: mask_email(match[0]), text)


def mask_email(address: str) -> str:
    """`jane@press.example` as `j***@press.example`."""
    name, _, host = address.replace("%40", "@").partition("@")
    return f"{name[:1]}***@{host}"
