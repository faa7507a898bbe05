"""The events of one DOI: a past that is fixed, and a future that comes day by day.

For a given seed and DOI the list at a later day begins with the list of every earlier day: nothing that was seen once
goes away, and histograms, which are counted from the list, agree with it.
"""

import math
import random
from bisect import bisect
from datetime import UTC, datetime, timedelta
from itertools import accumulate

BASE_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""Simulated day 0; events of day d lie before `BASE_DAY + d`."""

EVENT_CAP = 2_500
"""Raw events the server takes, in no defined order (P6)."""

SOURCES: dict[str, tuple[str, str]] = {
    "twitter": ("Twitter", "twitter.ico"),
    "newsfeed": ("News", "news.ico"),
    "wikipedia": ("Wikipedia", "wikipedia.ico"),
    "wordpressdotcom": ("Wordpress.com", "blogs.ico"),
    "reddit": ("Reddit", "reddit.ico"),
    "hypothesis": ("Hypothes.is", "hypothesis.png"),
    "stackexchange": ("Stack Exchange", "stackexchange.ico"),
    "datacite": ("DataCite", "datacite.gif"),
    "crossref": ("Crossref", "crossref.ico"),
    "f1000": ("Faculty of 1000", "f1000.ico"),
    "cambia-lens": ("Cambia Lens", "lens.png"),
    "plaudit": ("Plaudit", "plaudit.ico"),
    "web": ("Web", "web.ico"),
}
"""Source identifier: display name, and file of the icon."""

# Of a hundred events sixty are tweets, and so on in the order above.
_BOUNDS = tuple(accumulate((60, 8, 10, 4, 4, 4, 2, 2, 2, 1, 1, 1, 1)))
_NAMES = tuple(SOURCES)

Event = dict[str, str | None]
Raw = tuple[str, str, Event]
"""Source, moment, and the event as it is shown."""


def events_of(rng_seed: str, count: int, published: datetime, day: int) -> list[Raw]:
    """Raw events up to a simulated day, at most `EVENT_CAP` of them.

    Args:
        rng_seed: says which DOI of which sandbox.
        count: events before day 0.
        published: none is earlier.
        day: simulated.
    """
    past = random.Random(f"past {rng_seed}")
    mixed = past.random() < 0.9
    raw = [_event(past, _past_moment(past, published), mixed=mixed) for _ in range(count)]
    raw += _future(rng_seed, count, day, mixed=mixed)
    if len(raw) > EVENT_CAP:
        random.Random(f"cap {rng_seed}").shuffle(raw)
        del raw[EVENT_CAP:]
    return raw


def _past_moment(rng: random.Random, published: datetime) -> datetime:
    # Attention comes early and fades: half of it within the first tenth of the time.
    span = (BASE_DAY - published).total_seconds() - 1
    return published + timedelta(seconds=int(span * rng.random() ** 3.3))


def _future(rng_seed: str, count: int, day: int, *, mixed: bool) -> list[Raw]:
    rng = random.Random(f"future {rng_seed}")
    rate = (0.002 + count / 800) * rng.lognormvariate(0, 1)
    found: list[Raw] = []
    moment = rng.expovariate(rate)
    while moment < day and len(found) < 2 * EVENT_CAP:
        found.append(_event(rng, BASE_DAY + timedelta(seconds=int(moment * 86_400)), mixed=mixed))
        moment += rng.expovariate(rate)
    return found


def _event(rng: random.Random, moment: datetime, *, mixed: bool) -> Raw:
    source = _NAMES[bisect(_BOUNDS, rng.random() * _BOUNDS[-1])] if mixed else "twitter"
    number = 10**9 + int(rng.random() * 9 * 10**9)
    shown = moment.isoformat()[:19] + "Z"
    return source, shown, {"author": None, "occurred_at": shown} | _where(source, number, moment)


def _where(source: str, number: int, moment: datetime) -> Event:
    """The part of an event that depends on its source."""
    if source == "twitter":
        name = f"reader{number % 99_991}"
        url = f"http://twitter.com/{name}/statuses/{number}{number % 10**8:08}"
        return {"author": f"http://www.twitter.com/{name}", "url": url}
    if source == "wikipedia":
        page = f"https://en.wikipedia.org/w/index.php?title=Invented_page_{int(math.sqrt(number % 90_000))}"
        return {"page_url": page, "url": f"{page}&oldid={number}"}
    if source == "f1000":
        return {"author": "Dora Brandt, Zoë Marchetti", "url": f"https://f1000.example.com/prime/{number}"}
    if source == "newsfeed":
        return {"url": f"https://news.example.com/{moment:%Y/%m}/café-story?utm_source=rss&id={number}"}
    return {"url": f"https://{source}.example.com/item/{number}"}


def source_objects(raw: list[Raw], icon_base: str) -> list[dict[str, object]]:
    """The sources in the order of their first appearance, as Paperbuzz shows them (contract A6).

    Args:
        raw: events, in any order.
        icon_base: `http://HOST`.
    """
    groups: dict[str, list[Event]] = {}
    for source, _, event in raw:
        groups.setdefault(source, []).append(event)
    return [_source(name, _shown(name, events), icon_base) for name, events in groups.items()]


def _shown(name: str, events: list[Event]) -> list[Event]:
    """Sorted by time; of Wikipedia one event a page, which is why counts may fall below the cap (P6)."""
    ordered = sorted(events, key=lambda event: event["occurred_at"] or "")
    if name != "wikipedia":
        return ordered
    pages: dict[str | None, Event] = {}
    for event in ordered:
        pages.setdefault(event["page_url"], event)
    return list(pages.values())


def _source(name: str, events: list[Event], icon_base: str) -> dict[str, object]:
    display, icon = SOURCES[name]
    dates = [event["occurred_at"] or "" for event in events]
    return {
        "source_id": name,
        "source": {"id": name, "display_name": display, "icon_url": f"{icon_base}/static/img/favicons/{icon}"},
        "events": events,
        "events_count": len(events),
        "first_event_date": dates[0][:10],
        "events_count_by_day": _histogram(dates, 10),
        "events_count_by_month": _histogram(dates, 7),
        "events_count_by_year": _histogram(dates, 4),
    }


def _histogram(dates: list[str], length: int) -> list[dict[str, object]]:
    counts: dict[str, int] = {}
    for date in dates:
        counts[date[:length]] = counts.get(date[:length], 0) + 1
    return [{"count": count, "date": date} for date, count in counts.items()]
