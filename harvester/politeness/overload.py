"""Whether a service is limiting everybody just now, though it answers some: told by refusals that were overcome.

Theory. A 429 may be about one DOI, or about us all. A limiter that lets half of the requests through answers a
known-good DOI as well, so that does not tell them apart. What does is this: a DOI that is refused for itself is refused
each time, and one that met a limiter has its record later. So while DOIs that were refused have their records after
all, no refusal counts against a DOI.
"""

from collections import OrderedDict

from harvester.core.clock import Clock
from harvester.core.errors import ServerBusy

TOO_MANY_REQUESTS = 429

REMEMBERED_SECONDS = 600.0
"""So long after the last refusal that was overcome the service is still thought to limit everybody."""

MOST = 10_000
"""So many refused DOIs are remembered: as many as may be in hand, and some more."""


class Overload:
    """Refusals of one service (429).

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._until = 0.0

    @property
    def concerns_all(self) -> bool:
        """Whether the service limits everybody, as far as is known."""
        return self._clock.monotonic() < self._until

    def answered(self, doi: str) -> None:
        """Note that a DOI got its record."""
        if doi in self._refused:
            del self._refused[doi]
            self._until = self._clock.monotonic() + REMEMBERED_SECONDS

    def failed(self, doi: str, error: Exception | None) -> None:
        """Note an attempt that failed, if the service refused it."""
        if is_refusal(error):
            self._refused[doi] = None
            while len(self._refused) > MOST:
                self._refused.popitem(last=False)


def is_refusal(error: Exception | None) -> bool:
    """Whether an error says that there were too many requests (RFC 6585, section 4)."""
    return isinstance(error, ServerBusy) and error.status == TOO_MANY_REQUESTS
