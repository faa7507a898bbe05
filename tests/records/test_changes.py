"""What counts as a change of a record: its content, and not the order, the bookkeeping or the gaps of an answer."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.records.changes import DEEPEST, Content, added, content_of, counts_of, differs, merged

RECORD: dict[str, Any] = {
    "doi": "10.5334/bbc",
    "altmetrics_sources": [
        {
            "source_id": "twitter",
            "events_count": 2,
            "events": [{"url": "https://t.co/1", "author": "a"}, {"url": "https://t.co/2", "author": "b"}],
            "source": {"icon_url": "https://x/t.png", "id": "twitter"},
        },
        {"source_id": "wikipedia", "events_count": 1, "events": [{"url": "https://en.wikipedia.org/1"}]},
    ],
    "metadata": {"title": "A title", "author": [{"family": "X"}, {"family": "Y"}], "indexed": {"timestamp": 1}},
    "open_access": {"is_oa": True, "updated": "2022-01-01", "oadoi_url": "https://api/1"},
}


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same, with every list in another order."""
    if isinstance(value, dict):
        return {name: shuffled(part, chance) for name, part in value.items()}
    if isinstance(value, list):
        return [shuffled(part, chance) for part in chance.sample(value, len(value))]
    return value


def changed(**parts: Any) -> bool | None:
    return differs(content_of(RECORD), content_of(copy.deepcopy(RECORD) | parts))


def test_the_digests_are_those_that_ledgers_already_hold() -> None:
    """Another digest of the same content would tell a change of every record, once."""
    found = content_of(RECORD)
    assert found.events.hex() == "1bce0f89b642da48ed35f261"
    assert found.metadata.hex() == "f58b47c35bf1b47cd5ea46b3"
    assert found.open_access.hex() == "e4a2d88a46b3c0d01b5198be"


@given(st.integers(0, 1000))
def test_the_order_of_lists_is_no_change(seed: int) -> None:
    assert content_of(shuffled(RECORD, random.Random(seed))) == content_of(RECORD)


def test_the_order_of_authors_is_no_change_and_another_author_is_one() -> None:
    def by(authors: object) -> dict[str, Any]:
        return RECORD | {"metadata": RECORD["metadata"] | {"author": authors}}

    before = content_of(by("Di Eng, Cy Dahl, Ann Li"))
    assert content_of(by("Ann Li, Di Eng, Cy Dahl")) == before
    assert content_of(by("Ann Li, Di Eng")) != before
    assert content_of(by(None)) != before


@pytest.mark.parametrize(
    "part",
    [
        {"metadata": RECORD["metadata"] | {"indexed": {"timestamp": 2}, "score": 7, "is-referenced-by-count": 9}},
        {"open_access": RECORD["open_access"] | {"updated": "2023-01-01", "oadoi_url": "https://elsewhere"}},
        {"crossref_event_data_url": "https://api.eventdata.crossref.org/v1/events?until=2100"},
    ],
)
def test_what_changes_by_itself_is_no_change(part: dict[str, Any]) -> None:
    assert not changed(**part)


@pytest.mark.parametrize(
    "part",
    [
        {"altmetrics_sources": RECORD["altmetrics_sources"][:1]},
        {"metadata": RECORD["metadata"] | {"title": "Another title"}},
        {"open_access": RECORD["open_access"] | {"is_oa": False}},
    ],
)
def test_events_metadata_and_open_access_are_content(part: dict[str, Any]) -> None:
    assert changed(**part)


@pytest.mark.parametrize("gap", [{"crossref_url": "https://api.crossref.org/x"}, {}, None])
def test_a_part_that_is_missing_says_nothing_and_is_remembered(gap: object) -> None:
    degraded = content_of(RECORD | {"metadata": gap})
    assert not differs(content_of(RECORD), degraded)
    assert merged(content_of(RECORD), degraded) == content_of(RECORD)


def test_a_part_that_comes_back_is_a_change_only_if_it_was_never_seen() -> None:
    first = content_of(RECORD | {"metadata": None})
    assert differs(first, content_of(RECORD))
    assert not differs(merged(content_of(RECORD), first), content_of(RECORD))


def test_added_events_are_told_by_source() -> None:
    assert added({"twitter": 2, "reddit": 5}, {"twitter": 7, "reddit": 4, "web": 1}) == {"twitter": 5, "web": 1}


@pytest.mark.parametrize("odd", [None, 7, "x", [None], [{"source_id": 1, "events_count": "2"}], [{"events_count": 3}]])
def test_sources_of_an_odd_form_count_nothing(odd: object) -> None:
    assert counts_of(odd) == {}
    assert content_of({"altmetrics_sources": odd}).counts == {}


def test_sources_are_counted_and_sorted_by_name() -> None:
    assert content_of(RECORD).counts == {"twitter": 2, "wikipedia": 1}
    assert counts_of([{"source_id": "b", "events_count": 1}, {"source_id": "a", "events_count": 2}] * 2) == {
        "a": 4,
        "b": 2,
    }


def test_an_empty_record_differs_from_nothing() -> None:
    nothing = Content(b"", b"", b"", {})
    assert not differs(content_of(RECORD), replace_events(content_of({}), content_of(RECORD)))
    assert differs(nothing, content_of(RECORD))


def replace_events(content: Content, other: Content) -> Content:
    return Content(other.events, content.metadata, content.open_access, content.counts)


@pytest.mark.parametrize("depth", [20, 60, 70, 300, 450, 520, 900, 1000])
def test_a_part_that_is_nested_too_deeply_says_nothing_and_the_others_are_compared(depth: int) -> None:
    nested: object = "x"
    for _ in range(depth):
        nested = [nested]
    deep = content_of(RECORD | {"metadata": {"title": nested}})
    assert deep.events == content_of(RECORD).events
    assert bool(deep.metadata) == (depth < DEEPEST)
    assert not differs(content_of(RECORD), deep) or depth < DEEPEST
    assert content_of(RECORD | {"altmetrics_sources": [{"events": nested}]}).metadata == content_of(RECORD).metadata
