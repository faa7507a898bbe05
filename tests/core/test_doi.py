"""The DOI name: what is told from a text, what is refused, and what it becomes in a path."""

import json
import unicodedata
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.core import doi as module
from harvester.core.doi import MAX_BYTES, doi_path, is_same_doi, lost_end, parse_doi
from harvester.core.errors import InvalidDoi
from tests.folders import DATA


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").split("\n") if line]


def parsed(text: str | None) -> str | None:
    try:
        return parse_doi(text or "")
    except InvalidDoi:
        return None


@pytest.mark.parametrize("case", cases("doi-cases.jsonl"), ids=lambda case: f"{case['op']}:{case['input']!r}"[:80])
def test_every_case_of_other_libraries_has_our_answer(case: dict[str, Any]) -> None:
    assert parsed(case["input"]) == case["ours"]


@pytest.mark.parametrize("case", cases("doi-nasty.jsonl"), ids=lambda case: case["input"][:60])
def test_every_oddity_found_in_real_lists_has_our_answer(case: dict[str, Any]) -> None:
    assert parsed(case["input"]) == case["ours"]


def test_where_we_differ_from_an_oddity_as_it_stands_a_reason_is_given() -> None:
    assert [case for case in cases("doi-nasty.jsonl") if case["ours"] != case["input"] and not case.get("why")] == []


@pytest.mark.parametrize(
    "text",
    [
        "10.5555/12345678",
        "doi:10.5555/12345678",
        "DOI: 10.5555/12345678",
        "doi 10.5555/12345678",
        "DOI：10.5555/12345678",
        "info:doi/10.5555/12345678",
        "urn:doi:10.5555/12345678",
        "https://doi.org/10.5555/12345678",
        "HTTP://DX.DOI.ORG/10.5555/12345678",
        "https:/doi.org/10.5555/12345678",
        "//doi.org/10.5555/12345678",
        "https://doi.org//10.5555/12345678",
        "https://doi.org/doi:10.5555/12345678",
        "https://doi.org/10.5555%2F12345678",
        "https://doi.org/10.5555/12345678?utm_source=mail#top",
        "https://doi-org.proxy.example.edu/10.5555/12345678",
        "https://doi.org.proxy.example.edu:2048/10.5555/12345678",
        "https://proxy.example.edu/login?url=https://doi.org/10.5555/12345678",
        "https://proxy.example.edu/login?qurl=https%3A%2F%2Fdoi.org%2F10.5555%2F12345678",
        "https://hdl.handle.net/10.5555/12345678",
        "<https://doi.org/10.5555/12345678>",
        '"10.5555/12345678",',
        "(doi:10.5555/12345678).",
        "[10.5555/12345678]",
        "• 10.5555/12345678",
        "- 10.5555/12345678",
        "10.5555/12345678&gt;",
        "10.5555/\u200b12345678\ufeff",
        "\t10.5555/12345678\r\n",
        "10.5555/12345678_x000D_",
        "10.5555/12345678/",
    ],
)
def test_the_ways_people_write_a_doi_mean_one_name(text: str) -> None:
    assert parse_doi(text) == "10.5555/12345678"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a DOI"),
        ("see 10.5555/12345678", "something like one"),
        ("10.5555/123 45678", "white space"),
        ("10.5555/1\x002", "control"),
        ("10.5555/u\u0332", "combining"),
        ("10.5555/1\ufffd", "damaged"),
        ("10.5555/a\xadb", "soft hyphen"),
        ("10.5555/a\ud800", "white space, a control"),
        ("10.5555/a;10.5555/b", "more than one"),
        ("10.5555/a10.5555/b", "more than one"),
        ('10.5555/a","title', "something else"),
        ("10.5555/a<http://doi.org/10.5555/a>", "more than one"),
        ("10.5555/a%252fb", "encoded more than once"),
        ("10.5555/a%ff", "no UTF-8"),
        ("10/gf4gqc", "short DOI"),
        ("https://doi.org/gf4gqc", "short DOI"),
        ("https://publisher.example/10.5555/12345678", "not one of doi.org"),
        ("10.5555/" + "a" * MAX_BYTES, "longer than"),
        ("10.5555/" + "(" * 10_000_000, "longer than"),
    ],
)
def test_what_is_not_one_whole_doi_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidDoi, match=reason):
        parse_doi(text)


def test_a_refusal_shows_nothing_that_a_terminal_obeys() -> None:
    with pytest.raises(InvalidDoi) as caught:
        parse_doi("\x1b[31mred\u202e")
    assert str(caught.value).isprintable()


def test_only_ascii_letters_are_lowered() -> None:
    assert parse_doi("10.5555/ÄBC") == "10.5555/Äbc"


def test_a_letter_and_its_accent_become_one_character() -> None:
    assert parse_doi("10.5555/u\u0308ber") == "10.5555/über"


def test_one_full_stop_at_the_end_is_a_sentences_and_is_told() -> None:
    assert parse_doi("10.5555/abc.") == "10.5555/abc"
    assert lost_end("10.5555/abc.", "10.5555/abc") == "."


def test_several_full_stops_at_the_end_are_the_names() -> None:
    assert parse_doi("10.1136/gut.0500138..") == "10.1136/gut.0500138.."


def test_a_doi_inside_a_suffix_after_a_slash_is_part_of_the_name() -> None:
    assert parse_doi("10.1097/10.1097/01.naj.0000395239") == "10.1097/10.1097/01.naj.0000395239"


def test_hash_and_question_mark_are_legal_in_a_bare_name_only() -> None:
    assert parse_doi("10.5555/a#b?c") == "10.5555/a#b?c"
    assert parse_doi("https://doi.org/10.5555/a#b?c") == "10.5555/a"


@pytest.mark.parametrize(
    ("doi", "path"),
    [
        ("10.5555/abc(1):2;3", "10.5555/abc(1):2;3"),
        ("10.5555/a#b?c%d", "10.5555/a%23b%3Fc%25d"),
        ("10.5555/a<b>&+ü", "10.5555/a%3Cb%3E%26%2B%C3%BC"),
        ("10.5555/a/../b", "10.5555%2Fa%2F..%2Fb"),
        ("10.5555/./b", "10.5555%2F.%2Fb"),
        ("10.5555/a/..", "10.5555%2Fa%2F.."),
        ("10.5555/a..b/...", "10.5555/a..b/..."),
        ("10.1026//0932", "10.1026//0932"),
    ],
)
def test_a_path_holds_the_doi_and_nothing_a_client_collapses(doi: str, path: str) -> None:
    assert doi_path(doi) == path


PIECES = st.sampled_from(
    [
        "10.5555/", "10.978.12345/", "abc", "1", "/", "/..", "/.", ".", "..", "#", "?", "%", "%2F", "%252f", "%25",
        "&lt;",
        "&amp;", "&amp;lt;", "&LT;", "&gt", "<", ">", "(", ")", "[", "]", "doi:", "DOI ", "info:doi/", "urn:doi:",
        "https://doi.org/", "dx.doi.org/", "http://", "?url=", "\u200b", "\xad",
        "\ufeff", "\u0301", "\u212a", "\u037e", "İ", "Ä", "\ufb01", "\ufffd",
        "\ud800",
        "\x00", "\n", " ", "\xa0", "\u2028", '"', "'", ",", ";", "!", "…",
        "_x000D_", "_X000d_", "-#", ";2-#", "- ", "•", "|",
        "{", "}", "💩",
        "%e2%80%8b", "%C3%84", "%5f", "@", ":", "//",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(),
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(PIECES, max_size=6).map(lambda pieces: "10.5555/a" + "".join(pieces)),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=20).map(lambda text: "10.5555/" + text),
)
EXAMPLES = settings(max_examples=600, derandomize=True, deadline=None)


@EXAMPLES
@given(TEXTS)
@example("10.5555/a&AMP;lt;b")
@example("10.5555/a%26lt;")
def test_a_canonical_doi_is_its_own_canonical_form(text: str) -> None:
    doi = parsed(text)
    assert doi is None or parse_doi(doi) == doi


@EXAMPLES
@given(TEXTS)
def test_a_canonical_doi_holds_nothing_that_paperbuzz_deletes(text: str) -> None:
    doi = parsed(text) or ""
    assert not [char for char in doi if unicodedata.category(char)[0] in "CMZ"]
    assert len(doi.encode()) <= MAX_BYTES
    assert not any("A" <= char <= "Z" for char in doi)


@EXAMPLES
@given(TEXTS)
def test_a_path_decodes_to_exactly_the_doi(text: str) -> None:
    doi = parsed(text)
    if doi is not None:
        path = doi_path(doi)
        assert unquote(path, errors="strict") == doi
        assert path.isascii()
        assert not set(path) & set("?# \\")
        assert not {".", ".."} & set(path.split("/"))


@EXAMPLES
@given(st.from_regex(module._PLAIN))
def test_the_short_way_gives_what_the_long_way_gives(text: str) -> None:
    try:
        expected = module._parse_closely(text)
    except InvalidDoi:
        expected = None
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "name",
    ["10.6002/ect.2020.häyry", "10.1/σας", "10.1/straße", "10.1/й", "10.1/ａ", "10.1/ⓐ", "10.1/É", "10.1/a<b>c%d"],
)
def test_what_a_service_calls_a_work_is_its_doi_in_any_letter_case_and_as_an_address(name: str) -> None:
    for told in (name, name.lower(), name.upper(), f"https://doi.org/{quote(name)}", f"doi:{name}".upper()):
        assert is_same_doi(told, name)


@pytest.mark.parametrize(
    "told",
    ["10.1/ab.", "10.1/a b", "10.1/ab/", " 10.1/ab", "10.1/abc", "https://example.org/10.1/ab", "10.1/ab" * 9999],
)
def test_what_is_only_like_a_doi_is_another(told: str) -> None:
    assert not is_same_doi(told, "10.1/ab")
