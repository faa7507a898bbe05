"""Whether a service is up, told by its answers together: one work may fail by itself, all works do not.

Theory. A 500 may belong to one DOI for good (P11) and many to an outage (P10), and so may any other error: a gateway in
trouble answers 400 to everything, or one record for all. What tells them apart is success: while others succeed the
service is up, and each failing work spends its own attempts. The breaker opens when `threshold` *different* works
failed in a row, or when a DOI failed that is known to be good. It closes with the next success. After `patience`
without one the run ends.

The breaker decides and remembers; it neither waits nor sends. `harvester.harvest.fetcher` acts on what it says.
"""

import logging

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import ServiceDown

log = logging.getLogger("harvester.breaker")

OUTAGE_THRESHOLD = 5
"""Different works that fail in a row until a service is suspected."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0

SHORTEST_PAUSE_SECONDS = 0.001
"""A shorter rest of the patience is a rounding error; sleeping it would loop."""


class CircuitBreaker:
    """Watches one service.

    Args:
        service: its name, for people.
        clock: measures how long the breaker is open.
        threshold: different keys that fail in a row until it opens.
        patience_seconds: how long it may stay open.
    """

    def __init__(self, service: str, clock: Clock, *, threshold: int, patience_seconds: float) -> None:
        self._service = service
        self._clock = clock
        self._threshold = threshold
        self._patience = patience_seconds
        self._failing: set[str] = set()
        self._opened_at: float | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._reason = self._advice = ""
        self._is_told = False
        self.since = ""
        """When it opened last, as a timestamp."""
        self.successes = 0
        """Successes so far."""
        self.outages = 0
        """Probes so far that found the service down: an open breaker only suspects it, a failed probe shows it."""

    @property
    def is_open(self) -> bool:
        """Whether requests other than probes have to stop."""
        return self._opened_at is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last that was heard of the service is a failure."""
        return bool(self._failing)

    def succeeded(self) -> None:
        """Note a good answer: the service is up."""
        self.successes += 1
        if self._is_told:
            log.warning("%s answers again", self._service)
            self._is_told = False
        if self._failing or self.is_open:
            self._failing.clear()
            self._opened_at = None
            self._pause = FIRST_PAUSE_SECONDS

    def failed(self, key: str, reason: str) -> None:
        """Note an attempt that failed.

        Args:
            key: what was asked for, a DOI for instance; however often one key fails, it counts once.
            reason: for people.
        """
        self._failing.add(key)
        if len(self._failing) >= self._threshold:
            self.trip(reason)

    def trip(self, reason: str, advice: str = "") -> None:
        """Open, if not open already.

        Args:
            reason: for people.
            advice: a sentence on what to do if it stays so.
        """
        self._reason, self._advice = reason, advice
        if self._opened_at is None:
            self._opened_at = self._clock.monotonic()
            self.since = timestamp(self._clock.now())
            log.info("%s may be down (%s); asking it before going on", self._service, reason)

    def still_down(self, reason: str, advice: str = "") -> None:
        """Note a probe that found the service down.

        Args:
            reason: for people.
            advice: a sentence on what to do if it stays so.
        """
        self.outages += 1
        self._reason, self._advice = reason, advice
        if not self._is_told:
            log.warning("%s is down (%s); waiting for it", self._service, reason)
            self._is_told = True

    def next_pause(self, *, at_least: float = 0.0) -> float:
        """Seconds to wait before the next probe; they grow from call to call.

        Args:
            at_least: what the service itself asked for.

        Raises:
            ServiceDown: the patience is over, or will be before the service wants to be asked again.
        """
        down_for = 0.0 if self._opened_at is None else self._clock.monotonic() - self._opened_at
        left = self._patience - down_for
        if left < max(SHORTEST_PAUSE_SECONDS, at_least):
            raise ServiceDown(
                f"{self._service} has given no good answer since {self.since} (last: {self._reason}). Nothing is lost, "
                "and no DOI was written off for it; give the same command again when the service is back."
                + (self._advice and f" {self._advice}")
            )
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return max(at_least, min(pause, left))
