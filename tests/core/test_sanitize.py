"""Text from outside never commands a terminal and never carries a secret on."""

import unicodedata
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.text.sanitize import MAX_SHOWN, mask_email, printable, redacted


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


@pytest.mark.parametrize("piece", ["a", "a.", "%40", "a@", "a@b.", "b-", "eyJ", "Bearer "])
def test_masking_takes_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    begun = perf_counter()
    redacted(text)
    assert perf_counter() - begun < 2.0


def test_an_address_keeps_its_first_letter_and_its_host() -> None:
    assert mask_email("jane@press.example") == "j***@press.example"
    assert mask_email("jane%40press.example") == "j***@press.example"
