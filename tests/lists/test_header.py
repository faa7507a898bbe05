"""Headers: found where something stands above them, given by the user, or not there at all."""

import io

import pytest

from harvester.core.errors import InputUnusable
from harvester.core.model import Blank, Failure, Work
from harvester.lists import ListOptions, read_list


def read(text: str, options: ListOptions | None = None) -> tuple[list[str], list[str]]:
    """Each item as `line DOI`, `invalid` or `blank`; and what was told."""
    told: list[str] = []
    stdin = io.BytesIO(text.encode())
    items: list[Work | Failure | Blank] = list(
        read_list(["-"], options or ListOptions(), warn=told.append, now="", stdin=stdin)
    )
    return [
        f"{item.origin[2:]} {item.doi}"
        if isinstance(item, Work)
        else f"{(item.origin or '')[2:]} invalid"
        if isinstance(item, Failure)
        else "blank"
        for item in items
    ], told


CSV = ListOptions(format="csv")

ROWS = "title,doi,n\nOne,10.5555/a,1\nTwo,10.5555/b,2\n"


@pytest.mark.parametrize(
    "above",
    [
        "Usage of the press\n",
        "Usage of the press,,\n,,\n",
        '"About the data: exported on Nov 30, 2026. Criteria: ""open books"", all"\n',
        "Report:,Usage\nCreated:,2026-11-30\n\n",
        "Report;Usage;x;y;z\n",
        "DOI report\n",
        "Works with a DOI, all of them\n",
        "Exported from\thttps://press.example/list\n",
    ],
)
def test_a_header_is_found_below_whatever_stands_above_it(above: str) -> None:
    first = above.count("\n") + 2
    items, told = read(above + ROWS)
    assert items == [f"{first} 10.5555/a", f"{first + 1} 10.5555/b"]
    assert f"line {first - 1} is taken for the header" in told[0]


def test_a_header_without_a_name_for_dois_is_found_below_a_title() -> None:
    items, _ = read("Our books\n\ntitle,identifier\nOne,10.5555/a\nTwo,10.5555/b\n", CSV)
    assert items == ["4 10.5555/a", "5 10.5555/b"]


def test_a_header_of_a_single_column_is_found_below_a_title() -> None:
    items, told = read("Our books\n\nDOI\n10.5555/a\n10.5555/b\n")
    assert items == ["4 10.5555/a", "5 10.5555/b"]
    assert "line 3 is taken for the header" in told[0]


def test_nothing_is_told_where_the_header_is_the_first_line() -> None:
    assert read(ROWS) == (["2 10.5555/a", "3 10.5555/b"], [])


def test_the_header_row_can_be_given() -> None:
    text = "doi,other\nthis,is a note\nother,identifier\n10.5555/x,10.5555/a\n"
    options = ListOptions(header_row=3, doi_column="identifier", format="csv")
    assert read(text, options) == (["4 10.5555/a"], [])


def test_a_header_row_that_is_not_there_ends_the_reading() -> None:
    with pytest.raises(InputUnusable, match="has no line 30 for a header"):
        read(ROWS, ListOptions(header_row=30, format="csv"))


def test_a_doi_column_that_is_named_is_found_further_down() -> None:
    text = "Usage\nExported\n\nTitle,Platform,Ident,Requests\nOne,P,10.5555/a,4\n"
    assert read(text, ListOptions(doi_column="Ident", format="csv"))[0] == ["5 10.5555/a"]


@pytest.mark.parametrize("sign", [",", ";", "|", "\t"])
def test_remarks_beside_a_list_are_a_column_of_their_own(sign: str) -> None:
    text = f"DOI{sign}\n10.5555/a{sign}\n10.5555/b{sign}checked\n10.5555/c{sign}2020\n"
    assert read(text)[0] == ["2 10.5555/a", "3 10.5555/b", "4 10.5555/c"]


@pytest.mark.parametrize("cell", ["10.5555 /a", "https://press.example/10.5555/a", "10.5555/a see 10.5555/x"])
def test_a_first_row_that_is_no_header_is_accounted_for(cell: str) -> None:
    items, _ = read(f"First,{cell}\nSecond,10.5555/b\nThird,10.5555/c\n")
    assert items == ["1 invalid", "2 10.5555/b", "3 10.5555/c"]


def test_several_dois_in_a_first_row_are_works() -> None:
    items, _ = read('A\t"10.5555/a\t10.5555/b"\nB\t10.5555/c\nC\t\n', CSV)
    assert items == ["1 10.5555/a", "1 10.5555/b", "2 10.5555/c", "blank"]


@pytest.mark.parametrize("sign", [",", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_kbart_has_its_doi_in_any_of_its_columns(sign: str, quote: str) -> None:
    rows = [
        ["publication_title", "print_identifier", "online_identifier", "title_url", "title_id"],
        ["A", "", "978-0-00-000001-8", "https://press.example/1", "10.5555/a"],
        ["B", "", "10.5555/b", "https://press.example/2", "77"],
        ["C", "", "", "https://doi.org/10.5555/c", "internal-3"],
        ["D", "", "1234-5678", "https://press.example/4", "4"],
    ]
    text = "".join(sign.join(f"{quote}{cell}{quote}" for cell in row) + "\n" for row in rows)
    assert read(text)[0] == ["2 10.5555/a", "3 10.5555/b", "4 10.5555/c", "blank"]


def test_a_cell_may_be_as_long_as_a_line() -> None:
    long = "; ".join(f'Author {i}, ""A title, with comma"", Journal' for i in range(5_000))
    assert len(long) > 131_072
    assert read(f'title,references,doi\nBig,"{long}",10.5555/a\n', CSV)[0] == ["2 10.5555/a"]


def test_options_for_tables_are_told_to_have_no_meaning_for_plain_lines() -> None:
    _, told = read("10.5555/a\n10.5555/b\n", ListOptions(format="txt", doi_column="x"))
    assert told == ["- is read as plain lines, where --doi-column has no meaning"]


def test_a_slash_at_the_end_is_taken_off_and_told() -> None:
    items, told = read("10.5555/a/\nhttps://doi.org/10.5555/b/\n10.5555/c\n")
    assert items == ["1 10.5555/a", "2 10.5555/b", "3 10.5555/c"]
    assert told == ["-: a slash at the end was taken off 2 DOIs (the first: -:1)"]


def test_a_file_that_gives_nothing_is_told_with_the_reason_the_column_and_an_example() -> None:
    _, told = read("title,landing page\nOne,https://press.example/1\nTwo,\n", ListOptions("landing page", format="csv"))
    assert " ".join(told) == (
        "- gives no DOI: of 2 lines, 1 hold none in column landing page "
        "(-:2: a web address, but not one of doi.org: https://press.example/1), 1 are empty there"
    )


def test_lines_of_several_dois_each_are_no_table() -> None:
    assert read("10.5555/a;10.5555/b\n10.5555/c\n", CSV)[0] == ["1 10.5555/a", "1 10.5555/b", "2 10.5555/c"]


def test_blank_lines_and_comments_above_a_header_are_blank_as_anywhere() -> None:
    assert read("# made by hand\n\nDOI\n10.5555/a\n") == (["blank", "blank", "4 10.5555/a"], [])


def test_the_doi_of_a_work_without_one_is_taken_from_zoteros_extra() -> None:
    text = 'Title,DOI,Extra\nA,10.5555/a,\nB,,"OCLC: 1\nDOI: 10.5555/b"\nC,,DOI:10.5555/c\nD,,see 10.5555/no\n'
    assert read(text) == (["2 10.5555/a", "3 10.5555/b", "5 10.5555/c", "blank"], [])


@pytest.mark.parametrize("line", ["not a doi", "DOI", "see doi"])
def test_no_line_with_a_doi_is_passed_over_for_a_header_further_down(line: str) -> None:
    found, _ = read(f"10.5555/a\n{line}\n10.5555/b\n")
    assert found[0] == "1 10.5555/a"
    assert found[-1] == "3 10.5555/b"


def test_a_line_about_dois_below_the_first_ones_is_no_header() -> None:
    works, told = read("10.5555/a\n10.5555/b\nno doi\n10.5555/c\n", ListOptions())
    assert works == ["1 10.5555/a", "2 10.5555/b", "3 invalid", "4 10.5555/c"]
    assert told == []
