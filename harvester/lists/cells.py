"""The DOIs of a cell, a line or a field: usually one, sometimes several whole ones, sometimes with a label or a link.

`parse_doi` takes one name and what is written around it everywhere. Here we take off what only lists have: numbers of
lines, formulas and links of spreadsheets and documents, remarks that are labelled as such, and further DOIs. White
space is in no name, so it ends one. Nothing is searched for: if a part of the text is none of these, the text is
refused as a whole.
"""

import re
from typing import NamedTuple

from harvester.core.doi import parse_doi, plain_doi, why_doubtful
from harvester.core.errors import InvalidDoi
from harvester.core.text.sanitize import printable

MAX_AROUND_CHARS = 1_000
"""The greatest length of a DOI with numbers, labels, links and remarks around it."""

MAX_PARTED_CHARS = 64 * 1024
"""The greatest length of a text that is parted into several DOIs."""

_PART = re.compile(
    r"(?<![\s;,|])[\s;,|]++(?:(?:and|und|et|&)\s{1,3})?"
    r"(?=[<(\[\"']?(?:10\.[0-9]{4}|https?://|doi\s?[:.]?\s?(?:10\.|http)|info:doi|urn:doi:|(?:dx\.)?doi\.org/))",
    re.IGNORECASE,
)
"""What parts two DOIs: a separator, then the beginning of a DOI. It begins a run of separators only at its start."""

_NUMBERING = re.compile(r"(?:[(\[]?[0-9]{1,6}[.)\]:]{1,2}|[0-9]{1,6})\s+(?=\S)|\[[0-9]{1,6}\](?=\S)")
_LABEL = re.compile(
    r"(?:DOIs\s?[:=]?\s{0,3}|(?:PMID|PMCID)\s?[:=]?\s?[A-Z0-9]{1,12}[,;.]?\s{1,3}(?=doi|10\.|http))", re.IGNORECASE
)
_ARRAY = re.compile(r"\[\s*[\"'][^\[\]]*[\"']\s*\]\Z")
"""A list as programs print it: `['10.…', '10.…']`."""
_REMARK = re.compile(
    r"[\s.,;]{1,4}(?:(?:PMID|PMCID|PubMed(?: PMID)?|ISSN|e-?ISSN|ISBN|arXiv|EID|WOS|MAG|S2ID)\s?[:=]?\s?(?=[A-Z0-9])"
    r"|(?:Epub|Accessed|Retrieved|Published|Online ahead of print|eCollection|Available)\b)(?!.*10\.[0-9]{4}).*\Z",
    re.IGNORECASE | re.DOTALL,
)
_DOI_TAG = re.compile(r"\[doi\]", re.IGNORECASE)
"""PubMed's way: `S0140-6736(20)30183-5 [pii]; 10.1016/… [doi]`."""
_OTHER_TAG = re.compile(r"\[(?:pii|pmid|pmc|mid)\]", re.IGNORECASE)

_FORMULA = re.compile(r"=\s{0,3}(?:HYPERLINK\s{0,3}\()?", re.IGNORECASE)
_FORMULA_TEXT = re.compile(r'"((?:[^"]|"")*)"')
_MARKDOWN = re.compile(r"\[([^\]\[]*)\]\(\s*<?(\S+?)>?\s*\)\Z")
_HTML_LINK = re.compile(r"<a\s[^<>]*?href\s*=\s*[\"']([^\"'<>]*)[\"'][^<>]*>([^<>]*)</a>\Z", re.IGNORECASE)
_DOI_LIKE = re.compile(r"10\.[0-9]{4}")


class Found(NamedTuple):
    """A DOI, and the part of the text that it was read from."""

    doi: str
    text: str


def read_cell(text: str) -> list[Found]:
    """The DOIs that a text consists of, in its order; at least one.

    Raises:
        InvalidDoi: the text is not one or several whole DOIs, or a name is more probably damaged; the message says why.
    """
    plain = plain_doi(text)  # nearly all
    if plain is not None:
        return [Found(plain, text)]
    try:
        return [_checked(parse_doi(text), text)]
    except InvalidDoi as error:
        first = error
    if len(text) > MAX_PARTED_CHARS or not _DOI_LIKE.search(text):
        raise first
    whole = _without_label(text.strip())
    linked = _linked(whole) if len(whole) <= MAX_AROUND_CHARS else None
    parts = [linked] if linked is not None else _PART.split(whole)
    if len(parts) > 1 and not _DOI_LIKE.search(parts[0]):  # a label or a number before the first
        parts = [f"{parts[0]} {parts[1]}", *parts[2:]]
    return [_one(parts[0], first)] if len(parts) == 1 else _several(parts, text)


def holds_dois(text: str) -> bool:
    """Whether a text is one or several whole DOIs."""
    if not _DOI_LIKE.search(text):
        return False
    try:
        read_cell(text)
    except InvalidDoi:
        return False
    return True


def looks_like_doi(text: str) -> bool:
    """Whether something like a DOI, or an address, is in a text; so it is no heading."""
    return "://" in text or _DOI_LIKE.search(text) is not None


def _several(parts: list[str], text: str) -> list[Found]:
    try:
        found = [_one(part, None) for part in parts]
    except InvalidDoi as error:
        shown = printable(text.strip(), 120)
        raise InvalidDoi(f"several DOIs, and one of them is not clear ({error}): {shown}") from None
    return list({each.doi: each for each in found}.values())


def _one(text: str, error: InvalidDoi | None) -> Found:
    """The DOI in a text with one, without what lists write around it.

    Raises:
        InvalidDoi: there is none; `error`, if what is around it was none of the forms that we know.
    """
    bare = _bare(text.strip()) if len(text) <= MAX_AROUND_CHARS else text.strip()
    try:
        return _checked(parse_doi(bare), bare)
    except InvalidDoi as other:
        raise (error if error is not None and bare == text.strip() else other) from None


def _checked(doi: str, text: str) -> Found:
    doubt = why_doubtful(doi)
    if doubt:
        raise InvalidDoi(f"not taken for a DOI: {doubt}: {printable(text.strip(), 120)}")
    return Found(doi, text)


def _bare(text: str) -> str:
    """The text without numbering, labels of other identifiers, links and labelled remarks."""
    linked = _linked(text)
    if linked is not None:
        return linked
    tagged = _tagged(text)
    if tagged is not None:
        return tagged
    numbering = _NUMBERING.match(text)
    text = text[numbering.end() :] if numbering else text
    text = _without_label(text)
    if numbering and (linked := _linked(text)) is not None:
        return linked
    start = _DOI_LIKE.search(text)
    remark = _REMARK.search(text, start.end()) if start else None
    return text[: remark.start()] if remark else text


def _tagged(text: str) -> str | None:
    """The word before `[doi]`, if only other words with tags stand around it."""
    tag = _DOI_TAG.search(text)
    if not tag:
        return None
    *before, name = text[: tag.start()].rsplit(None, 1) or [""]
    around = [*_OTHER_TAG.split(before[0] if before else ""), *_OTHER_TAG.split(text[tag.end() :])]
    words = [piece.strip(" ;,.") for piece in around]
    ends = (len(_OTHER_TAG.split(before[0])) - 1 if before else 0, len(words) - 1)
    is_clean = not any(words[end] for end in ends) and not any(len(word.split()) > 1 for word in words)
    return name.lstrip(";,") if is_clean else None


def _without_label(text: str) -> str:
    label = _LABEL.match(text)
    text = text[label.end() :] if label else text
    return text[1:-1].strip() if _ARRAY.match(text) else text


def _linked(text: str) -> str | None:
    """The DOI of a formula or a link. If its text and its target name different DOIs, the text as it is."""
    formula = _FORMULA.match(text)
    if formula:
        pieces = [piece.replace('""', '"') for piece in _FORMULA_TEXT.findall(text)]
    else:
        link = _MARKDOWN.match(text) or _HTML_LINK.match(text)
        if not link:
            return None
        pieces = [link[1], link[2]]
    names: dict[str, str] = {}
    for piece in pieces:
        try:
            names.setdefault(parse_doi(piece), piece)
        except InvalidDoi:
            continue
    return next(iter(names.values())) if len(names) == 1 else text
