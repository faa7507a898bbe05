"""What changed between two records of a DOI, decided by their content and not by their bytes.

Three differences do not count. The order of lists: Paperbuzz gives events in no defined order (P6). Members that change
without the work, see `VOLATILE`. A missing part: Crossref or oaDOI may have been down behind the service (P4), so the
part that was seen before stays.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

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
        _digest_of_events(sources if isinstance(sources, list) else []),
        _digest_of_part(record.get("metadata")),
        _digest_of_part(record.get("open_access")),
        counts_of(sources),
    )


def counts_of(sources: object) -> dict[str, int]:
    """Events by source, in the order of the names. The counts of a source that comes twice are added up."""
    counts: dict[str, int] = {}
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict):
            name, count = source.get("source_id"), source.get("events_count")
            if isinstance(name, str) and isinstance(count, int) and count > 0:
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items()))


def differs(before: Content, now: Content) -> bool:
    """Whether a part differs between two records, or is new. A part that is missing now does not count."""
    parts = (
        (before.events, now.events),
        (before.metadata, now.metadata),
        (before.open_access, now.open_access),
    )
    return any(new and new != old for old, new in parts)


def merged(before: Content, now: Content) -> Content:
    """What is known after both records. A part that is missing now stays as it was before."""
    return Content(now.events, now.metadata or before.metadata, now.open_access or before.open_access, dict(now.counts))


def added(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """How many events came, by source. Sources that gained none are left out."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def _digest_of_events(sources: list[object]) -> bytes:
    stable = _stable_or_none(sources)
    return b"" if stable is None else _digest(stable)


def _digest_of_part(part: object) -> bytes:
    """The digest of a part; empty if there is nothing in it."""
    stable = _stable_or_none(part)
    return _digest(stable) if stable else b""


def _digest(stable: object) -> bytes:
    """The digest of a value; empty if it is nested too deeply to be written, so that nothing can be said of it."""
    try:
        return hashlib.sha256(_canonical(stable)).digest()[:DIGEST_BYTES]
    except TypeError:  # orjson's word for more than 254 levels
        return b""


def _stable_or_none(part: object) -> object:
    """The stable form of a value; None if it is nested too deeply."""
    try:
        return _stable(part)
    except (RecursionError, TypeError):
        return None


def _canonical(stable: object) -> bytes:
    return orjson.dumps(stable, option=orjson.OPT_SORT_KEYS)


def _stable(part: object) -> object:
    """A JSON value without volatile members, with its lists sorted.

    Most members are plain, and most objects are events with nothing but plain members. They are told here, before a
    call is made for them: that takes two thirds of the time for a record of 18 kB (measured).
    """
    if type(part) is dict:
        if VOLATILE.isdisjoint(part) and _NESTED.isdisjoint(map(type, part.values())):
            return part
        return {
            name: _stable(value) if type(value) in _NESTED else value
            for name, value in part.items()
            if name not in VOLATILE
        }
    if type(part) is list:
        values = [_stable(value) if type(value) in _NESTED else value for value in part]
        return sorted(values, key=_canonical) if len(values) > 1 else values
    return part


_NESTED = frozenset({dict, list})
