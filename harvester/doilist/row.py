"""What every format is turned into."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line, row or entry.

    Args:
        number: the line it begins on, from 1; of JSON documents the number of the entry.
        text: what stands where the DOI should stand; empty for nothing.
        urls: URLs to register.
    """

    number: int
    text: str
    urls: tuple[str, ...] = ()


def as_urls(text: str) -> tuple[str, ...]:
    """The web addresses in a cell; several are separated by white space, `|` or `;` before another address."""
    if "://" not in text:
        return ()
    parts = text.replace("|", " ").replace(";http", " http").replace(";ftp", " ftp").split()
    return tuple(part for part in parts if part.lower().startswith(("http://", "https://", "ftp://")))
