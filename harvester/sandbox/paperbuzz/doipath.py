"""How Paperbuzz turns the path of a request into a DOI, and what it makes of the outcome (wire facts P2, P3, P11)."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes

_DROPPED = frozenset("CMZ")
"""First letters of the Unicode classes that are deleted: control, combining, every kind of space."""

_FROM_TEN = re.compile(r".*?(10.+)")
_HEX = frozenset("0123456789abcdefABCDEF")
_LOOKS_RIGHT = re.compile(r"10\.\d{4,9}/.+")


def decoded(raw: str) -> str:
    """The raw target's part, percent-decoded once; what is no UTF-8 becomes U+FFFD."""
    return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def clean_doi(text: str) -> str | None:
    """The DOI that the server reads out of already decoded text; None if there is none, which is a 500."""
    if text.isascii() and text.isprintable():
        kept = text.replace(" ", "").lower()
    else:
        kept = "".join(char for char in text if unicodedata.category(char)[0] not in _DROPPED).lower()
    found = _FROM_TEN.match(kept)
    return found[1].split("#", 1)[0] if found else None


def breaks_upstream(doi: str) -> bool:
    """Whether `%` and two letters or digits that are no hexadecimal pair stand in it: a 500 for good."""
    pairs = (part[:2] for part in doi.split("%")[1:])
    return any(len(pair) == 2 and pair.isalnum() and not _HEX.issuperset(pair) for pair in pairs)


def hides_metadata(doi: str) -> bool:
    """Whether the services behind see another DOI, cut at `?` or decoded again, while its events are right."""
    return "?" in doi or _holds_pair(doi)


def hides_events(doi: str) -> bool:
    """Whether the slash itself is encoded twice: the services behind decode it, the event table does not."""
    head = doi.partition("/")[0]
    return _holds_pair(head)


def is_nobodys(doi: str) -> bool:
    """Whether nothing can be known of such a name: no real prefix, or something the cleaning left over."""
    if hides_events(doi):
        return False
    return not _LOOKS_RIGHT.fullmatch(doi) or doi.endswith(("/", ".json")) or "\ufffd" in doi


def _holds_pair(text: str) -> bool:
    return any(len(part) >= 2 and _HEX.issuperset(part[:2]) for part in text.split("%")[1:])
