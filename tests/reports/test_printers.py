"""The report of a night is data: the text page is printed from it as ever, and other printers need nothing else."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from harvester.core.text.wording import in_words
from harvester.reports.compared import Compared
from harvester.reports.night import NightReport, night_report
from harvester.reports.text import page
from harvester.reports.verdict import Conclusion
from tests.reports.nights import KNOWN, LAST, LATER, NIGHTS, NOTHING
from tests.reports.test_summary import SUMMARY

PAGES = Path(__file__).with_name("pages")
"""Pages printed before the report became data. A page changes only where a reader is to see something else."""

IN_LABELS = {"2,500"}
"""Numbers that are part of a label."""


@pytest.mark.parametrize("name", NIGHTS)
def test_the_page_is_byte_for_byte_what_it_was(name: str) -> None:
    assert page(night_report(*NIGHTS[name])).encode() == (PAGES / f"{name}.txt").read_bytes()


def test_every_kept_page_is_one_of_the_nights() -> None:
    assert {path.stem for path in PAGES.iterdir()} == set(NIGHTS)


@pytest.mark.parametrize("name", sorted(NIGHTS.keys() - {"nasty"}))
def test_json_of_the_data_has_every_figure_of_the_page(name: str) -> None:
    report = night_report(*NIGHTS[name])
    known = {number for value in values(orjson.loads(as_json(report))) for number in numbers(value)}
    assert set(numbers(page(report))) - known - IN_LABELS == set()


def test_a_path_that_is_no_text_does_not_keep_the_data_from_being_json() -> None:
    assert orjson.loads(as_json(night_report(*NIGHTS["nasty"])))["files"]["page"] == "/data/h?.txt"


def test_figures_stay_numbers_and_come_with_their_change() -> None:
    report = night_report(SUMMARY, LAST, KNOWN)
    assert report.accounting.works == Compared(12_000, 11_970)
    assert report.accounting.works.change == 30
    assert report.accounting.outcomes["partial"] == Compared(0, 80)
    assert report.service.duration_seconds == Compared(1382.0, 1290.0)
    assert report.records.predicted_events == 1_840.4
    assert (report.started_at, report.compared_with) == (SUMMARY.started_at, LAST.started_at)


def test_without_a_last_night_no_figure_is_compared() -> None:
    report = night_report(SUMMARY, None, NOTHING)
    assert report.compared_with is None
    assert report.accounting.works == Compared(12_000)
    assert report.accounting.works.change is None


@pytest.mark.parametrize(
    ("name", "conclusion"),
    [
        ("quiet", Conclusion.ALL_IS_WELL),
        ("stopped", Conclusion.NOT_FINISHED),
        ("failures", Conclusion.LOOK_AT_THIS),
        ("disk", Conclusion.LOOK_AT_THIS),
        ("everything-wrong", Conclusion.LOOK_AT_THIS),
    ],
)
def test_what_the_night_asks_of_a_person_need_not_be_read_from_the_sentence(name: str, conclusion: Conclusion) -> None:
    assert night_report(*NIGHTS[name]).verdict.conclusion is conclusion


def test_all_groups_of_failures_are_in_the_data_under_their_kind() -> None:
    [http] = [each for each in night_report(*NIGHTS["many-failures"]).failures if each.kind == "http"]
    assert [group.http_status for group in http.groups] == [500, 501, 502, 503, 504, 505]
    assert http.count == Compared(1_000, 90)


def test_how_the_run_ended_is_in_the_data_as_it_was() -> None:
    assert night_report(LATER, None, NOTHING).exit == LATER.exit


# JSON, as a later printer may make it


def as_json(report: NightReport) -> bytes:
    """The report as JSON, which is text: bytes of a path that are none stand as `?`."""
    files = {name: path.encode(errors="replace").decode() for name, path in report.files.items()}
    return orjson.dumps(replace(report, files=files))


def values(tree: object) -> Iterator[object]:
    """The numbers and texts of a JSON document."""
    if isinstance(tree, dict):
        for key, member in tree.items():
            yield key
            yield from values(member)
    elif isinstance(tree, list):
        for member in tree:
            yield from values(member)
    else:
        yield tree


def numbers(value: object) -> list[str]:
    """The numbers in a text, and those that a page may show of a number: with separators, rounded, as a duration."""
    if isinstance(value, str):
        return re.findall(r"\d[\d,]*(?:\.\d+)?", re.sub(r",(?!\d)", "", value))
    if isinstance(value, int):
        return [f"{abs(value):,}"]
    if isinstance(value, float):
        return [f"{round(value):,}", f"{abs(value):.2f}", *numbers(in_words(abs(value)))]
    return []
