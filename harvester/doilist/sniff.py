"""Which format a list is in: by its name where that tells, else by its first lines."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from harvester.doi import parse_doi
from harvester.doilist.lines import Lines
from harvester.errors import InvalidDoi

_BY_NAME = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".kbart": "kbart",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".ris": "ris",
    ".bib": "bibtex",
    ".bibtex": "bibtex",
}
_PACKED = (".gz", ".zst", ".bz2", ".xz")

_MARKS = (
    ("ris", re.compile(r"TY\s{1,2}-")),
    ("wos", re.compile(r"(?:FN|VR|PT) ")),
    ("bibtex", re.compile(r"@\s*[A-Za-z]+\s*[{(]")),
    ("json", re.compile(r'\[\s*(?:["{\]]|$)|\{\s*$')),
    ("jsonl", re.compile(r'\{\s*"|"\s*10\.[^"]*"\s*$')),
)
"""How the first line with something in it begins; the order counts."""


def told_format(name: str, lines: Lines, wanted: str) -> str:
    """The format of a list: one of the names of `ListOptions.format`, without `auto`.

    Args:
        name: of the file.
        lines: of which a sample is looked at.
        wanted: what the user says; `auto` for nothing.
    """
    if wanted != "auto":
        return wanted
    path = PurePath(name.lower())
    while path.suffix in _PACKED:
        path = path.with_suffix("")
    sample = [line for line in lines.sample() if line.strip()]
    by_name = _BY_NAME.get(path.suffix)
    return by_name or _by_content(sample)


def _by_content(sample: Sequence[str]) -> str:
    """The cases, in order: 1. a mark at the beginning; 2. a DOI a line; 3. a table; 4. text."""
    first = sample[0].lstrip("\ufeff \t") if sample else ""
    for kind, mark in _MARKS:
        if mark.match(first):
            return kind
    told = [line for line in sample if not line.startswith("#")]
    if sum(map(is_doi, told)) * 2 >= len(told):
        return "txt"
    return "csv" if table_delimiter(told) else "txt"


def is_doi(text: str) -> bool:
    """Whether a text is one DOI."""
    try:
        parse_doi(text)
    except InvalidDoi:
        return False
    return True


def table_delimiter(sample: Sequence[str]) -> str | None:
    """The character that cuts most lines into the same number of cells, at least two; None for a single column."""
    best, delimiter = 0, None
    for candidate in "\t;,|":
        counts = [_cells(line, candidate) for line in sample[:100]]
        usual = max(set(counts), key=counts.count, default=1)
        if usual > 1 and counts.count(usual) * 2 > len(counts):
            score = counts.count(usual) * min(usual, 50)
            if score > best:
                best, delimiter = score, candidate
    return delimiter


def _cells(line: str, delimiter: str) -> int:
    """Cells of a line, with delimiters inside double quotes not counted."""
    return 1 + sum(part.count(delimiter) for part in line.split('"')[::2])
