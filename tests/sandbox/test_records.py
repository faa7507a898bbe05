"""Records are a function of seed, DOI and simulated day."""

import json
import statistics
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.sandbox.messages import decoded
from harvester.sandbox.options import Shares
from harvester.sandbox.paperbuzz.doipath import breaks_upstream, clean_doi
from harvester.sandbox.paperbuzz.events import BASE_DAY, EVENT_CAP
from harvester.sandbox.paperbuzz.records import RecordGenerator, encoded

GENERATOR = RecordGenerator(seed=7)
DOIS = st.integers(0, 10**6).map(lambda number: f"10.1234/x.{number}")


def of(doi: str, day: int = 0, generator: RecordGenerator = GENERATOR) -> dict[str, Any]:
    return generator.record(doi, day, "http://h")


def events(found: dict[str, Any]) -> set[str]:
    return {json.dumps(event, sort_keys=True) for source in found["altmetrics_sources"] for event in source["events"]}


@given(DOIS, st.integers(0, 40))
def test_the_same_question_has_the_same_answer(doi: str, day: int) -> None:
    assert of(doi, day) == of(doi, day)


def test_another_seed_is_another_world() -> None:
    assert of("10.5555/ok", generator=RecordGenerator(seed=8)) != of("10.5555/ok")


@given(DOIS, st.integers(0, 60), st.integers(1, 60))
def test_events_only_come_and_never_go(doi: str, day: int, later: int) -> None:
    """But for a day on which the DOI is empty, and Wikipedia's cap."""
    generator = RecordGenerator(seed=7, shares=Shares(0, 0, 0, 0.3, 0))
    if len(events(of(doi, day + later, generator))) < 2_000:
        assert events(of(doi, day, generator)) <= events(of(doi, day + later, generator))


@given(DOIS, st.integers(0, 60))
def test_no_event_lies_in_the_future_and_histograms_agree(doi: str, day: int) -> None:
    limit = (BASE_DAY + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for source in of(doi, day)["altmetrics_sources"]:
        dates = [event["occurred_at"] for event in source["events"]]
        assert dates == sorted(dates)
        assert max(dates) <= limit
        assert source["first_event_date"] == dates[0][:10]
        for name in ("day", "month", "year"):
            assert sum(bar["count"] for bar in source[f"events_count_by_{name}"]) == source["events_count"]


def test_some_dois_gain_events_in_a_month() -> None:
    names = [f"10.1234/x.{number}" for number in range(300)]
    grown = [name for name in names if len(events(of(name, 30))) > len(events(of(name)))]
    assert 5 < len(grown) < 250


def test_a_giant_stays_within_the_cap() -> None:
    counts = [sum(s["events_count"] for s in of(f"10.5555/giant-{n}")["altmetrics_sources"]) for n in range(6)]
    assert all(2_000 <= count <= EVENT_CAP for count in counts)


def test_an_answer_of_more_than_a_thousand_events_stands_still_for_a_week() -> None:
    assert of("10.5555/giant", 7) == of("10.5555/giant", 13)
    assert of("10.5555/giant", 13) != of("10.5555/giant", 35)


@pytest.mark.parametrize(
    ("doi", "sources", "metadata", "open_access"),
    [
        ("10.5555/ok", True, True, True),
        ("10.5555/quiet", False, True, True),
        ("10.5555/empty", False, False, False),
        ("10.9999/any", False, False, False),
        ("10.5555/crossref-500", True, False, True),
        ("10.5555/oadoi-500", True, True, False),
        ("10.5555/ok/what?now", True, False, False),
        ("10.5555/ok/per%2fcent", True, False, False),
        ("10.1038%2fnature12373", False, True, True),
        ("10.5555/x/", False, False, False),
        ("10.1234/x.json", False, False, False),
        ("10/1038", False, False, False),
    ],
)
def test_parts_are_missing_as_in_the_contract(doi: str, sources: bool, metadata: bool, open_access: bool) -> None:
    found = of(doi, generator=RecordGenerator(seed=7, shares=Shares(0, 0, 0, 0, 0)))
    assert bool(found["altmetrics_sources"]) == sources
    assert ("DOI" in found["metadata"]) == metadata
    assert ("doi" in found["open_access"]) == open_access
    assert "crossref_url" in found["metadata"]
    assert "oadoi_url" in found["open_access"]


def test_sizes_are_those_of_real_records() -> None:
    """No events: 7 kB in the median, 18 kB at the 95th percentile, within a third."""
    sizes = sorted(len(encoded(of(f"10.5555/quiet{n}"), indented=False)) for n in range(400))
    assert 4_700 < statistics.median(sizes) < 9_300
    assert 12_000 < sizes[380] < 24_000


def test_most_dois_are_well_and_about_half_have_no_events() -> None:
    kinds = [GENERATOR.kind(f"10.1234/x.{n}") for n in range(4_000)]
    assert 0.4 < kinds.count("quiet") / 4_000 < 0.55
    assert 0.01 < kinds.count("empty") / 4_000 < 0.06
    assert 0 < kinds.count("broken") / 4_000 < 0.02


def test_half_of_the_unknown_dois_become_known_within_two_weeks() -> None:
    unknown = [doi for n in range(4_000) if GENERATOR.kind(doi := f"10.1234/x.{n}") == "empty"]
    later = [doi for doi in unknown if GENERATOR.kind(doi, 15) != "empty"]
    assert 0.3 < len(later) / len(unknown) < 0.7


@pytest.mark.parametrize(
    ("path", "doi"),
    [
        ("10.1038/NATURE12373", "10.1038/nature12373"),
        ("https://doi.org/10.1038/x", "10.1038/x"),
        ("10.1234/a%23b", "10.1234/a"),
        ("10.1234/sp%20ace", "10.1234/space"),
        ("10.1234/u%CC%88", "10.1234/u"),
        ("10.1234/%FC", "10.1234/\ufffd"),
        ("10.1234/per%252fcent", "10.1234/per%2fcent"),
        ("abc110.5/x", "10.5/x"),
        ("10.", "10."),
        ("10", None),
        ("hello", None),
    ],
)
def test_a_path_is_read_as_the_server_reads_it(path: str, doi: str | None) -> None:
    assert clean_doi(decoded(path)) == doi


@given(st.text())
def test_any_text_can_be_cleaned(text: str) -> None:
    found = clean_doi(text)
    assert found is None or found.startswith("10")


@pytest.mark.parametrize(
    ("doi", "breaks"),
    [("10.1/fifty%off", True), ("10.1/100%", False), ("10.1/5%-x", False), ("10.1/a%41b", False), ("10.1/%zz", True)],
)
def test_a_percent_sign_before_two_letters_breaks_the_server(doi: str, breaks: bool) -> None:
    assert breaks_upstream(doi) == breaks
