"""Registration: works go from the ledger's outbox to OPERAS in batches, one at a time.

Theory. Registering can be repeated without harm (O7) and cannot be undone, so it is done at least once. An entry leaves
the outbox only when OPERAS acknowledged its batch, or refused the entry when it was sent alone. Three things may go
wrong with a batch:

- The application itself refuses it. One bad entry is enough for that (O4), and a race may do it to a good batch (O5).
  The batch is sent once more unchanged, then bisected until the bad entries are sent alone (`bisect`).
- It takes too long, by our clock or by that of a gateway (504). It may be stored or not (O13). It is sent again
  unchanged; if that takes too long as well, batches are smaller for the rest of the run (O3).
- Nobody answers, or a gateway does with anything else (O10). That is an outage: wait, and send it again unchanged.
  After `patience` the entries stay in the outbox for another run; the harvest is not affected.

A server that answers 500 to everything looks as if it refused every entry, and a rejection is for good. So an entry
that was refused alone is a suspect, and not rejected yet. First OPERAS has to accept a DOI that it accepted before
(`known_good`), then it has to refuse the entry once more. That is two POSTs for each bad entry; the bound of `bisect`
leaves room for them. If OPERAS never accepted anything, the suspects wait until it accepts another entry. If it does
not, that is an outage like any other, and nothing is rejected.

A batch that fails may leave DOIs with a prefix that OPERAS had not seen stored without their URLs (O12). That needs no
care: a part of the batch that is sent again brings them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import GiveUp, MachineExhausted, NoResources, ServiceDown, Stopped, TimedOut, TryAgain
from harvester.core.model import Failure, PendingRegistration
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.core.text.sanitize import safe_line
from harvester.core.urls.clean import clean_url
from harvester.core.urls.landing import IN_WORDS, LandingPages, without_credentials
from harvester.operas.bisect import bisect
from harvester.operas.rejection import rejection
from harvester.operas.responses import BatchRefused
from harvester.operas.validation import doi_refusal
from harvester.politeness.breaker import CircuitBreaker

log = logging.getLogger("harvester.registrar")


LINGER_SECONDS = 30.0
"""How long entries wait for their batch to fill while the harvest goes on."""


GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
"""Statuses by which a server or a gateway says that OPERAS took too long (O10)."""


SMALLEST_FOR_TIME = 10
"""Slow batches are not made smaller than this: ten entries take 0.06 s (O3), so their number is not why it is slow."""


KNOWN_GOOD_TRIED = 5
"""How many DOIs of the account's list are tried if OPERAS accepted nothing in this run yet. One might be odd itself."""


class Outbox(Protocol):
    """What the registrar needs of `harvester.harvest.registration.StoredOutbox`."""

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        """The first entries that wait."""
        ...

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> int:
        """Take entries out, durably; returns how many stay in, because they were given more URLs meanwhile."""
        ...


class Client(Protocol):
    """What the registrar needs of `harvester.operas.client`."""

    async def register(self, entries: Sequence[PendingRegistration]) -> None:
        """Post one batch, once."""
        ...

    async def held(self, limit: int) -> list[str]:
        """Some DOIs that OPERAS holds for the account; empty if it holds none."""
        ...


MOST_SUSPECTS = 10
"""So many entries may be refused while OPERAS has accepted nothing yet; then it is asked no further ones."""


NOTHING_ACCEPTED = "As far as this run knows it never accepted anything of your account; ask OPERAS if that stays so."

FREE_SOME = "Close other programs or raise the limit (ulimit -n), then give the same command again."


class _TooSlow(Exception):
    """A batch timed out twice; the next ones are smaller."""


class Registrar:
    """Empties the outbox.

    Args:
        outbox: where entries wait.
        client: posts them.
        batch_size: entries in a batch, at most.
        breaker: measures how long OPERAS has been down.
        stop: ends the run early: a POST in flight is awaited and settled, and no other is begun.
        tally: registered and rejected works are counted here.
        clock: time; its sleep ends when the run stops.
        pages: tells which URLs are landing pages; others are not sent. Those of lists were looked at before, those that
            records give were not, nor those that an earlier version left in the outbox.
    """

    def __init__(
        self,
        outbox: Outbox,
        client: Client,
        *,
        batch_size: int,
        breaker: CircuitBreaker,
        stop: Stop,
        tally: Tally,
        clock: Clock,
        pages: LandingPages | None = None,
    ) -> None:
        self._outbox, self._client, self._size = outbox, client, batch_size
        self._breaker, self._stop, self._tally, self._clock = breaker, stop, tally, clock
        self._pages = pages or LandingPages()
        self._known_good: str | None = None
        self._suspects: deque[PendingRegistration] = deque()
        self._refused: set[str] = set()
        self._refusal: GiveUp = BatchRefused("")
        self._waiting_since: float | None = None

    async def run(self, harvested: asyncio.Event, arrived: asyncio.Event) -> None:
        """Register what waits and what still comes, until the harvest is over and the outbox empty, or the run stops.

        Args:
            harvested: set when nothing more will come.
            arrived: set by whoever puts entries into the outbox and counts them in the tally.

        Raises:
            ServiceDown: OPERAS stayed down for longer than our patience.
            CredentialsRefused, Misconfigured: OPERAS rejects the account or the address.
        """
        try:
            while not self._stop.requested:
                # Both before the outbox is looked at: what arrives after that sets the event again, and if the harvest
                # was over before, an empty outbox stays empty.
                arrived.clear()
                is_last = harvested.is_set()
                if not (is_last or self._is_due(self._tally.registration_pending - len(self._suspects))):
                    await self._wait_for_more(harvested, arrived)
                    continue
                entries = await self._waiting()
                self._waiting_since = None
                if entries:
                    await self._register(entries)
                elif is_last and self._suspects:
                    await self._settle_suspects()
                elif is_last:
                    return
                else:
                    await self._wait_for_more(harvested, arrived)
        except Stopped:
            pass

    async def _waiting(self) -> list[PendingRegistration]:
        """The next batch, without the suspects."""
        suspects = {entry.work_id for entry in self._suspects}
        waiting = await self._outbox.waiting(self._size + len(suspects))
        return [entry for entry in waiting if entry.work_id not in suspects][: self._size]

    def _is_due(self, waiting: int) -> bool:
        """Whether to send now: a full batch is sent at once, a smaller one when its entries have waited long enough."""
        now = self._clock.monotonic()
        if waiting and self._waiting_since is None:
            self._waiting_since = now
        lingered = self._waiting_since is not None and now - self._waiting_since >= LINGER_SECONDS
        return lingered or waiting >= self._size

    async def _wait_for_more(self, harvested: asyncio.Event, arrived: asyncio.Event) -> None:
        """Wait until more entries arrive, those that wait are due, the harvest is over, or the run stops."""
        waits = [asyncio.ensure_future(each.wait()) for each in (arrived, harvested, self._stop)]
        if self._waiting_since is not None:
            left = self._waiting_since + LINGER_SECONDS - self._clock.monotonic()
            waits.append(asyncio.ensure_future(self._clock.sleep(left)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        for wait in done:
            wait.result()  # the sleep raises Stopped if the run stops

    async def _register(self, entries: Sequence[PendingRegistration]) -> None:
        unfit = [(entry, reason, None) for entry in entries if (reason := doi_refusal(entry.doi))]
        await self._reject(unfit)
        try:
            fit = [self._with_clean_urls(entry) for entry in entries if not doi_refusal(entry.doi)]
            await self._send_all(fit)
            if self._known_good is not None:
                await self._settle_suspects()
        except _TooSlow:  # what was not settled is still in the outbox and comes again, in smaller batches
            log.warning("OPERAS is too slow for batches of this size; smaller ones from here on: %d", self._size)

    async def _send_all(self, entries: Sequence[PendingRegistration]) -> None:
        if not entries:
            return
        batches = bisect(entries)
        send = next(batches)
        while True:
            accepted = await self._post(send.entries)
            if accepted:
                await self._acknowledge(send.entries)
            elif send.final and len(send.entries) == 1:
                await self._suspect(send.entries[0])
            try:
                send = batches.send(accepted)
            except StopIteration:
                return

    async def _post(self, entries: Sequence[PendingRegistration]) -> bool:
        """Send one batch until the application itself answers; returns whether it was accepted.

        Raises:
            _TooSlow: it timed out twice, and may be made smaller.
            ServiceDown: OPERAS stayed down for longer than our patience.
            Stopped: the run stops.
        """
        timeouts = 0
        while True:
            self._raise_if_stopped()
            try:
                await self._client.register(entries)
            except BatchRefused as refusal:
                self._refusal = refusal
                return False
            except (TryAgain, GiveUp) as error:
                timeouts += isinstance(error, TimedOut) or error.status in GATEWAY_TIMEOUTS
                if timeouts > 1 and len(entries) > SMALLEST_FOR_TIME:
                    self._size = min(self._size, max(SMALLEST_FOR_TIME, len(entries) // 2))
                    raise _TooSlow from error
                await self._wait(error)
            else:
                self._breaker.succeeded()
                self._known_good = entries[0].doi
                return True

    async def _suspect(self, entry: PendingRegistration) -> None:
        """Note that an entry was refused when it was sent alone."""
        self._suspects.append(entry)
        if self._known_good is not None or len(self._suspects) >= MOST_SUSPECTS:
            await self._settle_suspects()

    async def _settle_suspects(self) -> None:
        """Send the suspects once more when OPERAS is known to work, and reject those that are refused again."""
        while self._suspects:
            entry = self._suspects[0]
            problem = await self._service_problem()
            if problem is not None:
                await self._wait(problem)
                if self._known_good is not None:
                    continue
            accepted = await self._post([entry])
            self._suspects.popleft()
            if accepted:
                await self._acknowledge([entry])
            elif problem is None:
                await self._reject_refused(entry)
            else:
                self._suspects.append(entry)  # nothing is known to be good: it is the turn of the next one

    async def _service_problem(self) -> TryAgain | GiveUp | None:
        """Try whether OPERAS works, with a known-good DOI. Returns the error, None if it was accepted.

        If OPERAS never accepted anything, no such DOI is known, and it may be out of order.
        """
        problem: TryAgain | GiveUp | None = self._refusal
        try:
            for doi in await self._known_good_dois():
                self._raise_if_stopped()
                problem = await self._post_known_good(doi)
                if problem is None:
                    self._known_good = doi
                    break
        except (TryAgain, GiveUp) as error:
            problem = error
        if problem is None:
            self._breaker.succeeded()
        return problem

    async def _known_good_dois(self) -> list[str]:
        """DOIs that should be accepted: one that this run saw accepted, else some that the account holds.

        Refused DOIs are left out of the latter: a DOI with a new prefix may be stored although it was refused (O12).
        """
        if self._known_good is not None:
            return [self._known_good]
        excluded = {*(entry.doi for entry in self._suspects), *self._refused}
        held = await self._client.held(KNOWN_GOOD_TRIED + len(excluded))
        return [doi for doi in held if doi not in excluded][:KNOWN_GOOD_TRIED]

    async def _post_known_good(self, doi: str) -> BatchRefused | None:
        """Register a DOI again, which is harmless (O7); returns the refusal, None if it was accepted."""
        try:
            await self._client.register([PendingRegistration(0, doi)])
        except BatchRefused as refusal:
            return refusal
        return None

    async def _wait(self, reason: TryAgain | GiveUp) -> None:
        """Pause in an outage. Each pause is longer than the one before.

        Raises:
            ServiceDown: OPERAS stayed down for longer than our patience.
            MachineExhausted: this machine could open no connection for as long.
        """
        self._breaker.trip(str(reason), "" if self._known_good else NOTHING_ACCEPTED)
        log.debug("registration waits for OPERAS: %s", reason)
        asked = reason.retry_after if isinstance(reason, TryAgain) else None
        try:
            pause = self._breaker.next_pause(at_least=asked or 0.0)
        except ServiceDown as down:
            if isinstance(reason, NoResources):
                raise MachineExhausted(f"{reason}. {FREE_SOME} Nothing is lost, and no entry was rejected.") from down
            raise
        await self._clock.sleep(pause)

    def _raise_if_stopped(self) -> None:
        if self._stop.requested:
            raise Stopped

    async def _acknowledge(self, entries: Sequence[PendingRegistration]) -> None:
        settled = len(entries) - await self._outbox.settle(entries, [])
        self._tally.registered += settled
        self._tally.registration_pending -= settled

    async def _reject_refused(self, entry: PendingRegistration) -> None:
        self._refused.add(entry.doi)
        await self._reject([(entry, str(self._refusal), self._refusal.status)])

    async def _reject(self, refused: Sequence[tuple[PendingRegistration, str, int | None]]) -> None:
        if not refused:
            return
        now = timestamp(self._clock.now())
        failures = [(entry, rejection(entry, reason, status, now)) for entry, reason, status in refused]
        await self._outbox.settle([], failures)
        self._tally.rejected += len(failures)
        self._tally.registration_pending -= len(failures)

    def _with_clean_urls(self, entry: PendingRegistration) -> PendingRegistration:
        """The entry with its landing pages, in a form that OPERAS takes (O4). Other URLs are left out and logged."""
        urls = []
        for url in entry.urls:
            cleaned = clean_url(url)
            reason = self._pages.why_left_out(url, entry.doi)
            if cleaned is not None and reason is not None:
                shown = safe_line(without_credentials(url), 200)
                log.info("not registered, because %s: %s", IN_WORDS[reason], shown, extra={"doi": entry.doi})
            elif cleaned is None:
                shown = safe_line(url, 200)
                log.warning("OPERAS takes no URL such as %s; left out", shown, extra={"doi": entry.doi})
            else:
                urls.append(cleaned)
        return replace(entry, urls=tuple(dict.fromkeys(urls)))
