"""DOI lists as people keep them, read lazily into works.

`read_list` is the way in. Below it: `source` finds and opens files, `lines` makes text of bytes, `sniff` tells formats,
and one module a family of formats turns text into rows. A row is all that the families have in common.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from harvester.doi import is_resolver_address, parse_doi
from harvester.doilist import bibtex, jsonlist, plain, ris, tabular, wos
from harvester.doilist.lines import Lines
from harvester.doilist.row import Row
from harvester.doilist.sniff import told_format
from harvester.doilist.source import expand, open_source
from harvester.errors import InputUnusable, InvalidDoi
from harvester.outcome import Blank, Failure, Stage, Work
from harvester.text import printable

SHOWN = 200
"""Characters of a line that is no DOI that a failure keeps."""

_READERS = {
    "txt": plain.rows,
    "json": jsonlist.document,
    "jsonl": jsonlist.rows,
    "ris": ris.rows,
    "bibtex": bibtex.rows,
    "wos": wos.rows,
}

_NOTHING = frozenset({"", "0", "na", "n/a", "#n/a", "none", "null", "nan", "-", "--", "."})
"""What people write where there is no DOI."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How inputs are read.

    Args:
        doi_column: name, or number from 1, of the column with the DOIs; None to find it.
        url_column: the same for URLs to register.
        format: one of `auto`, `txt`, `csv`, `tsv`, `json`, `jsonl`, `ris`, `bibtex`, `wos`, `kbart`.
        encoding: a codec's name, or `auto`.
    """

    doi_column: str | None = None
    url_column: str | None = None
    format: str = "auto"
    encoding: str = "auto"


def read_list(
    inputs: Sequence[str],
    options: ListOptions,
    *,
    notice: Callable[[str], None],
    now: str,
    stdin: BinaryIO | None = None,
) -> Iterator[Work | Failure | Blank]:
    """Read inputs one after the other; every line, row or entry comes out as exactly one value.

    Args:
        inputs: files, globs, `-` for stdin.
        options: how.
        notice: takes a sentence for the user: a file named twice, an encoding that had to be guessed.
        now: timestamp for failures.
        stdin: binary.

    Raises:
        InputMissing: a file or glob that is not there, or cannot be read.
        InputUnusable: a file whose DOI column cannot be told, or that is broken as a whole.
    """
    for name in expand(inputs, notice):
        with open_source(name, stdin) as stream:
            lines = Lines(stream, name, options.encoding, notice)
            for row in _rows(name, lines, options):
                yield _line(row, name, now)


def _rows(name: str, lines: Lines, options: ListOptions) -> Iterator[Row]:
    kind = told_format(name, lines, options.format)
    if kind in ("csv", "tsv", "kbart"):
        return tabular.rows(lines, doi_column=options.doi_column, url_column=options.url_column)
    if options.doi_column or options.url_column:
        raise InputUnusable(
            f"{printable(name)} is read as {kind}, which has no columns. "
            "Say --format csv if it is a table, or leave --doi-column and --url-column out."
        )
    readers = {
        "json": jsonlist.document,
        "jsonl": jsonlist.rows,
        "ris": ris.rows,
        "bibtex": bibtex.rows,
        "wos": wos.rows,
    }
    return readers.get(kind, plain.rows)(lines)


def _line(row: Row, name: str, now: str) -> Work | Failure | Blank:
    text = row.text.strip()
    if text.lower() in _NOTHING:
        return Blank()
    origin = f"{printable(name)}:{row.number}"
    try:
        doi = parse_doi(row.text)
    except InvalidDoi as error:
        shown = printable(text, SHOWN)
        return Failure(None, shown, origin, error.kind, None, 0, str(error), now, Stage.INPUT)
    return Work(doi, tuple(url for url in row.urls if not is_resolver_address(url)), origin)
