"""Fetches one work: attempts, pauses, and the question whether the work or the service is to blame for a failure.

Theory. A work leaves here with a Result, or with a Failure that is its own fault. If the service is down the work stays
here and waits; the attempts it spent meanwhile are given back. Waiting works take turns in probing:

1. the status page, which costs the service nothing;
2. the known good: a DOI that is known to have a record. If it gets its record the service is up, whatever the status
   page says. If it fails, the service is down if the status page fails as well;
3. if the status page answers, the waiting work itself. If it gets its record the service is up, otherwise it is down.
   But where there is no known good yet, a work that fails in `MAX_FAILED_TRIALS` such trials is to blame itself, so
   that a list of nothing but bad DOIs comes to an end.

If the first probe succeeds the service was up all the time: then spent attempts stay spent. If one failed, each work
gets back all attempts that it had spent until then, also a work that slept through the outage.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from random import Random

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import DoiMismatch, GiveUp, Outage, RedirectRefused, Refused, ServiceDown, TryAgain
from harvester.core.model import DueWork, Failure, Stage
from harvester.core.tally import Tally
from harvester.politeness.retry import attempts
from harvester.politeness.service import Service
from harvester.providers.base import Provider, Record
from harvester.records.result import Result

log = logging.getLogger("harvester.fetch")


MAX_FAILED_TRIALS = 3
"""Trials in which a work may fail while there is no known good."""


OWN_FAULT = (DoiMismatch, Refused)
"""Answers that prove the service is up, and that this DOI will get no record."""


@dataclass(slots=True)
class Tries:
    """What a work has spent.

    Args:
        outages: probes that had found the service down before its charged attempts.
        successes: good records of any work before its last attempt was sent.
        made: attempts that were sent.
        charged: those of them that count against it.
        failed_trials: probes in which it failed itself, while there was no known good.
        error: why the last attempt failed.
        spent: whether it has no attempt left, unless a probe finds that the service was down.
    """

    outages: int
    successes: int
    made: int = 0
    charged: int = 0
    failed_trials: int = 0
    error: TryAgain | GiveUp | None = None
    spent: bool = False


class Fetcher:
    """Turns due works into results and failures; shared by all that fetch from one provider.

    Args:
        provider: gives records.
        service: what the provider asks; the run ends if it asks for a longer pause than the patience in its limits.
        tally: retries and bytes are counted here.
        clock: time; its sleep ends when the run does.
        random: spreads the pauses.
        known_good: a DOI that is known to have a record; None if there is none yet.
    """

    def __init__(
        self,
        provider: Provider,
        service: Service,
        *,
        tally: Tally,
        clock: Clock,
        random: Random,
        known_good: str | None = None,
    ) -> None:
        self._provider = provider
        self._limits, self._limiter, self._breaker = service.limits, service.limiter, service.breaker
        self._slots, self._retries = service.slots, service.retries
        self._tally, self._clock, self._random = tally, clock, random
        self._known_good = known_good
        self._turn = asyncio.Lock()

    async def fetch(self, due: DueWork) -> Result | Failure:
        """Ask for one work until it has a record, or fails for good.

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
        """Whether an error is certainly the fault of the work, and not of the service.

        1. A redirect is not certain: a service under maintenance redirects everything.
        2. Any other reason to give up is certain.
        3. Where the last attempt failed, and was not the first, it is certain if others succeeded meanwhile.
        """
        if isinstance(error, RedirectRefused):
            return False
        return isinstance(error, GiveUp) or (tries.charged > 1 and self._breaker.successes > tries.successes)

    async def _ask_again(self, doi: str, tries: Tries, failed: TryAgain) -> Record:
        """Retry after a failed first attempt, as often as the work has attempts left; raise the last error.

        tenacity drives the attempts from the second on, and is told of the first. The first is made outside of it: to
        build the retry object costs as much as a request, and most works need one attempt.
        """
        left = self._limits.max_attempts - tries.charged + 1
        async for attempt in attempts(left, sleep=self._clock.sleep, random=self._random, before_sleep=self._retried):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failed
                return await self._ask(doi, tries)
        raise AssertionError("attempts either return or raise")

    def _retried(self) -> None:
        self._tally.retries += 1

    async def _ask(self, doi: str, tries: Tries) -> Record:
        """Make one attempt, and tell the breaker how it went."""
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
                record = await self._provider.record(doi)
        except OWN_FAULT:
            raise
        except (TryAgain, GiveUp) as error:
            tries.error = error
            log.debug("attempt %d failed: %s", tries.made, error, extra={"doi": doi})
            self._heed(error)
            self._breaker.failed(doi, str(error))
            if self._breaker.is_open:
                tries.spent = isinstance(error, GiveUp) or tries.charged >= self._limits.max_attempts
                raise Outage from error
            raise
        self._breaker.succeeded()
        self._known_good = doi
        return record

    def _outage_since(self, tries: Tries) -> bool:
        """Whether an outage is suspected now, or was found while the work slept."""
        return self._breaker.is_open or self._breaker.outages > tries.outages

    def _heed(self, error: TryAgain | GiveUp) -> None:
        """Let everybody pause if the server asks for it."""
        seconds = error.retry_after if isinstance(error, TryAgain) else None
        if seconds is None:
            return
        if seconds > self._limits.patience:
            raise ServiceDown(
                f"{self._provider.title} asks for a pause of {seconds:,.0f} s, longer than our patience of "
                f"{self._limits.patience:,.0f} s. What was harvested is kept; give the same command again after that."
            )
        self._limiter.pause(seconds)

    async def _outage_over(self, due: DueWork, tries: Tries) -> None:
        """Wait, and probe in turn, until the service is up; give back what the work spent on a real outage."""
        while self._breaker.is_open and tries.failed_trials < MAX_FAILED_TRIALS:
            async with self._turn:
                if self._breaker.is_open:
                    await self._pause_and_probe(due, tries)
        if self._breaker.outages > tries.outages and tries.failed_trials < MAX_FAILED_TRIALS:
            tries.charged, tries.spent = 0, False
        tries.outages = self._breaker.outages

    async def _pause_and_probe(self, due: DueWork, tries: Tries) -> None:
        self._tally.waiting_for = f"{self._provider.title}, without a good answer since {self._breaker.since}"
        try:
            await self._clock.sleep(self._breaker.next_pause())
            if self._breaker.is_open:
                await self._probe(due, tries)
        finally:
            self._tally.waiting_for = ""

    async def _probe(self, due: DueWork, tries: Tries) -> None:
        """Ask the status page, the known good and the work itself, in this order, until the answer is clear."""
        page = await self._failing(self._provider.alive())
        if self._known_good is not None and await self._error_of(self._known_good) is None:
            return
        if page is not None:
            self._breaker.still_down(str(page))
            return
        tries.made += 1
        error = await self._error_of(due.doi)
        if error is None:
            return
        alone = self._known_good is None and (isinstance(error, GiveUp) or error.status == 500)
        if alone or isinstance(error, OWN_FAULT):
            tries.failed_trials += 1
            tries.error = error
        else:
            self._breaker.still_down(str(error))

    async def _error_of(self, doi: str) -> TryAgain | GiveUp | None:
        """None if a DOI gets its record, which proves that the service is up; the error if it does not."""
        error = await self._failing(self._provider.record(doi))
        if error is None:
            self._breaker.succeeded()
            self._known_good = doi
        return error

    async def _failing(self, request: Awaitable[object]) -> TryAgain | GiveUp | None:
        """The error of a request; None if it succeeds."""
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
            comparable=record.comparable,
            place=record.place,
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
