"""What can be read of a damaged output or failures file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harvester.core.model import Failure
from harvester.records.lines import BadLine, ResultLine, read_failure, read_result
from harvester.records.packing import Unreadable, raw_lines


class Line(NamedTuple):
    """A line of an output.

    Args:
        raw: its bytes, with the line feed; empty if the file cannot be read from here on.
        result: what it says; None if it cannot be kept.
        problem: why not, to stand behind "line 17".
    """

    raw: bytes
    result: ResultLine | None
    problem: str = ""


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of an output, each checked as thoroughly as `harvester verify --deep` does.

    Args:
        path: published or partial.

    Raises:
        DiskFailed: the file cannot be read.
    """
    for raw in raw_lines(path):
        if isinstance(raw, Unreadable):
            yield Line(b"", None, raw.problem)
        else:
            yield _checked(raw)


def _checked(raw: bytes) -> Line:
    try:
        result = read_result(raw)
    except BadLine as bad:
        return Line(raw, None, bad.problem)
    if hashlib.sha256(result.paperbuzz).hexdigest() != result.sha256:
        return Line(raw, None, "has a record whose bytes have another sha256 than the line says")
    if result.record.get("doi") != result.doi:
        return Line(raw, None, "has the record of another DOI")
    return Line(raw, result)


def failures_in(path: Path | None) -> Iterator[Failure]:
    """The failures in a failures file; lines that are none are left out. A missing file has none.

    Raises:
        DiskFailed: the file cannot be read.
    """
    if path is None or not path.is_file():
        return
    for raw in raw_lines(path):
        if isinstance(raw, bytes):
            try:
                yield read_failure(raw)
            except BadLine:
                continue
