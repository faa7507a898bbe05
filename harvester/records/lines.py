"""The lines of the output and of the failures file: how they are written, and how they are read back.

This is the only place that knows the members of a line. What they mean is told by `harvester.records.schema`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Final, NamedTuple

import orjson

from harvester.core.errors import InputUnusable
from harvester.core.model import Failure, Stage
from harvester.core.text.sanitize import printable
from harvester.records.large_json import MOST_COST, cost, seen
from harvester.records.lazy_json import CHEAP_BYTES
from harvester.records.packing import Unreadable, raw_lines
from harvester.records.result import Result

SCHEMA_VERSION: Final = 1

RECORD_MEMBER: Final = b',"paperbuzz":'
"""What stands in a line before the record. It cannot stand there earlier: inside a JSON text its quotation marks would
be escaped."""


CHUNK_BYTES: Final = 2 * 1024 * 1024
"""Lines are written in chunks of about this size, so that a large record is never copied as a whole."""

PIECE_BYTES: Final = 512 * 1024
"""Larger records come here with CR and LF, and lose them piece by piece."""


# Written


def result_lines(results: Iterable[Result]) -> bytes:
    """Results as lines of the output, each with its newline.

    The record itself is copied in as the server's own bytes, as the last member, so that anyone can cut it out again
    and compare it with `sha256`.
    """
    return b"".join(result_chunks(list(results)))


def result_chunks(results: Sequence[Result]) -> Iterator[bytes]:
    """The same in chunks of a few MiB, so that no large record is copied as a whole.

    Whatever can fail fails in this call, before the first chunk is taken.

    Returns:
        Bytes. A chunk ends with a line, except where a line is longer than a chunk.
    """
    lines = list(map(_pieces, results))
    sizes = [len(result.paperbuzz) for result in results]
    if sum(sizes) <= CHUNK_BYTES and max(sizes, default=0) <= PIECE_BYTES:
        # All at once, because a batch of records is larger than the processor's caches.
        return iter([b"".join(chain.from_iterable(lines))])
    return _chunks(lines)


def _chunks(lines: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> Iterator[bytes]:
    chunk, size = list[bytes](), 0
    for head, member, record, end in lines:
        for piece in chain((head, member), without_line_ends(record), (end,)):
            chunk.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(chunk)
                chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)


def without_line_ends(record: bytes) -> Iterator[bytes]:
    """A record without CR and LF, in pieces."""
    return (record[at : at + PIECE_BYTES].translate(None, b"\r\n") for at in range(0, len(record), PIECE_BYTES))


def _pieces(result: Result) -> tuple[bytes, bytes, bytes, bytes]:
    head = orjson.dumps(
        {
            "v": SCHEMA_VERSION,
            "doi": result.doi,
            "outcome": result.outcome,
            "harvested_at": result.harvested_at,
            "http_status": result.http_status,
            "attempts": result.attempts,
            "elapsed_ms": result.elapsed_ms,
            "truncated": result.truncated,
            "changed": result.changed,
            "added": result.added,
            "sha256": result.sha256,
        }
    )
    return head[:-1], RECORD_MEMBER, result.paperbuzz, b"}\n"


def failure_line(failure: Failure) -> bytes:
    """One failure as a line of the failures file, with its newline."""
    return (
        orjson.dumps(
            {
                "v": SCHEMA_VERSION,
                "doi": failure.doi,
                "input": failure.input,
                "origin": failure.origin,
                "kind": failure.kind,
                "http_status": failure.http_status,
                "attempts": failure.attempts,
                "message": failure.message,
                "failed_at": failure.failed_at,
                "stage": failure.stage.value,
            }
        )
        + b"\n"
    )


# Read


class ResultLine(NamedTuple):
    """A line of the output, read back. It differs from `Result` in what a file can and cannot tell.

    Args:
        doi, harvested_at, http_status, attempts, elapsed_ms, truncated, changed, added, sha256: as in `Result`.
        outcome: an `Outcome`, or another word that a later version wrote.
        paperbuzz: the record's bytes as they stand in the line, a view of it; empty if they cannot be found there.
        record: the same, parsed. Of a record that costs too much it is only what `harvester.records.large_json.seen`
            sees.
    """

    doi: str
    outcome: str
    harvested_at: str
    http_status: int
    attempts: int
    elapsed_ms: int
    truncated: bool | None
    changed: bool | None
    added: Mapping[str, int] | None
    sha256: str
    paperbuzz: memoryview
    record: Mapping[str, Any]


class BadLine(ValueError):
    """A line that is not what it should be.

    Args:
        problem: what is wrong, to stand behind "line 17"; safe to print.
        doi: the DOI that the line names all the same; empty if it names none.
    """

    def __init__(self, problem: str, doi: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.doi = doi


_RESULT_MEMBERS: Final[Mapping[str, type | UnionType]] = {
    "v": int,
    "doi": str,
    "outcome": str,
    "harvested_at": str,
    "http_status": int,
    "attempts": int,
    "elapsed_ms": int,
    "truncated": bool | None,
    "changed": bool | None,
    "added": dict | None,
    "sha256": str,
    "paperbuzz": dict,
}

_FAILURE_MEMBERS: Final[Mapping[str, type | UnionType]] = {
    "v": int,
    "doi": str | None,
    "input": str,
    "origin": str,
    "kind": str,
    "http_status": int | None,
    "attempts": int,
    "message": str,
    "failed_at": str,
    "stage": str,
}


def read(path: Path, length: int | None = None) -> Iterator[ResultLine]:
    """The results in an output, in the order in which they stand there.

    Args:
        path: of the output, published or partial; its ending says how it is packed.
        length: bytes to read; None for all of them. What stands behind the committed length was never promised.

    Raises:
        InputUnusable: a line is no result, or cannot be unpacked. All results before it were given.
        DiskFailed: the file cannot be read.
    """
    for number, line in enumerate(raw_lines(path, length), 1):
        if isinstance(line, Unreadable):
            raise _unusable(path, number, line.problem)
        try:
            result = read_result(line)
        except BadLine as bad:
            raise _unusable(path, number, bad.problem) from None
        yield result


def _unusable(path: Path, number: int, problem: str) -> InputUnusable:
    told = f"{printable(str(path))}: line {number:,} {problem}"
    return InputUnusable(f"{told}. Nothing was changed; `harvester verify` says what else is wrong.")


def read_result(line: bytes) -> ResultLine:
    """What a line of the output says.

    Args:
        line: with its line feed.

    Raises:
        BadLine: it is no result of this format.
    """
    content = _object(line)
    start = line.find(RECORD_MEMBER)
    doi = content["doi"] if isinstance(content.get("doi"), str) else ""
    wrong = _wrong_members(content, _RESULT_MEMBERS)
    if wrong or content["v"] != SCHEMA_VERSION:
        raise BadLine(f"is no record of version {SCHEMA_VERSION}: see {', '.join(wrong) or 'v'}", doi)
    return ResultLine(
        doi=doi,
        outcome=content["outcome"],
        harvested_at=content["harvested_at"],
        http_status=content["http_status"],
        attempts=content["attempts"],
        elapsed_ms=content["elapsed_ms"],
        truncated=content["truncated"],
        changed=content["changed"],
        added=content["added"],
        sha256=content["sha256"],
        paperbuzz=memoryview(line)[start + len(RECORD_MEMBER) : -2] if start >= 0 else memoryview(b""),
        record=content["paperbuzz"],
    )


def read_failure(line: bytes) -> Failure:
    """What a line of the failures file says.

    Args:
        line: with its line feed.

    Raises:
        BadLine: it is no failure of this format.
    """
    content = _object(line)
    if (
        _wrong_members(content, _FAILURE_MEMBERS)
        or content["v"] != SCHEMA_VERSION
        or content["stage"] not in tuple(Stage)
    ):
        raise BadLine("is no failure of this format")
    return Failure(
        doi=content["doi"],
        input=content["input"],
        origin=content["origin"],
        kind=content["kind"],
        http_status=content["http_status"],
        attempts=content["attempts"],
        message=content["message"],
        failed_at=content["failed_at"],
        stage=Stage(content["stage"]),
    )


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        BadLine: there is none.
    """
    if not line.endswith(b"\n"):
        raise BadLine("is cut off: no line feed ends it")
    try:
        content = _parsed(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"is no valid JSON: {printable(str(error), 120)}") from None
    if not isinstance(content, dict):
        raise BadLine("is JSON, but no object")
    return content


def _parsed(line: bytes) -> object:
    """The JSON in a line. If it would cost too much, its record is looked into by itself."""
    start = line.find(RECORD_MEMBER)
    if len(line) <= CHEAP_BYTES or start < 0 or cost(line) <= MOST_COST:
        return orjson.loads(line)
    if len(line) - start <= start or not line.endswith(b"}\n"):
        raise ValueError("it is too large to be read")
    content = orjson.loads(line[:start] + b"}")
    content["paperbuzz"] = seen(memoryview(line)[start + len(RECORD_MEMBER) : -2])
    return content


def _wrong_members(content: Mapping[str, object], members: Mapping[str, type | UnionType]) -> list[str]:
    """The members that are missing or of another type."""
    return [name for name, kind in members.items() if name not in content or not isinstance(content[name], kind)]


# Recognised


def begins_with_result(head: bytes) -> bool:
    """Whether a file begins with a result. Its first line, which may be several MB, need not be whole.

    Args:
        head: the first bytes of the file, unpacked.
    """
    envelope, found, _ = head.partition(b"\n")[0].partition(RECORD_MEMBER)
    members = {name: kind for name, kind in _RESULT_MEMBERS.items() if name != "paperbuzz"}
    return bool(found) and _has_members(envelope + b"}\n", members)


def begins_with_failure(head: bytes) -> bool:
    """Whether a file begins with a failure.

    Args:
        head: the first bytes of the file, with its first line feed.
    """
    first, end, _ = head.partition(b"\n")
    return _has_members(first + end, _FAILURE_MEMBERS)


def _has_members(line: bytes, members: Mapping[str, type | UnionType]) -> bool:
    try:
        return not _wrong_members(_object(line), members)
    except BadLine:
        return False
