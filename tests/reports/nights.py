"""Nights to report on: one for each thing a page may have to say. Their pages are in `pages/`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from hypothesis import strategies as st

from harvester.core.errors import FailureKind
from harvester.core.model import Figures, Outcome
from harvester.reports.compared import Compared
from harvester.reports.details import Campaign, NightDetails, NightRecords, NightTiming
from harvester.reports.failures import FailureGroup
from harvester.reports.summary import Exit, Summary
from tests.reports import test_summary
from tests.reports.test_summary import SUMMARY

Night = tuple[Summary, Summary | None, NightDetails]
"""Tonight's summary, the one of the night before, and what else is known."""

NOTHING = NightDetails()


def summary_with(of: Summary = SUMMARY, **changes: Any) -> Summary:
    """A summary with other values, be they its own or its figures'."""
    return test_summary.summary_with(of, **changes)


def ended_with(code: int, name: str, reason: str, **changes: Any) -> Summary:
    return summary_with(exit=Exit(code, name, reason), **changes)


def details_of(
    *,
    truncated: int | None = None,
    last_truncated: int | None = None,
    median_seconds: float | None = None,
    last_median_seconds: float | None = None,
    usual_median_seconds: float | None = None,
    clock_jumps_seconds: Sequence[float] = (),
    changed: int | None = None,
    predicted_events: float | None = None,
    found_events: int | None = None,
    groups: Sequence[FailureGroup] = (),
    daily_budget: int | None = None,
    campaign: Campaign | None = None,
    files: Mapping[str, str] | None = None,
) -> NightDetails:
    """Details in one flat call."""
    return NightDetails(
        groups,
        NightRecords(
            changed,
            None if truncated is None else Compared(truncated, last_truncated),
            predicted_events,
            found_events,
        ),
        NightTiming(
            None if median_seconds is None else Compared(median_seconds, last_median_seconds),
            usual_median_seconds,
            clock_jumps_seconds,
        ),
        daily_budget,
        campaign,
        files or {},
    )


LATER = ended_with(4, "stopped-early", "the time limit of 6 h is over. What was harvested is kept.")

KNOWN = details_of(
    groups=(
        FailureGroup("http", 500, 60, "10.5555/a", "the server answers 500"),
        FailureGroup("timeout", None, 30, "10.5555/c", "no complete answer within 35 s"),
        FailureGroup("http", 502, 10, "10.5555/b", "the server answers 502"),
        FailureGroup("invalid-doi", None, 60, "see the catalogue", "no DOI in it"),
    ),
    changed=812,
    truncated=80,
    last_truncated=78,
    median_seconds=1.234,
    last_median_seconds=1.1,
    usual_median_seconds=1.2,
    predicted_events=1_840.4,
    found_events=1_722,
    daily_budget=95_000,
    files={"page": "/data/2026-11-21.report.txt"},
)
"""What a usual night knows."""

LAST = summary_with(
    started_at="2026-11-20T03:41:00.000Z",
    finished_at="2026-11-20T04:02:30.000Z",
    duration_seconds=1290.0,
    lines=12_350,
    works=11_970,
    duplicates=290,
    invalid=50,
    results=11_880,
    failures=90,
    outcomes={"degraded": 100, "empty": 1_700, "ok": 10_000, "partial": 80},
    failures_by_kind={"http": 90},
    registered=11_800,
    rejected=0,
    requests={"paperbuzz": 12_800},
    retries=1_100,
    bytes=120_000_000,
    budget_left=None,
)

NASTY = "\x1b[2J\r\n\u202eALL IS WELL jane.doe@press.example Bearer abc.def " + "x" * 300 + " a\x1b@press.example"

EVERYTHING_WRONG = details_of(
    truncated=500,
    last_truncated=78,
    median_seconds=6.0,
    last_median_seconds=1.1,
    usual_median_seconds=1.2,
    clock_jumps_seconds=(-3600.0, 90.0, 5.0, 86_400.0, 61.0),
    predicted_events=1_840.4,
    found_events=1,
)

NIGHTS: Mapping[str, Night] = {
    "quiet": (SUMMARY, LAST, KNOWN),
    "quiet-nothing-known": (SUMMARY, SUMMARY, NOTHING),
    "first": (SUMMARY, None, KNOWN),
    "first-nothing-known": (SUMMARY, None, NOTHING),
    "nothing-due": (
        summary_with(requests={"paperbuzz": 0, "operas": 0}, retries=0, bytes=0, resting=12_000, results=0, failures=0),
        LAST,
        details_of(changed=0, truncated=0, last_truncated=78, found_events=0),
    ),
    "no-outputs": (summary_with(files={}, outcomes={}, results=0, failures_by_kind={}, failures=0), None, NOTHING),
    "summary-of-last-night-lost": (SUMMARY, None, replace(KNOWN, records=NightRecords(1, Compared(80, 78)))),
    "one-of-each": (
        summary_with(lines=1, works=1, results=1, failures=0, outcomes={"ok": 1}, failures_by_kind={}, invalid=0),
        None,
        details_of(campaign=Campaign(1, 1, 1)),
    ),
    "many-failures": (
        summary_with(
            results=9_000,
            failures=3_000,
            failures_by_kind={"http": 1_000, "brand-new": 1_500, "too-large": 499, "doi-mismatch": 1},
        ),
        LAST,
        details_of(groups=[FailureGroup("http", 500 + n, 9 - n, f"10.5555/{n}", "it fails") for n in range(6)]),
    ),
    "everything-wrong": (
        summary_with(
            lines=5_000,
            started_at="2026-11-19T03:54:06.372Z",
            results=8_000,
            failures=4_000,
            outcomes={"degraded": 3_000, "empty": 3_000, "ok": 2_000},
            failures_by_kind={"http": 3_990, "doi-mismatch": 10},
        ),
        LAST,
        EVERYTHING_WRONG,
    ),
    "everything-wrong-the-first-night": (
        summary_with(results=8_000, failures=4_000, outcomes={"degraded": 4_000, "empty": 4_000}),
        None,
        EVERYTHING_WRONG,
    ),
    "accounting-broken": (
        ended_with(70, "promise-broken", "The accounting is broken.", outcomes={"empty": 99_999}),
        summary_with(outcomes={"empty": 99_999}),
        NOTHING,
    ),
    "stopped": (summary_with(LATER, pending=400, works=12_400, registration_pending=30), LAST, KNOWN),
    "stopped-with-anomalies": (summary_with(LATER, pending=1), LAST, EVERYTHING_WRONG),
    "ended-early": (LATER, LAST, NOTHING),
    "service-down": (ended_with(69, "service-down", "Paperbuzz is down. It goes on.", pending=9_000), LAST, KNOWN),
    "terminated": (ended_with(143, "terminated", "", pending=9_000), None, NOTHING),
    "failures": (ended_with(3, "failures", "Complete, but with 100 failures where 50 are allowed."), LAST, KNOWN),
    "disk": (ended_with(74, "disk", "/data/harvest.jsonl cannot be written: no space left. Make room."), LAST, KNOWN),
    "bug": (ended_with(1, "bug", "a mistake in harvester itself; see the log"), None, NOTHING),
    "credentials": (
        ended_with(12, "credentials", "OPERAS does not accept the password. Correct it."),
        LAST,
        details_of(clock_jumps_seconds=(3600.0,)),
    ),
    "campaign": (SUMMARY, LAST, details_of(campaign=Campaign(2_565_000, 95_000, 95_000), daily_budget=95_000)),
    "campaign-without-pace": (SUMMARY, LAST, details_of(campaign=Campaign(100, 90, 0))),
    "campaign-done": (SUMMARY, LAST, details_of(campaign=Campaign(100, 100, 10))),
    "no-registration": (summary_with(registered=0, rejected=0, budget_left=0), LAST, details_of(daily_budget=0)),
    "registration-waits": (summary_with(registered=0, rejected=1, registration_pending=9), SUMMARY, NOTHING),
    "nasty": (
        ended_with(74, "disk", NASTY * 4, files={"output": "/data/\x1b[2J.jsonl", "a name too long": "/" + "x" * 200}),
        None,
        details_of(groups=(FailureGroup("http", 500, 1, NASTY, NASTY),), files={"page": "/data/h\udce4.txt"}),
    ),
}


# Any night whatsoever

ANY_COUNT = st.integers(0, 10**9)
ANY_TEXT = st.text(max_size=300)
MAYBE_COUNT = st.none() | ANY_COUNT
MAYBE_SECONDS = st.none() | st.floats(0, 1e4)


def counts(names: st.SearchStrategy[str]) -> st.SearchStrategy[Mapping[str, int]]:
    return st.dictionaries(names, ANY_COUNT, max_size=5)


SUMMARIES: st.SearchStrategy[Summary] = st.builds(
    summary_with,
    **{each.name: ANY_COUNT for kind in (Summary, Figures) for each in fields(kind) if each.type in ("int", int)},
    outcomes=counts(st.sampled_from(Outcome)),
    failures_by_kind=counts(st.sampled_from(FailureKind)),
    budget_left=MAYBE_COUNT,
    duration_seconds=st.floats(0, 10**6),
    files=st.just({}),
    exit=st.builds(Exit, st.sampled_from([0, 3, 4, 12, 69, 143]), st.just("x"), ANY_TEXT),
)

DETAILS: st.SearchStrategy[NightDetails] = st.builds(
    details_of,
    groups=st.lists(
        st.builds(
            FailureGroup, st.sampled_from(FailureKind), st.none() | st.integers(100, 599), ANY_COUNT, ANY_TEXT, ANY_TEXT
        ),
        max_size=5,
    ),
    changed=MAYBE_COUNT,
    truncated=MAYBE_COUNT,
    last_truncated=MAYBE_COUNT,
    median_seconds=MAYBE_SECONDS,
    last_median_seconds=MAYBE_SECONDS,
    usual_median_seconds=MAYBE_SECONDS,
    clock_jumps_seconds=st.lists(st.floats(-1e6, 1e6), max_size=5),
    predicted_events=st.none() | st.floats(0, 1e9),
    found_events=MAYBE_COUNT,
    daily_budget=MAYBE_COUNT,
    campaign=st.none() | st.builds(Campaign, ANY_COUNT, ANY_COUNT, ANY_COUNT),
)
