"""A document that would cost too much: checked as strictly as any other, looked into where it matters, never built."""

import json
import time
from collections.abc import Callable

import orjson
import pytest
from hypothesis import HealthCheck, assume, example, given, settings

from harvester.records import large_json
from harvester.records.classify import is_truncated, landing_urls_of, says_more
from harvester.records.large_json import LONGEST_NUMBER, MOST_COST, MOST_DEPTH, Unbuilt, cost, seen
from harvester.records.lazy_json import CHEAP_BYTES, elements, look_into, members
from tests.hostile import hostile_records, nested, record_of
from tests.records.test_lazy_json import DAMAGES

DOI = "10.5555/a"
PATIENT = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)


@pytest.fixture
def _tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are looked at in pieces of a few bytes, so that pieces end at every place."""
    monkeypatch.setattr(large_json, "PIECE_BYTES", 7)


def verdict(read: Callable[[bytes], object], text: bytes) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def is_taken(text: bytes) -> bool:
    """Whether orjson takes a document where it will stand, in a line."""
    return verdict(orjson.loads, b"[%b]" % text)


@pytest.mark.usefixtures("_tiny_pieces")
@PATIENT
@given(record=hostile_records(DOI), damages=DAMAGES)
@example(record=b'{"a":"\\\\","b":"\\"[","c":"\\\\\\""}', damages=[])
@example(record='{"a":"ä中💩\\ud83d\\ude00"}'.encode(), damages=[])
def test_whatever_orjson_refuses_is_refused_and_nothing_else(record: bytes, damages: list[tuple[int, int]]) -> None:
    text = bytearray(record)
    for place, byte in damages:
        text[place % len(text)] = byte
    assume(bytes(text).lstrip()[:1] == b"{")
    try:
        seen(bytes(text))
    except ValueError as error:
        assume("nested" not in str(error))
        assert not is_taken(bytes(text))
    else:
        assert is_taken(bytes(text))


@pytest.mark.usefixtures("_tiny_pieces")
@pytest.mark.parametrize(
    "number",
    [
        *("1e308", "1e309", "-1e309", "1e400", "1E+400", "1e0000000400", "1e-400", "0.1e309", "12345e305", "0e999"),
        *(
            "9" * 308,
            "9" * 309,
            "9" * 400,
            "0." + "0" * 400 + "1",
            "1" * 299 + "e9",
            "1" * 300 + "e10",
            "1.5e1",
            "-0.0",
        ),
    ],
)
@pytest.mark.parametrize("form", ['{"a":%s}', '{"a":[1,%s]}', '{"a":[ %s ]}', '{"a":"%s"}', '{"a":[true,%s,false]}'])
def test_a_number_is_taken_if_a_double_can_hold_it(number: str, form: str) -> None:
    text = (form % number).encode()
    assert verdict(seen, text) == is_taken(text)


def test_a_number_of_thousands_of_digits_is_refused_wherever_it_stands() -> None:
    for before in (0, 10, large_json.PIECE_BYTES - 20, large_json.PIECE_BYTES - LONGEST_NUMBER):
        text = b'{"a":[%b0.%b]}' % (b" " * before, b"1" * LONGEST_NUMBER)
        with pytest.raises(ValueError, match="a number has 4,096 characters or more"):
            seen(text)


@pytest.mark.parametrize("depth", [MOST_DEPTH - 3, MOST_DEPTH - 2, MOST_DEPTH - 1, MOST_DEPTH, 5_000, 300_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_it_may_have_so_many_levels_and_no_more(opening: str, depth: int) -> None:
    inside = nested(depth, opening, "]" if opening == "[" else "}")
    text = f'{{"a":[{"[]," * 2000}{inside}]}}'.encode()
    assert verdict(seen, text) == (depth + 2 <= MOST_DEPTH)


def test_brackets_in_strings_are_no_levels() -> None:
    assert seen(b'{"a":"%b"}' % (b'[{\\"' * 50_000)) == {}


@pytest.mark.parametrize("text", [b"", b"[]", b'"x"', b"1", b'{"a":1},', b'{"doi":"\xff"}', b'\xef\xbb\xbf{"doi":"x"}'])
def test_what_is_no_object_or_no_text_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expected `object`|malformed|truncated|utf-8"):
        seen(text)


PATTERNS = ["[]", "{}", "[[]]", '{"":0}', "1.5", '"ab"', '{"a":[]}', "99999", '"é"', '"💩"', '"\\ud83d\\ude00"']


@pytest.mark.parametrize("pattern", PATTERNS)
def test_objects_take_no_more_than_they_are_estimated_at(pattern: str) -> None:
    """The memory is that of the process: orjson takes some that Python does not count."""
    text = f"[{','.join([pattern] * (50_000 // len(pattern)))}]".encode()
    assert sum(map(_sizes, [orjson.loads(text)])) <= cost(text)


def _sizes(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value.__sizeof__() + 16 + sum(map(_sizes, inner))


def test_one_character_may_make_a_long_text_cost_four_times_as_much() -> None:
    text = b"a" * (MOST_COST // 2)
    assert cost(b'"%b"' % text) < MOST_COST
    for letter in ("é", "💩", "\\u00e9", "\\ud83d\\ude00"):
        assert cost(b'"%b%b"' % (letter.encode(), text)) > MOST_COST


def test_an_escape_that_is_cut_in_two_is_one_as_well() -> None:
    text = b"a" * (large_json.PIECE_BYTES - 2) + b"\\u4e2d" + b"a" * (MOST_COST // 2)
    assert cost(b'"%b"' % text) > MOST_COST


def test_no_short_document_costs_too_much() -> None:
    for byte in b"[{,:":
        assert cost(bytes([byte]) * CHEAP_BYTES) <= MOST_COST


WIDE = b'{"x":[%b]}' % b",".join([b"[]"] * 100_000)


def test_what_harvester_looks_at_is_found_in_a_part_that_is_too_large() -> None:
    metadata = (
        b'{"URL":"https://doi.org/10.1/a","resource":{"primary":{"URL":"https://x.example/a"}},"title":"t",%b'
        % WIDE[1:]
    )
    sources = b'[{"source_id":"a","events_count":3,"events":[%b]},7]' % b",".join([b"1"] * 100)
    record = record_of(DOI, sources=sources, metadata=metadata)
    doi, listed, found, open_access = look_into(
        record, lambda value: members(value, "doi", "altmetrics_sources", "metadata", "open_access")
    )
    assert (doi, open_access) == (DOI, {"is_oa": True})
    assert listed == json.loads(sources)
    assert isinstance(found, Unbuilt)
    assert says_more(found, "crossref_url")
    assert landing_urls_of(found, open_access) == ("https://x.example/a",)


def test_sources_that_are_too_large_are_counted_and_too_many_are_not() -> None:
    large = b'[{"source_id":"a","events_count":2500,"events":"%b"},[],{"source_id":{}}]' % (b"\\u00e9" * 500_000)
    many = b"[%b]" % b",".join([b"{}"] * 100_000)
    counted, unknown = (
        elements(members(seen(record_of(DOI, sources=sources)), "altmetrics_sources")[0]) for sources in (large, many)
    )
    assert counted is not None
    assert unknown is not None
    assert counted == [{"source_id": "a", "events_count": 2500}, None, {"source_id": None}]
    assert is_truncated(counted) is True
    assert len(unknown) == 1
    assert is_truncated(unknown) is None


@pytest.mark.parametrize(("member", "more"), [(b"", False), (b',"title":1', True), (b',"":1', True)])
def test_it_is_known_whether_a_large_part_has_more_than_the_url_that_is_always_there(member: bytes, more: bool) -> None:
    metadata = b'{"crossref_url":[%b]%b}' % (b",".join([b"[]"] * 100_000), member)
    [found] = members(seen(record_of(DOI, metadata=metadata)), "metadata")
    assert says_more(found, "crossref_url") is more


def test_a_doi_that_is_too_large_is_shown_by_its_beginning() -> None:
    [told] = members(seen(b'{"doi":"%b"}' % (b"a" * (MOST_COST + 1))), "doi")
    assert isinstance(told, str)
    assert told.startswith("aaa")
    assert len(told) <= 4096


def test_of_two_members_of_one_name_the_last_one_counts() -> None:
    record = b'{"doi":"10.1/other","altmetrics_sources":[1],%b' % record_of(DOI, metadata=WIDE)[1:]
    assert members(seen(record), "doi", "altmetrics_sources") == [DOI, []]


SHAPES = {
    "arrays": b"[],",
    "pairs of arrays": b"[[],[]],",
    "objects": b'{"":0},',
    "large numbers": b"1e100,",
    "texts": b'"",',
    "backslashes": b'"%b",' % (b"\\\\" * 1000),
    "escapes": b'"\\u00e9\\ud83d\\ude00",',
    "levels": b"%b%b," % (b"[" * 400, b"]" * 400),
    "digits": b"0.%b," % (b"1" * 4000),
    "space": b"1%b," % (b" " * 1000),
}


def seconds(shape: bytes, size: int) -> float:
    record = record_of(DOI, metadata=b'{"x":[%b1]}' % (shape * (size // len(shape))))
    begun = time.process_time()
    seen(record)
    return time.process_time() - begun


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_time_grows_with_the_length_and_no_faster(shape: bytes) -> None:
    """Eight times the length may take sixteen times as long; a quadratic search would take sixty-four times."""
    short = min(seconds(shape, 2**18) for _ in range(3))
    assert min(seconds(shape, 2**21) for _ in range(2)) < 16 * max(short, 0.002)
