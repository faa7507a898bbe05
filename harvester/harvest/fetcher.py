"""Fetches one work: attempts, pauses, and the question whether the work or the service is to blame for a failure.

Theory. A work leaves here with a Result, or with a Failure that is its own fault. No answer proves by itself whose
fault it is: a gateway in trouble may answer anything to everything, and an answer may belong to another request. So a
work is written off only in a *trial*. This is its last attempt, made over a connection of its own, and

1. before it the service was known to be up: the last that was heard of it is a record, or a known-good DOI gets one;
2. after it, at once, a known-good DOI gets its record.

A known-good DOI is one that had a record before, or the service's reference DOI. If it gets none, the service is
suspected. So it is if many different works fail in a row (`harvester.politeness.breaker`). Then everybody stops, and
the waiting works take turns in probing:

1. the status page, which costs the service nothing;
2. a known-good DOI. If it gets its record the service is up, whatever the status page says. If it fails, the service
   is down if the status page fails as well;
3. if the status page answers, the waiting work itself. If it gets its record the service is up, otherwise it is down.

If the first probe succeeds the service was up all the time: attempts that were spent stay spent. If one failed, each
work gets back all attempts that it had spent until then, also a work that slept through the outage.

The same question is asked of a pause that the server wants (`Retry-After`): it is everybody's unless a known-good DOI
gets its record meanwhile. A refusal (429) counts against no work while other works that were refused get their records
after all (`harvester.politeness.overload`). What this machine lacks (`NoResources`) is nobody's fault: whoever meets it
waits.
"""

import asyncio
import logging
from dataclasses import dataclass
from math import inf
from random import Random

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import GiveUp, NoResources, TryAgain, Unreachable
from harvester.core.model import DueWork, Failure, failed
from harvester.core.tally import Tally
from harvester.harvest.witnesses import KnownGood, Witnesses
from harvester.politeness.lack import Lack
from harvester.politeness.overload import is_refusal
from harvester.politeness.retry import CAP_SECONDS, CONFIRMED, asked_pause, most_attempts, pause_seconds, until_ended
from harvester.politeness.service import Service
from harvester.providers.base import Provider, Record
from harvester.records.result import Result

log = logging.getLogger("harvester.fetch")


@dataclass(slots=True)
class Tries:
    """What a work has spent.

    Args:
        outages: probes that had found the service down before its charged attempts.
        made: attempts that were sent.
        charged: those of them that count against it.
        waited: seconds of pauses that the server asked for, for this work alone.
        error: why the last attempt failed.
        is_to_blame: whether it failed its trial.
    """

    outages: int
    made: int = 0
    charged: int = 0
    waited: float = 0.0
    error: TryAgain | GiveUp | None = None
    is_to_blame: bool = False


class Fetcher:
    """Turns due works into results and failures; shared by all that fetch from one provider.

    Args:
        provider: gives records.
        service: what the provider asks; the run ends if it asks for a longer pause than the patience in its limits.
        tally: retries and bytes are counted here.
        clock: time; its sleep ends when the run does.
        random: spreads the pauses.
        known_good: DOIs by which is told whether the service is up.
    """

    def __init__(
        self,
        provider: Provider,
        service: Service,
        *,
        tally: Tally,
        clock: Clock,
        random: Random,
        known_good: KnownGood,
    ) -> None:
        self._provider = provider
        self._limits, self._breaker = service.limits, service.breaker
        self._slots, self._retries, self._overload = service.slots, service.retries, service.overload
        self._tally, self._clock, self._random = tally, clock, random
        self._lack = Lack(clock, random, service.limits.patience)
        self._known_good = known_good
        self._witnesses = Witnesses(provider, service, known_good=known_good, lack=self._lack, clock=clock)
        self._is_one_enough = service.limits.max_attempts == 1
        self._turn = asyncio.Lock()
        self._resting = 0

    async def fetch(self, due: DueWork) -> Result | Failure:
        """Ask for one work until it has a record, or fails for good.

        Raises:
            Stopped: the run ends early; the work stays due.
            StopRun: a reason to end the run.
        """
        tries = Tries(self._breaker.outages)
        ended = await self._try(due, tries)
        if ended is not None:  # as most do; to build the retry object costs as much as a request
            return ended
        await self._rest(due, tries)
        return await until_ended(lambda: self._rest(due, tries))(self._try, due, tries)

    async def _try(self, due: DueWork, tries: Tries) -> Result | Failure | None:
        """One attempt; None if it did not end the work."""
        record = await self._attempt(due.doi, tries)
        if record is not None:
            return self._result(due, record, tries)
        return self._failure(due, tries) if tries.is_to_blame else None

    async def _rest(self, due: DueWork, tries: Tries) -> None:
        """Wait until the next attempt: for the end of an outage, or for a pause."""
        if self._outage_since(tries):
            await self._outage_over(due, tries)
        else:
            await self._pause(due.doi, tries)

    async def _attempt(self, doi: str, tries: Tries) -> Record | None:
        """Make one attempt, if the service is not suspected; None if it brought no record, `tries` say why."""
        # One more attempt after an answer that sounds final is not kept back: there is no second one, and a list of
        # many bad DOIs would take for ever.
        is_retry = tries.made > 0 and not isinstance(tries.error, GiveUp)
        if is_retry:
            await self._retries.retry()
        async with self._slots:
            is_trial = self._is_one_enough or (tries.made > 0 and tries.charged + 1 >= self._most(tries))
            if self._outage_since(tries) or (is_trial and not await self._witnesses.confirm_before(doi)):
                if is_retry:
                    self._retries.take_back()
                return None
            if tries.made:
                self._tally.retries += 1
            else:
                self._retries.request()
            tries.made += 1
            tries.charged += 1
            try:
                record = await self._provider.record(doi, fresh=is_trial and tries.made > 1)
            except (TryAgain, GiveUp) as error:
                tries.error = error
            else:
                self._breaker.succeeded()
                self._overload.answered(doi)
                if record.elapsed_seconds < self._known_good.slowest:
                    self._known_good.add(doi, record.elapsed_seconds)
                return record
            # Out here, where no error is being handled for as long as this takes.
            await self._judge(doi, tries, is_trial=is_trial)
        return None

    def _outage_since(self, tries: Tries) -> bool:
        """Whether an outage is suspected now, or was found while the work slept."""
        return self._breaker.is_open or self._breaker.outages > tries.outages

    def _most(self, tries: Tries) -> int:
        """How many attempts a work has, as far as is known after the last of them."""
        return CONFIRMED if self._is_impatient(tries) else most_attempts(tries.error, self._limits.max_attempts)

    def _is_impatient(self, tries: Tries) -> bool:
        """Whether the server asks for a longer pause for one work alone than we are ready to wait."""
        return tries.waited > self._limits.patience

    async def _judge(self, doi: str, tries: Tries, *, is_trial: bool) -> None:
        """Find out what a failed attempt is about: the work, the service, a connection or this machine."""
        error = tries.error
        if isinstance(error, NoResources):
            tries.made -= 1
            tries.charged -= 1
            await self._lack.wait(error, self._breaker.successes)
            return
        log.debug("attempt %d failed: %s", tries.made, error, extra={"doi": doi})
        self._breaker.failed(doi, str(error))
        self._overload.failed(doi, error)
        if self._breaker.is_open:  # the probes find out the rest
            return
        seconds = asked_pause(error)
        if is_refusal(error) and self._overload.concerns_all:
            tries.charged = 0
            self._witnesses.pause_all(seconds)
            return
        if seconds and await self._witnesses.is_own_pause(doi, seconds):
            tries.waited += seconds
        if is_trial and tries.charged >= self._most(tries) and await self._witnesses.confirm(doi):
            tries.is_to_blame = not isinstance(error, Unreachable)
            tries.charged = 0

    async def _pause(self, doi: str, tries: Tries) -> None:
        """Wait before the next attempt of a work.

        A long pause is kept only by as many works as may be asked for at a time: they take up places of others.
        """
        asked = asked_pause(tries.error)
        is_long = asked > CAP_SECONDS and not self._is_impatient(tries)
        if is_long and self._resting >= self._limits.concurrency:
            tries.waited, is_long = inf, False
        if is_long:
            log.info("asked to wait %.0f s for this DOI alone; the others go on", asked, extra={"doi": doi})
        seconds = pause_seconds(
            tries.error, max(1, tries.charged or tries.made), self._random, heeds_server=not self._is_impatient(tries)
        )
        self._resting += is_long
        try:
            await self._clock.sleep(seconds)
        finally:
            self._resting -= is_long

    async def _outage_over(self, due: DueWork, tries: Tries) -> None:
        """Wait, and probe in turn, until the service is up; give back what the work spent on a real outage."""
        while self._breaker.is_open:
            async with self._turn:
                if self._breaker.is_open:
                    await self._pause_and_probe(due, tries)
        if self._breaker.outages > tries.outages:
            tries.charged, tries.waited = 0, 0.0
        tries.outages = self._breaker.outages

    async def _pause_and_probe(self, due: DueWork, tries: Tries) -> None:
        self._tally.waiting_for = f"{self._provider.title}, without a good answer since {self._breaker.since}"
        try:
            await self._clock.sleep(self._breaker.next_pause())
            if self._breaker.is_open:
                tries.made += await self._witnesses.probe(due.doi)
        finally:
            self._tally.waiting_for = ""

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

    def _failure(self, due: DueWork, tries: Tries) -> Failure:
        error = tries.error
        assert error is not None  # noqa: S101 - it is to blame for one
        message = str(error)
        if self._is_impatient(tries):
            asked = f"; for this DOI it asks for a pause of {asked_pause(error):,.0f} s, "
            message += asked + (
                "longer than we wait for one" if tries.waited < inf else "and too many DOIs wait already"
            )
        return failed(due, error, timestamp(self._clock.now()), attempts=tries.made, message=message)
