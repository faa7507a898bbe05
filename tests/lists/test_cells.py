"""Cells: one DOI or several whole ones, what lists write around them, and names that are more probably damaged."""

import pytest

from harvester.core.errors import InvalidDoi
from harvester.lists.bibtex import read_bibtex
from harvester.lists.cells import read_cell


def dois(text: str) -> list[str]:
    return [found.doi for found in read_cell(text)]


@pytest.mark.parametrize(
    "text",
    [
        "1. 10.5555/a",
        "2) 10.5555/a",
        "[3] 10.5555/a",
        "(4) https://doi.org/10.5555/a",
        "4\t10.5555/a",
        "DOI 10.5555/a, PMID: 12345678",
        "PMID: 12345678; doi: 10.5555/a",
        "doi: 10.5555/a. Epub 2020 Jan 1.",
        "10.5555/a [doi]",
        "S0140-6736(20)30183-5 [pii]; 10.5555/a [doi]",
        '="10.5555/a"',
        '=HYPERLINK("https://doi.org/10.5555/a","10.5555/a")',
        '=HYPERLINK("https://doi.org/10.5555/a";"to the book")',
        "[10.5555/a](https://doi.org/10.5555/a)",
        "[A title](https://doi.org/10.5555/a)",
        '<a href="https://doi.org/10.5555/a">10.5555/a</a>',
        "[10.5555/a]",
        "info:doi:10.5555%2Fa",
        "https://0-doi-org.library.example.edu/10.5555/a",
        "http://0-dx.doi.org.library.example.edu/10.5555/a",
        "https://oadoi.org/10.5555/a",
        "10.5555/a; 10.5555/A",
    ],
)
def test_one_doi_is_found_in_what_lists_write_around_it(text: str) -> None:
    assert dois(text) == ["10.5555/a"]


@pytest.mark.parametrize(
    "text",
    [
        "10.5555/a; 10.5555/b",
        "10.5555/a,10.5555/b",
        "10.5555/a, doi:10.5555/b",
        "10.5555/a | https://doi.org/10.5555/b",
        "10.5555/a||10.5555/b",
        "10.5555/a 10.5555/b",
        "10.5555/a\t10.5555/b",
        "10.5555/a\n10.5555/b\n",
        "10.5555/a and 10.5555/b",
        "DOIs: 10.5555/a; 10.5555/b",
        "['10.5555/a', '10.5555/b']",
    ],
)
def test_several_whole_dois_are_as_many_works(text: str) -> None:
    assert dois(text) == ["10.5555/a", "10.5555/b"]


def test_the_semicolon_of_a_sici_parts_nothing() -> None:
    sici = "10.5555/(sici)1097-0290(1999)62:1<2::aid-bit2>3.0.co;2-b"
    assert dois(f"{sici};10.5555/b") == [sici, "10.5555/b"]


@pytest.mark.parametrize(
    "text",
    [
        "10.5555/a10.5555/b",
        "10.5555/a b",
        "10. 5555/a",
        "see 10.5555/a",
        "10.5555/a; see there",
        "10.5555/a; 10.5555/b c",
        '=HYPERLINK("https://doi.org/10.5555/a","10.5555/b")',
        "10.5555/a, https://press.example/a",
    ],
)
def test_what_cannot_be_parted_for_certain_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(InvalidDoi):
        dois(text)


@pytest.mark.parametrize(
    "text",
    [
        "10.5555/a<br>",
        "10.5555/a&lt;br/&gt;",
        "10.5555/a</a>",
        "10.5555/a\\n",
        "10.5555/a\\r\\n",
        "10.5555/a.pdf",
        "10.5555/a/abstract",
        "10.5555/a/full",
        "10.5555/a&utm_source=x",
        "10.5555/a?utm_medium=x",
        "10.5555/a#sthash.abc.dpuf",
        "10.5555/a,checked",
        "10.5555/a,2020",
        "10.5555/a;yes",
        "10.5555/a;2020",
        "10.5555/a|x",
    ],
)
def test_a_name_with_something_glued_to_it_is_never_a_work(text: str) -> None:
    with pytest.raises(InvalidDoi, match="not taken for a DOI"):
        dois(text)


@pytest.mark.parametrize(
    "name",
    [
        "10.1089/ct.2015;27.272-274",
        "10.5555/(sici)1(2)3:4<5::aid-x>3.0.co;2-b",
        "10.21203/rs.2.14811/v1",
        "10.5555/a+b",
    ],
)
def test_odd_names_that_are_real_stay_names(name: str) -> None:
    assert dois(name) == [name]


def from_bibtex(value: str) -> str:
    (row,) = read_bibtex([f"@article{{k, doi = {{{value}}}}}"])
    return f"refused: {row.text}" if row.problem else str(row.text)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("10.5555/a${<}$b", "10.5555/a<b"),
        ("10.5555/a$<$b", "10.5555/a<b"),
        ("10.5555/a{$<$}b", "10.5555/a<b"),
        (r"10.5555/a\ensuremath{<}b", "10.5555/a<b"),
        (r"10.5555/a$\lt$b", "10.5555/a<b"),
        ("10.5555/a$_$b", "10.5555/a_b"),
        (r"10.5555/a$\_$b", "10.5555/a_b"),
        (r"10.5555/a\string_b", "10.5555/a_b"),
        (r"10.5555/a\\_b", "10.5555/a_b"),
        (r"10.5555/a\~{}b", "10.5555/a~b"),
        ("10.5555/{ABC}d", "10.5555/ABCd"),
    ],
)
def test_tex_that_is_certain_is_taken_off(value: str, name: str) -> None:
    assert from_bibtex(value) == name


@pytest.mark.parametrize("rest", [r"\{28\}", "$<2$", r"\allowbreak/b", r"\textsubscript{2}", "$b", r"$\backslash$"])
def test_a_name_in_which_tex_is_left_is_never_a_work(rest: str) -> None:
    assert from_bibtex(f"10.5555/a{rest}").startswith("refused")
