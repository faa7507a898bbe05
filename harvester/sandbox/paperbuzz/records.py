"""The record of a DOI. It depends on seed, DOI and simulated day, and on nothing else.

Kinds of DOI: `ok`; `quiet` (known, no events); `empty` (unknown, P4); `degraded` (metadata or open-access data lost);
`broken` (always 500, P11); `giant` (at or over the cap of 2,500 raw events). The kind is drawn at random, with the
shares that the options give. Names under 10.5555 can say their kind themselves (see `SPECIAL`).
"""

import json
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from harvester.sandbox.faults.rates import chance
from harvester.sandbox.options import Shares
from harvester.sandbox.paperbuzz.doipath import breaks_upstream, cannot_exist, hides_events, hides_metadata
from harvester.sandbox.paperbuzz.events import events_of, source_objects
from harvester.sandbox.paperbuzz.invent import Pool, pool

_Part = TypeVar("_Part")

Kind = Literal["ok", "quiet", "empty", "degraded", "broken", "giant"]

SPECIAL: dict[str, Kind] = {
    "10.5555/ok": "ok",
    "10.5555/slow": "ok",
    "10.5555/quiet": "quiet",
    "10.5555/empty": "empty",
    "10.5555/unknown": "empty",
    "10.9999/": "empty",
    "10.5555/degraded": "degraded",
    "10.5555/crossref-500": "degraded",
    "10.5555/oadoi-500": "degraded",
    "10.5555/crossref-html": "broken",
    "10.5555/crossref-timeout": "broken",
    "10.5555/oadoi-timeout": "broken",
    "10.5555/500": "broken",
    "10.5555/poison": "broken",
    "10.5555/giant": "giant",
}
"""Beginnings of DOIs for trying things by hand, and the kind of DOI they are, whatever the shares say."""

CACHED_EVENTS = 1_000
CACHED_DAYS = 7
"""An answer with more than `CACHED_EVENTS` events changes only once in `CACHED_DAYS` days (P6)."""


@dataclass(frozen=True, slots=True)
class RecordGenerator:
    """Invents the records of one sandbox.

    Args:
        seed: another seed gives other records.
        shares: how many DOIs get which kind of record.
        size_scale: factor on the length of abstracts and reference lists.
    """

    seed: int = 1
    shares: Shares = field(default_factory=Shares)
    size_scale: float = 1.0

    def kind(self, doi: str, day: int = 0) -> Kind:
        """Which kind of DOI this is on a simulated day."""
        for start, special in SPECIAL.items():
            if doi.startswith(start):
                return special
        if breaks_upstream(doi):
            return "broken"
        if cannot_exist(doi):
            return "empty"
        return self._drawn(doi, day)

    def _drawn(self, doi: str, day: int) -> Kind:
        point = chance(self.seed, "kind", doi)
        shares = self.shares
        if point < shares.broken:
            return "broken"
        if (point := point - shares.broken) < shares.empty:
            return "empty" if day < self._known_from(doi) else "ok"
        if (point := point - shares.empty) < shares.giant:
            return "giant"
        # Unlike the other kinds, `degraded` passes: it is drawn anew for each day.
        if chance(self.seed, "sick", doi, day) < shares.degraded:
            return "degraded"
        return "quiet" if point - shares.giant < shares.quiet else "ok"

    def _known_from(self, doi: str) -> float:
        """The simulated day on which an unknown DOI becomes known; infinity for half of them."""
        drawn = chance(self.seed, "known", doi)
        return math.inf if drawn < 0.5 else 1 + int((drawn - 0.5) * 28)

    def record(self, doi: str, day: int, icon_base: str, shuffle: int = 0) -> dict[str, object]:
        """The whole record as Paperbuzz answers it. For a `broken` DOI it is what the server would say if it could.

        Args:
            doi: as the server reads it.
            day: the simulated day.
            icon_base: beginning of the URLs of icons, `http://HOST`.
            shuffle: if not 0, the order of the sources depends on it.
        """
        kind = self.kind(doi, day)
        has_events = kind not in ("empty", "quiet") and not hides_events(doi)
        sources = _sources(self.seed, doi, kind, day, icon_base) if has_events else []
        if shuffle:
            random.Random(f"{doi} {shuffle}").shuffle(sources)
        is_bare = kind == "empty" or (hides_metadata(doi) and not hides_events(doi))
        missing = _missing(self.seed, doi, day) if kind == "degraded" else ""
        metadata = {} if is_bare or "m" in missing else _metadata(self.seed, self.size_scale, doi)
        open_access = {} if is_bare or "o" in missing else _open_access(self.seed, doi)
        return {
            "altmetrics_sources": sources,
            "crossref_event_data_url": "https://api.eventdata.crossref.org/v1/events?rows=1000&filter="
            f"from-collected-date:1990-01-01,until-collected-date:2099-01-01,obj-id:{doi}",
            "doi": doi,
            "metadata": _crossref_url(doi) | metadata,
            "open_access": _oadoi_url(doi) | open_access,
        }


_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def encoded(value: object, *, indented: bool) -> bytes:
    """JSON as the server writes it: sorted, ASCII, with a newline at the end."""
    if indented:
        return json.dumps(value, sort_keys=True, indent=2).encode() + b"\n"
    return _COMPACT.encode(value).encode() + b"\n"


def _missing(seed: int, doi: str, day: int) -> str:
    """What the services behind Paperbuzz did not deliver: `m` for metadata, `o` for open-access data, or both."""
    if doi.startswith("10.5555/crossref-500"):
        return "m"
    if doi.startswith("10.5555/oadoi-500"):
        return "o"
    return ("m", "o", "mo")[int(chance(seed, "missing", doi, day) * 3)]


def _sources(seed: int, doi: str, kind: Kind, day: int, icon_base: str) -> list[dict[str, object]]:
    count = _events_before(seed, doi, kind)
    name = f"{seed} {doi}"
    raw = events_of(name, count, _published(seed, doi), day - day % CACHED_DAYS)
    if day % CACHED_DAYS and len(raw) <= CACHED_EVENTS:
        raw = events_of(name, count, _published(seed, doi), day)
    return source_objects(raw, icon_base)


def _events_before(seed: int, doi: str, kind: Kind) -> int:
    """The number of events before day 0. It is lognormal: the median is 5, one in a hundred has over 200."""
    rng = random.Random(f"count {seed} {doi}")
    if kind == "giant":
        return rng.randrange(2_500, 4_000)
    return min(2_400, max(1, int(rng.lognormvariate(1.6, 1.6))))


def _published(seed: int, doi: str) -> datetime:
    days = int(chance(seed, "published", doi) * 4_300)
    return datetime(2013 + days // 366, 1 + days % 12, 1 + days % 28, tzinfo=UTC)


def _crossref_url(doi: str) -> dict[str, object]:
    return {"crossref_url": f"https://api.crossref.org/works/{doi}/transform/application/vnd.citationstyles.csl+json"}


def _oadoi_url(doi: str) -> dict[str, object]:
    return {"oadoi_url": f"https://api.oadoi.org/v2/{doi}"}


def _metadata(seed: int, size_scale: float, doi: str) -> dict[str, object]:
    """CSL-JSON as Crossref's transformation gives it. Most of its size is reference list and abstract."""
    rng = random.Random(f"metadata {seed} {doi}")
    parts = pool(seed)
    moment = _published(seed, doi)
    issued = {"date-parts": [[moment.year, moment.month, moment.day]]}
    references = _slice(rng, parts.references, int(rng.lognormvariate(2.7, 1.0) * size_scale))
    journal = rng.choice(parts.journals)
    found: dict[str, object] = {
        "DOI": doi,
        "ISSN": [f"{rng.randrange(1000, 3000)}-{rng.randrange(1000, 9999)}"],
        "URL": f"http://dx.doi.org/{doi}",
        "alternative-id": [doi],
        "author": _authors(rng, parts),
        "container-title": journal,
        "content-domain": {"crossmark-restriction": False, "domain": []},
        "created": {**issued, "date-time": f"{moment:%Y-%m-%d}T10:00:00Z", "timestamp": int(moment.timestamp()) * 1000},
        "is-referenced-by-count": rng.randrange(200),
        "issue": str(rng.randrange(1, 12)),
        "issued": issued,
        "language": "en",
        "license": [{"URL": "http://creativecommons.org/licenses/by/4.0/", "content-version": "vor", "start": issued}],
        "member": str(rng.randrange(100, 9000)),
        "page": f"{rng.randrange(1, 400)}-{rng.randrange(400, 900)}",
        "prefix": doi.partition("/")[0],
        "publisher": rng.choice(parts.publishers),
        "references-count": len(references),
        "relation": {},
        "resource": {"primary": {"URL": f"https://press.example.org/article/{doi}"}},
        "score": 1,
        "source": "Crossref",
        "subject": [],
        "subtitle": [],
        "title": rng.choice(parts.titles),
        "type": "article-journal",
        "volume": str(rng.randrange(1, 90)),
    }
    if references:
        found["reference"] = references
    if rng.random() < 0.7:
        sentences = _slice(rng, parts.sentences, int(rng.randrange(8, 16) * size_scale))
        found["abstract"] = f"<jats:p>{' '.join(sentences)}</jats:p>"
    return found


def _authors(rng: random.Random, parts: Pool) -> list[dict[str, object]]:
    people = _slice(rng, parts.people, rng.randrange(1, 8))
    return [{**people[0], "sequence": "first"}, *people[1:]]


def _slice(rng: random.Random, items: tuple[_Part, ...], count: int) -> list[_Part]:
    start = rng.randrange(len(items))
    doubled = items[start:] + items[:start]
    return list(doubled[: max(0, min(count, len(items)))])


def _open_access(seed: int, doi: str) -> dict[str, object]:
    """An Unpaywall record in its data format 2."""
    rng = random.Random(f"open access {seed} {doi}")
    parts = pool(seed)
    is_open = rng.random() < 0.55
    locations = [_location(rng, doi, first=not number) for number in range(rng.randrange(1, 4))] if is_open else []
    best = locations[0] if locations else None
    return {
        "best_oa_location": best,
        "data_standard": 2,
        "doi": doi,
        "doi_url": f"https://doi.org/{doi}",
        "first_oa_location": best,
        "genre": "journal-article",
        "has_repository_copy": len(locations) > 1,
        "is_oa": is_open,
        "is_paratext": False,
        "journal_is_in_doaj": is_open,
        "journal_is_oa": is_open,
        "journal_name": rng.choice(parts.journals),
        "oa_locations": locations,
        "oa_locations_embargoed": [],
        "oa_status": "gold" if is_open else "closed",
        "publisher": rng.choice(parts.publishers),
        "title": rng.choice(parts.titles),
        "updated": "2025-06-01T01:02:03.123456",
        "year": _published(seed, doi).year,
        "z_authors": _slice(rng, parts.people, 3),
    }


def _location(rng: random.Random, doi: str, *, first: bool) -> dict[str, object]:
    number = rng.randrange(10**6)
    page = f"https://press.example.org/article/{doi}" if first else f"https://repository.example.org/{number}"
    return {
        "endpoint_id": None if first else f"{number:x}",
        "evidence": "open (via page says license)" if first else "oa repository (via OAI-PMH doi match)",
        "host_type": "publisher" if first else "repository",
        "is_best": first,
        "license": "cc-by",
        "oa_date": None,
        "pmh_id": None if first else f"oai:repository.example.org:{number}",
        "repository_institution": None if first else "University of Northmere",
        "updated": "2025-05-01T01:02:03.123456",
        "url": f"{page}.pdf",
        "url_for_landing_page": page,
        "url_for_pdf": f"{page}.pdf",
        "version": "publishedVersion" if first else "acceptedVersion",
    }
