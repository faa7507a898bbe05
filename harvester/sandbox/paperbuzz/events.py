"""The events of one DOI: those before day 0 are fixed, later ones come day by day.

For one seed and DOI, the list of a later day begins with the list of every earlier day. So no event goes away that was
seen once. Histograms are counted from the list, and agree with it.
"""

import math
import random
from bisect import bisect
from datetime import UTC, datetime, timedelta
from itertools import accumulate

BASE_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""Simulated day 0. Events that are known on day d lie before `BASE_DAY + d`."""

EVENT_CAP = 2_500
"""How many raw events the server uses at most. Which ones is not defined (P6)."""

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
"""By source identifier: the name to show, and the file of the icon."""

# Of a hundred events sixty are tweets, eight are news, and so on in the order above.
_BOUNDS = tuple(accumulate((60, 8, 10, 4, 4, 4, 2, 2, 2, 1, 1, 1, 1)))
_NAMES = tuple(SOURCES)

Event = dict[str, str | None]
RawEvent = tuple[str, str, Event]
"""The source of an event, its time, and the event as Paperbuzz shows it."""


def events_of(rng_seed: str, count: int, published: datetime, day: int) -> list[RawEvent]:
    """Raw events up to a simulated day, at most `EVENT_CAP` of them.

    Args:
        rng_seed: seed and DOI.
        count: how many events there are before day 0.
        published: when the work appeared. No event is earlier.
        day: the simulated day.
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
    # Attention comes early and fades: half of the events lie within the first tenth of the time.
    span = (BASE_DAY - published).total_seconds() - 1
    return published + timedelta(seconds=int(span * rng.random() ** 3.3))


def _future(rng_seed: str, count: int, day: int, *, mixed: bool) -> list[RawEvent]:
    rng = random.Random(f"future {rng_seed}")
    rate = (0.002 + count / 800) * rng.lognormvariate(0, 1)
    found: list[RawEvent] = []
    moment = rng.expovariate(rate)
    while moment < day and len(found) < 2 * EVENT_CAP:
        found.append(_event(rng, BASE_DAY + timedelta(seconds=int(moment * 86_400)), mixed=mixed))
        moment += rng.expovariate(rate)
    return found


def _event(rng: random.Random, moment: datetime, *, mixed: bool) -> RawEvent:
    source = _NAMES[bisect(_BOUNDS, rng.random() * _BOUNDS[-1])] if mixed else "twitter"
    number = 10**9 + int(rng.random() * 9 * 10**9)
    shown = moment.isoformat()[:19] + "Z"
    return source, shown, {"author": None, "occurred_at": shown} | _where(source, number, moment)


def _where(source: str, number: int, moment: datetime) -> Event:
    """The members of an event that depend on its source."""
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


def source_objects(raw: list[RawEvent], icon_base: str) -> list[dict[str, object]]:
    """The sources in the order in which they first appear, as Paperbuzz shows them.

    Args:
        raw: events, in any order.
        icon_base: `http://HOST`.
    """
    groups: dict[str, list[Event]] = {}
    for source, _, event in raw:
        groups.setdefault(source, []).append(event)
    return [_source(name, _shown(name, events), icon_base) for name, events in groups.items()]


def _shown(name: str, events: list[Event]) -> list[Event]:
    """Sort events by time. Of Wikipedia only one event of each page is shown, so counts may be below the cap (P6)."""
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
