"""BibTeX: we cut out the entries by counting braces, and the library parses each by itself.

So a broken entry spoils no other entry. The library takes some seconds and a hundred times the memory of a long entry.
What makes an entry long is an abstract or the references, in which we look for nothing. So such values are left out
before a long entry is parsed.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from bibtexparser.entrypoint import parse_string
from bibtexparser.model import DuplicateFieldKeyBlock, Entry

from harvester.core.text.sanitize import printable
from harvester.lists.cells import doi_in_note, looks_like_doi
from harvester.lists.rows import Row, doi_or_resolver, row_with

MAX_ENTRY_BYTES = 4 * 1024 * 1024

MAX_PARSED_BYTES = 64 * 1024
"""The greatest size of an entry that is parsed as it is, and of a larger one without its long values."""

LONG_VALUE_BYTES = 8_000
"""A value in braces that is longer is no DOI and no URL."""

MAX_BRACES = 8
"""How many pairs of braces around a value are taken off."""

_BEGIN = re.compile(r"\s*@\s*([A-Za-z]+)\s*[{(]")
MAX_INNER_BLOCKS = 20
"""How often a new entry may seem to begin in an entry. The library takes quadratic time for that."""

_INNER_BLOCK = re.compile(r"@\s*+\w*+\s*+[{(]")
_BRACE = re.compile(rb"(?<!\\)[{}]")
_OUTSIDE = "outside"
"""The kind of what stands between entries, where BibTeX takes everything for a comment."""

_NOT_WORKS = frozenset({"string", "comment", "preamble"})

_MATH = re.compile(r"\\ensuremath\s?\{([^{}$\\]{0,40})\}|\{?\$\{?(\\?[<>_&#%~]|\\[lg]t|\\text\w{4,12}|\\sim)\}?\$\}?")
r"""One sign in mathematics: `$<$`, `{$<$}`, `${<}$`, `$\_$`, `\ensuremath{<}`."""
_ESCAPED = re.compile(r"\{?\\{1,2}([_%&#$])\}?|\\string\s?([_%&#~<>])")
_COMMANDS = {
    r"\textless": "<",
    r"\lt": "<",
    r"\textgreater": ">",
    r"\gt": ">",
    r"\textunderscore": "_",
    r"\textasciitilde": "~",
    r"\sim": "~",
}
_COMMAND = re.compile(r"\{?(\\(?:text(?:less|greater|underscore|asciitilde)|[lg]t|sim)(?![a-z]))(?:\{\}|\s)?\}?")
_TILDE = re.compile(r"\{?\\~\{\s?\}\}?")
_GROUP = re.compile(r"(?<![a-zA-Z}])\{([^{}\\$]{0,100})\}")
"""A group that is no argument of a command."""
_NO_COMMA = re.compile(r"[}\"0-9][ \t]*+\n\s*+(doi|url|DOI|URL|Doi|Url)\s{0,20}=")
"""A field that is taken for a part of the value before it."""

_TEX_LEFT = re.compile(r"[${}\\]")


def read_bibtex(lines: Iterable[str]) -> Iterator[Row]:
    """Read a BibTeX file: the DOI is in `doi`, URLs in `url` or `howpublished`. Only entries of works become rows."""
    logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)  # a broken entry becomes a row with a problem
    for number, kind, text in _entries(lines):
        if kind == _OUTSIDE:
            yield Row(number, text[:200].decode("utf-8", "replace"), problem="it stands outside of all entries")
        elif kind not in _NOT_WORKS:
            yield _row(number, text)


def _row(number: int, entry: bytes) -> Row:
    problem = None
    if len(entry) > MAX_ENTRY_BYTES:
        problem = f"an entry longer than {MAX_ENTRY_BYTES >> 20} MiB"
    elif len(entry) > MAX_PARSED_BYTES:
        entry = _without_long_values(entry)
        if len(entry) > MAX_PARSED_BYTES:
            problem = f"an entry with more than {MAX_PARSED_BYTES >> 10} KiB of short fields"
    text = entry[: MAX_PARSED_BYTES + 1].decode("utf-8", "replace")
    fields = None if problem else _fields(text)
    if fields is None:
        return Row(number, text[:200], problem=problem or "the BibTeX entry cannot be read")
    addresses = [_plain(fields.get(key, "")) for key in ("url", "howpublished")]
    doi = doi_or_resolver(_plain(fields.get("doi", "")), addresses) or doi_in_note(fields.get("note", ""))
    if doi is None and (unread := _NO_COMMA.search(text)):
        return Row(number, text[:200], problem=f"a comma is missing before {unread[1]}, so it cannot be read")
    if doi is not None and _TEX_LEFT.search(doi):
        return Row(number, doi, problem=f"TeX is left in its DOI, so its name is not certain: {printable(doi, 120)}")
    return row_with(number, doi, addresses)


def _without_long_values(entry: bytes) -> bytes:
    """An entry whose long values in braces are empty."""
    kept: list[bytes] = []
    done = depth = start = 0
    for brace in _BRACE.finditer(entry):
        if brace[0] == b"{":
            depth += 1
            start = brace.end() if depth == 2 else start
        else:
            depth -= 1
            if depth == 1 and brace.start() - start > LONG_VALUE_BYTES:
                kept.append(entry[done:start])
                done = brace.start()
    return b"".join([*kept, entry[done:]])


def _fields(text: str) -> Mapping[str, str] | None:
    """The fields of one entry by lower-case name, or None if it is broken. Of a repeated field the first counts."""
    if len(list(islice(_INNER_BLOCK.finditer(text, 1), MAX_INNER_BLOCKS + 1))) > MAX_INNER_BLOCKS:
        return None
    try:
        library = parse_string(text)
    except Exception:  # noqa: BLE001 - the library may raise anything; only this entry is lost
        return None
    repeating = (
        block.ignore_error_block for block in library.failed_blocks if isinstance(block, DuplicateFieldKeyBlock)
    )
    entries = [entry for entry in (*library.entries, *repeating) if isinstance(entry, Entry)]
    if len(entries) != 1:
        return None
    return {field.key.lower(): str(field.value) for field in reversed(entries[0].fields)}


def _plain(value: str) -> str:
    """The value of a field without TeX's braces and escapes."""
    value = _MATH.sub(lambda match: match[1] or _COMMANDS.get(match[2], match[2]) or "", value.strip())
    value = _ESCAPED.sub(lambda match: match[1] or match[2], _TILDE.sub("~", value))
    value = _COMMAND.sub(lambda match: _COMMANDS[match[1]], value)
    for _ in range(MAX_BRACES):
        if value.startswith("{") and value.endswith("}"):
            value = value[1:-1].strip()
    value = _GROUP.sub(r"\1", value)
    return value.removeprefix(r"\url{").removesuffix("}") if value.startswith(r"\url{") else value


def _entries(lines: Iterable[str]) -> Iterator[tuple[int, str, bytes]]:
    """Cut a file into entries: the number of the first line, the entry type (`article`) and the text of each in UTF-8.

    An entry ends where its braces are closed. If they never are, it ends where a line begins the next entry. Of an
    entry over the limit only so much is kept that `_row` sees it.
    """
    entry = bytearray()  # not a list of lines, since a short line takes fifty times its length
    kind = ""
    start = depth = 0
    for number, line in enumerate(lines, 1):
        begin = _BEGIN.match(line)
        if begin and (not entry or line.startswith("@")):
            if entry:
                yield start, kind, bytes(entry)
            start, kind, entry, depth = number, begin[1].lower(), bytearray(), 0
        elif not entry:
            if looks_like_doi(line):
                yield number, _OUTSIDE, line.encode("utf-8", "replace")
            continue
        if len(entry) <= MAX_ENTRY_BYTES:
            entry += line.encode("utf-8", "replace") + b"\n"
        depth += _depth(line)
        if depth <= 0:
            yield start, kind, bytes(entry)
            entry = bytearray()
    if entry:
        yield start, kind, bytes(entry)


def _depth(line: str) -> int:
    """How many more braces a line opens than it closes."""
    line = line.replace(r"\{", "").replace(r"\}", "") if "\\" in line else line
    opening, closing = line.count("{"), line.count("}")
    if not opening and not closing and line.lstrip().startswith("@"):
        return 1  # @article( … ) has parentheses in place of braces
    return opening - closing
