"""Who can tell whether a service is up: DOIs that should get a record, and the status page.

They are asked over connections of their own, so that their answers are theirs.
"""

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable
from math import inf

from harvester.core.clock import Clock
from harvester.core.errors import GiveUp, NoResources, ServiceDown, TryAgain
from harvester.politeness.lack import Lack
from harvester.politeness.retry import asked_pause
from harvester.politeness.service import Service
from harvester.providers.base import Provider

MOST = 3
"""So many good DOIs are remembered: one of them may become bad itself."""


class KnownGood:
    """The quickest of the DOIs that had a record, and one that the service must know.

    Args:
        reference: the latter; it is asked for where no other is known to be good.
        earlier: a DOI that had a record in an earlier run; None if there is none.

    Attributes:
        slowest: a DOI that was answered in less than this, in seconds, is worth being added.
    """

    def __init__(self, reference: str, earlier: str | None = None) -> None:
        self._reference = reference
        self._quick: list[tuple[float, str]] = [] if earlier is None else [(inf, earlier)]
        self._misses = 0
        self.slowest = inf

    def add(self, doi: str, seconds: float) -> None:
        """Remember a DOI that had its record after this time, if it is among the quickest."""
        if any(doi == known for _, known in self._quick):
            return
        insort(self._quick, (seconds, doi))
        del self._quick[MOST:]
        self.slowest = self._quick[-1][0] if len(self._quick) == MOST else inf

    def besides(self, doubted: str) -> str:
        """The one to ask for next, another one after each miss; not the doubted one, unless there is no other."""
        known = [*(doi for _, doi in self._quick), self._reference]
        choice = [doi for doi in known if doi != doubted] or known
        return choice[self._misses % len(choice)]

    def missed(self) -> None:
        """Note that the one asked for last got no record."""
        self._misses += 1

    @property
    def is_proven(self) -> bool:
        """Whether the service ever gave a record, as far as is known."""
        return bool(self._quick)


class Witnesses:
    """Asks those who can tell whether a service is up, and tells its breaker.

    Args:
        provider: gives records.
        service: what the provider asks.
        known_good: DOIs that should get a record.
        lack: waits where this machine can open no connection.
        clock: time; its sleep ends when the run does.
    """

    def __init__(
        self, provider: Provider, service: Service, *, known_good: KnownGood, lack: Lack, clock: Clock
    ) -> None:
        self.known_good = known_good
        self._provider, self._clock, self._lack = provider, clock, lack
        self._breaker, self._limiter, self._limits = service.breaker, service.limiter, service.limits
        self._overload = service.overload
        self._asking = asyncio.Lock()
        self._paused_until = 0.0

    async def confirm_before(self, doubted: str) -> bool:
        """Whether the last that was heard of the service is a record; if not, a known-good DOI is asked for."""
        return not self._breaker.is_in_doubt or await self.confirm(doubted)

    async def confirm(self, doubted: str) -> bool:
        """Whether a known-good DOI gets its record; if not, the breaker opens."""
        problem = await self._error_of_known_good(doubted)
        if problem is not None:
            self._breaker.trip(str(problem))
        return problem is None

    async def is_own_pause(self, doubted: str, seconds: float) -> bool:
        """Whether a pause that the service asked for concerns one DOI alone; if it does not, everybody pauses.

        Args:
            doubted: in answer to which it was asked.
            seconds: how long.

        Raises:
            ServiceDown: the pause is everybody's, and longer than our patience.
        """
        async with self._asking:
            if self._clock.monotonic() < self._paused_until:
                return True  # the answer to a request from before everybody's pause says nothing new
            problem = await self._error_of_known_good(doubted)
            if problem is not None:
                self.pause_all(max(seconds, asked_pause(problem)))
        return problem is None

    async def probe(self, waiting: str) -> bool:
        """Ask the status page, a known-good DOI and a waiting one, in this order, until it is clear whether it is up.

        Returns:
            Whether the waiting one was asked for.

        Raises:
            ServiceDown: it asks for a longer pause than our patience.
        """
        page = await self._error_of(self._provider.alive)
        canary = await self._error_of_known_good(waiting)
        if canary is None:
            return False
        if page is not None:
            self._found_down(str(page), page, canary)
            return False
        own = await self._error_of_record(waiting)
        if own is not None:
            self._found_down(f"the status page answers, but DOIs get no record: {own}", canary, own)
        return True

    def _found_down(self, reason: str, *errors: TryAgain | GiveUp) -> None:
        advice = ""
        if not self.known_good.is_proven:
            advice = (
                f"As far as is known it never gave a record: look at [{self._provider.name}] base_url, and name a DOI "
                "that it knows for certain as reference_doi."
            )
        self._breaker.still_down(reason, advice)
        if seconds := max(map(asked_pause, errors)):
            self.pause_all(seconds)

    def pause_all(self, seconds: float) -> None:
        """Let nobody ask for some seconds.

        Raises:
            ServiceDown: that is longer than our patience.
        """
        patience = self._limits.patience
        if seconds > patience:
            raise ServiceDown(
                f"{self._provider.title} asks for a pause of {seconds:,.0f} s, longer than our patience of "
                f"{patience:,.0f} s. What was harvested is kept, and no DOI was written off for it; give the same "
                "command again after that."
            )
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)
        self._limiter.pause(seconds)

    async def _error_of_known_good(self, doubted: str) -> TryAgain | GiveUp | None:
        error = await self._error_of_record(self.known_good.besides(doubted))
        if error is not None:
            self.known_good.missed()
        return error

    async def _error_of_record(self, doi: str) -> TryAgain | GiveUp | None:
        """None if a DOI gets its record, which proves that the service is up; its error if it does not."""
        error = await self._error_of(lambda: self._provider.record(doi, fresh=True))
        if error is None:
            self._breaker.succeeded()
            self._overload.answered(doi)
        self._overload.failed(doi, error)
        return error

    async def _error_of(self, ask: Callable[[], Awaitable[object]]) -> TryAgain | GiveUp | None:
        """The error of a request; None if it succeeds. What this machine cannot send is sent later."""
        while True:
            try:
                await ask()
            except NoResources as error:
                lacking = error
            except (TryAgain, GiveUp) as error:
                return error
            else:
                return None
            await self._lack.wait(lacking, self._breaker.successes)
