"""Promises G7 and G13: no text takes more than linear time. A pattern that takes more holds all threads, and signals.

Each function that sees text from outside gets hostile texts of 600, 2,400 and 9,600 characters. Four times the text may
take four times the time; twice that is the limit, because of other processes. What takes quadratic time takes sixteen
times the time.

Larger, with more random texts: `HARVESTER_HOSTILE_TEXTS=1000 pytest tests/promises/test_linear.py`.
"""

import gc
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random
from time import thread_time

import pytest

from harvester.core.doi import doi_path, lost_end, parse_doi, why_doubtful
from harvester.core.errors import InvalidDoi, StopRun
from harvester.core.text import sanitize
from harvester.core.urls.cells import split_cell
from harvester.core.urls.clean import clean_url
from harvester.core.urls.landing import LandingPages
from harvester.lists import ListOptions, read_list
from harvester.lists.cells import read_cell
from harvester.lists.extract import read_any_text
from harvester.lists.sniff import sniff_format
from harvester.operas.validation import doi_refusal

RANDOM_TEXTS = int(os.environ.get("HARVESTER_HOSTILE_TEXTS", "10"))
SIZES = (600, 2_400, 9_600)
MOST_GROWTH = 8
IN_NO_TIME = 0.02
"""Seconds. A shorter time says nothing about how it grows."""

PIECES = (
    "a", "é", "\xad", "\u200b", "\u0301\u0323", "💩", " ", "\t", "\n", "\r", "\\", "\\\\", '"', "'", "`", ",",
    ";", ",;", "|", ".", "..", "/", "//", ":", "@", "#", "?", "&", "&amp;", "amp;", "&#40;", "%", "%25",
    "%2525", "%5c", "%40", "+", "(", ")", "[", "]", "{", "}", "<", ">", "()", "{}", "[]", "[],", '"a",',
    '{"doi":', "10.", "10.,", "10.5555/", "doi:", "doi ", "info:doi/", "urn:doi:", "http://", "http://a,",
    "http:// ", "://", "://;", "https://doi.org/", "?url=", "a-", "a.", "a_", "xn--", "xn--a.", "a@", "@a.",
    "a@b.", "eyJ", "eyJaaaaaa.", "Bearer ", "Basic a", "!", "\\!", "!\\", "c\\", "@a{b,", "\n@a{b,", " @a{b,",
    "doi={", "a=", '"a" # ', "a # ", "\\url{", "\\textless", "{\\_", "\nDO  - 10.1/a", "\nUR  - ", "\nER  - ",
    "\nTY  - ", "\nAU  - x", "\ny", "\nPT J", "\nDI a", "sep=", ",x", '"\n', '\n"', 'x"', '\n,"', "\\u0061",
    "null,", "0", "0,", "-", "- ", "•", "_x000d_",
)  # fmt: skip

ALONE = ("{}",)
IN_DOI = ("{}", "10.5555/a{}", "{}10.5555/é{}")
IN_CELL = ("{}", "10.5555/a {}", "1. 10.5555/a; {}", "=HYPERLINK({}", "[a]({}", "{} [doi]")
IN_URL = ("https://{}/", "https://a.example/{}")
IN_LISTS = {
    "auto": ("{}",),
    "txt": ("{}", "x10.{}://", "x10.,{} x", "10.5555/a {}"),
    "csv": ("{}\n{}\n", 'doi,url\n10.5555/a,"{}"\n', "doi,url\n10.5555/a,://{}\n"),
    "json": ('[{{"doi": "10.5555/a", "x": {}}}]', '["{}"]'),
    "jsonl": ('{{"doi": "{}", "url": "{}"}}',),
    "ris": ("TY  - JOUR\nDO  - {}\nUR  - {}\nER  - \n",),
    "wos": ("PT J\nDI {}\nER\n",),
    "nbib": ("PMID- 1\nLID - {} [doi]\nSO  - {}\n", "{}"),
    "enw": ("%0 Book\n%R {}\n%U {}\n",),
    "mrk": ("=LDR  1\n=024  7\\$a{}$2doi\n=856  4$u{}\n", "{}"),
    "xml": (
        "<xml><records><record><electronic-resource-num>{}</electronic-resource-num></record></records></xml>",
        "<xml><record><a {}",
    ),
    "bibtex": ("{}\n{}\n", "@article{{k, doi = {{{}}}, url = {{{}}}}}\n", "@article{{k, {}, doi = {{10.5555/a}}}}\n"),
}
"""By format, what surrounds a hostile text."""


def reading(form: str) -> Callable[[str], object]:
    def read(text: str) -> object:
        stdin = io.BytesIO(text.encode("utf-8", "surrogatepass"))
        return list(read_list(["-"], ListOptions(format=form), warn=lambda _: None, now="", stdin=stdin))

    return read


FUNCTIONS: dict[str, tuple[Callable[[str], object], Sequence[str]]] = {
    "parse_doi": (parse_doi, IN_DOI),
    "read_cell": (read_cell, IN_CELL),
    "why_doubtful": (why_doubtful, ALONE),
    "doi_path": (doi_path, ALONE),
    "lost_end": (lambda text: lost_end(text, text), ALONE),
    "printable": (lambda text: sanitize.printable(text, len(text)), ALONE),
    "redacted": (sanitize.redacted, ALONE),
    "safe_line": (lambda text: sanitize.safe_line(text, len(text) // 2), ALONE),
    "mask_email": (sanitize.mask_email, ALONE),
    "clean_url": (clean_url, IN_URL),
    "split_cell": (lambda text: list(split_cell(text)), (*ALONE, *IN_URL)),
    "why_left_out": (LandingPages().why_left_out, (*ALONE, *IN_URL)),
    "doi_refusal": (doi_refusal, ALONE),
    "sniff_format": (lambda text: sniff_format("list", text.split("\n")), ALONE),
    "any text": (
        lambda text: list(read_any_text(text.split("\n"))),
        ("{}", "10.5555/{}", "https://doi.org/10.5555/{}"),
    ),
    **{f"a list as {form}": (reading(form), frames) for form, frames in IN_LISTS.items()},
}

SECRETS = ("!xyz", "\\\\!x", "a\\b", "%25%", "c\\!\\!d", "\\", "5c\\x")
"""Passwords with signs for which there are many ways to write them."""


def seconds(function: Callable[[str], object], text: str) -> float:
    begun = thread_time()
    with suppress(InvalidDoi, StopRun):
        function(text)
    return thread_time() - begun


def growth(
    function: Callable[[str], object], text_of: Callable[[int], str], sizes: Sequence[int] = SIZES
) -> float | None:
    """How much longer the first text takes that takes too long; None if none does. Longer ones are not tried then."""
    times: list[float] = []
    for size in sizes:
        times.append(seconds(function, text_of(size)))
        for shorter, longer in pairwise(times[-2:]):
            if longer > max(IN_NO_TIME, MOST_GROWTH * shorter):
                return longer / shorter
    return None


def is_worse_than_linear(
    function: Callable[[str], object], text_of: Callable[[int], str], sizes: Sequence[int] = SIZES
) -> bool:
    """Whether that is so three times: anything may take long once."""
    return all(growth(function, text_of, sizes) for _ in range(3))


def framed(frame: str, piece: str) -> Callable[[int], str]:
    def text_of(size: int) -> str:
        part = piece * (size // len(piece))
        return frame.format(part, part)

    return text_of


def random_pieces() -> Iterator[str]:
    chance = Random(1)
    for _ in range(RANDOM_TEXTS):
        yield "".join(chance.choice(PIECES) for _ in range(chance.randint(2, 4)))


@pytest.fixture(autouse=True)
def _hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitize, "_hidden", {})
    for secret in SECRETS:
        sanitize.hide(secret)


@pytest.fixture(autouse=True)
def _only_what_is_measured_is_collected() -> Iterator[None]:
    """The whole collection begins at some size only, and would look through all that thousands of tests before left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.timeout(120 + RANDOM_TEXTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_text_takes_more_than_linear_time(name: str) -> None:
    function, frames = FUNCTIONS[name]
    slow = [
        (frame, piece)
        for piece in (*PIECES, *random_pieces())
        for frame in frames
        if is_worse_than_linear(function, framed(frame, piece))
    ]
    assert slow == []


ENTRIES = {
    "continuation lines of RIS": ("ris", "TY  - JOUR\nDO  - 10.5555/a{}\nER  - \n", "\ny"),
    "values of RIS": ("ris", "TY  - JOUR\n{}\nER  - \n", "\nUR  - x"),
    "braces of BibTeX": ("bibtex", "@article{{k, doi = {{{}10.5555/a}}}}\n", "{}"),
    "open braces of BibTeX": ("bibtex", "@article{{k, doi = {{{}10.5555/a}}}}\n", "{"),
    "entries in an entry of BibTeX": ("bibtex", "@article{{k, note = {{{}}}}}\n", "\n @a{b,"),
    "a string of JSON": ("json", '[{{"x": "{}"}}]', "\\\\"),
    "brackets of JSON": ("json", '[{{"x": [{}0]}}]', "[],"),
    "a line of JSON": ("jsonl", '{{"x": "{}", "doi": "10.5555/a"}}', "a"),
    "elements of XML": ("xml", "<xml><record><x>{}</x></record></xml>", "<doi>a</doi>"),
    "text of XML": ("xml", "<xml><record><doi>{}10.5555/a</doi></record></xml>", "&amp;"),
    "notes of Zotero": ("json", '[{{"extra": "{}"}}]', "doi: \\n"),
    "a column of JSON": ("json", '{{"doi": [{}"10.5555/a"]}}', '"10.5555/b",'),
    "columns": ("csv", "{}\n", "a,"),
}
"""What one entry may be long of: the format, what surrounds it, and what it is long of."""


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_of_megabytes_takes_no_more_than_linear_time(name: str) -> None:
    form, frame, piece = ENTRIES[name]
    assert not is_worse_than_linear(reading(form), framed(frame, piece), (60_000, 240_000, 960_000))


def test_a_function_that_takes_quadratic_time_would_be_found() -> None:
    assert is_worse_than_linear(lambda text: [text.count(text[:place]) for place in range(len(text))], "a".__mul__)
