"""What a provider of records is."""

from typing import NamedTuple, Protocol

from harvester.core.model import Outcome
from harvester.records.comparable import Comparable
from harvester.transport.room import Place


class Record(NamedTuple):
    """What a good answer says.

    Args:
        body: the server's bytes: one JSON object. In a small one there is no CR and no LF.
        sha256: of the body without CR and LF, in hex.
        outcome: what the record has in it (P4).
        truncated: whether events are missing at the cap; None if that cannot be known (P6).
        landing_urls: URLs that the record gives for the work: Crossref's, then the best open-access location's; empty
            unless the provider was told to look for them.
        status: the HTTP status.
        elapsed_seconds: from sending to the last byte.
        comparable: what later records are compared with; None unless the provider was told to look for it.
        place: the room that a large body takes, see `harvester.transport.room`.
    """

    body: bytes
    sha256: str
    outcome: Outcome
    truncated: bool | None
    landing_urls: tuple[str, ...]
    status: int
    elapsed_seconds: float
    comparable: Comparable | None = None
    place: Place | None = None


class Provider(Protocol):
    """Gives the record of a DOI.

    `harvester.harvest.fetcher` asks for one work at a time, and for several works at once. It counts attempts, waits
    and tries again; a provider makes one attempt a call and raises what came of it.

    Some services answer for many works in one request, as DataCite and the OPERAS Metrics API do. A provider of these
    works as follows, and whoever calls `record` sees no difference. `works_per_request` says how many works one request
    may carry, and a run has so many works in hand for each request that may be under way. Each call of `record` adds
    its DOI to the request that is being gathered, and waits. The request is sent when it is full, or when no other DOI
    came for a moment. Then each call returns the record of its own DOI, or raises its own error; an error of the
    request as a whole is raised by all of them. The slots of such a service count works, not requests.
    """

    @property
    def name(self) -> str:
        """In figures: `paperbuzz`."""
        ...

    @property
    def title(self) -> str:
        """In sentences: "Paperbuzz"."""
        ...

    @property
    def works_per_request(self) -> int:
        """How many works one request may carry, at least 1."""
        ...

    async def record(self, doi: str, *, fresh: bool = False) -> Record:
        """Make one attempt to get the record of a DOI.

        Args:
            doi: whose record.
            fresh: ask over a connection of its own, so that what comes back can only be the answer to this request.

        Raises:
            TryAgain: the attempt failed in a way that may pass.
            GiveUp: this DOI will get no record.
        """
        ...

    async def alive(self) -> None:
        """Ask whether the service answers, at no cost to it, over a connection of its own.

        Raises:
            TryAgain: it does not answer as it should.
            GiveUp: what answers is not the service.
        """
        ...
