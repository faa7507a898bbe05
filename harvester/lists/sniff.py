"""Find out the format of an input: from its content if that is unmistakable, else from its name."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from harvester.lists.cells import holds_dois
from harvester.lists.entries.json_text import parsed
from harvester.lists.rows import is_doi, is_nothing
from harvester.lists.tabular import find_delimiter

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".ris": "ris",
    ".bib": "bibtex",
    ".bibtex": "bibtex",
    ".ciw": "wos",
    ".kbart": "kbart",
    ".nbib": "nbib",
    ".enw": "enw",
    ".mrk": "mrk",
}

_RIS = re.compile(r"[ \t]{0,20}(?:TY {0,4}-(?:[ \t]|\Z)|ty {0,4}-[ \t])")
_RIS_LINE = re.compile(r"[A-Z][A-Z0-9] {1,2}- ")
_WOS = re.compile(r"(?:FN (?:Clarivate|Thomson|ISI)|PT [A-Z]\b)")
_NBIB = re.compile(r"PMID- ?[0-9]|(?:OWN|STAT|LID|PMC) {0,2}- ")
_ENW = re.compile(r"%0 [A-Z]")
_MRK = re.compile(r"=LDR {1,2}|=[0-9]{3} {2}")
_BIBTEX = re.compile(r"\s*@\s*[A-Za-z]+\s*[{(]")
_JSON = re.compile(r"\[\s*(?:[\"{\[\]N]|\Z)|\{\s*(?:[\"}]|\Z)|\"")
_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<(?:head|body|table|div)[\s>]", re.IGNORECASE)
_XML = re.compile(r"<\?xml\b|<(?:[A-Za-z]+:)?(?:xml|records?|RDF|PubmedArticleSet|collection|ONIXMessage|OAI-PMH)[\s>]")

_FIRST_LINES = 30
"""How many lines may stand before what tells the format."""


def sniff_format(name: str, sample: Sequence[str]) -> str:
    """The format of an input.

    Args:
        name: of the file, without its compression suffix.
        sample: its first lines.
    """
    by_name = _BY_SUFFIX.get(PurePath(name).suffix.lower())
    lines = [line for line in sample if line.strip()]
    if not lines:
        return by_name or "txt"
    found = _by_content(lines, by_name) or _by_some_line(lines, by_name)
    return found or by_name or _table_or_text(sample)


def _by_content(lines: Sequence[str], by_name: str | None) -> str | None:
    """The format that the first lines show, whatever the file is called."""
    first = lines[0].lstrip("\ufeff ")
    if _JSON.match(first) and not is_doi(first):
        form = _json_form(first, lines, by_name)
        if form:
            return form
    for pattern, form in ((_RIS, "ris"), (_WOS, "wos"), (_NBIB, "nbib"), (_ENW, "enw"), (_MRK, "mrk")):
        if pattern.match(first):
            return form
    if _HTML.match(first) or (_XML.match(first) and any(_HTML.match(line.strip()) for line in lines[1:_FIRST_LINES])):
        return "html"
    if _XML.match(first):
        return "html" if "<html" in first.lower() else "xml"
    return "kbart" if _is_kbart(first) else None


def _by_some_line(lines: Sequence[str], by_name: str | None) -> str | None:
    """The format that a line shows that is not the first: something else stands above the first entry."""
    first = lines[0]
    if any(map(_BIBTEX.match, lines[:50])) and not is_doi(first) and "\t" not in first:
        return "bibtex"
    head = lines[:_FIRST_LINES]
    if by_name in (None, "ris") and not is_doi(first) and any(map(_RIS.match, head)):
        return "ris"
    if by_name in (None, "nbib") and any(line.startswith("PMID- ") for line in head):
        return "nbib"
    if by_name is None and 2 * sum(1 for line in head if _RIS_LINE.match(line)) > len(head):
        return "ris"  # entries without a type
    return None


def _json_form(first: str, lines: Sequence[str], by_name: str | None) -> str | None:
    """Whether JSON is one document, or one entry a line; None if it is a cell in quotes."""
    whole = _value_of(first)
    if first.startswith('"'):
        return "jsonl" if isinstance(whole, str) and all(_value_of(line) is not None for line in lines[1:5]) else None
    if len(lines) > 1:
        return "json" if whole is None else "jsonl"
    return "jsonl" if by_name == "jsonl" and (whole is None or first.startswith("{")) else "json"


def _value_of(line: str) -> object:
    """The value of a line that is JSON; None if it is none."""
    try:
        return parsed(line)
    except (ValueError, UnicodeEncodeError):
        return None


def _is_kbart(line: str) -> bool:
    names = [cell.strip().lower() for cell in line.split("\t")]
    return "publication_title" in names and "online_identifier" in names and "title_url" in names


def _table_or_text(sample: Sequence[str]) -> str:
    """`csv` if most lines have at least as many cells as the first, and some early cell is a DOI; else `txt`."""
    delimiter = find_delimiter(sample)
    lines = [line for line in sample if not is_nothing(line) and not line.startswith("#")]
    if delimiter is None or len(lines) < 2:
        return "txt"
    cells = lines[0].count(delimiter)
    alike = sum(line.count(delimiter) >= cells for line in lines)
    has_doi = any(holds_dois(cell) for line in lines[:20] for cell in line.split(delimiter))
    return "csv" if 2 * alike > len(lines) and has_doi else "txt"
