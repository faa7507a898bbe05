"""What a record tells: its outcome, whether events are missing, and where the work can be read."""

from typing import TypeGuard

from harvester.core.model import Outcome
from harvester.core.urls.landing import LandingPages, LeftOut
from harvester.records.large_json import UNKNOWN_SOURCE
from harvester.records.lazy_json import each_member, member, members, names

_OK, _EMPTY, _DEGRADED = Outcome
"""Looked up once. Looking a member up in its class takes as long as the rest of `outcome_of`."""

EVENT_CAP = 2_500
"""The server collects at most this many raw events of a DOI (P6)."""


MERGED_CAP = 834
"""From this count on it cannot be known whether the cap was reached, where Wikipedia is among the sources: the server
keeps one raw event for each page and action, there are up to three actions, and a page is shown once. So 2,500 raw
events may be shown as 834 (P6)."""


LONGEST_URL = 4096
"""A longer address of a work is taken for none."""


def says_more(part: object, only: str) -> bool:
    """Whether a part of the record has a member besides `only`, the URL that is always there (P4)."""
    return any(map(only.__ne__, names(part)))


def outcome_of(metadata: bool, events: bool, open_access: bool) -> Outcome:
    """The outcome of a record that has these parts (P4)."""
    if not metadata and not events:
        return _EMPTY
    return _OK if metadata and open_access else _DEGRADED


def is_truncated(sources: list[object]) -> bool | None:
    """Whether events are missing at the cap; None if it cannot be known (P6)."""
    if sources and sources[0] is UNKNOWN_SOURCE:
        return None
    total = sum([count for count in each_member(sources, "events_count") if isinstance(count, int)])
    if total >= EVENT_CAP:
        return True
    return None if total >= MERGED_CAP and "wikipedia" in each_member(sources, "source_id") else False


def doi_of_metadata(metadata: object) -> str | None:
    """The DOI that the metadata themselves name; None if they name none.

    The server cuts the address at which it looks metadata up: of `10.5555/a?b` it gives those of `10.5555/a` (P13).
    """
    named = member(metadata, "DOI")
    return named if isinstance(named, str) else None


def landing_urls_of(metadata: object, open_access: object) -> tuple[str, ...]:
    """The URLs of a work by its record: the publisher's page first, then that of the best open-access location.

    The publisher's page is `resource.primary.URL` of Crossref. Its `URL` is an address of doi.org, as a rule. Such
    addresses only repeat the DOI, and are left out.
    """
    page, other = members(member(open_access, "best_oa_location"), "url_for_landing_page", "url")
    publishers = member(member(member(metadata, "resource"), "primary"), "URL")
    given = (publishers if _is_page(publishers) else member(metadata, "URL"), page if _is_page(page) else other)
    return tuple(dict.fromkeys(url for url in given if _is_page(url)))


_PAGES = LandingPages()


def _is_page(url: object) -> TypeGuard[str]:
    return _is_web(url) and _PAGES.why_left_out(url) not in (LeftOut.RESOLVER, LeftOut.REPEATS_DOI)


def _is_web(url: object) -> TypeGuard[str]:
    return isinstance(url, str) and len(url) <= LONGEST_URL and url.lower().startswith(("http://", "https://"))
