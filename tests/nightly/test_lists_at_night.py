"""Lists that cannot be read, that shrank, or that are not the right ones: what a night does and says."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.core.errors import InputMissing
from harvester.nightly.job import nightly_job
from harvester.nightly.notify import nightly_and_notify
from harvester.nightly.run import nightly
from harvester.reports.summary import Summary
from tests.nightly.test_nightly import FIRST, Nights, nights  # noqa: F401 - a fixture
from tests.tool import dois, records

pytestmark = pytest.mark.usefixtures("nights")


def page(summary: Summary) -> str:
    return Path(summary.files["output"]).with_suffix(".report.txt").read_text()


async def with_lists(nights: Nights, pattern: str = "*.csv") -> Summary:  # noqa: F811
    nights.more["input.files"] = (str(nights.folder / pattern),)
    return await nights.night()


@pytest.mark.parametrize("content", [b"%PDF-1.7 no list", b"\x1f\x8b\x08\x00 cut", b"name,year\nA,2020\nB,2021\n"])
async def test_a_file_that_cannot_be_read_stands_first_on_the_page_and_the_others_are_harvested(
    nights: Nights,  # noqa: F811
    content: bytes,
) -> None:
    (nights.folder / "a.csv").write_text("doi\n" + "\n".join(dois(5)) + "\n")
    (nights.folder / "b.csv").write_bytes(content)
    summary = await with_lists(nights)
    assert (summary.exit.code, summary.figures.results + summary.figures.failures) == (65, 5)
    assert page(summary).startswith("Look at this: ")
    assert "b.csv" in page(summary).splitlines()[0]


async def test_it_is_told_again_the_next_night(nights: Nights) -> None:  # noqa: F811
    (nights.folder / "a.csv").write_text("doi\n" + "\n".join(dois(5)) + "\n")
    (nights.folder / "b.csv").write_bytes(b"%PDF-1.7 no list")
    await with_lists(nights)
    summary = await with_lists(nights)
    assert summary.exit.code == 65
    assert "b.csv" in page(summary).splitlines()[0]


async def test_a_night_that_cannot_begin_leaves_a_page_and_may_be_begun_again(nights: Nights) -> None:  # noqa: F811
    with pytest.raises(InputMissing):
        await nightly_and_notify(nights.settings, lambda: None, nights.context, {})
    [left] = nights.folder.glob("*.report.txt")
    head = left.read_text().splitlines()[0]
    assert head.startswith("Look at this: the night ended with an error: ")
    assert "dois.txt" in head
    nights.listed(dois(3))
    summary = await nights.night()
    assert page(summary).startswith("All is well")


async def test_dois_that_come_after_a_night_are_asked_at_a_second_start(nights: Nights) -> None:  # noqa: F811
    nights.listed(dois(10))
    await nights.night()
    nights.clock.wall = FIRST + timedelta(hours=1)
    nights.listed(dois(13))
    summary = await nights.night()
    assert summary.exit.code == 0
    assert summary.figures.resting == 0
    assert {record["doi"] for record in records(Path(summary.files["output"]))} <= set(dois(13))
    assert len(nights.asked()) == 13


async def test_a_second_start_without_new_dois_says_that_the_night_is_over(nights: Nights) -> None:  # noqa: F811
    nights.listed(dois(5))
    await nights.night()
    nights.clock.wall = FIRST + timedelta(hours=1)
    assert "is over and no DOI is new" in (await nights.night()).exit.reason


@pytest.mark.parametrize(
    "second",
    [dois(100)[:10], dois(200)[100:], [*dois(100)[:20], *(f"no DOI {n}" for n in range(80))]],
    ids=["shrunk", "swapped", "invalid"],
)
async def test_a_list_that_changed_much_is_told_each_night_until_it_is_accepted(
    nights: Nights,  # noqa: F811
    second: list[str],
) -> None:
    nights.listed(dois(100))
    await nights.night()
    nights.listed(second)
    for _ in range(2):
        assert page(await nights.night()).startswith("Look at this: the list changed much since it was accepted")
    accepted = await nightly(replace(nightly_job(nights.settings), accepts_list=True), nights.context)
    assert "changed much" not in page(accepted)
    nights.clock.wall += timedelta(days=1, minutes=5)
    assert "changed much" not in page(await nights.night())


async def test_the_page_counts_what_came_and_what_went(nights: Nights) -> None:  # noqa: F811
    nights.listed(dois(100))
    await nights.night()
    nights.listed(dois(103)[2:])
    lines = [line.split() for line in page(await nights.night()).splitlines()]
    assert ["new", "in", "the", "list", "3"] in lines
    assert ["gone", "from", "the", "list", "2"] in lines
