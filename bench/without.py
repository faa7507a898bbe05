"""harvester without one of its promises: `python -m bench.without PROMISE ARGUMENTS...`.

Each function here takes one thing out of harvester before it runs. What is left does the same work for the same DOIs,
so the difference is what the promise costs. For measuring only: what is harvested like this may be lost or wrong.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from types import SimpleNamespace

from harvester.cli import main
from harvester.core import files
from harvester.core.model import DueWork, Outcome
from harvester.harvest.fetcher import Fetcher, Tries
from harvester.politeness import concurrency
from harvester.politeness.concurrency import LatencyObserved
from harvester.politeness.limiter import RateLimited, RateLimiter
from harvester.providers import paperbuzz
from harvester.providers.base import Record
from harvester.records.result import Finished, Result
from harvester.storage import database
from harvester.storage.ledger import Ledger
from harvester.transport.deadlines import Deadlines
from harvester.transport.messages import Request, Response


def durability() -> None:
    """Nothing is forced to the disk."""
    _put(files, "sync_data", lambda _: None)
    _put(files, "sync_directory", lambda _: None)
    _put(database, "PRAGMAS", (*database.PRAGMAS, "synchronous = OFF"))


def ledger() -> None:
    """Nobody remembers what became of a work."""

    def record(_: Ledger, __: Sequence[Finished], append: Callable[[], object], **___: object) -> None:
        append()

    _put(Ledger, "record", record)


def checks() -> None:
    """An answer is taken as it comes: neither its status nor its content is looked at."""

    def unread(_: str, response: Response, *__: object, **___: object) -> Record:
        digest = hashlib.sha256(response.body).hexdigest()
        body = response.body.rstrip(b"\n")
        return Record(body, digest, Outcome.OK, False, (), response.status, response.elapsed_seconds)

    _put(paperbuzz, "read_record", unread)


def digests() -> None:
    """Records have no SHA-256."""
    none = SimpleNamespace(update=lambda _: None, hexdigest=lambda: "0" * 64)
    _put(paperbuzz, "hashlib", SimpleNamespace(sha256=lambda: none))


def limiter() -> None:
    """Neither rate nor quota nor pauses: a request starts when somebody wants it to."""

    async def send(self: RateLimited, request: Request) -> Response:
        return await self._transport.send(request)

    async def enter(_: RateLimiter) -> None:
        pass

    _put(RateLimited, "send", send)
    _put(RateLimiter, "enter", enter)
    _put(RateLimiter, "leave", lambda _: None)


def retries() -> None:
    """One attempt for a work, and nobody looks whether the service is up."""

    async def fetch(self: Fetcher, due: DueWork) -> Result:
        async with self._slots:
            record = await self._provider.record(due.doi)
        return self._result(due, record, Tries(0, made=1))

    _put(Fetcher, "fetch", fetch)


def learning() -> None:
    """As many requests at a time as are allowed, however the service takes it."""

    async def send(self: LatencyObserved, request: Request) -> Response:
        return await self._transport.send(request)

    _put(concurrency, "START", sys.maxsize)
    _put(LatencyObserved, "send", send)


def deadlines() -> None:
    """An answer may take as long as it likes."""
    none = SimpleNamespace(pause=lambda: None, go_on=lambda: None)
    _put(Deadlines, "within", lambda *_: nullcontext(none))


def _put(whole: object, name: str, part: object) -> None:
    setattr(whole, name, part)


PROMISES = {
    each.__name__: each for each in (durability, ledger, checks, digests, limiter, retries, learning, deadlines)
}
"""What can be taken out, by the name on the command line."""

if __name__ == "__main__":
    promise = sys.argv.pop(1)
    PROMISES[promise]()
    # Without its ledger a run does not know that it is complete.
    with suppress(SystemExit) if promise == "ledger" else nullcontext():
        main()
