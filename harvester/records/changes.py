"""What changed between two records of a DOI, decided by their content and not by their bytes.

Four differences do not count. The order of lists: Paperbuzz gives events in no defined order (P6). The order of authors
in the one text that names them all, which differs from one start of the service to the next (P14). Members that change
without the work, see `VOLATILE`. A missing part: Crossref or oaDOI may have been down behind the service (P4), so the
part that was seen before stays.

Nothing in a record that is valid JSON can make a comparison fail. A part that is nested too deeply, or would cost too
much, has no digest, and then it may be that nothing can be told.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from harvester.records.events import whole
from harvester.records.large_json import Unbuilt

VOLATILE = frozenset(
    {
        *("crossref_event_data_url", "crossref_url", "oadoi_url", "icon_url"),  # addresses of where it was looked up
        *("indexed", "deposited", "score", "is-referenced-by-count", "references-count"),  # Crossref's own bookkeeping
        *("updated", "data_standard"),  # oaDOI's
    }
)
"""Members that change although nothing happened to the work, at any depth."""

DIGEST_BYTES = 12
"""Length of a digest: enough to tell the versions of one record apart. Three digests are kept for each work."""

DEEPEST = 64
"""Levels of a part that is compared; real ones have fewer than ten. The time that it takes grows with them."""

LONG = 1_000
"""The elements of a longer list are sorted by copies of their text: each text of orjson has 4 KiB, however short."""

MOST_SOURCES = 1_000
LONGEST_NAME = 200
"""Sources that are counted, and characters of their names. The service has about a dozen, with short names."""


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of a record that are compared.

    Args:
        events: digest of all events; empty if it cannot be made.
        metadata: digest of the metadata; empty if there is none.
        open_access: digest of the open-access data; empty if there is none.
        counts: events by source.
    """

    events: bytes
    metadata: bytes
    open_access: bytes
    counts: Mapping[str, int]


def content_of(record: Mapping[str, object]) -> Content:
    """The content of a Paperbuzz record. Members of an unexpected form count as missing."""
    sources = record.get("altmetrics_sources")
    return Content(
        _digest_of_events(sources),
        _digest_of_part(_in_order(record.get("metadata"))),
        _digest_of_part(record.get("open_access")),
        counts_of(sources),
    )


def counts_of(sources: object) -> dict[str, int]:
    """Events by source, in the order of the names. The counts of a source that comes twice are added up.

    What cannot be a name or a count is left out, so that counts can always be written down.
    """
    counts: dict[str, int] = {}
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict):
            name, count = source.get("source_id"), whole(source.get("events_count"))
            if count and isinstance(name, str) and len(name) <= LONGEST_NAME:
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items())[:MOST_SOURCES])


def differs(before: Content, now: Content) -> bool | None:
    """Whether a part differs between two records, or is new. A part that is missing now does not count.

    Returns:
        None if it cannot be told: the events of one of the two have no digest, and nothing else differs.
    """
    parts = (before.metadata, now.metadata), (before.open_access, now.open_access)
    if any(new and new != old for old, new in parts):
        return True
    if not before.events or not now.events:
        return None
    return before.events != now.events


def merged(before: Content, now: Content) -> Content:
    """What is known after both records. A part that is missing now stays as it was before."""
    is_counted = now.events or now.counts
    return Content(
        now.events or before.events,
        now.metadata or before.metadata,
        now.open_access or before.open_access,
        dict(now.counts if is_counted else before.counts),
    )


def added(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """How many events came, by source. Sources that gained none are left out."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def _digest_of_events(sources: object) -> bytes:
    if not isinstance(sources, list) or any(isinstance(source, Unbuilt) for source in sources):
        return b""
    stable = _stable_or_none(sources)
    return b"" if stable is None else _digest(stable)


def _digest_of_part(part: object) -> bytes:
    """The digest of a part; empty if there is nothing in it."""
    stable = None if isinstance(part, Unbuilt) else _stable_or_none(part)
    return _digest(stable) if stable else b""


def _in_order(metadata: object) -> object:
    """The metadata, with the authors in an order of their own."""
    authors = metadata.get("author") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(authors, str):
        return metadata
    return metadata | {"author": ", ".join(sorted(authors.split(", ")))}


def _digest(stable: object) -> bytes:
    return hashlib.sha256(_canonical(stable)).digest()[:DIGEST_BYTES]


def _stable_or_none(part: object) -> object:
    """The stable form of a value; None if it is nested too deeply."""
    try:
        return _stable(part, DEEPEST)
    except RecursionError:
        return None


def _canonical(stable: object) -> bytes:
    return orjson.dumps(stable, option=orjson.OPT_SORT_KEYS)


def _canonical_copy(stable: object) -> bytes:
    return bytes(memoryview(_canonical(stable)))


def _stable(part: object, levels: int) -> object:
    """A JSON value without volatile members, with its lists sorted.

    Most members are plain, and most objects are events with nothing but plain members. They are told here, before a
    call is made for them: that takes two thirds of the time for a record of 18 kB (measured).

    Args:
        part: the value.
        levels: that it may have.

    Raises:
        RecursionError: it has more.
    """
    if not levels:
        raise RecursionError
    if type(part) is dict:
        if VOLATILE.isdisjoint(part) and _NESTED.isdisjoint(map(type, part.values())):
            return part
        return {
            name: _stable(value, levels - 1) if type(value) in _NESTED else value
            for name, value in part.items()
            if name not in VOLATILE
        }
    if type(part) is list:
        values = [_stable(value, levels - 1) if type(value) in _NESTED else value for value in part]
        return sorted(values, key=_canonical if len(values) <= LONG else _canonical_copy) if len(values) > 1 else values
    return part


_NESTED = frozenset({dict, list})
