"""One work until it has an outcome: attempts, pauses, and the question whether it or the service is to blame.

Theory. A work leaves here with a Result or with a Failure that is its own fault. If the service is down the work stays
here and waits; the attempts it spent meanwhile are given back. Waiting works take turns in probing:

1. the status page, which costs the service nothing;
2. a DOI known to be good, which tells a service that is up from one that only looks so, and one that is down from one
   whose status page alone is;
3. if the status page answers and the good DOI fails, the waiting work itself. Where no DOI is known to be good yet, a
   work that fails by itself in `MAX_FAILED_TRIALS` such trials counts as its own fault, so that a list of nothing but
   bad DOIs comes to an end.

Where the first probe succeeds the service was up all the time: then spent attempts stay spent. Where one failed, all
attempts that any work had spent until then are given back to it, also to works that slept through the outage.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import DoiMismatch, GiveUp, Outage, RedirectRefused, Refused, ServiceDown, TryAgain
from harvester.core.model import DueWork, Failure, Result, Stage
from harvester.core.tally import Tally
from harvester.politeness.breaker import CircuitBreaker
from harvester.politeness.retry import RetryBudget, attempts
from harvester.providers.base import Client, Record

log = logging.getLogger("harvester.fetch")


MAX_FAILED_TRIALS = 3
"""Trials in which a DOI may fail while no DOI is known to be good."""


OWN_FAULT = (DoiMismatch, Refused)
"""Answers that prove the service is up, and that this DOI will get no record."""


@dataclass(slots=True)
class Tries:
    """What a work has spent.

    Args:
        outages: proofs of an outage before its charged attempts.
        successes: good records of any work when its last attempt was sent.
        made: attempts that were sent.
        charged: those of them that count against it.
        strikes: failed trials while no DOI was known to be good.
        error: why the last attempt failed.
        spent: whether that error is the last word, unless the service proves to have been down.
    """

    outages: int
    successes: int
    made: int = 0
    charged: int = 0
    failed_trials: int = 0
    error: TryAgain | GiveUp | None = None
    spent: bool = False


class Fetcher:
    """Turns due works into outcomes; shared by all that fetch from one service.

    Args:
        client: asks Paperbuzz.
        breaker: tells an outage.
        max_attempts: attempts for a work.
        patience_seconds: the longest pause the server may ask for before the run ends instead.
        pause: makes everybody wait, in seconds: `Budget.pause`.
        tally: retries and bytes are counted here.
        places: for as many requests as may be under way; entered for each.
        retries: keeps retries to a share of all requests.
        clock: time; its sleep ends when the run does.
        random: spreads the pauses.
        canary: a DOI that is known to have a record, if there is one.
    """

    def __init__(
        self,
        client: Client,
        breaker: CircuitBreaker,
        *,
        max_attempts: int,
        patience_seconds: float,
        pause: Callable[[float], None],
        tally: Tally,
        slots: AbstractAsyncContextManager[None],
        retries: RetryBudget,
        clock: Clock,
        random: Random,
        known_good: str | None = None,
    ) -> None:
        self._client, self._breaker = client, breaker
        self._max_attempts, self._patience, self._pause = max_attempts, patience_seconds, pause
        self._tally, self._slots, self._retries = tally, slots, retries
        self._clock, self._random = clock, random
        self._known_good = known_good
        self._turn = asyncio.Lock()

    async def outcome(self, due: DueWork) -> Result | Failure:
        """Ask for one work until it has an outcome.

        Raises:
            Stopped: the run ends early; the work stays due.
            StopRun: a reason to end the run.
        """
        tries = Tries(self._breaker.outages, self._breaker.successes)
        while True:
            try:
                failed = None
                try:
                    record = await self._ask(due.doi, tries)
                except TryAgain as error:
                    failed = error
                if failed is not None:  # out here, where no error is being handled for as long as the pauses take
                    record = await self._ask_again(due.doi, tries, failed)
                return self._result(due, record, tries)
            except (TryAgain, GiveUp) as error:
                if self._own_fault(tries, error):
                    return self._failure(due, tries, error)
                tries.spent = True
                self._breaker.trip(str(error))
            except Outage:
                pass
            await self._outage_over(due, tries)
            if tries.error and (tries.spent or tries.failed_trials >= MAX_FAILED_TRIALS):
                return self._failure(due, tries, tries.error)

    def _own_fault(self, tries: Tries, error: TryAgain | GiveUp) -> bool:
        """Whether an error is the work's own beyond doubt.

        1. A redirect never is: a service under maintenance redirects everything, and it is not tried again in between.
        2. Any other reason to give up is.
        3. Where others succeed while a last attempt fails that was not the first, the service is up.
        """
        if isinstance(error, RedirectRefused):
            return False
        return isinstance(error, GiveUp) or (tries.charged > 1 and self._breaker.successes > tries.successes)

    async def _ask_again(self, doi: str, tries: Tries, failed: TryAgain) -> Record:
        """Attempts after one that failed, with pauses, up to what the work has left; raises the last one's error.

        They are tenacity's, which is told of the first one too. It does not make that one, for it costs as much as a
        request, and all but few works need no other attempt.
        """
        left = self._max_attempts - tries.charged + 1
        async for attempt in attempts(left, sleep=self._clock.sleep, random=self._random, before_sleep=self._retried):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failed
                return await self._ask(doi, tries)
        raise AssertionError("attempts either return or raise")

    def _retried(self) -> None:
        self._tally.retries += 1

    async def _ask(self, doi: str, tries: Tries) -> Record:
        """One attempt; what it says about the service goes to the breaker."""
        if tries.made:
            await self._retries.retry()
        try:
            async with self._slots:
                if self._outage_since(tries):
                    if tries.made:
                        self._retries.take_back()
                    raise Outage
                if not tries.made:
                    self._retries.request()
                tries.made += 1
                tries.charged += 1
                tries.successes = self._breaker.successes
                record = await self._client.record(doi)
        except OWN_FAULT:
            raise
        except (TryAgain, GiveUp) as error:
            tries.error = error
            log.debug("attempt %d failed: %s", tries.made, error, extra={"doi": doi})
            self._heed(error)
            self._breaker.failed(doi, str(error))
            if self._breaker.is_open:
                tries.spent = isinstance(error, GiveUp) or tries.charged >= self._max_attempts
                raise Outage from error
            raise
        self._breaker.succeeded()
        self._known_good = doi
        return record

    def _outage_since(self, tries: Tries) -> bool:
        """Whether an outage is suspected now, or was proven while the work slept."""
        return self._breaker.is_open or self._breaker.outages > tries.outages

    def _heed(self, error: TryAgain | GiveUp) -> None:
        """Let everybody pause if the server asks for it."""
        seconds = error.retry_after if isinstance(error, TryAgain) else None
        if seconds is None:
            return
        if seconds > self._patience:
            raise ServiceDown(
                f"Paperbuzz asks for a pause of {seconds:,.0f} s, longer than our patience of {self._patience:,.0f} s. "
                "What was harvested is kept; give the same command again after that."
            )
        self._pause(seconds)

    async def _outage_over(self, due: DueWork, tries: Tries) -> None:
        """Wait, and probe in turn, until the service is up; what was spent on a real outage is given back."""
        while self._breaker.is_open and tries.failed_trials < MAX_FAILED_TRIALS:
            async with self._turn:
                if self._breaker.is_open:
                    await self._pause_and_probe(due, tries)
        if self._breaker.outages > tries.outages and tries.failed_trials < MAX_FAILED_TRIALS:
            tries.charged, tries.spent = 0, False
        tries.outages = self._breaker.outages

    async def _pause_and_probe(self, due: DueWork, tries: Tries) -> None:
        self._tally.waiting_for = f"Paperbuzz, without a good answer since {self._breaker.since}"
        try:
            await self._clock.sleep(self._breaker.next_pause())
            if self._breaker.is_open:
                await self._probe(due, tries)
        finally:
            self._tally.waiting_for = ""

    async def _probe(self, due: DueWork, tries: Tries) -> None:
        """Ask the status page, a good DOI and the work itself, in this order, as far as it takes."""
        page = await self._failing(self._client.alive())
        if self._known_good is not None and await self._is_good(self._known_good) is None:
            return
        if page is not None:
            self._breaker.still_down(str(page))
            return
        tries.made += 1
        error = await self._is_good(due.doi)
        if error is None:
            return
        alone = self._known_good is None and (isinstance(error, GiveUp) or error.status == 500)
        if alone or isinstance(error, OWN_FAULT):
            tries.failed_trials += 1
            tries.error = error
        else:
            self._breaker.still_down(str(error))

    async def _is_good(self, doi: str) -> TryAgain | GiveUp | None:
        """Whether a DOI gets its record, which proves the service up; the error if it does not."""
        error = await self._failing(self._client.record(doi))
        if error is None:
            self._breaker.succeeded()
            self._known_good = doi
        return error

    async def _failing(self, request: Awaitable[object]) -> TryAgain | GiveUp | None:
        try:
            await request
        except (TryAgain, GiveUp) as error:
            self._heed(error)
            return error
        return None

    def _result(self, due: DueWork, record: Record, tries: Tries) -> Result:
        self._tally.bytes += len(record.body)
        return Result(
            doi=due.doi,
            outcome=record.outcome,
            harvested_at=timestamp(self._clock.now()),
            http_status=record.status,
            attempts=tries.made,
            elapsed_ms=round(record.elapsed_seconds * 1000),
            truncated=record.truncated,
            changed=None,
            paperbuzz=record.body,
            sha256=record.sha256,
            landing_urls=record.landing_urls,
        )

    def _failure(self, due: DueWork, tries: Tries, error: TryAgain | GiveUp) -> Failure:
        return Failure(
            doi=due.doi,
            input=due.doi,
            origin=due.origin,
            kind=error.kind,
            http_status=error.status,
            attempts=tries.made,
            message=str(error),
            failed_at=timestamp(self._clock.now()),
            stage=Stage.FETCH,
        )
