"""Where the DOI and the URLs of one work are in the JSON of the services that people use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from harvester.lists.cells import doi_in_note, holds_dois, looks_like_doi
from harvester.lists.rows import Row, doi_or_resolver, row_with

DOI_KEYS: Final = ("doi", "dois", "prism:doi", "doiid_s", "fulldoi", "doiurl", "raw")
"""Keys of a DOI, in small letters: of most services; Scopus; HAL; Thoth; and what `harvester registered` prints."""

INSIDE: Final = ("externalids", "ids", "attributes", "message", "data", "item_id")
"""Objects in an entry that may hold its DOI: Semantic Scholar, OpenAlex, DataCite, Crossref, Zotero, COUNTER 5.1."""

IDENTIFIERS: Final = ("uri", "external_ids", "external-ids", "external-id", "identifiers", "item_id")
"""Lists of identifiers of several kinds: OPERAS' translator, Lens, ORCID, COUNTER 5."""

NOTES: Final = ("extra", "note")
"""Texts with a line `DOI: …`: Zotero's Extra, and what CSL-JSON makes of it."""

URL_KEYS: Final = ("url", "urls", "landing_page", "landing_page_url", "landingpage", "title_url")

_KIND_KEYS = ("type", "external-id-type", "identifiertype", "scheme")
_VALUE_KEYS = ("value", "external-id-value", "identifier", "id", "uri")


class JsonKeys(NamedTuple):
    """The keys that the user named, in any case.

    Args:
        doi: of the DOI, or the path to it, `response.docs.doiId_s`; None for those that are known.
        url: of the URLs; None for the usual ones.
    """

    doi: str | None = None
    url: str | None = None

    def path(self) -> tuple[str, ...]:
        """The path of keys to the DOI, in small letters; empty if the user named none."""
        return tuple(self.doi.lower().split(".")) if self.doi else ()

    def of_urls(self) -> tuple[str, ...]:
        """The keys of the URLs, in small letters."""
        return (self.url.lower(),) if self.url else URL_KEYS

    def wanted(self) -> frozenset[str]:
        """The keys of all members that are looked at, in small letters."""
        named = (self.doi.lower(), *self.path()) if self.doi else (*DOI_KEYS, *IDENTIFIERS, *NOTES)
        return frozenset((*named, *self.of_urls()))


def row_of(number: int, entry: Mapping[str, object], keys: JsonKeys) -> Row:
    """The row of an object."""
    members = _lower(entry)
    addresses = [url for key in keys.of_urls() for url in _strings(members.get(key))]
    found = _named(members, keys) if keys.doi else _known(members, addresses)
    if found is None:
        text = doi_or_resolver("", addresses)
    elif isinstance(found, str):
        text = doi_or_resolver(found, addresses)
    else:
        return Row(number, shown(found), problem="the DOI is not a string")
    return row_with(number, text, addresses)


def has_doi(entry: object, keys: JsonKeys) -> bool:
    """Whether an entry holds a DOI."""
    if isinstance(entry, str):
        return looks_like_doi(entry) and holds_dois(entry)
    return isinstance(entry, dict) and row_of(0, entry, keys).text is not None


def shown(value: object) -> str:
    """A value that is no DOI, for a message. A list or an object may be nested deeply."""
    return "[…]" if isinstance(value, list) else "{…}" if isinstance(value, dict) else str(value)


def _named(members: Mapping[str, object], keys: JsonKeys) -> object:
    """What the user's key or path leads to. The path may begin above the entry."""
    whole = members.get((keys.doi or "").lower())
    path = keys.path()
    for start in range(len(path)) if whole is None else ():
        value: object = members
        for key in path[start:]:
            value = _lower(value).get(key) if isinstance(value, dict) else None
        if value is not None:
            return _joined(value)
    return _joined(whole)


def _known(members: Mapping[str, object], addresses: list[str]) -> object:
    """What stands where services keep the DOI; further URLs are added to `addresses`."""
    for key in DOI_KEYS:
        if (found := _joined(members.get(key))) is not None:
            return found
    for key in INSIDE:
        inner = members.get(key)
        if isinstance(inner, dict):
            within = _lower(inner)
            addresses += [url for name in URL_KEYS for url in _strings(within.get(name))]
            found = next((found for name in DOI_KEYS[:2] if (found := _joined(within.get(name))) is not None), None)
            found = found or _in_note(within)
            if found is not None:
                return found
    for key in IDENTIFIERS:
        if found := _among(members.get(key), addresses):
            return found
    return _in_note(members)


def _joined(value: object) -> object:
    """The DOIs in a value, as one text: of a list or a column with several, all of them; None if there is nothing."""
    if isinstance(value, dict):  # a column, as pandas writes it
        value = list(value.values()) if all(name.isdecimal() for name in value) else value
    if isinstance(value, list) and all(item is None or isinstance(item, str) for item in value):
        return "; ".join(filter(None, value)) or None
    return value


def _among(value: object, addresses: list[str]) -> str | None:
    """The DOI in a list of identifiers; None if there is none."""
    if isinstance(value, dict):
        return _among(next(iter(value.values()), None), addresses) if len(value) == 1 else None
    found = None
    for item in value if isinstance(value, list) else ():
        members = _lower(item) if isinstance(item, dict) else {}
        kinds = [str(members.get(key, "")).lower() for key in _KIND_KEYS]
        values = [text for key in _VALUE_KEYS for text in _strings(members.get(key))]
        for text in values:
            if found is None and ("doi" in kinds or text.lower().startswith("info:doi")):
                found = text
            elif text.startswith(("https://", "http://")):
                addresses.append(text)
    return found


def _in_note(members: Mapping[str, object]) -> str | None:
    """The DOI in a line `DOI: …` of a note; None if there is none."""
    for key in NOTES:
        note = members.get(key)
        if isinstance(note, str) and (found := doi_in_note(note)):
            return found
    return None


def _lower(members: Mapping[str, object]) -> Mapping[str, object]:
    return {name.lower(): value for name, value in reversed(list(members.items()))}


def _strings(value: object) -> list[str]:
    """The strings in a value: the value itself, or the items of a list."""
    values: Sequence[object] = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def lists_in(
    document: Mapping[str, object], depth: int, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, list[object]]]:
    """The lists in an object, and in objects inside it, with their paths.

    Args:
        document: the object.
        depth: how many objects inside each other are looked into.
        path: of the object.
    """
    for name, value in document.items():
        if isinstance(value, list):
            yield ".".join((*path, name)), value
        elif isinstance(value, dict) and depth:
            yield from lists_in(value, depth - 1, (*path, name))
