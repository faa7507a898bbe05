"""Workbooks: which sheet and which rows are read, and what happens with files that are none, or hostile."""

import io

import pytest

from harvester.core.errors import InputUnusable
from harvester.core.model import Blank, Failure, Work
from harvester.lists import ListOptions, read_list
from tests.lists.workbooks import ods, xlsx, xlsx_of


def read(data: bytes, options: ListOptions | None = None) -> tuple[list[Work | Failure | Blank], list[str]]:
    told: list[str] = []
    items = read_list(["-"], options or ListOptions(), warn=told.append, now="", stdin=io.BytesIO(data))
    return list(items), told


def works(data: bytes, options: ListOptions | None = None) -> list[tuple[str, str]]:
    return [(item.doi, item.origin) for item in read(data, options)[0] if isinstance(item, Work)]


def test_a_sheet_is_read_as_a_table_with_the_row_numbers_that_excel_shows() -> None:
    book = xlsx({"A": [["title", "doi"], ["One", "10.5555/a"], [], ["Two", "https://doi.org/10.5555/b"]]})
    assert works(book) == [("10.5555/a", "-:2"), ("10.5555/b", "-:4")]


def test_numbers_and_quotes_and_line_ends_in_other_cells_do_no_harm() -> None:
    book = xlsx({"A": [["n", "title", "doi"], [1, 'a "b"\nc\td', "10.5555/a"], [0.5, '"', "10.5555/b; 10.5555/c"]]})
    assert [doi for doi, _ in works(book)] == ["10.5555/a", "10.5555/b", "10.5555/c"]


def test_what_stands_above_the_header_of_a_sheet_is_left_out() -> None:
    book = xlsx({"A": [["Publications 2026"], [], ["title", "doi"], ["One", "10.5555/a"]]})
    items, told = read(book)
    assert [item.origin for item in items if isinstance(item, Work)] == ["-:4"]
    assert len(items) == 1
    assert "line 3 is taken for the header" in told[0]


def test_the_first_sheet_with_dois_is_read_and_the_others_are_named() -> None:
    book = xlsx({"Notes": [["hello"]], "Books": [["doi"], ["10.5555/a"]], "Old": [["doi"], ["10.5555/b"]]})
    items, told = read(book)
    assert [item.doi for item in items if isinstance(item, Work)] == ["10.5555/a"]
    assert told == [
        "-: sheet Books is read, and not Notes, Old; of these, Old holds something like DOIs too. --sheet names another"
    ]


def test_a_sheet_can_be_named() -> None:
    book = xlsx({"New": [["doi"], ["10.5555/a"]], "Old": [["doi"], ["10.5555/b"]]})
    assert [doi for doi, _ in works(book, ListOptions(sheet="Old"))] == ["10.5555/b"]
    with pytest.raises(InputUnusable, match=r"no sheet Odd\. Its sheets are New, Old"):
        works(book, ListOptions(sheet="Odd"))


def test_a_workbook_of_libreoffice_is_read_without_the_empty_rows_at_its_end() -> None:
    items, _ = read(ods([["title", "doi"], ["One", "10.5555/a"]]))
    assert [type(item) for item in items] == [Work]


def test_a_cell_far_away_costs_no_memory_and_ends_in_words() -> None:
    far = '<row r="1"><c r="A1" t="str"><v>doi</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    with pytest.raises(InputUnusable, match="too much memory"):
        read(xlsx_of({"A": far}))


@pytest.mark.parametrize("data", [b"PK\x03\x04 and more", b"\xd0\xcf\x11\xe0 and more"])
def test_what_only_begins_as_a_workbook_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(InputUnusable, match="no workbook that can be read"):
        read(data)
