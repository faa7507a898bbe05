"""The report of a night: one sentence says whether to act, the rest says why; normal nights show no anomaly."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.errors import FailureKind
from harvester.reports import text as text_page
from harvester.reports.anomalies import anomalies
from harvester.reports.details import Campaign, NightDetails
from harvester.reports.failures import ADVICE, FailureGroup, FailureGroups, advice_on
from harvester.reports.night import night_report
from harvester.reports.summary import Summary
from harvester.reports.text import EXAMPLES, WIDTH
from harvester.reports.verdict import GOES_ON
from tests.reports.nights import DETAILS, LATER, NOTHING, SUMMARIES, details_of, ended_with, summary_with
from tests.reports.test_summary import SUMMARY
from tests.support import a_failure, an_invalid_line


def with_shares(of: Summary, **outcomes: int) -> Summary:
    """A report with other outcomes whose accounting holds."""
    results = sum(outcomes.values())
    return summary_with(of, outcomes=outcomes, results=results, failures=0, failures_by_kind={}, works=results)


def verdict(summary: Summary, last: Summary | None, details: NightDetails) -> str:
    return night_report(summary, last, details).verdict.sentence


def text_of(summary: Summary, last: Summary | None, details: NightDetails) -> str:
    return text_page.page(night_report(summary, last, details))


def claims(summary: Summary, last: Summary | None, details: NightDetails = NOTHING) -> list[str]:
    return [each.claim for each in anomalies(summary, last, details)]


def section(page: str, title: str) -> str:
    """The lines under a title."""
    [found] = [part for part in page.split("\n\n") if part.startswith(title.upper() + "\n")]
    return found.partition("\n")[2].rstrip("\n")


def is_one_sentence(text: str) -> bool:
    return text.count(". ") == 0 and text.endswith(".") and "\n" not in text


# The verdict


def test_a_quiet_night_is_well_in_one_sentence() -> None:
    assert verdict(SUMMARY, SUMMARY, NOTHING) == "All is well: of 12,000 works 11,900 have a record and 100 failed."


def test_a_night_with_nothing_to_do_is_well() -> None:
    idle = summary_with(requests={"paperbuzz": 0, "operas": 0})
    assert verdict(idle, SUMMARY, NOTHING) == "All is well: nothing was due, and nothing was asked."


def test_an_anomaly_is_the_verdict_of_a_night_that_is_complete() -> None:
    slow = details_of(median_seconds=1.5, usual_median_seconds=0.4)
    assert verdict(SUMMARY, SUMMARY, slow) == (
        "Look at this: half of the answers took longer than 1.50 s, usually 0.40 s."
    )


def test_of_several_anomalies_the_worst_is_told_and_how_many_there_are() -> None:
    mixed_up = summary_with(failures_by_kind={"http": 70, "timeout": 29, "doi-mismatch": 1})
    odd = details_of(median_seconds=1.5, usual_median_seconds=0.4, clock_jumps_seconds=(-3600.0,))
    assert verdict(mixed_up, SUMMARY, odd) == (
        "Look at this: 1 answer was about another DOI, 0 last night; 2 more below."
    )


def test_a_night_that_goes_on_by_itself_says_what_is_left_and_why() -> None:
    stopped = summary_with(LATER, pending=400, works=12_400, lines=12_800)
    assert verdict(stopped, None, NOTHING) == (
        "Not finished: 400 of 12,400 works are still to be asked (the time limit of 6 h is over)."
    )
    waiting = summary_with(stopped, pending=1, registration_pending=30)
    assert "1 of 12,400 works is still to be asked and 30 wait to be registered (" in verdict(waiting, None, NOTHING)
    assert verdict(LATER, None, NOTHING) == "Not finished: the night ended early (the time limit of 6 h is over)."


def test_anomalies_of_a_night_that_is_not_finished_are_counted_in_its_verdict() -> None:
    text = verdict(summary_with(LATER, pending=400), None, details_of(clock_jumps_seconds=(3600.0,)))
    assert text.startswith("Not finished: ")
    assert text.endswith("; 1 anomaly below.")


@pytest.mark.parametrize("code", [1, 2, 11, 12, 65, 66, 70, 74, 78])
def test_what_only_a_person_can_mend_is_to_be_looked_at(code: int) -> None:
    summary = ended_with(code, "x", "OPERAS does not accept the password. Correct it.", pending=5)
    assert verdict(summary, None, NOTHING) == "Look at this: OPERAS does not accept the password."


@pytest.mark.parametrize("code", sorted(GOES_ON))
def test_what_the_next_night_mends_is_not_finished(code: int) -> None:
    assert verdict(ended_with(code, "x", "…"), None, NOTHING).startswith("Not finished: ")


def test_more_failures_than_allowed_are_to_be_looked_at() -> None:
    too_many = ended_with(3, "failures", "Complete, but with 100 failures where 50 are allowed.")
    assert verdict(too_many, SUMMARY, NOTHING) == "Look at this: 100 works failed, more than are allowed."


@pytest.mark.parametrize("code", [0, 1, 3, 4, 12, 69, 74])
@pytest.mark.parametrize("reason", ["One. Two. Three.", "one", "v1.2 of a.b.c failed. Do this.", ""])
@pytest.mark.parametrize("details", [NOTHING, details_of(clock_jumps_seconds=(99.0, 99.0))])
def test_the_verdict_is_always_one_sentence_and_the_first_lines_of_the_page(
    code: int, reason: str, details: NightDetails
) -> None:
    summary = ended_with(code, "x", reason)
    text = verdict(summary, None, details)
    assert is_one_sentence(text)
    assert " ".join(text_of(summary, None, details).split("\n\n")[0].splitlines()) == text


# Suspicions


def test_the_same_night_twice_shows_no_anomaly() -> None:
    same = details_of(truncated=80, last_truncated=80, median_seconds=1.2, usual_median_seconds=1.2)
    assert claims(SUMMARY, SUMMARY, same) == []


@pytest.mark.parametrize("outcome", ["empty", "degraded"])
def test_a_share_of_poor_records_that_rose_is_suspected(outcome: str) -> None:
    before, now = with_shares(SUMMARY, ok=900, **{outcome: 100}), with_shares(SUMMARY, ok=800, **{outcome: 200})
    before, now = summary_with(before, lines=SUMMARY.lines), summary_with(now, lines=SUMMARY.lines)
    assert claims(now, before) == [f"20.0% of the records are {outcome}, 10.0% last night"]
    assert claims(before, now) == []


def test_a_list_that_is_half_empty_every_night_is_no_news() -> None:
    half = with_shares(SUMMARY, ok=500, empty=500)
    assert claims(half, half) == []


def test_a_first_night_is_held_against_fixed_shares() -> None:
    assert claims(with_shares(SUMMARY, ok=79, empty=21), None) == ["21.0% of the records are empty"]
    assert claims(with_shares(SUMMARY, ok=80, empty=20), None) == []


def test_a_night_after_an_outage_counts_as_a_first_one() -> None:
    outage = summary_with(results=0, outcomes={}, failures=0, failures_by_kind={})
    assert claims(with_shares(SUMMARY, ok=50, empty=50), outage) == ["50.0% of the records are empty"]


def test_a_rise_that_chance_explains_is_not_suspected() -> None:
    before, now = with_shares(SUMMARY, ok=45, empty=15), with_shares(SUMMARY, ok=40, empty=20)
    assert claims(now, before) == []


def test_a_rise_of_less_than_five_points_is_not_suspected_however_sure() -> None:
    before, now = with_shares(SUMMARY, ok=90_000, empty=10_000), with_shares(SUMMARY, ok=85_500, empty=14_500)
    assert claims(now, before) == []


def test_shares_of_few_works_are_not_judged() -> None:
    assert claims(with_shares(SUMMARY, empty=49), None) == []


def test_a_night_whose_accounting_does_not_add_up_gets_its_page_all_the_same() -> None:
    broken = ended_with(70, "promise-broken", "The accounting is broken.", outcomes={"empty": 99_999})
    assert text_of(broken, broken, NOTHING).startswith("Look at this: The accounting is broken.")


def test_failures_that_rose_are_suspected() -> None:
    many = summary_with(results=10_000, outcomes={"ok": 10_000}, failures=2_000, failures_by_kind={"timeout": 2_000})
    assert claims(many, SUMMARY) == ["16.7% of the works failed, 0.8% last night"]
    assert claims(many, None) == ["16.7% of the works failed"]


def test_one_answer_about_another_doi_is_enough_and_more_than_last_night_too() -> None:
    def night(mismatches: int) -> Summary:
        return summary_with(failures_by_kind={"http": 100 - mismatches, "doi-mismatch": mismatches})

    assert claims(night(1), None) == ["1 answer was about another DOI"]
    assert claims(night(3), night(2)) == ["3 answers were about another DOI, 2 last night"]
    assert claims(night(2), night(2)) == []


def test_a_list_that_lost_a_tenth_is_suspected() -> None:
    assert claims(summary_with(lines=11_000), SUMMARY) == ["the list has 11,000 lines, 12,400 last night"]
    assert claims(summary_with(lines=11_200), SUMMARY) == []
    assert claims(summary_with(lines=30_000), SUMMARY) == []


@pytest.mark.parametrize(
    ("now", "then", "is_slow"),
    [
        (1.0, 0.4, True),
        (1.0, 0.6, False),
        (0.4, 0.1, False),
        (0.6, 0.1, True),
        (5.1, None, True),
        (4.9, None, False),
        (None, 0.4, False),
    ],
)
def test_a_service_is_slower_from_twice_the_usual_median_on(
    now: float | None, then: float | None, is_slow: bool
) -> None:
    assert bool(claims(SUMMARY, SUMMARY, details_of(median_seconds=now, usual_median_seconds=then))) is is_slow


@pytest.mark.parametrize(
    ("now", "then", "is_odd"),
    [
        (14, 13, False),
        (14, 0, True),
        (3, 0, False),
        (200, 100, True),
        (120, 100, False),
        (119, None, False),
        (120, None, True),
    ],
)
def test_records_cut_at_the_cap_are_suspected_when_they_become_more(now: int, then: int | None, is_odd: bool) -> None:
    """A hundredth of 11,900 records is 119."""
    assert bool(claims(SUMMARY, SUMMARY, details_of(truncated=now, last_truncated=then))) is is_odd


def test_ten_times_the_records_may_be_cut_ten_times_as_often() -> None:
    few, many = with_shares(SUMMARY, ok=1_000), with_shares(SUMMARY, ok=10_000)
    assert claims(many, few, details_of(truncated=100, last_truncated=10)) == []
    assert claims(few, many, details_of(truncated=100, last_truncated=100)) != []


def test_a_night_that_began_before_the_last_one_says_that_a_clock_was_wrong() -> None:
    ahead = summary_with(started_at="2026-12-21T03:54:06.372Z", finished_at="2026-12-21T04:54:06.372Z")
    assert claims(SUMMARY, ahead) == [
        "by the clock the night began at 2026-11-21 03:54 UTC, before the last one, at 2026-12-21 03:54 UTC"
    ]
    assert claims(ahead, SUMMARY) == []


@pytest.mark.parametrize(
    ("jumps", "told"),
    [
        ((), None),
        ((59.0, -59.0), None),
        ((3600.0,), "the clock jumped ahead by 1 h"),
        ((-90.0, 1.0, 86_400.0), "the clock jumped back by 1 min 30 s and ahead by 1 d"),
        ((60.0,) * 4, "the clock jumped ahead by 1 min and ahead by 1 min and ahead by 1 min, 4 times in all"),
    ],
)
def test_jumps_of_the_clock_are_told_from_a_minute_on(jumps: tuple[float, ...], told: str | None) -> None:
    assert claims(SUMMARY, SUMMARY, details_of(clock_jumps_seconds=jumps)) == ([told] if told else [])


@pytest.mark.parametrize(
    ("predicted", "found", "told"),
    [
        (1_000.4, 300, "300 new events came where 1,000 were expected"),
        (1_000.0, 334, None),
        (99.0, 0, None),
        (None, 0, None),
        (1_000.0, None, None),
        (100.0, 1, "1 new event came where 100 were expected"),
    ],
)
def test_far_fewer_events_than_predicted_are_suspected(
    predicted: float | None, found: int | None, told: str | None
) -> None:
    assert claims(SUMMARY, SUMMARY, details_of(predicted_events=predicted, found_events=found)) == (
        [told] if told else []
    )


def test_each_anomaly_comes_with_advice_on_the_page() -> None:
    page = text_of(SUMMARY, SUMMARY, details_of(clock_jumps_seconds=(3600.0,)))
    text = " ".join(section(page, "Look at this").split())
    assert text.startswith("- The clock jumped ahead by 1 h. Someone set it, ")


def test_where_nothing_is_suspected_there_is_no_such_section() -> None:
    assert "LOOK AT THIS" not in text_of(SUMMARY, SUMMARY, NOTHING)


# Sections


def test_every_figure_of_the_summary_is_on_the_page() -> None:
    page = text_of(SUMMARY, None, NOTHING)
    for name, value in asdict(SUMMARY).items():
        for figure in value.values() if isinstance(value, dict) else [value]:
            if isinstance(figure, int):
                assert f"{figure:,}" in page, name
            elif isinstance(figure, str) and name not in ("started_at", "finished_at"):
                assert figure in page, name
    assert "Night of 2026-11-21, 03:54 to 04:17 UTC, 23 min 2 s" in page


def test_the_accounting_stands_against_last_nights() -> None:
    more = summary_with(works=12_030, results=11_930, outcomes={"ok": 10_050, "empty": 1_730, "odd": 150})
    rows = [" ".join(line.split()) for line in section(text_of(more, SUMMARY, NOTHING), "Accounting").splitlines()]
    assert rows[0] == "tonight last night change"
    assert "= works 12,030 12,000 +30" in rows
    assert "= degraded 0 150 -150" in rows
    assert "+ empty 1,730 1,750 -20" in rows
    assert "+ odd 150 0 +150" in rows
    assert "+ failures 100 100 0" in rows


def test_without_a_last_night_there_is_nothing_to_compare() -> None:
    page = text_of(SUMMARY, None, NOTHING)
    assert "last night" not in page
    assert "change" not in section(page, "Accounting")


def test_failures_are_grouped_with_cause_example_and_what_to_do_the_most_first() -> None:
    groups = (
        FailureGroup("http", 500, 60, "10.5555/a", "the server answers 500"),
        FailureGroup("http", 502, 10, "10.5555/b", "the server answers 502"),
        FailureGroup("timeout", None, 30, "10.5555/c", "no complete answer within 35 s"),
    )
    lines = section(text_of(SUMMARY, SUMMARY, details_of(groups=groups)), "Failures and what to do").splitlines()
    assert lines[:4] == [
        "http: 70, last night 70",
        "  Cause: Paperbuzz answers with an error, in every attempt.",
        "  60 with 500, such as 10.5555/a: the server answers 500",
        "  10 with 502, such as 10.5555/b: the server answers 502",
    ]
    assert lines[4].startswith("  To do: ")
    assert [line.partition(":")[0] for line in lines if line[0] != " "] == [
        "http",
        "invalid-doi",
        "timeout",
        "rejected",
    ]


def test_a_kind_without_an_example_is_not_left_out() -> None:
    assert "rejected: 5\n" in text_of(SUMMARY, None, NOTHING)


def test_every_kind_of_failure_has_its_advice_and_one_of_a_later_version_is_shown_all_the_same() -> None:
    assert set(ADVICE) == set(FailureKind)
    later = summary_with(failures_by_kind={"brand-new": 100})
    assert "brand-new: 100\n  Cause: See the failures file." in text_of(later, None, NOTHING)


def test_advice_names_the_provider_that_was_asked() -> None:
    assert advice_on("http").cause == "Paperbuzz answers with an error, in every attempt."
    assert advice_on("http", "Crossref", "crossref").cause == "Crossref answers with an error, in every attempt."
    assert "under [crossref]" in advice_on("timeout", "Crossref", "crossref").to_do


def test_of_many_unlike_failures_of_one_kind_a_few_are_shown() -> None:
    groups = tuple(FailureGroup("http", status, 1, f"10.5555/{status}", "…") for status in range(500, 520))
    assert text_of(SUMMARY, None, details_of(groups=groups)).count("such as") == EXAMPLES


def test_failures_that_are_alike_are_counted_together_with_the_first_as_example() -> None:
    groups = FailureGroups()
    for doi, status in (("10.5555/a", 500), ("10.5555/b", 502), ("10.5555/c", 502), ("10.5555/d", 502)):
        groups.add(a_failure(doi, kind="http", http_status=status, message=f"the server answers {status}"))
    groups.add(an_invalid_line("see the catalogue"))
    assert groups.largest_first() == (
        FailureGroup("http", 502, 3, "10.5555/b", "the server answers 502"),
        FailureGroup("http", 500, 1, "10.5555/a", "the server answers 500"),
        FailureGroup("invalid-doi", None, 1, "see the catalogue", "no answer within 35 s"),
    )


def test_registration_is_left_out_where_there_was_none() -> None:
    none = summary_with(registered=0, rejected=0)
    assert "REGISTRATION" not in text_of(none, None, NOTHING)
    waiting = section(text_of(summary_with(LATER, registration_pending=9), SUMMARY, NOTHING), "Registration")
    assert "waiting 9 0 +9" in " ".join(waiting.split())


def test_the_budget_is_told_with_its_day() -> None:
    assert "81,999 of 95,000 requests are left in the daily budget." in text_of(
        SUMMARY, None, details_of(daily_budget=95_000)
    )
    assert "81,999 requests are left in the daily budget." in text_of(SUMMARY, None, NOTHING)
    assert "daily budget" not in text_of(summary_with(budget_left=None), None, details_of(daily_budget=0))


@pytest.mark.parametrize(
    ("campaign", "nights"),
    [
        (Campaign(works=100, covered=90, tonight=5), 2),
        (Campaign(works=100, covered=90, tonight=4), 3),
        (Campaign(works=100, covered=100, tonight=0), 0),
        (Campaign(works=100, covered=110, tonight=0), 0),
        (Campaign(works=100, covered=90, tonight=0), None),
        (Campaign(works=0, covered=0, tonight=0), 0),
    ],
)
def test_nights_left_are_what_is_left_at_tonights_pace(campaign: Campaign, nights: int | None) -> None:
    assert campaign.nights_left == nights


@pytest.mark.parametrize(
    ("campaign", "told"),
    [
        (Campaign(2_565_000, 95_000, 95_000), "at this pace the rest takes 26 nights."),
        (Campaign(100, 90, 10), "at this pace the rest takes 1 night."),
        (Campaign(100, 90, 0), "at this pace there is no end to it."),
        (Campaign(100, 100, 10), "Each of 100 works was asked at least once."),
    ],
)
def test_how_far_a_campaign_is_stands_on_the_page(campaign: Campaign, told: str) -> None:
    page = text_of(SUMMARY, None, details_of(campaign=campaign))
    assert told in " ".join(section(page, "How far").split())


def test_what_is_known_of_records_and_events_is_told_and_nothing_else() -> None:
    page = text_of(SUMMARY, None, details_of(changed=812, truncated=0, predicted_events=1840.4, found_events=1722))
    text = " ".join(section(page, "Records and events").split())
    assert text == (
        "tonight changed records 812 are or may be cut at 2,500 0 new events expected 1,840 new events found 1,722"
    )
    assert "RECORDS AND EVENTS" not in text_of(SUMMARY, None, NOTHING)


def test_files_are_listed_those_of_the_summary_and_further_ones() -> None:
    page = text_of(SUMMARY, None, details_of(files={"report": "/data/report.txt"}))
    assert section(page, "Files").splitlines() == [
        "output       /data/harvest.jsonl",
        "failures     /data/harvest.failures.jsonl",
        "report       /data/report.txt",
    ]


def test_a_long_path_is_not_broken() -> None:
    path = "/data/" + "x" * 200 + ".jsonl"
    assert path in text_of(summary_with(files={"output": path}), None, NOTHING)


# Text from outside


@given(SUMMARIES, st.none() | SUMMARIES, DETAILS)
def test_whatever_the_night_brought_the_page_is_printable_and_eighty_columns_wide(
    summary: Summary, last: Summary | None, details: NightDetails
) -> None:
    page = text_of(summary, last, details)
    assert page.startswith(("All is well:", "Look at this:", "Not finished:"))
    assert page.endswith("\n")
    first, *rest = page.splitlines()
    assert first.isprintable()  # never wrapped: who reads the first line alone is to read a whole sentence
    for line in rest:
        assert line.isprintable()
        assert len(line) <= WIDTH


def test_what_a_server_or_a_list_said_reaches_the_page_escaped_and_without_addresses() -> None:
    nasty = "\x1b[2J\r\n\u202eALL IS WELL jane.doe@press.example Bearer abc.def"
    page = text_of(
        ended_with(74, "disk", nasty, files={"output": "/data/\x1b[2J.jsonl"}),
        None,
        details_of(groups=(FailureGroup("http", 500, 1, nasty, nasty),)),
    )
    for forbidden in ("\x1b", "\r", "\u202e", "jane.doe", "abc.def"):
        assert forbidden not in page
