"""Read lists of DOIs as people keep them, line by line: works, failures with file and line, and blank lines.

The way of one input: `inputs` opens and decompresses it, `lines` decodes it, `sniff` finds out the format from the
first 64 KiB, and a reader of that format (`plain`, `tabular` with `header` and `columns`, `workbooks`, `jsonlist`,
`tagged`, `bibtex`) makes rows. `cells` finds the DOIs of a row. This module turns each row into its works, or into one
`Failure` or `Blank`. Memory stays constant, whatever the inputs are: nothing is held but a block, a line, and what is
kept of an entry.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from harvester.core.doi import lost_end
from harvester.core.errors import InputUnusable, InvalidDoi, Usage
from harvester.core.model import LIST_FORMATS, Blank, Failure, Stage, Work
from harvester.core.text.encodings import text_codec
from harvester.core.text.sanitize import printable
from harvester.core.urls.landing import LandingPages
from harvester.core.version import __version__
from harvester.lists.cells import holds_dois, looks_like_doi, read_cell
from harvester.lists.entries.bibtex import read_bibtex
from harvester.lists.entries.json_entry import JsonKeys
from harvester.lists.entries.jsonlist import MAX_BUILT_BYTES, read_document, read_json_lines, shortened
from harvester.lists.entries.tagged import read_enw, read_mrk, read_nbib, read_ris, read_wos
from harvester.lists.entries.xml import read_xml
from harvester.lists.extract import read_any_text
from harvester.lists.header import find_header
from harvester.lists.inputs import DamagedArchive, bare_name, content_digest, expand, read_blocks
from harvester.lists.lines import Decoder, as_utf8, byte_lines, detect_encoding
from harvester.lists.notes import FileNotes, Sorter
from harvester.lists.plain import read_plain
from harvester.lists.rows import MAX_KEPT_CHARS, TOO_MUCH_KEPT, Row, is_doi, is_nothing
from harvester.lists.sniff import sniff_format
from harvester.lists.tabular import DELIMITERS, find_delimiter, plan_table, read_table
from harvester.lists.workbooks import is_workbook, workbook_lines

SAMPLE_BYTES = 64 * 1024
MOST_SAMPLED = 500
"""Rows of a workbook by which its columns are found."""

MAX_INPUT_SHOWN = 200

_BLANK = Blank()
"""One for all: there may be millions."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How lists are read.

    Args:
        doi_column: the column with the DOIs, by name or by number (from 1), or the JSON key; None to find it.
        url_column: the same for the URLs to register.
        format: one of `LIST_FORMATS`.
        encoding: the name of a codec, or `auto`.
        header_row: the number of the line with the names of a table's columns, from 1; None to find it.
        sheet: the name of the sheet of a workbook; None for the first one with DOIs.
        extract: whether to search the text of the inputs for DOIs, in place of reading a list.
        allow_hosts: hosts whose pages are landing pages although the table of hosts says otherwise.
        deny_hosts: hosts whose pages are none.
    """

    doi_column: str | None = None
    url_column: str | None = None
    format: str = "auto"
    encoding: str = "auto"
    header_row: int | None = None
    sheet: str | None = None
    extract: bool = False
    allow_hosts: tuple[str, ...] = ()
    deny_hosts: tuple[str, ...] = ()


def check_options(options: ListOptions) -> None:
    """Refuse options that no list can be read with.

    Raises:
        Usage: there is no such format or encoding.
    """
    if options.format not in LIST_FORMATS:
        raise Usage(f"there is no format {printable(options.format, 40)}. Choose one of {', '.join(LIST_FORMATS)}.")
    if options.encoding != "auto":
        try:
            text_codec(options.encoding)
        except ValueError as error:
            raise Usage(f"{printable(options.encoding, 40)} is no encoding: it takes {error}.") from None


def read_list(
    inputs: Sequence[str],
    options: ListOptions,
    *,
    warn: Callable[[str], None],
    now: str,
    stdin: BinaryIO | None = None,
    own: Collection[Path] = (),
    is_stopped: Callable[[], bool] = lambda: False,
    note: Callable[[FileNotes], None] = lambda _: None,
) -> Iterator[Work | Failure | Blank]:
    """Read the inputs one after the other.

    Each line, row or entry gives one item, or one for each of its DOIs. Duplicates are not removed.

    Args:
        inputs: paths, globs (whose matches are sorted), `-` for stdin.
        options: how the inputs are read.
        warn: takes a sentence for the user about a decision that they may want to know.
        now: the timestamp for failures.
        stdin: binary, for `-`.
        own: files that the job writes, and so never lists.
        is_stopped: whether to break off. It is asked for each block that is read, since a block may hold no line end.
        note: takes what was found in a file, when all of it was read.

    Raises:
        Stopped: it was broken off.
        InputMissing: an input does not exist or cannot be read. Raised at once, before anything is read.
        Usage: there is no such format or encoding, or a file that the job writes is named. Raised at once.
        InputUnusable: a file holds no list, its DOI column is not clear, or its archive is damaged. Raised while the
            items are read.
    """
    check_options(options)
    files = expand(inputs, warn, own)
    blocks_of = partial(read_blocks, stdin=stdin, warn=warn, is_stopped=is_stopped)
    return chain.from_iterable(_read(name, options, warn, now, blocks_of, note) for name in files)


def fingerprint(inputs: Sequence[str], options: ListOptions, own: Collection[Path] = ()) -> str | None:
    """Identifies a list: an equal fingerprint means that `read_list` would give the same items.

    It covers the content of the inputs, the options, and the version of harvester that reads them.

    Args:
        inputs: as for `read_list`.
        options: how the inputs are read.
        own: as for `read_list`.

    Returns:
        A short text; None if an input can be read only once, such as stdin.

    Raises:
        InputMissing, Usage: an input does not exist or cannot be read.
    """
    content = content_digest(inputs, own)
    return content and f"{__version__} {options} {content}"


def _read(
    name: str,
    options: ListOptions,
    warn: Callable[[str], None],
    now: str,
    blocks_of: Callable[[str], Iterator[bytes]],
    note: Callable[[FileNotes], None],
) -> Iterator[Work | Failure | Blank]:
    """Turn the rows of one input into items."""
    shown, number = printable(name), 0
    notes = FileNotes(shown)
    sorter = Sorter(LandingPages(options.allow_hosts, options.deny_hosts), notes, now)
    try:
        for row in _rows(name, options, warn, blocks_of(name), notes):
            number, text, pieces, problem = row
            if text is None:
                notes.blank += 1
                yield _BLANK
                continue
            origin = f"{shown}:{number}"
            try:
                if problem or (pieces and sum(map(len, pieces)) > MAX_KEPT_CHARS):
                    raise InvalidDoi(problem or TOO_MUCH_KEPT)
                found = read_cell(text)
            except InvalidDoi as error:
                failure = _failure(text, origin, str(error), now)
                notes.add_invalid(origin, failure.input, failure.message)
                yield failure
                continue
            for doi, part in found:
                if len(doi) != len(part) and (end := lost_end(part, doi)):
                    notes.add_lost(end, origin)
                urls, left_out = sorter.sort_out(pieces, doi, origin, several=len(found) > 1) if pieces else ((), ())
                notes.add_work(doi, urls)
                yield Work(doi, urls, origin, left_out)
    except DamagedArchive as error:
        raise InputUnusable(
            f"{shown}: {error}. It was readable up to line {number}; what comes after is lost. Make the file again."
        ) from error
    for sentence in notes.warnings():
        warn(sentence)
    note(notes)


def _failure(text: str, origin: str, message: str, now: str) -> Failure:
    shown = printable(text, MAX_INPUT_SHOWN)
    return Failure(None, shown, origin, InvalidDoi.kind, None, 0, message, now, Stage.INPUT)


def _rows(
    name: str, options: ListOptions, warn: Callable[[str], None], blocks: Iterator[bytes], notes: FileNotes
) -> Iterator[Row]:
    """Find out the encoding and the format of one input, and read it."""
    head = _head(blocks)
    if is_workbook(head):
        lines = workbook_lines(name, chain([head], blocks), options.sheet, warn)
        notes.format = "workbook"
        yield from _table_rows(name, "tsv", *_sampled(lines), options, warn, notes)
        return
    encoding, mark = detect_encoding(head, options.encoding)
    whole: Iterable[bytes] = chain([head[mark:]], blocks)
    is_recoded = encoding != "utf-8" or options.encoding != "auto"
    if is_recoded:
        whole = as_utf8(whole, encoding, printable(name))
    sample = _sample(head[mark:], encoding, printable(name))
    bare = bare_name(name)
    kind = sniff_format(bare, sample) if options.format == "auto" else options.format
    keys = JsonKeys(options.doi_column, options.url_column)
    if options.extract:
        kind = "any"
    elif kind == "html":
        raise InputUnusable(
            f"{printable(name)} is an HTML page and no list. If a program fetched it, look whether it is a login page. "
            "With --extract its text is searched for DOIs."
        )
    notes.format, notes.encoding = kind, encoding
    if kind == "xml":
        yield from read_xml(name, whole, "utf-8" if is_recoded or mark else None)
        return
    if kind == "json":
        yield from read_document(name, whole, keys)
        return
    decoder = Decoder(warn, printable(name))
    if kind == "jsonl":
        batches = byte_lines(whole, MAX_BUILT_BYTES, lambda pieces: shortened(pieces, keys))
        yield from read_json_lines(chain.from_iterable(batches), decoder.text, keys)
        return
    lines = decoder.text_lines(byte_lines(whole))
    if kind in ("csv", "tsv", "kbart"):
        yield from _table_rows(name, kind, sample, lines, options, warn, notes)
    else:
        _tell_unused(name, kind, options, warn)
        if kind == "txt" and (header := find_header(sample, "")) is not None and header.line > 1:
            _tell_above(name, header.line - 1, warn)
            yield from read_plain(lines, has_header=True, above=header.line - 1)
            return
        yield from _BY_LINES[kind](lines)


_BY_LINES: Mapping[str, Callable[[Iterable[str]], Iterator[Row]]] = {
    "txt": read_plain,
    "ris": read_ris,
    "wos": read_wos,
    "nbib": read_nbib,
    "enw": read_enw,
    "mrk": read_mrk,
    "bibtex": read_bibtex,
    "any": read_any_text,
}
"""The readers of formats that are read line by line; `any` is any text that is searched for DOIs."""


def _head(blocks: Iterator[bytes]) -> bytes:
    """The first blocks, joined: enough to find out encoding and format."""
    head = b""
    while len(head) < SAMPLE_BYTES and (block := next(blocks, None)) is not None:
        head += block
    return head


def _sample(head: bytes, encoding: str, name: str) -> list[str]:
    """The first lines as text. The last one may be cut off, so it is left out unless it is the only one."""
    sample = b"".join(as_utf8([head[: 2 * SAMPLE_BYTES]], encoding, name))
    lines = [line.decode("utf-8", "replace") for batch in byte_lines([sample]) for line in batch]
    return lines[:-1] if len(lines) > 1 and len(head) >= SAMPLE_BYTES else lines


def _sampled(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines, and all lines."""
    sample: list[str] = []
    for line in lines:
        sample.append(line)
        if len(sample) >= MOST_SAMPLED or sum(map(len, sample[-100:])) > SAMPLE_BYTES:
            break
    return sample, chain(list(sample), lines)


def _table_rows(
    name: str,
    kind: str,
    sample: list[str],
    lines: Iterable[str],
    options: ListOptions,
    warn: Callable[[str], None],
    notes: FileNotes,
) -> Iterator[Row]:
    """Read a table; one with a single column is read as a plain list."""
    if options.header_row is not None and options.header_row > len(sample):
        raise InputUnusable(f"{printable(name)} has no line {options.header_row:,} for a header among its first ones.")
    signs = "\t" if kind == "tsv" else DELIMITERS
    given = sample[options.header_row - 1 :] if options.header_row else sample
    wanted = None if (options.doi_column or "1").isdecimal() else options.doi_column
    header = find_header(given, signs, wanted) if wanted else None
    delimiter = header.delimiter if header else find_delimiter(given, only=signs)
    if delimiter is not None and header is None and options.doi_column is None and _are_lists_of_dois(given, delimiter):
        delimiter = None
    if delimiter is None and (options.doi_column in (None, "1") or header):
        values = [line for line in given if not is_nothing(line) and not line.startswith("#")]
        above = (options.header_row or 1) - 1
        if header is None and options.header_row is None:
            header = find_header(given, "")
        if header is not None:
            above += header.line - 1
        has_header = header is not None or options.header_row is not None
        has_header = has_header or (bool(values) and not looks_like_doi(values[0]) and any(map(is_doi, values[1:2])))
        _tell_above(name, above, warn)
        yield from read_plain(lines, has_header=has_header, above=above)
        return
    table = plan_table(
        name,
        sample,
        delimiter or "\t",
        doi_column=options.doi_column,
        url_column=options.url_column,
        kbart=kind == "kbart",
        header_row=options.header_row,
    )
    if options.header_row is None:
        _tell_above(name, table.above, warn)
    notes.columns = table.described
    yield from read_table(lines, table)


def _are_lists_of_dois(sample: Sequence[str], delimiter: str) -> bool:
    """Whether each line is some DOIs, not always as many. If there are as many in each line, they may be columns."""
    lines = [line for line in sample[:MOST_SAMPLED] if not is_nothing(line)]
    return len({line.count(delimiter) for line in lines}) > 1 and all(map(holds_dois, lines))


def _tell_unused(name: str, kind: str, options: ListOptions, warn: Callable[[str], None]) -> None:
    """Say which options for tables were given for a file that is none."""
    given = {"doi-column": options.doi_column, "url-column": options.url_column, "header-row": options.header_row}
    unused = [f"--{flag}" for flag, value in given.items() if value is not None]
    if unused:
        what = {"txt": "plain lines", "any": "text to search in"}.get(kind, kind)
        warn(f"{printable(name)} is read as {what}, where {', '.join(unused)} has no meaning")


def _tell_above(name: str, above: int, warn: Callable[[str], None]) -> None:
    if above:
        what = "the line above it is" if above == 1 else f"the {above:,} lines above it are"
        warn(f"{printable(name)}: line {above + 1:,} is taken for the header; {what} not read")
