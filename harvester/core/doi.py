"""The DOI name: found in a text, brought into its canonical form, and encoded for the path of a URL.

The canonical form is the bare name in NFC and ASCII lower case: DOI names are compared without regard to the case of
ASCII letters only (ISO 26324; DOI Handbook, 2.4). Nothing is guessed: a text is either one whole DOI, written in one of
the ways in which people write it, or refused with a reason. `docs/dois.md` lists these ways, and where libraries differ
from us.

Theory. We peel off what stands around a name, in rounds, until nothing changes. So a canonical name, which has nothing
around it, is its own canonical form. Nobody writes many layers around a name, and a text may have one for each of its
characters, so the number of rounds is limited. We remove percent-encoding once, between two peelings. Decoding twice
would turn one DOI into another, so a name that still looks encoded afterwards, or that could still be peeled, is
refused.
"""

import re
import unicodedata
from html import unescape
from itertools import groupby
from urllib.parse import quote, unquote, unquote_to_bytes

from harvester.core.errors import InvalidDoi
from harvester.core.text.sanitize import printable

MAX_BYTES = 1_000
"""The greatest length of a canonical DOI in UTF-8. The longest of 775,221 real ones has 98 characters. Each byte may
take three in a request line, which may have 4,094 (P11)."""

MAX_TEXT = 8_000
"""The greatest length of a text in characters: enough for the longest DOI, encoded twice, in an address."""

MAX_LAYERS = 16
"""How many rounds of peeling a text may need. In 775,221 real lines, and in the cases of 20 libraries, at most 3."""

MAX_COMBINING = 30
"""How many combining characters may follow each other, as in the Stream-Safe Text Format (Unicode, UAX 15). To compose
longer runs takes quadratic time, and a DOI has none that remain."""

_PLAIN = re.compile(r"10\.[0-9]{4,9}/[A-Za-z0-9._/()-]*[A-Za-z0-9]\Z")
"""The form of 99 in 100 DOIs. There is nothing to peel off."""

_DOI = re.compile(r"10\.(?:[0-9]{4,9}(?:\.[0-9]+)*/(?=.*\w)|97[89]\.[0-9]{2,8}/(?=[0-9]{1,7}\Z)).+\Z", re.DOTALL)
"""A registrant of four to nine digits, perhaps subdivided, and a suffix with a letter or digit in it; or an ISBN-A."""

_GLUED = re.compile(r"(?<!/)10\.[0-9]{4,9}/")
"""Another DOI inside a suffix. After a slash it is part of the name, as in the real `10.1097/10.1097/01.naj…`."""

_LABEL = re.compile(
    r"(?:info:(?:(?:doi|hdl)/|doi:)|urn:doi:|hdl:(?=10\.)|(?:digital\s+object\s+identifier|doi)(?:\s*[:=：]\s*|\s+|(?=10\.)))",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:(https?):/+|//)?([^/?#\s@]+)/+(.*)\Z", re.IGNORECASE | re.DOTALL)
_RESOLVER = re.compile(
    r"(?:(?:www\.)?(?:dx\.)?doi\.org|hdl\.handle\.net|(?:www\.)?oadoi\.org|doi\.pangaea\.de|n2t\.net"
    r"|(?:0-)?(?:www[.-])?(?:dx[.-])?doi[.-]org[.-][a-z0-9.-]+)(?::[0-9]+)?\Z",
    re.IGNORECASE,
)
"""doi.org, its other names, resolvers that take a DOI as their whole path, and what library proxies make of doi.org
(`doi-org.proxy.example`, `0-doi-org.library.example`)."""

_RESOLVED = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)", re.IGNORECASE)
"""What a service may write before a DOI."""

_PROXIED = re.compile(r"https?://[^?#\s]+\?(?:[^#\s]*&)?q?url=(https?(?::|%3A)\S+)", re.IGNORECASE)
"""The other form of library proxies: `https://proxy.example/login?url=https://doi.org/…`."""

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});|&[lg]t\Z")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_DOT_SEGMENT = re.compile(r"/\.\.?(?:/|\Z)")

_ADDRESS_TAILS = (
    ".pdf", "/pdf", "/epdf", "/abstract", "/full", "/fulltext", "/full-text", "/full.pdf", "/full/html", "/meta",
    "/epub", "/references", "/citation", "/download",
)  # fmt: skip
_MARKUP = re.compile(r"</|<[a-z][a-z0-9]*(?:/?>|\Z)")
"""A tag. In a SICI, a digit and `::` follow the `<`."""
_LITERAL_ESCAPE = re.compile(r"\\[nrt](?:[^a-z0-9]|\Z)")
_TRACKER = re.compile(
    r"[?&;](?:utm_[a-z]+|gclid|fbclid|mkt_tok|casa_token|needaccess|download|via)=|#sthash\.|;jsessionid="
)
_REMARK = re.compile(r"[,|](?=[^,|/()<>\[\]]*\Z)|;(?=[a-z]{3}[^;/()<>\[\]]*\Z)|;(?=(?:19|20)[0-9]{2}\Z)")
"""A last part behind a delimiter. Behind a semicolon only a word or a year: `10.1089/ct.2015;27.272-274` is real."""

_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_QUOTES = "\"'`´“”„‘’‚«»‹›"
_AROUND = " \t\r\n\f\v\u00a0\u3000" + _QUOTES + "•|"
_TRAILING = _AROUND + ",;:?!…、。，；/"
_BULLET = re.compile(r"[-*–]\s+")
_EXCEL_RETURN = "_x000d_"
"""A carriage return at the end of a cell, as spreadsheets write it."""


def parse_doi(text: str) -> str:
    """The canonical form of the DOI that a text consists of.

    Args:
        text: a cell, a line or a field. Labels, resolver addresses, percent-encoding, HTML entities, zero-width
            characters, quotes and the punctuation of a sentence around the name are removed.

    Raises:
        InvalidDoi: the text is no DOI, or not only a DOI; the message says why.
    """
    return _plain(text) or _parse_closely(text)


def plain_doi(text: str) -> str | None:
    """The canonical form of a text that is a bare DOI of the usual form and not doubtful; None to look more closely."""
    doi = _plain(text)
    return None if doi is None or doi.endswith(_ADDRESS_TAILS) else doi


def doi_path(doi: str) -> str:
    """The DOI percent-encoded for the path of a URL.

    Slashes stay as they are, unless a segment between them is `.` or `..`. Clients and proxies would collapse those,
    and the server understands `%2F` as well (measured).
    """
    return quote(doi, safe="" if _DOT_SEGMENT.search(doi) else "/:;()")


def is_same_doi(told: str, doi: str) -> bool:
    """Whether the name that a service gives a work is its DOI.

    Letter case does not count, beyond ASCII neither: services write names in lower or in upper case. The name may be
    an address of doi.org. Nothing else is forgiven; `parse_doi` would forgive too much.

    Args:
        told: the text of the service, of any length.
        doi: a canonical DOI.
    """
    if told == doi:
        return True
    if len(told) > MAX_TEXT:
        return False
    prefix = _RESOLVED.match(told)
    name = unquote(told[prefix.end() :]) if prefix else told
    # The upper case of ß is SS, and the lower case of that is not ß.
    return name.lower() == doi.lower() or name == doi.upper()


def lost_end(text: str, doi: str) -> str:
    """The full stop or the slash that parsing removed from the end of a text; empty if there was none.

    It may be part of the name, so users are told.
    """
    end = text.rstrip(_AROUND)[-1:]
    return end if end in (".", "/") and not doi.endswith(end) else ""


def why_doubtful(doi: str) -> str | None:
    """Why a canonical DOI from a list is more probably a name with something glued to it; None if it is not.

    A wrong name would be registered for ever, so a list should not give one. `docs/dois.md` has the counts from real
    lists. A name that is known already, from a ledger or an output, needs no such judgement.
    """
    if doi.endswith(_ADDRESS_TAILS):
        tail = next(tail for tail in _ADDRESS_TAILS if doi.endswith(tail))
        return f"it ends in {tail}, which belongs to an address and not to a DOI"
    if _PLAIN.match(doi):
        return None
    if _MARKUP.search(doi):
        return "markup is glued to it"
    if _LITERAL_ESCAPE.search(doi):
        return "an escaped line end or tab is glued to it"
    if _TRACKER.search(doi):
        return "the tail of an address is glued to it"
    return "a remark seems to be glued to it by a delimiter" if _REMARK.search(doi) else None


def _plain(text: str) -> str | None:
    is_plain = _PLAIN.match(text) and len(text) <= MAX_BYTES and text.find("10.", 3) < 0
    return text.lower() if is_plain else None


def _parse_closely(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvalidDoi(f"longer than any DOI: {printable(text, 60)}")
    name = _peeled(text)
    if _ESCAPE.search(name):
        name = _peeled(_decoded(name, text))
    name = _ascii_lower(name)
    if not _DOI.match(name):
        raise InvalidDoi(_why_not(name, text))
    _refuse(name, text)
    return name


def _peeled(text: str) -> str:
    """Peel off whatever stands around the name.

    Raises:
        InvalidDoi: that would take too many rounds.
    """
    whole = text
    text = _composed(text)
    for _ in range(MAX_LAYERS):
        before = text
        text = _unescaped(text).strip(_AROUND)
        text = _without_address(_without_label(text))
        text = _without_brackets(_without_end(text))
        if text == before:
            return text
    raise InvalidDoi(f"not a DOI, or with too much around it: {printable(whole.strip(), 120)}")


def _unescaped(text: str) -> str:
    """Resolve HTML entities."""
    return _composed(_ENTITY.sub(lambda match: unescape(match[0]), text)) if "&" in text else text


def _composed(text: str) -> str:
    """Remove zero-width characters and compose (NFC), so that what looks alike is alike.

    A soft hyphen stays, and is refused later: nobody can tell whether the name has a hyphen there (in real lists: never
    where the text has one).
    """
    if text.isascii():
        return text
    visible = [char for char in text if char == "\xad" or unicodedata.category(char) != "Cf"]
    runs = groupby(visible, key=lambda char: unicodedata.combining(char) > 0)
    if any(len(list(run)) > MAX_COMBINING for is_combining, run in runs if is_combining):
        raise InvalidDoi(f"white space, a control or a combining character in a DOI: {printable(text.strip(), 120)}")
    return unicodedata.normalize("NFC", "".join(visible))


def _without_label(text: str) -> str:
    bullet = _BULLET.match(text)
    text = text[bullet.end() :] if bullet else text
    label = _LABEL.match(text)
    return text[label.end() :] if label else text


def _without_address(text: str) -> str:
    """Remove the address of a resolver, with query and fragment.

    A `#` at the very end of a SICI stays: it is the check character, not an empty fragment.
    """
    proxied = _PROXIED.match(text)
    if proxied:
        text = _composed(unquote(proxied[1])) if "%3a" in proxied[1][:9].lower() else proxied[1]
    address = _ADDRESS.match(text)
    if not address or not _RESOLVER.match(address[2]):
        return text.lstrip("/")
    path = address[3]
    return path if path.endswith("-#") else re.split(r"[?#]", path, maxsplit=1)[0]


def _without_end(text: str) -> str:
    """Remove the punctuation that a sentence, a table or a quoted list leaves at the end of a name.

    One full stop belongs to the sentence, several belong to the name. Of 775,221 names in real lists, 128 end in one
    full stop, and 93 of these are in the lists without it too; six end in two or three, and all six are real.
    """
    if text[-len(_EXCEL_RETURN) :].lower() == _EXCEL_RETURN:
        text = text[: -len(_EXCEL_RETURN)]
    text = text.rstrip(_TRAILING)
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _without_brackets(text: str) -> str:
    """Remove closing brackets that were never opened, and a pair of brackets around the whole."""
    opening = _PAIRS.get(text[-1:])
    if opening is None:
        return text
    closing = text[-1]
    spare = text.count(closing) - text.count(opening)
    if spare > 0:
        run = len(text) - len(text.rstrip(closing))
        return text[: -min(spare, run)]
    return text[1:-1] if text.startswith(opening) else text


def _decoded(name: str, text: str) -> str:
    """Decode percent-encoding once. A `%` that begins no escape stays."""
    try:
        return unquote_to_bytes(name).decode("utf-8")
    except UnicodeError:
        raise InvalidDoi(f"its percent-encoding is no UTF-8: {printable(text, 120)}") from None


def _ascii_lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(char.lower() if char.isascii() else char for char in text)


def _why_not(name: str, text: str) -> str:
    """Why a text is not a DOI, for the message."""
    shown = printable(text.strip(), 120)
    if re.match(r"10/\w", name) or re.match(r"\s*(?:https?://)?(?:www\.)?doi\.org/\w+\s*\Z", text, re.IGNORECASE):
        return f"a short DOI, which stands for another one: {shown}. Look up the full DOI at doi.org"
    if re.match(r"https?:/", name):
        return f"a web address, but not one of doi.org: {shown}"
    if re.search(r"10\.\d", name):
        return f"not a DOI, though something like one is in it: {shown}"
    return f"not a DOI: {shown}"


def _refuse(name: str, text: str) -> None:
    """Refuse what no DOI contains, and what Paperbuzz would delete, so that it would answer for another DOI (P2)."""
    shown = printable(text.strip(), 120)
    if len(name.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidDoi(f"longer than {MAX_BYTES:,} bytes: {printable(text, 60)}")
    if "://" in name or _GLUED.search(name, 3) or re.search(r"[\"'][,;|][\"']", name):
        raise InvalidDoi(f"more than one DOI, or a DOI with something else: {shown}")
    if "\ufffd" in name:
        raise InvalidDoi(f"damaged text (a replacement character) in a DOI: {shown}")
    if "\xad" in name:
        raise InvalidDoi(f"a soft hyphen in a DOI, which may stand for a hyphen or for nothing: {shown}")
    for char in name:
        if (char <= " " or char >= "\x7f") and unicodedata.category(char)[0] in "CMZ":
            raise InvalidDoi(f"white space, a control or a combining character in a DOI: {shown}")
    if _ESCAPE.search(name) or _ascii_lower(_peeled(name)) != name:
        raise InvalidDoi(f"encoded more than once: {shown}")
