"""The view of a document against the tree that orjson builds of it (promise G13)."""

import json
from collections.abc import Callable

import orjson
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from harvester.records import lazy_json as jsonview
from harvester.records.lazy_json import (
    LEAST_BYTES,
    MOST_BYTES,
    each_member,
    elements,
    is_object,
    look_into,
    member,
    members,
    names,
)
from tests.support import json_values

pytestmark = pytest.mark.skipif(jsonview._parser is None, reason="simdjson is not packaged for this Python")

LARGE = b" " * LEAST_BYTES
"""Makes any document large enough for a view, and changes nothing."""

NAMES = st.text(st.characters(exclude_characters="\0"))
"""A view does not find names with NUL, for which nobody asks."""

JSON = json_values(NAMES)

PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])
"""Where the machine is busy, to make documents takes a while."""

DAMAGES = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(b'{}[]",:\\ue+-.09 \n\0\x1f\x80\xc3\xed\xff')), max_size=3
)


def tree(value: object) -> object:
    """Everything there is in a view."""
    if is_object(value):
        return {name: tree(member(value, name)) for name in names(value)}
    inner = elements(value)
    return value if inner is None else [tree(element) for element in inner]


def verdict(read: Callable[[bytes], object], text: bytes) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def seen(text: bytes) -> object:
    """Everything there is in a document, by a view if it is large enough."""
    return look_into(text, tree)


def is_viewed(text: bytes) -> bool:
    return look_into(text, lambda value: not isinstance(value, dict))


@PATIENT
@given(st.dictionaries(NAMES, JSON), st.booleans())
def test_what_is_seen_in_a_view_is_what_is_there(content: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assume(verdict(orjson.loads, text))
    assert is_viewed(text + LARGE)
    assert seen(text + LARGE) == orjson.loads(text)


@PATIENT
@given(st.dictionaries(NAMES, JSON), DAMAGES)
@example({}, [(0, 0xEF)])
def test_a_damaged_document_is_refused_by_both_or_by_none(
    content: dict[str, object], damages: list[tuple[int, int]]
) -> None:
    text = bytearray(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for place, byte in damages:
        text[place % len(text)] = byte
    assume(b"\\u0000" not in text)
    assert verdict(seen, bytes(text) + LARGE) == verdict(orjson.loads, bytes(text))


@pytest.mark.parametrize("depth", range(1018, 1028))
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_both_end_at_the_same_depth(opening: bytes, closing: bytes, depth: int) -> None:
    text = opening * depth + b"1" + closing * depth
    assert verdict(lambda it: look_into(it, is_object), text + LARGE) == verdict(orjson.loads, b"[%b]" % text)


def test_an_integer_of_any_length_is_taken_as_long_as_it_is_a_double() -> None:
    assert seen(b'{"a":123456789012345678901234567890}' + LARGE) == {"a": 123456789012345678901234567890.0}


@pytest.mark.parametrize("size", [0, LEAST_BYTES], ids=["built", "viewed"])
@pytest.mark.parametrize("form", [b"%b", b'{"in":%b}', b'{"in":[0,%b]}'], ids=["outermost", "inside", "in an array"])
def test_of_two_members_of_one_name_the_last_one_counts(form: bytes, size: int) -> None:
    def look(value: object) -> list[object]:
        inside = member(value, "in")
        looked = [member(each, "doi") for each in (value, inside, *(elements(inside) or ()))]
        return [found for found in looked if found is not None]

    assert look_into(form % b'{"doi":"10.1/a","doi":"10.1/b"}' + b" " * size, look) == ["10.1/b"]


@pytest.mark.parametrize("text", [b"", b"1,2", b"{},{}", b'{"a":1},'])
@pytest.mark.parametrize("size", [0, LEAST_BYTES], ids=["built", "viewed"])
def test_a_document_is_one_value(text: bytes, size: int) -> None:
    assert not verdict(seen, text + b" " * size)


def test_what_a_look_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="I do not like it"):
        look_into(b"{}" + LARGE, _disliked)
    with pytest.raises(LookupError):
        look_into(b"{}" + LARGE, lambda _: [][1])
    assert is_viewed(b"{}" + LARGE)


def _disliked(_: object) -> None:
    raise ValueError("I do not like it")


def test_while_a_view_is_held_another_document_is_built() -> None:
    held = look_into(b'{"a":1}' + LARGE, lambda value: value)
    assert not is_viewed(b'{"a":2}' + LARGE)
    assert member(held, "a") == 1


def test_without_simdjson_everything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonview, "_parser", None)
    assert not is_viewed(b'{"a":[1]}' + LARGE)
    assert seen(b'{"a":[1]}' + LARGE) == {"a": [1]}


def test_a_very_large_document_is_built_so_that_the_parser_keeps_no_memory_for_it() -> None:
    assert not is_viewed(b'{"a":1}' + b" " * MOST_BYTES)


@pytest.mark.parametrize("size", [0, LEAST_BYTES], ids=["built", "viewed"])
def test_what_is_not_there_is_none(size: int) -> None:
    def look(value: object) -> None:
        assert member(value, "c") is None
        assert member(member(value, "a"), "c") is None
        assert members(value, "c", "a", "b")[::2] == [None, None]
        assert members(None, "a", "b") == [None, None]
        assert elements(value) is None
        assert elements(member(value, "a")) == [1]
        assert list(names(member(value, "b"))) == []
        assert not is_object(member(value, "a"))

    look_into(b'{"a":[1],"b":null}' + b" " * size, look)


@pytest.mark.parametrize("size", [0, LEAST_BYTES], ids=["built", "viewed"])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"[]", []),
        (b'[{"a":1},{"b":0,"a":null}]', [1, None]),
        (b'[{"a":1},{"b":2},{"a":3}]', [1, None, 3]),
        (b'[{"a":1},[{"a":1}],["a"],"a",1,true,null,{}]', [1] + 7 * [None]),
    ],
)
def test_each_value_is_asked_for_a_member_whatever_it_is(text: bytes, found: list[object], size: int) -> None:
    assert look_into(text + b" " * size, lambda value: each_member(elements(value) or [], "a")) == found


def test_asked_for_all_at_once_the_first_of_two_members_counts_in_a_view_and_the_last_where_it_is_built() -> None:
    text = b'[{"a":1,"a":2}]'
    assert look_into(text + LARGE, lambda value: each_member(elements(value) or [], "a")) == [1]
    assert look_into(text, lambda value: each_member(elements(value) or [], "a")) == [2]


def test_text_has_no_members() -> None:
    assert member("text", "t") is None
