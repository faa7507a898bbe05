"""The record of one DOI on its way from the provider to the output."""

from collections.abc import Mapping
from typing import NamedTuple

from harvester.core.model import DueWork, Failure, Outcome
from harvester.records.comparable import Comparable
from harvester.transport.room import Place


class Result(NamedTuple):
    """The record of one DOI as Paperbuzz gave it, and how it was had.

    Args:
        doi: canonical, and equal to the record's own `doi`.
        outcome: what the record has in it.
        harvested_at: UTC timestamp.
        http_status: of the answer.
        attempts: requests made for it in this run, this one included.
        elapsed_ms: how long the last attempt took.
        truncated: whether events are missing at the cap of 2,500; None if that cannot be known. Wire fact P6.
        changed: whether it differs from the record before; None if there is none to compare with.
        paperbuzz: the server's own bytes: one JSON object. CR and LF in them are dropped where a line is written.
        sha256: of these bytes without CR and LF, in hex.
        landing_urls: URLs that the record gives for the work, to be registered; empty if nobody wants them.
        added: events that came since the record before, by source; None if there is none to compare with.
        comparable: what later records are compared with; None if nobody wants to compare.
        place: the room that a large record takes until it is committed; see `harvester.transport.room`.
    """

    doi: str
    outcome: Outcome
    harvested_at: str
    http_status: int
    attempts: int
    elapsed_ms: int
    truncated: bool | None
    changed: bool | None
    paperbuzz: bytes
    sha256: str
    landing_urls: tuple[str, ...] = ()
    added: Mapping[str, int] | None = None
    comparable: Comparable | None = None
    place: Place | None = None


Finished = tuple[DueWork, Result | Failure]
"""A due work and what became of it."""
