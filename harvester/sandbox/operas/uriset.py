"""What OPERAS stores, and how a batch changes it (wire facts O4, O6, O7, O12, O14).

A batch is one transaction, with one exception: a DOI with a prefix that the server has never seen makes it commit in
the middle. Then everything before is stored, and this DOI itself, but without its URLs and with an empty prefix. If
a later entry fails, the rest of the batch is lost, what was committed stays, and the prefix stays empty for good.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from harvester.sandbox.operas.urlrules import doi_accepted, url_accepted


class Rejected(Exception):
    """The batch is refused with this status and text. What was committed before stays."""

    def __init__(self, status: int, text: str | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class RegisteredDoi:
    """One registered DOI.

    Args:
        number: its key in the server's table.
        raw: the DOI as it was sent, in the same case.
        urls: that belong to it, without slashes at their ends.
        owners: e-mail addresses of the accounts that sent it.
        prefix: of the DOI; None if a failure left it empty.
        last_checked: ISO timestamp, or None.
    """

    number: int
    raw: str
    urls: tuple[str, ...] = ()
    owners: frozenset[str] = frozenset()
    prefix: str | None = None
    last_checked: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The row as the API shows it."""
        return {"urls": list(self.urls), "last_checked": self.last_checked, "raw": self.raw}


@dataclass
class Holdings:
    """The tables of the server: everything that is registered.

    Args:
        rows: registered DOIs by DOI, case-sensitively.
        url_owner: the DOI that each URL belongs to, over all accounts.
        prefixes: DOI prefixes that the server knows.
    """

    rows: dict[str, RegisteredDoi] = field(default_factory=dict)
    url_owner: dict[str, str] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)

    def of(self, account: str) -> list[RegisteredDoi]:
        """The DOIs of one account, in the order of the table."""
        return [row for row in list(self.rows.values()) if account in row.owners]

    def post(self, batch: object, account: str) -> int:
        """Carry out a POST of this JSON value. Returns the number of entries.

        Raises:
            Rejected: the server refuses the batch. A part of it may have been stored.
        """
        entries = list(_entries(batch))
        change = _Change(self, account)
        for entry in entries:
            change.take(entry)
        change.commit()
        return len(entries)

    def unknown(self, names: frozenset[str]) -> frozenset[str]:
        """Those of these DOIs and prefixes that are not stored yet."""
        return names - self.rows.keys() - self.prefixes


def names_in(batch: object) -> frozenset[str]:
    """The DOIs and prefixes of a batch. If one is new, two batches at once compete for its unique key (O5)."""
    if not isinstance(batch, list):
        return frozenset()
    dois = [entry.get("doi") for entry in batch if isinstance(entry, dict)]
    names = {doi for doi in dois if isinstance(doi, str)}
    return frozenset(names | {_prefix(doi) for doi in names})


def _entries(batch: object) -> Iterator[object]:
    """The entries as `for entry in batch` gives them in the server."""
    if not batch:
        raise Rejected(400, "DOI list not found in request JSON.")
    if isinstance(batch, list | dict | str):
        # An object gives its keys, a text its characters. Both fail at the first one, because it is a text.
        return iter(batch)
    raise Rejected(500)


class _Change:
    """One transaction. Changes wait here until they are committed."""

    def __init__(self, holdings: Holdings, account: str) -> None:
        self._holdings = holdings
        self._account = account
        self._rows: dict[str, RegisteredDoi] = {}
        self._urls: dict[str, str] = {}

    def take(self, entry: object) -> None:
        if not isinstance(entry, dict):
            raise Rejected(500)
        if "doi" not in entry:
            raise Rejected(400, 'Identifier "doi" is required for each entry.')
        doi = entry["doi"]
        if not doi_accepted(doi):
            raise Rejected(500)
        self._row(str(doi))
        for url in _urls_of(entry):
            self._attach(str(doi), url)

    def _row(self, doi: str) -> None:
        row = self._rows.get(doi) or self._holdings.rows.get(doi)
        if row is not None:
            self._rows[doi] = replace(row, owners=row.owners | {self._account})
            return
        number = len(self._holdings.rows) + len(self._rows) + 1
        row = RegisteredDoi(number, doi, owners=frozenset({self._account}))
        self._rows[doi] = row
        prefix = _prefix(doi)
        if prefix not in self._holdings.prefixes:
            self._holdings.prefixes.add(prefix)
            self.commit()
        self._rows[doi] = replace(row, prefix=prefix)

    def _attach(self, doi: str, url: object) -> None:
        text = url.rstrip("/") if isinstance(url, str) else url
        if not isinstance(text, str) or not url_accepted(url):
            raise Rejected(500)
        if text in self._urls or text in self._holdings.url_owner:
            return
        self._urls[text] = doi
        self._rows[doi] = replace(self._rows[doi], urls=(*self._rows[doi].urls, text))

    def commit(self) -> None:
        self._holdings.rows.update(self._rows)
        self._holdings.url_owner.update(self._urls)
        self._rows, self._urls = {}, {}


def _urls_of(entry: Mapping[str, object]) -> Iterator[object]:
    """The URLs, as a loop in Python meets them: an object gives its keys, a text its characters, null fails."""
    urls = entry.get("url", [])
    if isinstance(urls, list | dict | str):
        return iter(urls)
    raise Rejected(500)


def _prefix(doi: str) -> str:
    return doi.partition("/")[0]
