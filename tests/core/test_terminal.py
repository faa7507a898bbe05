"""What is shown: a terminal can obey nothing of it, and JSON keeps its value."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.text.terminal import CleanText, printable_json, printable_text
from tests.support import json_values

OBEYED = [
    "\x00",
    "\x07",
    "\x08",
    "\r",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u2028",
    "\u2066",
    "\u202e",
    "\U000e0001",
]
"""Controls of all kinds: C0, DEL, C1, separators of lines, bidirectional controls, tags."""


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_obeys_is_escaped_in_text(text: str) -> None:
    shown = printable_text(f"a{text}b")
    assert is_harmless(shown)
    assert shown.startswith("a\\")


def test_lines_stay_lines() -> None:
    assert printable_text("a\n\tb\x1b\n") == "a\n\tb\\x1b\n"


@given(json_values(st.text()))
def test_json_has_the_same_value_and_nothing_that_a_terminal_obeys(value: Any) -> None:
    for indent in (None, 2):
        shown = printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert is_harmless(shown)
        assert json.loads(shown) == value


@pytest.mark.parametrize("text", OBEYED)
def test_json_is_escaped_as_json_is(text: str) -> None:
    shown = printable_json(json.dumps({text: text}, ensure_ascii=False))
    assert is_harmless(shown)
    assert json.loads(shown) == {text: text}


def test_whoever_writes_to_a_clean_stream_writes_escapes() -> None:
    raw = io.BytesIO()
    stream = CleanText(raw, "latin-1", "backslashreplace", write_through=True)
    print("a\x1b[2J", "\u0416", file=stream)
    assert raw.getvalue() == rb"a\x1b[2J \u0416" + b"\n"
