"""XML of reference managers, databases and libraries: EndNote, PubMed, MARC, ONIX, Zotero RDF, DataCite and Crossref.

What is one work is told by the names of elements, whatever surrounds them. The text is read once, by expat, which asks
nobody for anything. A document that declares entities is refused: they can make a small file a large one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from xml.parsers import expat

from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.lists.rows import MAX_KEPT_CHARS, TOO_MUCH_KEPT, Row, doi_or_resolver, row_with

STEP_BYTES = 64 * 1024
"""How much is given to expat at a time."""

MAX_TAG_BYTES = 4 * 1024 * 1024
"""The greatest size of a tag, with its attributes, or of anything else that expat has to hold."""

MAX_DEPTH = 1_000

_ENTRIES = frozenset(
    {"record", "PubmedArticle", "PubmedBookArticle", "Product", "product", "resource"}
    | {"journal_article", "conference_paper", "posted_content", "dissertation"}
)
"""Elements that are a work: of EndNote and MARCXML, PubMed, ONIX, DataCite; of Crossref."""

_COLLECTIONS = frozenset({"RDF"})
"""Elements whose children are works, whatever they are called."""

_NOT_ITS_OWN = frozenset(
    {"ReferenceList", "CommentsCorrectionsList", "citation_list", "relatedIdentifiers", "RelatedMaterial", "ref-list"}
)
"""Elements of a work in which other works are named."""

_DOI_NAMES = frozenset({"electronic-resource-num", "doi", "DOI"})
_IF_MARKED: Final[Mapping[str, str]] = {
    "ArticleId": "IdType",
    "ELocationID": "EIdType",
    "identifier": "identifierType",
}
"""Elements with a DOI if an attribute says so."""

_URL_PLACES = frozenset({"web-urls", "related-urls"})
_ONIX_DOI = "06"
"""The code of a DOI in ONIX's list 5 (product identifiers)."""


class _Stopped(Exception):
    """The document cannot be read further; the message says why."""


def read_xml(name: str, blocks: Iterable[bytes], encoding: str | None) -> Iterator[Row]:
    """Read the works of an XML document. The numbers of the rows are those of their first lines.

    Args:
        name: of the input, for messages.
        blocks: of the document.
        encoding: of the blocks; None if it is what the document itself says.

    Raises:
        InputUnusable: it is no XML, or holds none of the works that we know.
    """
    reader = _Works(encoding)
    try:
        for block in blocks:
            for at in range(0, len(block), STEP_BYTES):
                reader.feed(block[at : at + STEP_BYTES])
                yield from reader.taken()
        if reader.has_begun:
            reader.end()
            yield from reader.taken()
    except _Stopped as error:
        yield from reader.taken()
        why = printable(str(error), 120)
        if not reader.has_found:
            raise InputUnusable(f"{printable(name)} is not XML that can be read ({why}).") from None
        yield Row(reader.line, "", problem=f"the XML cannot be read from here on ({why})")
    else:
        if reader.has_begun and not reader.has_found:
            known = "EndNote, PubMed, MARCXML, ONIX, Zotero RDF, DataCite and Crossref"
            raise InputUnusable(
                f"{printable(name)} is XML without any works that harvester knows. It knows those of {known}. "
                "Export RIS, BibTeX or CSV, or let --extract search its text for DOIs."
            )


class _Works:
    """Finds the works of a document that is fed to it in pieces."""

    def __init__(self, encoding: str | None) -> None:
        self._parser = expat.ParserCreate(encoding)
        self._parser.StartElementHandler = self._began
        self._parser.EndElementHandler = self._ended
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._refuse_entity
        self._fed = 0
        self._path: list[str] = []
        self._work: _Work | None = None
        self._found: list[Row] = []
        self.has_found = False

    @property
    def has_begun(self) -> bool:
        """Whether there was anything to read."""
        return self._fed > 0

    @property
    def line(self) -> int:
        """The number of the line that it is at."""
        return self._parser.CurrentLineNumber

    def feed(self, piece: bytes) -> None:
        """Read a piece.

        Raises:
            _Stopped: it cannot be read.
        """
        self._fed += len(piece)
        self._parse(piece, final=False)
        if self._fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
            raise _Stopped(f"a tag of more than {MAX_TAG_BYTES >> 20} MiB")

    def end(self) -> None:
        """Note that nothing more comes.

        Raises:
            _Stopped: the end comes too early.
        """
        self._parse(b"", final=True)

    def _parse(self, piece: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            raise _Stopped(str(error)) from None
        except (LookupError, ValueError) as error:  # an encoding that nobody knows, or that takes several bytes
            raise _Stopped(f"its encoding: {error}") from None

    def taken(self) -> Sequence[Row]:
        """The works that have ended since the last call."""
        found, self._found = self._found, []
        return found

    def _began(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition(":")[2]
        if len(self._path) >= MAX_DEPTH:
            raise _Stopped(f"nested more than {MAX_DEPTH:,} deep")
        if self._work is None and (local in _ENTRIES or (len(self._path) == 1 and self._path[0] in _COLLECTIONS)):
            self._work = _Work(self.line, len(self._path))
        self._path.append(local)
        if self._work:
            self._work.began(self._path, attributes)

    def _text(self, text: str) -> None:
        if self._work:
            self._work.text(text)

    def _ended(self, _name: str) -> None:
        if self._work:
            self._work.ended(self._path)
        self._path.pop()
        if self._work and len(self._path) == self._work.depth:
            self.has_found = True
            self._found.append(self._work.row())
            self._work = None

    def _refuse_entity(self, *_declared: object) -> None:
        raise _Stopped("it declares entities")


class _Work:
    """What is kept of one work.

    Args:
        start: the number of its first line.
        depth: how many elements are around it.
    """

    def __init__(self, start: int, depth: int) -> None:
        self.depth = depth
        self._start = start
        self._dois: list[str] = []
        self._urls: list[str] = []
        self._kept = 0
        self._others = 0
        self._value: list[str] | None = None
        self._mark = ""
        self._code = ""
        self._pending: list[str] = []

    def began(self, path: Sequence[str], attributes: Mapping[str, str]) -> None:
        """An element of it begins, the last of `path`."""
        name = path[-1]
        if name in _NOT_ITS_OWN:
            self._others += 1
        if name in ("style", "span"):  # EndNote: the text of a field is in it
            return
        self._mark = attributes.get(_IF_MARKED[name], "").lower() if name in _IF_MARKED else ""
        if name == "datafield":
            self._code, self._pending = attributes.get("tag", ""), []
        elif name == "ProductIdentifier":
            self._code, self._pending = "", []
        elif name == "subfield":
            self._mark = attributes.get("code", "")
        self._value = [] if self._is_wanted(path) else None

    def _is_wanted(self, path: Sequence[str]) -> bool:
        name = path[-1]
        if self._others:
            return False
        if name in _DOI_NAMES or name in ("ProductIDType", "IDValue", "b221", "b244"):
            return True
        if name in _IF_MARKED:
            return self._mark in ("doi", "")
        if name == "subfield":
            return self._code in ("024", "856")
        return name == "url" and any(place in _URL_PLACES for place in path[-3:])

    def text(self, text: str) -> None:
        """More text of the element that is wanted."""
        if self._value is not None and self._kept <= MAX_KEPT_CHARS:
            self._kept += len(text)
            self._value.append(text)

    def ended(self, path: Sequence[str]) -> None:
        """The last element of `path` ends."""
        name = path[-1]
        if name in _NOT_ITS_OWN:
            self._others -= 1
        if name in ("style", "span"):
            return
        if name in ("datafield", "ProductIdentifier"):
            self._code = ""
        if self._value is not None:
            value = "".join(self._value).strip()
            self._value = None
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        if name == "subfield":
            self._take_marc(value)
        elif name in ("ProductIDType", "b221"):
            self._code = value
        elif name in ("IDValue", "b244"):
            self._dois += [value] if self._code == _ONIX_DOI else []
        elif name == "url":
            self._urls.append(value)
        elif name == "identifier" and not self._mark:  # of Dublin Core: its text says what it is
            self._dois += [value] if value.lower().startswith(("doi", "10.", "https://doi.org/")) else []
        else:
            self._dois.append(value)

    def _take_marc(self, value: str) -> None:
        if self._code == "856":
            self._urls += [value] if self._mark == "u" else []
        elif self._mark == "a":
            self._pending.append(value)
        elif self._mark == "2" and value.lower() == "doi":
            self._dois += self._pending

    def row(self) -> Row:
        """What it gives."""
        if self._kept > MAX_KEPT_CHARS:
            return Row(self._start, "", problem=TOO_MUCH_KEPT)
        doi = doi_or_resolver("; ".join(dict.fromkeys(filter(None, self._dois))), self._urls)
        return row_with(self._start, doi, self._urls)
