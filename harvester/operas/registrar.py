"""Registration: committed works go from the ledger's outbox to OPERAS in batches, one in flight.

Theory. Registering is harmless to repeat (O7) and impossible to undo, so that it is done at least once: an entry
leaves the outbox only when OPERAS acknowledged its batch, or refused it standing alone. Three things may happen to a
batch:

- It is refused by the application itself. One bad entry does that to all (O4), and a race may do it to a good batch
  (O5): it is sent once more unchanged, then halved until the bad entries stand alone (`bisect`).
- It takes too long. It may be stored or not (O13): it is sent again unchanged, then smaller ones are made for the rest
  of the run (O3).
- Nobody answers, or a gateway does (O10). That is an outage: wait, and send again unchanged. After `patience` the rows
  stay in the outbox for another run; the harvest is not affected.

A server that answers 500 to everything looks as if it refused everything, and a rejection is for good. So before an
entry that is refused standing alone is rejected, OPERAS has to take something that it took before (the *proof*), and
then refuse the entry once more. That is two POSTs a bad entry, which the bound of `bisect` leaves room for.

A prefix that OPERAS has not seen goes first, alone and without URLs: were it part of a batch that fails, it would stay
stored without its URLs for good (O12).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from harvester.core.clock import Clock, timestamp
from harvester.core.errors import GiveUp, Stopped, TimedOut, TryAgain
from harvester.core.model import Failure, PendingRegistration, Stage
from harvester.core.sanitize import printable, redacted
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.operas.bisect import bisect
from harvester.operas.responses import BatchRefused
from harvester.operas.validation import clean_url, doi_refusal
from harvester.politeness.breaker import CircuitBreaker

log = logging.getLogger("harvester.registrar")


LINGER_SECONDS = 30.0
"""How long entries wait for a batch to fill while the harvest goes on."""


SMALLEST_FOR_TIME = 10
"""Batches are not made smaller than this for being slow: ten entries take 0.06 s (O3), so size is not the reason."""


PROOFS = 5
"""DOIs of the account's list that are tried where this run has seen nothing accepted yet: any of them may be odd."""


class Outbox(Protocol):
    """What the registrar needs of `harvester.storage.store`."""

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        """The first entries that wait."""
        ...

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> None:
        """Take entries out, durably."""
        ...

    async def known_prefixes(self) -> set[str]:
        """Prefixes that OPERAS has seen."""
        ...

    async def prefix_known(self, prefix: str) -> None:
        """Remember one more."""
        ...


class Client(Protocol):
    """What the registrar needs of `harvester.operas.client`."""

    async def register(self, entries: Sequence[PendingRegistration]) -> None:
        """Post one batch, once."""
        ...

    async def held(self, limit: int) -> list[str]:
        """Some DOIs that OPERAS holds for the account, if there are any."""
        ...


ATTEMPTS_ALONE = 2
"""How often an entry is sent standing alone before it is rejected."""


class _TooSlow(Exception):
    """A batch timed out twice; the next ones are smaller."""


class Registrar:
    """Empties the outbox.

    Args:
        outbox: where entries wait.
        client: posts them.
        batch_size: entries a batch.
        breaker: measures how long OPERAS has been down.
        stop: the wish to end early; a POST in flight is awaited and settled, and no other begun.
        tally: registered and rejected works are counted here.
        clock: time; its sleep ends when the run does.
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
    ) -> None:
        self._outbox, self._client, self._size = outbox, client, batch_size
        self._breaker, self._stop, self._tally, self._clock = breaker, stop, tally, clock
        self._prefixes: set[str] = set()
        self._proof: str | None = None
        self._refused: set[str] = set()
        self._refusal: GiveUp = BatchRefused("")
        self._waiting_since: float | None = None

    async def run(self, harvested: asyncio.Event, arrived: asyncio.Event) -> None:
        """Register what waits and what still comes, until the harvest is over and the outbox empty, or until the stop.

        Args:
            harvested: set when nothing more will come.
            arrived: set by whoever puts entries into the outbox and counts them in the tally.

        Raises:
            ServiceDown: OPERAS stayed down for longer than our patience.
            CredentialsRefused, Misconfigured: OPERAS does not let us in.
        """
        self._prefixes = await self._outbox.known_prefixes()
        try:
            while not self._stop.requested:
                arrived.clear()
                is_last = harvested.is_set()
                if not (is_last or self._is_due(self._tally.registration_pending)):
                    await self._wait_for_more(harvested, arrived)
                    continue
                entries = await self._outbox.waiting(self._size)
                self._waiting_since = None
                if entries:
                    await self._register(entries)
                elif is_last:
                    return
                else:
                    await self._wait_for_more(harvested, arrived)
        except Stopped:
            pass

    def _is_due(self, waiting: int) -> bool:
        """Whether so many entries make a batch: a full one at once, another when it has waited long enough."""
        now = self._clock.monotonic()
        if waiting and self._waiting_since is None:
            self._waiting_since = now
        lingered = self._waiting_since is not None and now - self._waiting_since >= LINGER_SECONDS
        return lingered or waiting >= self._size

    async def _wait_for_more(self, harvested: asyncio.Event, arrived: asyncio.Event) -> None:
        """Wait until more arrives, what is there has lingered long enough, the harvest is over, or the run stops."""
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
            wait.result()

    async def _register(self, entries: Sequence[PendingRegistration]) -> None:
        unfit = [(entry, reason, None) for entry in entries if (reason := doi_refusal(entry.doi))]
        await self._reject(unfit)
        try:
            fit = [self._cleaned(entry) for entry in entries if not doi_refusal(entry.doi)]
            await self._send_all(await self._introduced(fit))
        except _TooSlow:
            log.warning("OPERAS is too slow for batches of this size; smaller ones from here on: %d", self._size)

    async def _introduced(self, entries: Sequence[PendingRegistration]) -> list[PendingRegistration]:
        """Let OPERAS see prefixes that are new to it (O12); returns the entries that are left to be sent."""
        left = []
        for entry in entries:
            prefix = entry.doi.partition("/")[0]
            if prefix not in self._prefixes:
                bare = replace(entry, urls=())
                if not (await self._post([bare]) or await self._confirmed(bare)):
                    await self._reject_refused(entry)
                    continue
                await self._outbox.prefix_known(prefix)
                self._prefixes.add(prefix)
            left.append(entry)
        return left

    async def _send_all(self, entries: Sequence[PendingRegistration]) -> None:
        if not entries:
            return
        course = bisect(entries)
        send = next(course)
        while True:
            accepted = await self._post(send.entries)
            stands_alone = send.final and len(send.entries) == 1
            if not accepted and stands_alone:
                accepted = await self._confirmed(send.entries[0])
            if accepted:
                await self._acknowledge(send.entries)
            elif stands_alone:
                await self._reject_refused(send.entries[0])
            try:
                send = course.send(accepted)
            except StopIteration:
                return

    async def _post(self, entries: Sequence[PendingRegistration]) -> bool:
        """Send one batch until the application itself answers; returns whether it was accepted."""
        timeouts = 0
        while True:
            self._heed_stop()
            try:
                await self._client.register(entries)
            except BatchRefused as refusal:
                self._refusal = refusal
                return False
            except (TryAgain, GiveUp) as error:
                timeouts += isinstance(error, TimedOut)
                if timeouts > 1 and len(entries) > SMALLEST_FOR_TIME:
                    self._size = min(self._size, max(SMALLEST_FOR_TIME, len(entries) // 2))
                    raise _TooSlow from error
                await self._wait(error)
            else:
                self._breaker.succeeded()
                self._proof = entries[0].doi
                return True

    async def _confirmed(self, entry: PendingRegistration) -> bool:
        """Send a refused entry once more, now to an OPERAS that is known to work."""
        while trouble := await self._service_problem(entry):
            await self._wait(trouble)
        return await self._post([entry])

    async def _service_problem(self, suspect: PendingRegistration) -> TryAgain | GiveUp | None:
        """Why OPERAS cannot be said to work; None if it takes a proof.

        Where nothing was ever accepted there is no proof to be had. An entry that is refused twice with a pause between
        counts as bad, so that a list of nothing but bad entries comes to an end; but the pauses grow with each of them,
        so that an OPERAS out of order gets us to the end of our patience and not to that of the list.
        """
        trouble: TryAgain | GiveUp | None = None
        try:
            proofs = await self._proofs(suspect)
            if not proofs:
                await self._wait(self._refusal)
                return None
            for doi in proofs:
                self._heed_stop()
                trouble = await self._refusal_of(doi)
                if trouble is None:
                    self._proof = doi
                    break
        except (TryAgain, GiveUp) as error:
            trouble = error
        if trouble is None:
            self._breaker.succeeded()
        return trouble

    async def _proofs(self, suspect: PendingRegistration) -> list[str]:
        """DOIs to try: what this run saw accepted, else some of what the account holds.

        A refused DOI may be among the latter, as a new prefix is stored even so (O12); it proves nothing.
        """
        if self._proof is not None:
            return [self._proof]
        doubtful = {suspect.doi, *self._refused}
        held = await self._client.held(PROOFS + len(doubtful))
        return [doi for doi in held if doi not in doubtful][:PROOFS]

    async def _refusal_of(self, doi: str) -> BatchRefused | None:
        try:
            await self._client.register([PendingRegistration(0, doi)])
        except BatchRefused as refusal:
            return refusal
        return None

    async def _wait(self, reason: TryAgain | GiveUp) -> None:
        """Pause in an outage; the pauses grow.

        Raises:
            ServiceDown: the patience is over.
        """
        self._breaker.trip(str(reason))
        log.debug("registration waits for OPERAS: %s", reason)
        asked = reason.retry_after if isinstance(reason, TryAgain) else None
        await self._clock.sleep(self._breaker.next_pause(at_least=asked or 0.0))

    def _heed_stop(self) -> None:
        if self._stop.requested:
            raise Stopped

    async def _acknowledge(self, entries: Sequence[PendingRegistration]) -> None:
        await self._outbox.settle(entries, [])
        self._tally.registered += len(entries)
        self._tally.registration_pending -= len(entries)

    async def _reject_refused(self, entry: PendingRegistration) -> None:
        self._refused.add(entry.doi)
        await self._reject([(entry, str(self._refusal), self._refusal.status)])

    async def _reject(self, refused: Sequence[tuple[PendingRegistration, str, int | None]]) -> None:
        if not refused:
            return
        now = timestamp(self._clock.now())
        failures = [
            (
                entry,
                Failure(
                    doi=entry.doi,
                    input=entry.doi,
                    origin=entry.origin,
                    kind=BatchRefused.kind,
                    http_status=status,
                    attempts=0 if status is None else ATTEMPTS_ALONE,
                    message=reason,
                    failed_at=now,
                    stage=Stage.REGISTER,
                ),
            )
            for entry, reason, status in refused
        ]
        await self._outbox.settle([], failures)
        self._tally.rejected += len(failures)
        self._tally.registration_pending -= len(failures)

    def _cleaned(self, entry: PendingRegistration) -> PendingRegistration:
        """The entry with its URLs as OPERAS takes them; one that cannot be made so is left out with a notice (O4)."""
        urls = []
        for url in entry.urls:
            cleaned = clean_url(url)
            if cleaned is None:
                shown = printable(redacted(url), 200)
                log.warning("OPERAS takes no URL such as %s; left out", shown, extra={"doi": entry.doi})
            else:
                urls.append(cleaned)
        return replace(entry, urls=tuple(dict.fromkeys(urls)))
