"""Answers to measure with: records as the sandbox invents them, of three sizes, ready to be sent for any DOI.

Inventing a record takes longer than harvesting it. So a few are made beforehand, and what is left to do for a request
is to put its DOI into one of them, wherever a record has it.
"""

import itertools
import zlib
from collections.abc import Iterator
from typing import Literal, get_args

import orjson

from harvester.sandbox.paperbuzz.records import RecordGenerator, encoded

Size = Literal["small", "median", "large"]

SIZES: tuple[Size, ...] = get_args(Size)

BYTES: dict[Size, int] = {"small": 1_000, "median": 18_000, "large": 400_000}
"""A record without events, cut short; one with some events, larger than most; one at the cap of 2,500 events."""

NAMES: dict[Size, str] = {"small": "10.5555/quiet-", "median": "10.5555/ok-", "large": "10.5555/giant-"}
"""Beginnings of DOIs under which the sandbox has records of this kind."""

TOLERANCE = 0.05
"""How far from its size a record may be."""

TEMPLATES = 16
"""Different records of a size; enough that no client sees the same one twice in a row."""


class Answers:
    """Whole HTTP answers with a record for any DOI.

    Args:
        size: of the records.
        count: of different records.
    """

    def __init__(self, size: Size, count: int = TEMPLATES) -> None:
        self._templates = [body.split(name.encode()) for name, body in itertools.islice(_records_of(size), count)]

    def to(self, doi: str) -> bytes:
        """The record of a DOI; always the same one for the same DOI."""
        spelled = orjson.dumps(doi)[1:-1]
        parts = self._templates[zlib.crc32(spelled) % len(self._templates)]
        return answer(spelled.join(parts))


def answer(body: bytes) -> bytes:
    """A good HTTP answer with a JSON body."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _records_of(size: Size) -> Iterator[tuple[str, bytes]]:
    """Names and records about as large as wanted, without end."""
    generator = RecordGenerator()
    for number in itertools.count():
        name = f"{NAMES[size]}{number:05d}"
        content = generator.record(name, 0, "https://api.paperbuzz.org")
        body = encoded(_cut(content) if size == "small" else content, indented=False)
        if abs(len(body) / BYTES[size] - 1) <= TOLERANCE:
            yield name, body


def _cut(content: dict[str, object]) -> dict[str, object]:
    """A record with less and less in it, until it is small; something stays in each part, so that it stays `ok`."""
    parts = [part for key in ("metadata", "open_access") if isinstance(part := content[key], dict)]
    while len(encoded(content, indented=False)) > BYTES["small"] and any(len(part) > 2 for part in parts):
        max(parts, key=len).popitem()
    return content
