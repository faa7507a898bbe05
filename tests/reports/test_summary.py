"""The summary of a run: its accounting holds, and people and machines are told the same."""

import re
from dataclasses import fields, replace
from typing import Any

import orjson
import pytest

from harvester.core.model import Figures
from harvester.core.text.wording import in_words
from harvester.reports.console import closing
from harvester.reports.summary import Exit, Summary, as_json, broken_identities, from_json

SUMMARY = Summary(
    lines=12_400,
    duplicates=300,
    invalid=60,
    blank=40,
    figures=Figures(
        works=12_000,
        results=11_900,
        failures=100,
        pending=0,
        gone=7,
        outcomes={"degraded": 150, "empty": 1_750, "ok": 10_000},
        failures_by_kind={"http": 70, "timeout": 30},
        registered=11_895,
        rejected=5,
        registration_pending=0,
    ),
    requests={"paperbuzz": 13_001, "operas": 125},
    retries=1_002,
    bytes=123_456_789,
    budget_left=81_999,
    started_at="2026-11-21T03:54:06.372Z",
    finished_at="2026-11-21T04:17:08.372Z",
    duration_seconds=1382.0,
    files={"output": "/data/harvest.jsonl", "failures": "/data/harvest.failures.jsonl"},
    exit=Exit(0, "complete", "Complete: every DOI is accounted for."),
)

NAMES_OF_FIGURES = {each.name for each in fields(Figures)}


def summary_with(summary: Summary, **changes: Any) -> Summary:
    """The same summary with other values, be they its own or its figures'."""
    figures = {name: value for name, value in changes.items() if name in NAMES_OF_FIGURES}
    others = {name: value for name, value in changes.items() if name not in NAMES_OF_FIGURES}
    return replace(summary, figures=replace(summary.figures, **figures), **others)


def test_a_report_that_adds_up_has_no_violations() -> None:
    assert broken_identities(SUMMARY) == []


@pytest.mark.parametrize(
    ("change", "identity"),
    [
        ({"lines": 12_401}, "lines = works + duplicates + invalid + blank"),
        ({"invalid": 61}, "lines = works + duplicates + invalid + blank"),
        ({"lines": 12_401, "works": 12_001}, "works = results + failures + pending + resting"),
        ({"outcomes": {"ok": 11_899}}, "results = sum of outcomes"),
        ({"failures_by_kind": {"http": 101}}, "failures = sum of failures by kind"),
        ({"failures_by_kind": {"http": 100, "invalid-doi": 60}}, "failures = sum of failures by kind"),
        ({"works": 12_001, "lines": 12_401, "pending": 1}, "nothing is pending where the exit code is 0"),
        ({"registration_pending": 1}, "nothing is pending where the exit code is 0"),
    ],
)
def test_each_identity_that_is_broken_is_named(change: dict[str, int], identity: str) -> None:
    assert broken_identities(summary_with(SUMMARY, **change)) == [identity]


def test_a_run_that_stopped_early_may_leave_works_pending() -> None:
    stopped = summary_with(SUMMARY, results=11_890, outcomes={"ok": 11_890}, pending=10, registration_pending=3)
    assert broken_identities(replace(stopped, exit=Exit(4, "stopped-early", "…"))) == []


def test_the_summary_is_indented_json_with_the_fields_in_order() -> None:
    text = as_json(SUMMARY)
    assert text.endswith(b"\n}\n")
    assert list(orjson.loads(text)) == [
        *("v", "lines", "works", "duplicates", "invalid", "blank", "results", "failures", "pending", "gone"),
        *("outcomes", "failures_by_kind", "registered", "rejected", "registration_pending"),
        *("held_back", "urls_left_out", "requests", "retries"),
        *("bytes", "budget_left", "started_at", "finished_at", "duration_seconds", "files", "exit", "resting"),
    ]


def test_a_summary_that_was_written_is_read_back() -> None:
    summary = summary_with(SUMMARY, resting=3, registration_pending=2, budget_left=None)
    assert from_json(as_json(summary)) == summary


def test_a_summary_of_before_there_were_nights_has_nothing_resting() -> None:
    older = orjson.loads(as_json(SUMMARY))
    del older["resting"]
    assert from_json(orjson.dumps(older)) == SUMMARY


@pytest.mark.parametrize("name", ["lines", "works", "resting", "outcomes"])
@pytest.mark.parametrize("wrong", ["12", None, 1.5, {"a": "b"}])
def test_a_summary_whose_figures_are_none_is_refused(name: str, wrong: object) -> None:
    spoiled = orjson.loads(as_json(SUMMARY)) | {name: wrong}
    with pytest.raises(ValueError, match=f"has what is no figure as {name}$"):
        from_json(orjson.dumps(spoiled))


def test_a_path_that_is_no_text_does_not_cost_the_summary() -> None:
    odd = replace(SUMMARY, files={"output": "/data/h\udce4.jsonl"}, exit=Exit(74, "disk", "h\udce4.jsonl is full"))
    summary = orjson.loads(as_json(odd))
    assert summary["files"] == {"output": "/data/h?.jsonl"}
    assert summary["exit"]["reason"] == "h?.jsonl is full"


def test_every_figure_of_the_summary_closes_the_run_as_well() -> None:
    shown = closing(SUMMARY)
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", shown)}
    for name, value in orjson.loads(as_json(SUMMARY)).items():
        figures = value.values() if isinstance(value, dict) else [value]
        for figure in figures:
            if isinstance(figure, int) and name != "v":
                assert figure in numbers, name
            elif isinstance(figure, str):
                assert figure in shown, name
    assert "23 min 2 s" in shown


def test_the_closing_ends_with_the_verdict_and_what_to_do_next() -> None:
    verdict = closing(SUMMARY).split("\n\n")[-1].splitlines()
    assert verdict[0] == "Complete: every DOI is accounted for."
    assert "--retry-failed" in verdict[1]
    assert verdict[2:] == ["60 lines are no DOIs.", "OPERAS refuses 5 DOIs.", "The failures file says why."]


def test_where_nothing_failed_nothing_is_advised() -> None:
    whole = {"failures": 0, "failures_by_kind": {}, "results": 12_000, "outcomes": {"ok": 12_000}}
    good = summary_with(SUMMARY, **whole, rejected=0, invalid=0)
    assert closing(good).endswith("\n\nComplete: every DOI is accounted for.")


def test_registration_is_left_out_where_there_was_none() -> None:
    assert "registered" not in closing(summary_with(SUMMARY, registered=0, rejected=0))


def test_paths_and_reasons_reach_a_terminal_escaped() -> None:
    nasty = replace(SUMMARY, files={"output": "\x1b[2J\n.jsonl"}, exit=Exit(74, "disk", "\x1b]0;x\x07"))
    assert "\x1b" not in closing(nasty)
    assert "\x07" not in closing(nasty)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (160, "2 min 40 s"), (11_100, "3 h 5 min"), (2_347_200, "27 d 4 h")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
