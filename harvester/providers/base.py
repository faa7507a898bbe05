"""What a provider of records is."""

from typing import NamedTuple, Protocol

from harvester.core.model import Outcome


class Record(NamedTuple):
    """What a good answer tells.

    Args:
        body: the server's bytes without CR and LF: one JSON object.
        sha256: of the body, in hex.
        outcome: what the record has in it (P4).
        truncated: whether events are missing at the cap; None if that cannot be known (P6).
        landing_urls: URLs that the record gives for the work: Crossref's, then the best open-access location's; none
            where nobody wants them.
        status: the HTTP status.
        elapsed_seconds: from sending to the last byte.
    """

    body: bytes
    sha256: str
    outcome: Outcome
    truncated: bool | None
    landing_urls: tuple[str, ...]
    status: int
    elapsed_seconds: float


class Client(Protocol):
    """What fetching needs of `harvester.providers.paperbuzz`."""

    async def record(self, doi: str) -> Record:
        """One attempt for one DOI."""
        ...

    async def alive(self) -> None:
        """Raise unless the service's status page answers."""
        ...
