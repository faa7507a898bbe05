"""How Paperbuzz reads a DOI out of a path, and which DOIs the services behind it read otherwise (P2, P3, P11)."""

import re
import unicodedata

_DROPPED = frozenset("CMZ")
"""First letters of the Unicode categories that are deleted: control, combining, and all kinds of space."""

_FROM_TEN = re.compile(r".*?(10.+)")
_HEX = frozenset("0123456789abcdefABCDEF")
_LOOKS_RIGHT = re.compile(r"10\.\d{4,9}/.+")


def clean_doi(text: str) -> str | None:
    """The DOI that the server reads out of decoded text; None if it finds none, which is a 500."""
    if text.isascii() and text.isprintable():
        kept = text.replace(" ", "").lower()
    else:
        kept = "".join(char for char in text if unicodedata.category(char)[0] not in _DROPPED).lower()
    found = _FROM_TEN.match(kept)
    return found[1].split("#", 1)[0] if found else None


def breaks_upstream(doi: str) -> bool:
    """Whether the DOI holds `%` before two letters or digits that are not hexadecimal. It is always a 500."""
    pairs = (part[:2] for part in doi.split("%")[1:])
    return any(len(pair) == 2 and pair.isalnum() and not _HEX.issuperset(pair) for pair in pairs)


def hides_metadata(doi: str) -> bool:
    """Whether the services behind Paperbuzz see another DOI: they cut it at `?`, or decode it a second time."""
    return "?" in doi or _holds_pair(doi)


def hides_events(doi: str) -> bool:
    """Whether the slash is encoded twice. The services behind Paperbuzz decode it; its own event table does not."""
    head = doi.partition("/")[0]
    return _holds_pair(head)


def cannot_exist(doi: str) -> bool:
    """Whether no service knows such a DOI: no real prefix, or an ending that no DOI has."""
    if hides_events(doi):
        return False
    return not _LOOKS_RIGHT.fullmatch(doi) or doi.endswith(("/", ".json")) or "\ufffd" in doi


def _holds_pair(text: str) -> bool:
    return any(len(part) >= 2 and _HEX.issuperset(part[:2]) for part in text.split("%")[1:])
