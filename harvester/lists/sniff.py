"""Find out the format of an input: from its content if that is unmistakable, else from its name."""

import re
from collections.abc import Sequence
from pathlib import PurePath

import orjson

from harvester.lists.cells import holds_dois
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
}

_RIS = re.compile(r"TY {1,2}- ")
_WOS = re.compile(r"(?:FN (?:Clarivate|Thomson|ISI)|PT [A-Z]\b)")
_BIBTEX = re.compile(r"\s*@\s*[A-Za-z]+\s*[{(]")
_JSON = re.compile(r"\[\s*(?:[\"{\[\]]|\Z)|\{\s*(?:[\"}]|\Z)")


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
    if by_name in ("ris", "bibtex", "wos", "jsonl"):
        return by_name
    return _by_content(lines) or by_name or _table_or_text(sample)


def _by_content(lines: Sequence[str]) -> str | None:
    first = lines[0].lstrip("\ufeff ")
    if _JSON.match(first) and not is_doi(first):
        return "jsonl" if first.startswith("{") and len(lines) > 1 and _is_object(first) else "json"
    if _RIS.match(first):
        return "ris"
    if _WOS.match(first):
        return "wos"
    if _is_kbart(first):
        return "kbart"
    if any(_BIBTEX.match(line) for line in lines[:50]) and not is_doi(first) and "\t" not in first:
        return "bibtex"
    return None


def _is_object(line: str) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return False


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
