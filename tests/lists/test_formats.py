"""Formats: which one a list is in, and what each of its lines, rows and entries becomes."""

import io
import json
from contextlib import suppress

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.cli import options
from harvester.config.settings import PARSERS
from harvester.core.errors import InputUnusable, StopRun, Usage
from harvester.core.model import Blank, Failure, Stage, Work
from harvester.lists import ListOptions, read_list
from tests.folders import ROOT

NOW = "2026-01-01T00:00:00.000Z"


def items(text: str | bytes, **options: str) -> list[Work | Failure | Blank]:
    data = text.encode() if isinstance(text, str) else text
    given = ListOptions(**options)  # type: ignore[arg-type]  # only texts are given
    return list(read_list(["-"], given, warn=lambda _: None, now=NOW, stdin=io.BytesIO(data)))


def told(text: str | bytes, **options: str) -> list[str]:
    """Each item as a word: its DOI, `invalid` or `blank`."""
    return [
        item.doi if isinstance(item, Work) else "invalid" if isinstance(item, Failure) else "blank"
        for item in items(text, **options)
    ]


def urls(text: str, **options: str) -> list[tuple[str, ...]]:
    return [item.urls for item in items(text, **options) if isinstance(item, Work)]


# What a format needs


@options.reading
@click.command()
def reading() -> None:
    """A command with the flags for reading lists."""


(FORMAT,) = (each.type for each in reading.params if each.name == "format")
assert isinstance(FORMAT, click.Choice)
FORMATS: tuple[str, ...] = tuple(FORMAT.choices)
"""What the flag offers."""


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_can_be_set_and_is_documented(name: str) -> None:
    items("", format=name)
    assert PARSERS["input.format"](name) == name
    reference = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    (row,) = (line for line in reference.splitlines() if "HARVESTER_INPUT__FORMAT" in line)
    assert f"`{name}`" in row


def test_flag_setting_and_reader_know_the_same_formats() -> None:
    known = ", ".join(FORMATS)
    with pytest.raises(ValueError, match=f"^one of {known}$"):
        PARSERS["input.format"]("no such format")
    with pytest.raises(Usage, match=f"Choose one of {known}[.]$"):
        items("", format="no such format")


# Plain lists


def test_an_invalid_line_becomes_a_failure_that_says_where_and_why() -> None:
    (failure,) = items("\x1b[31mnot a doi")
    assert isinstance(failure, Failure)
    assert (failure.doi, failure.input, failure.origin) == (None, r"\x1b[31mnot a doi", "-:1")
    assert (failure.kind, failure.stage, failure.attempts) == ("invalid-doi", Stage.INPUT, 0)
    assert failure.failed_at == NOW


def test_a_long_invalid_line_is_cut_in_its_failure() -> None:
    (failure,) = items("x" * 1000)
    assert isinstance(failure, Failure)
    assert len(failure.input) == 201


def test_blank_lines_comments_and_words_for_nothing_are_blank() -> None:
    assert told("10.5555/a\n\n# note\nNA\nnull\n-\n10.5555/b") == ["10.5555/a", *["blank"] * 5, "10.5555/b"]


def test_a_hash_after_white_space_begins_a_comment_and_one_in_a_doi_does_not() -> None:
    sici = "10.1002/1521-4036(200112)43:8<941::aid-bimj941>3.0.co;2-#"
    assert told(f"10.5555/a  # mine\n{sici}\n") == ["10.5555/a", sici]


def test_quotes_and_trailing_commas_of_a_pasted_list_are_taken_off() -> None:
    assert told('"10.5555/a",\n"10.5555/b",\n"10.5555/c"\n') == ["10.5555/a", "10.5555/b", "10.5555/c"]


def test_urls_may_follow_a_doi_after_white_space() -> None:
    text = "10.5555/a\thttps://a.example/x http://b.example\ndoi: https://doi.org/10.5555/b\n"
    assert told(text, format="txt") == ["10.5555/a", "10.5555/b"]
    assert urls(text, format="txt") == [("https://a.example/x", "http://b.example"), ()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("10.5555/a,https://a.example/x", ("10.5555/a", ("https://a.example/x",))),
        ("10.5555/a ;| https://a.example https://b.example", ("10.5555/a", ("https://a.example", "https://b.example"))),
        ("https://doi.org/10.5555/a https://a.example", ("10.5555/a", ("https://a.example",))),
        ("10.5555/a,https://a.example;https://b.example", ("10.5555/a", ("https://a.example", "https://b.example"))),
        ("10.5555/a\u2003https://a.example\u2003", ("10.5555/a", ("https://a.example",))),
        ("10.5555/a x https://a.example", None),
        ("10.5555/a https://a.example x", None),
        ("see 10.5555/a https://a.example", None),
    ],
)
def test_a_doi_and_its_urls_are_told_apart(line: str, expected: tuple[str, tuple[str, ...]] | None) -> None:
    (item,) = items(line, format="txt")
    assert (item[:2] if isinstance(item, Work) else None) == expected


def test_a_line_with_two_dois_is_two_works() -> None:
    assert told("10.5555/a 10.5555/b\n") == ["10.5555/a", "10.5555/b"]


def test_a_first_line_that_names_the_column_is_no_line() -> None:
    assert told("DOI\n10.5555/a\n") == ["10.5555/a"]


# Tables


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_sign_between_cells_is_told_by_the_first_lines(sign: str) -> None:
    text = "title,doi,year\nx,10.5555/a,2019\ny,10.5555/b,2020\n".replace(",", sign)
    assert told(text, format="csv") == ["10.5555/a", "10.5555/b"]


def test_a_short_cell_beside_a_doi_is_not_taken_for_a_part_of_it() -> None:
    assert told("doi,year\n10.5555/a,2019\n10.5555/b,2020\n") == ["10.5555/a", "10.5555/b"]


def test_a_column_of_sici_dois_is_not_split_at_their_semicolons() -> None:
    sici = "10.1002/(sici)1097-0290(19970220)53:4<363::aid-bit2>3.0.co;2-l"
    assert told(f"doi\n{sici}\n{sici}\n", format="csv") == [sici, sici]


def test_the_sign_that_a_spreadsheet_announces_is_used() -> None:
    assert told("sep=|\r\ntitle|doi\r\na;b|10.5555/a\r\n", format="csv") == ["10.5555/a"]


def test_a_quoted_cell_may_hold_line_ends_and_the_origin_is_its_first_line() -> None:
    table = items('title,doi\n"one\ntwo",10.5555/a\nx,10.5555/b\n')
    assert [item.origin for item in table if isinstance(item, Work)] == ["-:2", "-:4"]


def test_a_quote_that_is_never_closed_costs_no_other_row() -> None:
    rows = "".join(f"10.5555/{i},t\n" for i in range(500))
    assert told(f'doi,title\n10.5555/x,"open\n{rows}')[:3] == ["10.5555/x", "10.5555/0", "10.5555/1"]
    assert len(told(f'doi,title\n10.5555/x,"open\n{rows}')) == 501


def test_an_inch_sign_inside_a_cell_is_text() -> None:
    assert told('title,doi\n5" disk,10.5555/a\n3" tape,10.5555/b\n') == ["10.5555/a", "10.5555/b"]


def test_rows_without_a_doi_are_blank() -> None:
    assert told("doi,title\n10.5555/a,x\n,y\nNA,z\n,\n") == ["10.5555/a", "blank", "blank", "blank"]


@pytest.mark.parametrize(
    "name", ["doi", "DOI", "Doi", "DI", "Digital Object Identifier", "article_doi", "dc.identifier.doi"]
)
def test_a_doi_column_is_known_by_its_name(name: str) -> None:
    assert told(f"id,{name},n\n1,10.5555/a,x\n2,,x\n3,bad,x\n") == ["10.5555/a", "blank", "invalid"]


def test_a_column_called_doi_wins_over_others_with_dois() -> None:
    assert told("old_doi,doi\n10.5555/o,10.5555/a\n") == ["10.5555/a"]


def test_a_table_without_header_is_read_by_what_is_in_its_columns() -> None:
    assert told("x,10.5555/a\ny,10.5555/b\n", format="csv") == ["10.5555/a", "10.5555/b"]


def test_of_two_columns_with_dois_the_bare_one_is_preferred_to_addresses() -> None:
    assert told("a,https://doi.org/10.5555/a,10.5555/a\nb,https://doi.org/10.5555/b,10.5555/b\n", format="csv") == [
        "10.5555/a",
        "10.5555/b",
    ]


def test_several_doi_columns_end_the_reading_with_their_names() -> None:
    with pytest.raises(InputUnusable, match=r"a_doi, b_doi.*--doi-column NAME"):
        told("a_doi,b_doi\n10.5555/a,10.5555/b\n")


@pytest.mark.parametrize("column", ["b_doi", "B_DOI", "2"])
def test_the_doi_column_can_be_named_or_numbered(column: str) -> None:
    assert told("a_doi,b_doi\n10.5555/a,10.5555/b\n", doi_column=column) == ["10.5555/b"]


def test_of_very_many_columns_the_first_are_named() -> None:
    header = ",".join(f"column{number}" for number in range(5_000))
    with pytest.raises(InputUnusable, match=r"are column0, .*column29, …\."):
        told(f"{header}\n{',' * 4_999}\n", format="csv")


def test_an_unknown_column_ends_the_reading_with_the_known_ones() -> None:
    with pytest.raises(InputUnusable, match=r"no column zz.*a, doi"):
        told("a,doi\nx,10.5555/b\n", doi_column="zz")


def test_a_table_without_any_doi_column_ends_the_reading_with_its_columns() -> None:
    with pytest.raises(InputUnusable, match="are a, b"):
        told("a,b\n1,2\n", format="csv")


def test_urls_come_from_url_columns_without_addresses_of_doi_org() -> None:
    text = "doi,url\n10.5555/a,https://a.example/x;y=1|http://b.example/ https://doi.org/10.5555/a\n"
    assert urls(text) == [("https://a.example/x;y=1", "http://b.example/")]


def test_a_databases_link_is_not_registered() -> None:
    assert urls("doi,Link\n10.5555/a,https://database.example/record/1\n") == [()]


def test_the_url_column_can_be_named() -> None:
    assert urls("doi,Link\n10.5555/a,https://a.example/1\n", url_column="link") == [("https://a.example/1",)]


def test_an_address_of_doi_org_stands_in_for_an_empty_doi_cell() -> None:
    assert told("doi,url\n10.5555/a,x\n,https://doi.org/10.5555/b\n") == ["10.5555/a", "10.5555/b"]


def test_a_cell_longer_than_any_doi_costs_its_row() -> None:
    long = "x" * 2_000_000
    assert told(f"doi,title\n10.5555/a,t\n{long},t\n10.5555/b,t\n") == ["10.5555/a", "invalid", "10.5555/b"]


def test_kbart_holds_dois_in_online_identifier_or_title_url() -> None:
    text = (
        "publication_title\tonline_identifier\ttitle_url\n"
        "A\t1234-5678\thttps://a.example\n"
        "B\t10.5555/b\thttps://b.example\n"
        "C\t\thttps://doi.org/10.5555/c\n"
    )
    assert told(text) == ["blank", "10.5555/b", "10.5555/c"]
    assert urls(text) == [("https://b.example",), ()]


# JSON


@pytest.mark.parametrize(
    "text",
    [
        '["10.5555/a"]',
        '[{"doi": "10.5555/a"}]',
        '{"DOI": "https://doi.org/10.5555/a"}',
        '{"dois": ["10.5555/a"]}',
        '{"status": "ok", "message": {"items": [{"DOI": "10.5555/a"}]}}',
        '{"meta": {}, "results": [{"doi": "https://doi.org/10.5555/a"}]}',
        '{"data": [{"id": "1", "attributes": {"doi": "10.5555/a"}}]}',
        '{"data": [{"externalIds": {"DOI": "10.5555/a"}}]}',
        '\ufeff["10.5555/a"]',
    ],
)
def test_json_documents_of_common_shapes_are_read(text: str) -> None:
    assert told(text) == ["10.5555/a"]


def test_entries_of_a_json_document_are_counted_from_one() -> None:
    entries = items('["10.5555/a", null, {"title": "x"}, {"doi": 7}, 5, "x"]')
    assert [getattr(item, "origin", "blank") for item in entries] == ["-:1", "blank", "blank", "-:4", "-:5", "-:6"]


def test_urls_of_a_json_entry_are_a_string_or_a_list() -> None:
    text = '[{"doi": "10.5555/a", "url": "https://a.example"}, {"doi": "10.5555/b", "urls": ["https://b.example", 7]}]'
    assert urls(text) == [("https://a.example",), ("https://b.example",)]


def test_the_key_of_the_doi_can_be_named() -> None:
    assert told('[{"doi": "10.5555/a", "Parent": "10.5555/p"}]', doi_column="parent") == ["10.5555/p"]


@pytest.mark.parametrize("text", ["[1,", '{"a": 1}', '{"a": [], "b": []}', "[" * 5000])
def test_json_that_holds_no_list_ends_the_reading(text: str) -> None:
    with pytest.raises(InputUnusable):
        told(text, format="json")


def test_a_broken_json_line_costs_itself_only() -> None:
    text = '{"doi": "10.5555/a"}\n{broken\n\n"10.5555/b"\n[1]\n{"x": 1}\n'
    assert told(text, format="jsonl") == ["10.5555/a", "invalid", "blank", "10.5555/b", "invalid", "blank"]


def test_json_lines_of_any_size_are_read_and_only_dois_and_urls_of_large_ones_are_built() -> None:
    padding = '[{}, 1.5, "\\\\\\" é]}", true],' * 30_000
    text = (
        f'{{"title": [{padding} null], "DOI": "10.5555/a", "url": ["https://a.example"]}}\r\n'
        f'{{"x": [{padding} 0], "ids": {{"y": [{padding} 0], "doi": "10.5555/b"}}}}\n'
        '"10.5555/c"\n'
        f'[{padding} 0]\n{{"x": [{padding} }}\n{{"doi": "10.5555/d"}} {padding}\n{"9" * 600_000}\n'
        f'{{"doi": "10.5555/e", "x": [{padding} 0]}}'
    )
    found = ["10.5555/a", "10.5555/b", "10.5555/c", "invalid", "invalid", "invalid", "invalid", "10.5555/e"]
    assert told(text, format="jsonl") == found
    assert urls(text, format="jsonl")[0] == ("https://a.example",)


def test_a_document_of_any_size_is_read_like_a_small_one() -> None:
    padding = '[{}, 1.5, "\\\\\\" é]}", true],' * 30_000
    entries = f'"10.5555/a", null, {{"x": [{padding} 0], "doi": "10.5555/b"}}, [{padding} 0], {{"doi": ["10.5555/c"]}}'
    found = ["10.5555/a", "blank", "10.5555/b", "invalid", "10.5555/c"]
    assert told(f"[{entries}]") == found
    assert told(f'{{"status": "ok", "message": {{"facets": {{"y": [1]}}, "items": [{entries}]}}}}') == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{{"a": [{0}], "b": [{0}]}}', "several lists"),
        ('{{"a": {{"b": "{0}"}}}}', "should be a list"),
        ('{{"doi": "10.5555/a", "b": [{0}]}}', "one work of more than 1 MiB.*--format jsonl"),
        ('"{0}"', "should be a list"),
        ('[{0}', "line 1, after entry.*ends too early"),
        ('[{0},]', "line 1, after entry.*comma"),
        ('[{0}] x', "something follows"),
        ('[{0}, {{"a": tru}}]', "after entry"),
        ('["a"\n\n{0}]', "line 1: unexpected"),
    ],
)  # fmt: skip
def test_a_large_document_that_is_no_list_ends_the_reading_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InputUnusable, match=reason):
        told(text.format("null," * 220_000 + "null"), format="json")


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("depth", [300, 990])
def test_json_that_is_nested_deeply_costs_its_entry(form: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    entries = ['"10.5555/a"', deep, f'{{"doi": {deep}}}', '"10.5555/b"']
    text = "\n".join(entries) if form == "jsonl" else f"[{','.join(entries)}]"
    assert told(text, format=form) == ["10.5555/a", "invalid", "invalid", "10.5555/b"]


@pytest.mark.parametrize(("form", "line"), [("json", 3), ("jsonl", 3), ("csv", 4), ("txt", 3), ("ris", 7)])
def test_urls_beyond_all_measure_cost_their_row_which_is_named(form: str, line: int) -> None:
    many = [f"https://a.example/{'x' * 2_000}/{number}" for number in range(100)]
    rows = [("10.5555/a", many[:2]), ("10.5555/b", []), ("10.5555/c", many)]
    text = {
        "json": lambda: json.dumps([{"doi": doi, "url": given} for doi, given in rows]),
        "jsonl": lambda: "\n".join(json.dumps({"doi": doi, "url": given}) for doi, given in rows),
        "csv": lambda: "doi,url\n" + "\n".join(f"{doi},{' '.join(given)}" for doi, given in rows),
        "txt": lambda: "\n".join(f"{doi} {' '.join(given)}" for doi, given in rows),
        "ris": lambda: "\n".join(
            "\n".join(["TY  - JOUR", f"DO  - {doi}", *(f"UR  - {url}" for url in given), "ER  - "])
            for doi, given in rows
        ),
    }[form]()
    *good, bad = items(text, format=form)
    assert [getattr(item, "doi", None) for item in good] == ["10.5555/a", "10.5555/b"]
    assert isinstance(bad, Failure)
    assert (bad.origin.rpartition(":")[2], bad.message) == (
        str({"ris": 9}.get(form, line)),
        "its DOI and URLs are longer than 128 KiB",
    )


# RIS, BibTeX, Web of Science


def test_ris_entries_are_read_each_for_itself() -> None:
    text = (
        "TY  - JOUR\nDO  - 10.5555%2Fa\nUR  - https://a.example\nER  - \n\n"
        "TY  - JOUR\nTI  - no doi\nER  - \nTY  - BOOK\nDO - 10.5555/b\nTY  - JOUR\nUR  - https://doi.org/10.5555/c"
    )
    assert told(text) == ["10.5555/a", "blank", "10.5555/b", "10.5555/c"]
    assert urls(text) == [("https://a.example",), (), ()]


def test_values_of_ris_may_go_on_in_further_lines() -> None:
    text = "TY  - JOUR\nAB  - x\n\n10.5555/no\nDO  - 10.5555/\nDO  - 10.5555/other\nUR  - x\nhttps://a.example\nER  - "
    assert told(text.replace("10.5555/\n", "10.5555/a\n")) == ["10.5555/a"]
    assert urls(text.replace("10.5555/\n", "10.5555/a\n")) == [("https://a.example",)]


def test_a_long_entry_costs_nothing_but_one_over_the_limit_is_a_failure() -> None:
    ris = "TY  - JOUR\nAB  - {}\nDO  - 10.5555/a\nER  - \nTY  - JOUR\nDO  - 10.5555/b\nER  - \n"
    assert told(ris.format("x\n" * 1_000_000)) == ["10.5555/a", "10.5555/b"]
    assert told(ris.format("xxxx\n" * 1_100_000)) == ["invalid", "10.5555/b"]


def test_long_values_of_bibtex_are_left_out_and_short_ones_are_read() -> None:
    entry = (
        "@article{{k,\n references = {{{}}},\n doi = {{10.5555/a}}, abstract = {{{}}}, url = {{https://a.example}}\n}}"
    )
    text = entry.format("{x}, \\} @ " * 30_000, "y" * 300_000)
    assert told(text) == ["10.5555/a"]
    assert urls(text) == [("https://a.example",)]


def test_a_bibtex_entry_of_very_many_fields_is_a_failure_and_the_next_one_is_read() -> None:
    fields = ", ".join(f"f{number} = {{x}}" for number in range(10_000))
    assert told(f"@article{{k, {fields}, doi = {{10.5555/a}}}}\n@article{{b, doi = {{10.5555/b}}}}") == [
        "invalid",
        "10.5555/b",
    ]


def test_bibtex_entries_are_read_each_for_itself() -> None:
    text = (
        "% a comment\n@string{x = {y}}\n"
        "@article{a,\n doi = {10.5555/a\\_b}, url={https://a.example}\n}\n"
        "@article{broken,\n title = {never closed,\n doi = {10.5555/lost},\n"
        '@book{b, DOI = "10.5555/c", doi = {10.5555/other}}\n@comment{z}\n'
        "@misc(d, doi = {{10.5555/d}})\n@misc{e, title = {none}}\n"
    )
    assert told(text) == ["10.5555/a_b", "invalid", "10.5555/c", "10.5555/d", "blank"]


def test_web_of_science_entries_are_read_each_for_itself() -> None:
    text = "FN Clarivate Analytics Web of Science\nVR 1.0\nPT J\nDI 10.5555/a\nER\n\nPT J\nTI none\nER\n\nEF\n"
    assert told(text) == ["10.5555/a", "blank"]


# All


def test_an_unknown_format_is_refused_at_once() -> None:
    with pytest.raises(Usage, match="klingon"):
        read_list([], ListOptions(format="klingon"), warn=lambda _: None, now="")


def test_full_stops_that_were_taken_off_are_told_with_the_first_place() -> None:
    said: list[str] = []
    text = io.BytesIO(b"10.5555/a\n10.5555/b.\n10.5555/c.\n")
    list(read_list(["-"], ListOptions(), warn=said.append, now="", stdin=text))
    assert said == ["-: a full stop at the end was taken off 2 DOIs (the first: -:2)"]


HOSTILE = st.lists(
    st.sampled_from(
        [b"10.5555/a", b"doi", b",", b";", b"\t", b'"', b"\n", b"\r", b"\r\n", b"{", b"}", b"[", b"]",
         b'{"doi":"10.5555/a"}',
         b"@article{a,", b"doi = {10.5555/a}", b"TY  - JOUR\n", b"DO  - 10.5555/a\n", b"ER  - \n", b"PT J\n",
         b"FN ISI\n",
         b"publication_title\tonline_identifier\ttitle_url\n", b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf",
         b"#", b"sep=;\n", b"\\"]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    st.one_of(HOSTILE, st.binary(max_size=200)),
    st.sampled_from(FORMATS),
)
def test_any_bytes_are_read_or_end_the_run_with_a_reason(data: bytes, kind: str) -> None:
    with suppress(StopRun):
        items(data, format=kind)


def test_a_header_with_a_doi_column_makes_a_table_of_rows_with_mostly_empty_cells() -> None:
    rows = ["doi,url", "10.1234/a,https://press.example.org/a", *(f"10.1234/{number}," for number in range(9))]
    assert told("\n".join(rows))[:2] == ["10.1234/a", "10.1234/0"]
    assert urls("\n".join(rows))[0] == ("https://press.example.org/a",)
