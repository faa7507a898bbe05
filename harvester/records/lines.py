"""The lines of the output and of the failures file."""

from collections.abc import Iterable
from itertools import chain

import orjson

from harvester.core.model import Failure, Result

SCHEMA_VERSION = 1


def result_lines(results: Iterable[Result]) -> bytes:
    """Results as lines of the output, each with its newline.

    The record itself is copied in as the server's own bytes, as the last member, so that anyone can cut it out again
    and compare it with `sha256`.
    """
    # All at once, for a batch of records is larger than the processor's caches.
    return b"".join(chain.from_iterable(map(_pieces, results)))


def _pieces(result: Result) -> tuple[bytes, ...]:
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
    return head[:-1], b',"paperbuzz":', result.paperbuzz, b"}\n"


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
