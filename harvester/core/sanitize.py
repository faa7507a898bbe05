"""Text from outside, made safe to show and to store."""

import html
import json
import re
import unicodedata

MAX_SHOWN = 512
"""Characters of a server's or a file's text that are kept in messages (wire fact O2)."""

_EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}(?:@|%40)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]+)+")
"""Lengths as in RFC 5321, 4.5.3.1; without them the search takes quadratic time."""
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/_.=~-]+", re.IGNORECASE)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}")
"""Not only at the beginning of a word: encoded, as in `Bearer%20eyJ`, it stands behind a digit."""

_hidden: dict[str, tuple[re.Pattern[str], str]] = {}


def hide(secret: str, shown: str = "***") -> None:
    """Let `redacted` mask a text from here on, also as it stands in a URL, in JSON, in HTML or in a `repr`."""
    if secret and secret not in _hidden:
        _hidden[secret] = re.compile("".join(map(_spelled, secret)), re.IGNORECASE), shown


def _spelled(char: str) -> str:
    """A pattern for all the ways in which servers and libraries write a character, escaped however often."""
    if char.isascii() and char.isalnum():
        return char
    ways = {char, html.escape(char), "+" if char == " " else char}
    ways |= {escaped[1:-1].lstrip("\\") or char for escaped in (json.dumps(char), repr(char))}
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return rf"\\*(?:{'|'.join([encoded, *map(re.escape, ways)])})"


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    r"""One line without anything a terminal or a log would obey: other than printable characters stand as `\\x1b`.

    Args:
        text: untrusted.
        limit: characters to keep; an ellipsis stands for the rest.
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
    """The text without what was hidden, and without other addresses, tokens and Authorization values by their form."""
    # The longest first: one secret may be part of another.
    for secret in sorted(_hidden, key=len, reverse=True):
        pattern, shown = _hidden[secret]
        text = pattern.sub(shown, text)
    text = _CREDENTIALS.sub(r"\1 ***", text)
    text = _TOKEN.sub("***", text)
    return _EMAIL.sub(lambda match: mask_email(match[0]), text)


def mask_email(address: str) -> str:
    """`jane@press.example` as `j***@press.example`."""
    name, _, host = address.replace("%40", "@").partition("@")
    return f"{name[:1]}***@{host}"
