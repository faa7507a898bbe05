"""Registration: committed works go from the ledger's outbox to OPERAS in batches, one in flight.

Theory. Registering is harmless to repeat (O7) and impossible to undo, so that it is done at least once: an entry leaves
the outbox only when OPERAS acknowledged its batch, or refused it standing alone. Three things may happen to a batch:

- It is refused by the application itself. One bad entry does that to all (O4), and a race may do it to a good batch (O5):
  it is sent once more unchanged, then halved until the bad entries stand alone (`halving`).
- It takes too long. It may be stored or not (O13): it is sent again unchanged, then smaller ones are made for the rest of
  the run (O3).
- Nobody answers, or a gateway does (O10). That is an outage: wait, and send again unchanged. After `patience` the rows
  stay in the outbox for another run; the harvest is not affected.

A prefix that OPERAS has not seen goes first, alone and without URLs: were it part of a batch that fails, it would stay
stored without its URLs for good (O12).
"""

import asyncio
import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harvester.breaker import Breaker
from harvester.clock import Clock, Stop, timestamp
from harvester.errors import GiveUp, Stopped, TimedOut, TryAgain
from harvester.operas import BatchRefused, clean_url, doi_refusal
from harvester.outcome import Entry, Failure, Stage
from harvester.report import Tally

log = logging.getLogger("harvester.registrar")

LINGER_SECONDS = 30.0
"""How long entries wait for a batch to fill while the harvest goes on."""

LOOK_SECONDS = 1.0
"""How often the outbox is looked at meanwhile."""


class Outbox(Protocol):
    """What the registrar needs of `harvester.store`."""

    async def waiting(self, limit: int) -> list[Entry]:
        """The first entries that wait."""
        ...

    async def settle(self, acknowledged: Sequence[Entry], rejected: Sequence[tuple[Entry, Failure]]) -> None:
        """Take entries out, durably."""
        ...

    async def known_prefixes(self) -> set[str]:
        """Prefixes that OPERAS has seen."""
        ...

    async def prefix_known(self, prefix: str) -> None:
        """Remember one more."""
        ...


class Client(Protocol):
    """What the registrar needs of `harvester.operas`."""

    async def register(self, entries: Sequence[Entry]) -> None:
        """Post one batch, once."""
        ...


@dataclass(frozen=True, slots=True)
class Send:
    """A batch to be sent.

    Args:
        entries: of the batch.
        final: whether a refusal is the last word where the batch is a single entry.
    """

    entries: Sequence[Entry]
    final: bool


def halving(entries: Sequence[Entry]) -> Generator[Send, bool, None]:
    """What to send until every entry of a batch is accepted or refused alone.

    Yields what is to be sent next and is sent back whether it was accepted. Among n entries k bad ones cost at most
    2k(⌈log2 n⌉ + 1) + 2 sendings (promise G10).
    """
    if (yield Send(entries, final=False)) or (yield Send(entries, final=True)):
        return
    parts = _halves(entries)
    while parts:
        part = parts.pop()
        if not (yield Send(part, final=True)):
            parts += _halves(part)


def _halves(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Both halves, the first one last; nothing of a single entry."""
    middle = len(entries) // 2
    return [entries[middle:], entries[:middle]] if middle else []


class TooSlow(Exception):
    """A batch timed out twice; the next ones are smaller."""


class Registrar:
    """Empties the outbox.

    Args:
        outbox: where entries wait.
        client: posts them.
        batch_size: entries a batch.
        breaker: measures how long OPERAS has been down.
        stop: the wish to end early.
        tally: registered and rejected works are counted here.
        clock: time; its sleep ends when the run does.
    """

    def __init__(
        self,
        outbox: Outbox,
        client: Client,
        *,
        batch_size: int,
        breaker: Breaker,
        stop: Stop,
        tally: Tally,
        clock: Clock,
    ) -> None:
        self._outbox, self._client, self._size = outbox, client, batch_size
        self._breaker, self._stop, self._tally, self._clock = breaker, stop, tally, clock
        self._refusal: GiveUp = BatchRefused("")

    async def run(self, harvested: asyncio.Event) -> None:
        """Register what waits and what still comes, until the harvest is over and the outbox empty, or until the stop.

        Raises:
            ServiceDown: OPERAS stayed down for longer than our patience.
            CredentialsRefused, Misconfigured: OPERAS does not let us in.
        """
        self._prefixes = await self._outbox.known_prefixes()
        waiting_since = self._clock.monotonic()
        try:
            while not self._stop.wished:
                is_last = harvested.is_set()
                entries = await self._outbox.waiting(self._size)
                if is_last and not entries:
                    return
                lingered = self._clock.monotonic() - waiting_since >= LINGER_SECONDS
                if entries and (is_last or lingered or len(entries) == self._size):
                    await self._register(entries)
                    waiting_since = self._clock.monotonic()
                else:
                    await self._look_away(harvested)
        except Stopped:
            pass

    async def _look_away(self, harvested: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(harvested.wait()), asyncio.ensure_future(self._stop.wait())]
        try:
            await asyncio.wait(waits, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _register(self, entries: Sequence[Entry]) -> None:
        fit = [self._cleaned(entry) for entry in entries if not doi_refusal(entry.doi)]
        await self._reject([(entry, reason, None) for entry in entries if (reason := doi_refusal(entry.doi))])
        try:
            for entry in _one_each_prefix(fit, self._prefixes):
                await self._introduce(entry)
            await self._send_all(fit)
        except TooSlow:
            log.warning("OPERAS is too slow for batches of this size; smaller ones from here on: %d", self._size)

    async def _introduce(self, entry: Entry) -> None:
        """Let OPERAS see a new prefix; if even that is refused, the batch will tell which entry is to blame."""
        bare = replace(entry, urls=())
        if await self._post([bare]) or await self._post([bare]):
            prefix = _prefix(entry.doi)
            await self._outbox.prefix_known(prefix)
            self._prefixes.add(prefix)

    async def _send_all(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        course = halving(entries)
        send = next(course)
        while True:
            accepted = await self._post(send.entries)
            if accepted:
                await self._outbox.settle(send.entries, [])
                self._tally.registered += len(send.entries)
                self._tally.registration_pending -= len(send.entries)
            elif send.final and len(send.entries) == 1:
                await self._reject([(send.entries[0], str(self._refusal), self._refusal.status)])
            try:
                send = course.send(accepted)
            except StopIteration:
                return

    async def _post(self, entries: Sequence[Entry]) -> bool:
        """Send one batch until somebody who knows answers; returns whether it was accepted."""
        timeouts = 0
        while True:
            try:
                await self._client.register(entries)
            except BatchRefused as refusal:
                self._refusal = refusal
                self._breaker.succeeded()
                return False
            except (TryAgain, GiveUp) as error:
                timeouts += isinstance(error, TimedOut)
                if timeouts >= 2 and len(entries) > 1:
                    self._size = max(1, len(entries) // 2)
                    raise TooSlow from error
                self._breaker.trip(str(error))
                log.info("registration waits for OPERAS: %s", error)
                await self._clock.sleep(self._breaker.next_pause())
            else:
                self._breaker.succeeded()
                return True

    async def _reject(self, refused: Sequence[tuple[Entry, str, int | None]]) -> None:
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
                    attempts=0 if status is None else 1,
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

    def _cleaned(self, entry: Entry) -> Entry:
        """The entry with its URLs as OPERAS takes them; one that cannot be made so is a notice, not a rejection (O4)."""
        urls = []
        for url in entry.urls:
            cleaned = clean_url(url)
            if cleaned is None:
                log.warning("OPERAS takes no URL such as %s; left out", url, extra={"doi": entry.doi})
            else:
                urls.append(cleaned)
        return replace(entry, urls=tuple(dict.fromkeys(urls)))


def _prefix(doi: str) -> str:
    return doi.partition("/")[0]


def _one_each_prefix(entries: Sequence[Entry], known: set[str]) -> list[Entry]:
    """The first entry of each prefix that is not known."""
    return list({_prefix(entry.doi): entry for entry in reversed(entries) if _prefix(entry.doi) not in known}.values())
