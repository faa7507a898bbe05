"""What a record says of itself: ok, empty or degraded, cut at the cap, and where its work can be read."""

from typing import TypeGuard

from harvester.core.model import Outcome
from harvester.records.lazy_json import each_member, member, members, names

_OK, _EMPTY, _DEGRADED = Outcome
"""Looked up once: to find a member in its class takes as long as all of `outcome_of`."""

EVENT_CAP = 2_500
"""The server takes at most this many raw events of a DOI (P6)."""


MERGED_CAP = 2_000
"""From here on merged Wikipedia pages may hide that the cap was reached: 2,500 raw events showed as 2,009 (P6)."""


def says_more(part: object, only: str) -> bool:
    """Whether a part of the record holds more than the one URL that is there in any case (P4)."""
    return any(map(only.__ne__, names(part)))


def outcome_of(metadata: bool, events: bool, open_access: bool) -> Outcome:
    """The outcome of a record that has these parts (P4)."""
    if not metadata and not events:
        return _EMPTY
    return _OK if metadata and open_access else _DEGRADED


def is_truncated(sources: list[object]) -> bool | None:
    """Whether the cap cut events off (P6)."""
    total = sum([count for count in each_member(sources, "events_count") if isinstance(count, int)])
    if total >= EVENT_CAP:
        return True
    return None if total >= MERGED_CAP and "wikipedia" in each_member(sources, "source_id") else False


def landing_urls_of(metadata: object, open_access: object) -> tuple[str, ...]:
    """URLs that a record gives for its work: Crossref's, then the best open-access location's."""
    page, other = members(member(open_access, "best_oa_location"), "url_for_landing_page", "url")
    crossref, best = member(metadata, "URL"), page if _is_web(page) else other
    urls = [url for url in (crossref, best) if _is_web(url)]
    return tuple(dict.fromkeys(urls))


def _is_web(url: object) -> TypeGuard[str]:
    return isinstance(url, str) and url.lower().startswith(("http://", "https://"))
