"""Text from outside never commands a terminal and never carries a secret on."""

import json
import unicodedata
from collections.abc import Callable
from time import thread_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.text import sanitize
from harvester.core.text.sanitize import MAX_SHOWN, hide, mask_email, masked, printable, redacted, safe_line
from tests.folders import ROOT


@given(st.text(st.characters()))
def test_no_control_character_is_ever_shown(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in shown)


@given(st.text(st.characters()))
def test_what_is_shown_can_always_be_encoded(text: str) -> None:
    printable(text).encode("utf-8")


@given(st.text("abc äß中 ", max_size=MAX_SHOWN))
def test_printable_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb", "a\\x0ab"),
        ("a\u2028b", "a\\u2028b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\U000e0001b", "a\\U000e0001b"),
        ("a\ud800b", "a\\ud800b"),
        ("a\u00a0b", "a b"),
    ],
)
def test_what_a_terminal_would_obey_stands_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 11, limit=10) == "x" * 10 + "…"
    assert printable("x" * 10, limit=10) == "x" * 10


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abc.DEF-123", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln here", "token *** here"),
        ("mailto jane.doe@press.example, please", "mailto j***@press.example, please"),
        ("?email=jane.doe%40press.example&x=1", "?email=j***@press.example&x=1"),
    ],
)
def test_secrets_are_masked_by_their_form(text: str, kept: str) -> None:
    assert redacted(text) == kept


@given(st.emails(domains=st.just("press.example")), st.text("abc .,<>/\n"))
def test_no_address_survives(address: str, around: str) -> None:
    name = address.partition("@")[0]
    if len(name) > 2 and name.isascii() and name.isalnum():
        assert address not in redacted(f"{around} {address} {around}")


# Text is cut before it is masked


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sanitize, "_hidden", {})
    hide("!swordfish")
    return "!swordfish"


@pytest.mark.parametrize("before", range(4_180, 4_200))
def test_a_secret_that_lies_across_a_cut_is_shown_neither_as_a_whole_nor_in_part(secret: str, before: int) -> None:
    text = "x" * before + secret + "y" * 9_000
    for shown in (masked(text, 100), safe_line(text, 100)):
        assert "sword" not in shown
        assert "fish" not in shown


def test_what_is_far_beyond_the_cut_is_not_looked_through() -> None:
    """Thirty megabytes would take seconds, in which no signal is heard."""
    begun = thread_time()
    assert safe_line("a@" * 15_000_000, 120).endswith("…")
    assert thread_time() - begun < 0.1


def test_a_short_text_is_masked_as_a_whole(secret: str) -> None:
    assert safe_line(f"{secret}\n") == "***\\x0a"
    assert masked(f"{secret}\n", 100) == "***\n"


def test_a_text_of_which_much_is_masked_still_says_that_it_was_cut() -> None:
    assert safe_line("a@b.example " * 10_000, 120).endswith("…")


def test_nobody_cleans_a_text_before_it_is_cut() -> None:
    """`safe_line` is the one order in which it is right."""
    modules = (ROOT / "harvester").rglob("*.py")
    assert [path.name for path in modules if "printable(redacted(" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("secret", ["!x", "\\\\!x", "a\\b", "a\\\\b", "%25%", "c\\!\\!d"])
@pytest.mark.parametrize("spell", [str, repr, json.dumps, lambda text: json.dumps(json.dumps(text)), quote])
def test_a_password_of_signs_is_masked_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, secret: str, spell: Callable[[str], str]
) -> None:
    monkeypatch.setattr(sanitize, "_hidden", {})
    hide(secret)
    written = spell(secret)
    assert "***" in redacted(f"<{written}>")
    assert written.strip("\"'\\") not in redacted(f"<{written}>").replace("***", "")


def test_an_address_keeps_its_first_letter_and_its_host() -> None:
    assert mask_email("jane@press.example") == "j***@press.example"
    assert mask_email("jane%40press.example") == "j***@press.example"
