"""An address is what it means: however it is spelled, one service has one budget, one rate and one ledger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.text.address import canonical

PAPERBUZZ = "https://api.paperbuzz.org/v0/"


@pytest.mark.parametrize(
    "spelled",
    [
        PAPERBUZZ,
        "https://api.paperbuzz.org/v0",
        "HTTPS://API.Paperbuzz.ORG/v0/",
        "https://api.paperbuzz.org:443/v0/",
        "https://api.paperbuzz.org:0443/v0/",
        "https://api.paperbuzz.org:/v0/",
        "https://api.paperbuzz.org./v0/",
        "https://api.paperbuzz.org//v0//",
        "https://api.paperbuzz.org/v0/.",
        "https://api.paperbuzz.org/./v0/./",
        "https://api.paperbuzz.org/old/../v0/",
        "https://api.paperbuzz.org/%76%30/",
        "https://api.paperbuzz.org/v0/%2e/",
        "https://user:secret@api.paperbuzz.org/v0/",
    ],
)
def test_every_spelling_of_an_address_is_the_same(spelled: str) -> None:
    assert canonical(spelled) == PAPERBUZZ


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "api.localhost", "127.0.0.1", "127.0.0.2", "127.1", "2130706433"),
        *("0x7f000001", "0177.0.0.1", "0.0.0.0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]"),  # noqa: S104
    ],
)
@pytest.mark.parametrize("port", ["6443", "06443"])
def test_all_names_and_addresses_of_this_machine_are_one(host: str, port: str) -> None:
    assert canonical(f"http://{host}:{port}/v0/") == "http://localhost:6443/v0/"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://[2001:DB8:0:0::1]/", "https://[2001:db8::1]/"),
        ("https://[::ffff:192.0.2.1]/", "https://192.0.2.1/"),
        ("https://bücher.example/", "https://XN--bcher-kva.example/"),
        ("https://h.example/a%2fb/", "https://h.example/a%2Fb/"),
    ],
)
def test_what_is_certainly_the_same_is_one(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    "other",
    [
        "https://api.paperbuzz.org/v1/",
        "https://api.paperbuzz.org/V0/",
        "https://api.paperbuzz.org/v0/v0/",
        "https://api.paperbuzz.org:8443/v0/",
        "http://api.paperbuzz.org/v0/",
        "https://paperbuzz.org/v0/",
        "https://192.0.2.1/v0/",
        "https://api.paperbuzz.org/v%2F0/",
        "https://127.0.0.1/v0/",
    ],
)
def test_another_service_is_another(other: str) -> None:
    assert canonical(other) != PAPERBUZZ


def test_the_address_by_default_is_its_own_form_so_that_its_files_keep_their_names() -> None:
    assert canonical(PAPERBUZZ) == PAPERBUZZ


@given(st.text() | st.from_regex(r"https?://[^/]*(:[0-9]*)?/.*"))
def test_any_text_has_a_form_and_that_is_its_own_form(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)
