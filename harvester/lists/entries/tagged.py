"""Formats of tagged lines: RIS, Web of Science, PubMed, EndNote and MARC as text.

We cut out the entries ourselves and read each by itself, so a broken entry spoils no other entry. Of its tags only
those that may have the DOI or URLs are kept, so a long entry costs no more than a short one.

Exports are cut, joined and edited. So a tag begins an entry where there is none, and a line outside of all entries is
accounted for as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from harvester.lists.cells import holds_dois, looks_like_doi
from harvester.lists.rows import MAX_KEPT_CHARS, TOO_MUCH_KEPT, Row, doi_or_resolver, row_with

MAX_ENTRY_CHARS = 4 * 1024 * 1024

MAX_NAMING_CHARS = 1_000
"""A value that is longer is no DOI, whatever is in it."""

Fields = Mapping[str, list[list[str]]]
"""The values of each tag in an entry; each value is the lines that it takes."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """How the entries of a format are written.

    Args:
        tag: matches a tag. A line without one continues the value of the tag before.
        begin: the tag that begins an entry.
        row: makes the row of an entry, given the number of its first line and its fields.
        wanted: the tags whose lines are kept.
        end: the tag that ends an entry; None if an empty line does.
        loose: matches a tag in a sloppy file, one that is indented or in small letters; in an entry that begins so.
        of_file: tags that belong to the file and to no entry.
    """

    tag: re.Pattern[str]
    begin: str
    row: Callable[[int, Fields], Row]
    wanted: Sequence[str]
    end: str | None = None
    loose: re.Pattern[str] | None = None
    of_file: Sequence[str] = ()


# Cutting out entries


class _Entry:
    """An entry that is being read.

    Args:
        start: the number of its first line.
        tag: matches its tags.
        syntax: of the format.

    Attributes:
        has_begun: whether the tag that begins an entry has come.
    """

    def __init__(self, start: int, tag: re.Pattern[str], syntax: Syntax) -> None:
        self.start, self.tag = start, tag
        self.has_begun = False
        self._syntax = syntax
        self._kept: list[str] = []
        self._size = self._kept_size = 0
        self._is_wanted = False

    def add(self, line: str, name: str) -> None:
        """Take one of its lines; `name` is the tag of the line, empty if it continues a value."""
        self._size += len(line)
        self.has_begun = self.has_begun or name == self._syntax.begin
        if name:
            self._is_wanted = name in self._syntax.wanted
        if self._is_wanted:
            self._kept_size += len(line) + 1
            if self._kept_size <= MAX_KEPT_CHARS:
                self._kept.append(line)

    @property
    def is_entry(self) -> bool:
        """Whether it is more than some tags before the one that begins an entry."""
        return self.has_begun or any(map(looks_like_doi, self._kept))

    def row(self) -> Row:
        """What it gives."""
        problem = self._problem()
        if problem:
            return Row(self.start, " ".join(self._kept)[:200], problem=problem)
        return self._syntax.row(self.start, self._fields())

    def _problem(self) -> str | None:
        if self._size > MAX_ENTRY_CHARS:
            return f"an entry longer than {MAX_ENTRY_CHARS >> 20} MiB"
        return TOO_MUCH_KEPT if self._kept_size > MAX_KEPT_CHARS else None

    def _fields(self) -> Fields:
        fields: dict[str, list[list[str]]] = {}
        value: list[str] = []
        for line in self._kept:
            if match := self.tag.match(line):
                value = []
                fields.setdefault(match[1].upper(), []).append(value)
            value.append(line[match.end() :].strip() if match else line.strip())
        return fields


def read_tagged(lines: Iterable[str], syntax: Syntax) -> Iterator[Row]:
    """Read a file of tagged lines. A tag that begins an entry also ends one whose end is missing."""
    entry: _Entry | None = None
    for number, line in enumerate(lines, 1):
        pattern, name = _tag_of(line, entry, syntax)
        if not name and not line.strip():
            if entry and syntax.end is None:
                yield entry.row()
                entry = None
            continue
        if name == syntax.begin and entry and entry.is_entry:
            yield entry.row()
            entry = None
        if name == syntax.end:
            yield (entry or _Entry(number, pattern, syntax)).row()
            entry = None
        elif entry is None and (not name or name in syntax.of_file):
            yield from _outside(number, line, is_known=bool(name))
        else:
            if entry is None or (name == syntax.begin and entry.tag is not pattern):
                entry = _Entry(number, pattern, syntax)
            entry.add(line, name)
    if entry:
        yield entry.row()


def _tag_of(line: str, entry: _Entry | None, syntax: Syntax) -> tuple[re.Pattern[str], str]:
    """The pattern that an entry of this line has, and the tag of the line; empty if it has none."""
    for pattern in (entry.tag if entry else syntax.tag, syntax.tag, syntax.loose):
        match = pattern and pattern.match(line)
        if pattern and match:
            name = match[1].upper()
            if pattern is syntax.tag or (entry and entry.tag is pattern) or name == syntax.begin:
                return pattern, name
    return (entry.tag if entry else syntax.tag), ""


def _outside(number: int, line: str, *, is_known: bool) -> Iterator[Row]:
    """What a line outside of all entries gives: something only if a DOI may be lost with it."""
    if looks_like_doi(line):
        yield Row(number, line[:200], problem="it stands outside of all entries")
    elif not is_known:
        yield Row(number, None)


# RIS

_RIS_DOI = ("DO", "DI")
_RIS_URLS = ("UR", "LK")
_RIS_OTHERS = ("L3", "M3", "M1", "N1", "L2", "L1", "ID", "AN", "C7")
"""Where databases put the DOI that is in no `DO`: EBSCO in L3, others in M3 or in a note."""


def _ris_row(number: int, fields: Fields) -> Row:
    # A value of several lines stays one cell: perhaps they are several addresses, perhaps one that was broken.
    addresses = ["\n".join(value) for tag in _RIS_URLS for value in fields.get(tag, ())]
    named = [" ".join(value) for tag in _RIS_DOI for value in fields.get(tag, ())]
    doi = doi_or_resolver("; ".join(dict.fromkeys(named)), addresses)
    if doi is None:
        doi = _found_in(line for tag in _RIS_OTHERS for value in fields.get(tag, ()) for line in value)
    return row_with(number, doi, addresses)


def _found_in(values: Iterable[str]) -> str | None:
    """The first value that is a DOI and nothing else; None if there is none."""
    short = (value for value in values if len(value) <= MAX_NAMING_CHARS and looks_like_doi(value))
    return next(filter(holds_dois, short), None)


read_ris = partial(
    read_tagged,
    syntax=Syntax(
        tag=re.compile(r"([A-Z][A-Z0-9]) {1,2}- ?"),  # the standard has two blanks; some programs write one
        loose=re.compile(r"[ \t]{0,20}([A-Za-z][A-Za-z0-9])[ \t]{0,4}-(?:[ \t]|\Z)"),
        begin="TY",
        end="ER",
        row=_ris_row,
        wanted=(*_RIS_DOI, *_RIS_URLS, *_RIS_OTHERS),
    ),
)
"""Read a RIS file: the DOI is in `DO`, URLs are in `UR` and `LK`."""


# Web of Science

_WOS_DOI = ("DI", "D2", "DL")


def _wos_row(number: int, fields: Fields) -> Row:
    dois = (doi_or_resolver(fields[tag][0][0], ()) for tag in _WOS_DOI if tag in fields)
    return Row(number, next((doi for doi in dois if doi is not None), None))


read_wos = partial(
    read_tagged,
    syntax=Syntax(
        tag=re.compile(r"([A-Z][A-Z0-9])(?: |\Z)"),
        begin="PT",
        end="ER",
        row=_wos_row,
        wanted=_WOS_DOI,
        of_file=("FN", "VR", "EF"),
    ),
)
"""Read a tagged export of Web of Science: the DOI is in `DI`, that of a book in `D2`."""


# PubMed

_MARKED_DOI = re.compile(r"(?<!\S)(\S+)\s{0,3}\[doi\]")
_DOI_IN_SOURCE = re.compile(r"\bdoi:\s{0,3}(10\.\S+?)\.?(?:\s|\Z)", re.IGNORECASE)


def _nbib_row(number: int, fields: Fields) -> Row:
    for tag, pattern in (("LID", _MARKED_DOI), ("AID", _MARKED_DOI), ("SO", _DOI_IN_SOURCE)):
        for value in fields.get(tag, ()):
            if match := pattern.search(" ".join(value)[:MAX_NAMING_CHARS]):
                return Row(number, match[1])
    return Row(number, None)


read_nbib = partial(
    read_tagged,
    syntax=Syntax(
        tag=re.compile(r"([A-Z]{2,4}) {0,3}-(?: |\Z)"),
        begin="PMID",
        row=_nbib_row,
        wanted=("LID", "AID", "SO"),
    ),
)
"""Read PubMed's own format (.nbib): the DOI is in `LID` or `AID`, marked `[doi]`, or at the end of `SO`."""


# EndNote, tagged


def _enw_row(number: int, fields: Fields) -> Row:
    addresses = [line for value in fields.get("U", ()) for line in value]
    doi = doi_or_resolver(" ".join(fields["R"][0]) if "R" in fields else "", addresses)
    return row_with(number, doi, addresses)


read_enw = partial(
    read_tagged,
    syntax=Syntax(
        tag=re.compile(r"%([0-9A-Z@!?$&()*+,<=>^~#\[\]]) "),
        begin="0",
        row=_enw_row,
        wanted=("R", "U"),
    ),
)
"""Read EndNote's tagged format (.enw): the DOI is in `%R`, URLs are in `%U`."""


# MARC 21, as MarcEdit writes it

_OF_DOI = "doi"


def _mrk_row(number: int, fields: Fields) -> Row:
    identifiers = [_subfields(line) for value in fields.get("024", ()) for line in value]
    addresses = [url for value in fields.get("856", ()) for line in value for url in _subfields(line).get("u", ())]
    dois = [name for found in identifiers if _OF_DOI in found.get("2", ()) for name in found.get("a", ())]
    doi = doi_or_resolver("; ".join(dois), addresses)
    return row_with(number, doi, addresses)


def _subfields(line: str) -> Mapping[str, list[str]]:
    """The subfields of a field: of `7_$a10.1/x$2doi`, a is `10.1/x` and 2 is `doi`."""
    found: dict[str, list[str]] = {}
    for part in line.split("$")[1:]:
        found.setdefault(part[:1], []).append(part[1:].replace("{dollar}", "$").strip())
    return found


read_mrk = partial(
    read_tagged,
    syntax=Syntax(
        tag=re.compile(r"=([0-9A-Z]{3}) {1,2}"),
        begin="LDR",
        row=_mrk_row,
        wanted=("024", "856"),
    ),
)
"""Read MARC 21 as text (.mrk): the DOI is in field 024 of the kind `doi`, URLs are in 856 $u."""
