"""Cells with addresses, and which of them are landing pages. Pure."""

import pytest

from harvester.core.urls.cells import split_cell
from harvester.core.urls.landing import IN_WORDS, LandingPages, LeftOut, without_credentials

DOI = "10.5555/x"


@pytest.mark.parametrize(
    ("cell", "pieces"),
    [
        ("https://a.example/1", ["https://a.example/1"]),
        ("", []),
        (" n/a ", []),
        ("<https://a.example/1>", ["https://a.example/1"]),
        ("https://a.example/1>", ["https://a.example/1"]),
        ("https://a.example/(x)", ["https://a.example/(x)"]),
        ("https://a.example/1 (pdf)", ["https://a.example/1", "(pdf)"]),
        ("https://a.example/1 | n/a", ["https://a.example/1"]),
        ("https://a.example/1, print: 978-1", ["https://a.example/1", "print: 978-1"]),
        ("https://a.example/1; www.a.example/2", ["https://a.example/1", "www.a.example/2"]),
        ("https://a.example/1\nwww.a.example/2", ["https://a.example/1", "www.a.example/2"]),
        ("https://a.example/1;https://a.example/2", ["https://a.example/1", "https://a.example/2"]),
        ("https://a.example/x?a=1&amp;b=2", ["https://a.example/x?a=1&b=2"]),
        ("https://a.example/My File.html", ["https://a.example/My File.html"]),
    ],
)
def test_a_cell_is_cut_into_addresses_and_what_else_there_is(cell: str, pieces: list[str]) -> None:
    assert list(split_cell(cell)) == pieces


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://press.example/works/5", None),
        ("https://press.example/books/research", None),
        ("https://www.proxypress.com/1", None),
        ("https://hdl.handle.net/2066/1", None),
        ("HTTP://PRESS.EXAMPLE/1", None),
        ("https://doi.org/10.5555/X", LeftOut.REPEATS_DOI),
        ("http://dx.doi.org/10.5555/y", LeftOut.RESOLVER),
        ("https://www.scopus.com/inward/record.uri?eid=1", LeftOut.DATABASE),
        ("https://app.dimensions.ai/details/1", LeftOut.DATABASE),
        ("https://pubmed.ncbi.nlm.nih.gov/1/", LeftOut.DATABASE),
        ("https://search.ebscohost.com/login.aspx?x", LeftOut.DATABASE),
        ("https://doi-org.proxy.example.edu/10.5555/x", LeftOut.PROXY),
        ("https://www-press.ezproxy.example.edu/5", LeftOut.PROXY),
        ("https://sfx.example.edu/local?url_ver=Z39.88-2004", LeftOut.PROXY),
        ("https://press.example/search?q=1", LeftOut.SEARCH),
        ("https://scholar.google.de/scholar?x", LeftOut.SEARCH),
        ("https://bit.ly/x", LeftOut.REDIRECTOR),
        ("http://web.archive.org/web/2020/https://a.example/1", LeftOut.ARCHIVE),
        ("https://user:secret@press.example/1", LeftOut.CREDENTIALS),
        ("http://localhost/2", LeftOut.PRIVATE),
        ("http://intranet/2", LeftOut.PRIVATE),
        ("http://192.168.1.20:8080/3", LeftOut.PRIVATE),
        ("http://127.1/", LeftOut.PRIVATE),
        ("http://[::1]/", LeftOut.PRIVATE),
        ("ftp://press.example/6", LeftOut.NOT_HTTP),
        ("www.press.example/1", LeftOut.NO_SCHEME),
        ("press.example/2", LeftOut.NO_SCHEME),
        ("//press.example/3", LeftOut.NO_SCHEME),
        ("http:/press.example", LeftOut.MALFORMED),
        ("https://", LeftOut.MALFORMED),
        ("https://press.example/My File.html", LeftOut.GLUED),
        ("https://press.example/1https://press.example/2", LeftOut.GLUED),
        ("see website", LeftOut.TEXT),
    ],
)
def test_only_landing_pages_are_registered(url: str, reason: LeftOut | None) -> None:
    assert LandingPages().why_left_out(url, DOI) is reason


def test_the_user_may_allow_hosts_and_deny_others() -> None:
    pages = LandingPages(allowed=("europepmc.org",), denied=("press.example",))
    assert pages.why_left_out("https://europepmc.org/article/1", DOI) is None
    assert pages.why_left_out("https://www.press.example/1", DOI) is LeftOut.DENIED
    assert pages.why_left_out("https://scopus.com/1", DOI) is LeftOut.DATABASE


def test_each_reason_has_words() -> None:
    assert IN_WORDS.keys() == set(LeftOut)


def test_what_may_be_a_password_is_never_shown() -> None:
    assert without_credentials("https://user:secret@press.example/1") == "https://***@press.example/1"
