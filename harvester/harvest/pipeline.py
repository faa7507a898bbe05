"""The way of works from due to committed: fetchers between pages of works and one committer.

Theory. Who owns what:

- `_feed` reads due works from the store, page by page; an empty page is the end. A fetcher takes its next work from
  `_page`. Whoever finds that page empty turns to the next one. Never more than three pages are in memory, so memory
  stays flat at ten million DOIs, and no work is handed out twice in a run.
- N fetchers each hold one work until it has a result or a failure (`harvester.harvest.fetcher`). If the run stops they
  drop it, and it is still due in the ledger.
- Before a page is handed out the store is told, so that a next run knows what was in hand if this one dies. Works that
  were in hand when another one died come last, in groups of which only one is in hand at a time.
- One committer gives finished works to the store in batches. A work is done only when `store.commit` has returned.
- Works that are `_open`, in flight or not yet committed, are bounded together. So a crash costs at most those (promise
  G4), and a slow disk slows fetching down. The bytes of records that are not yet committed are bounded too, for one
  record may have megabytes. Fetchers that are past this check already may each add one more record.

How it ends: when the feed is dry the fetchers end, then the committer. `stop` ends it early, in that order; answers
under way have `grace_seconds`. A reason to end the run that a fetcher meets (budget, outage) is such a stop. An error
of the committer cancels everything at once: nothing may be written after a failed write.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from harvester.core.errors import Stopped, StopRun
from harvester.core.model import DueWork, Failure
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.records.result import Finished, Result

PAGE = 1_000
"""Due works that are read at a time."""

UNCOMMITTED = 200
"""Works that may be finished and not yet committed."""

COMMIT_EVERY = UNCOMMITTED // 2
"""Works that are committed together, at most. While one batch is written, another gathers."""

COMMIT_BYTES = 2 * 1024 * 1024
"""Or so many bytes of records, whichever comes first: giant records must not pile up in memory."""

UNCOMMITTED_BYTES = 4 * COMMIT_BYTES
"""Bytes of records that may be fetched and not yet committed, besides those in flight. If the disk is slower than the
service, the service waits."""

COMMIT_SECONDS = 1.0
"""Or so long after the first of them."""


class Store(Protocol):
    """What the pipeline needs of `harvester.storage.store`."""

    async def due(self, after: int, limit: int) -> list[DueWork]:
        """The next due works by key, those above `after`."""
        ...

    async def groups_of_suspects(self) -> list[list[DueWork]]:
        """The works to ask after all others, group by group."""
        ...

    async def hand_out(self, works: Sequence[DueWork], *, suspected: bool) -> None:
        """Remember that works are in hand from now on."""
        ...

    async def commit(self, finished: Sequence[Finished]) -> None:
        """Make what became of some works durable."""
        ...


class Fetcher(Protocol):
    """What the pipeline needs of `harvester.harvest.fetcher`."""

    async def fetch(self, due: DueWork) -> Result | Failure:
        """Ask for one work until it has a record, or fails for good."""
        ...


class _Page(NamedTuple):
    """Works to hand out; none at the end. A group of suspects is handed out when nothing else is in hand."""

    works: Sequence[DueWork]
    suspected: bool = False


class Pipeline:
    """Fetches what is due and commits what comes.

    Args:
        store: gives due works and takes finished ones.
        fetcher: turns a due work into a result or a failure.
        in_flight: works that are fetched at a time, those that pause before another attempt included.
        stop: ends it early.
        tally: committed results and failures are counted here.
        grace_seconds: time for answers under way when the run ends early.
    """

    def __init__(
        self, store: Store, fetcher: Fetcher, *, in_flight: int, stop: Stop, tally: Tally, grace_seconds: float = 10.0
    ) -> None:
        self._store, self._fetcher = store, fetcher
        self._in_flight, self._stop, self._tally, self._grace = in_flight, stop, tally, grace_seconds
        self._pages: asyncio.Queue[_Page] = asyncio.Queue(1)
        self._page: deque[DueWork] = deque()
        self._turn = asyncio.Lock()
        self._is_dry = False
        self._done: deque[Finished] = deque()
        self._done_bytes = 0
        self._uncommitted_bytes = 0
        self._open = 0
        self._in_hand = 0
        self._is_waited_for = False
        self._space = asyncio.Event()
        self._is_over = False
        self._some, self._enough = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Go on until nothing is due, or until the stop. Then everything that was fetched is committed.

        Raises:
            ExceptionGroup: of what ended it at once; `stop.reason` tells what ended it early.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit_all())
            group.create_task(self._fetch_all())

    async def _fetch_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                feeder = group.create_task(self._feed())
                fetchers = [group.create_task(self._fetch()) for _ in range(self._in_flight)]
                ender = group.create_task(self._end_early(feeder, fetchers))
                await asyncio.wait(fetchers)
                feeder.cancel()
                ender.cancel()
        finally:
            self._is_over = True
            self._wake()

    async def _feed(self) -> None:
        last = 0
        while page := await self._store.due(last, PAGE):
            await self._pages.put(_Page(page))
            last = max(due.work_id for due in page)
        for group in await self._store.groups_of_suspects():
            await self._pages.put(_Page(group, suspected=True))
        await self._pages.put(_Page([]))

    async def _next(self) -> DueWork | None:
        """Wait until another work may be in flight, and take it; None at the end."""
        while self._open >= UNCOMMITTED + self._in_flight or self._uncommitted_bytes >= UNCOMMITTED_BYTES:
            self._space.clear()
            await self._space.wait()
        self._open += 1
        if not self._page:
            async with self._turn:
                if not self._page and not self._is_dry:
                    await self._turn_page()
        if not self._page:
            return None
        self._in_hand += 1
        return self._page.popleft()

    async def _turn_page(self) -> None:
        page = await self._pages.get()
        if page.suspected:
            self._is_waited_for = True
            if self._done:
                self._wake()
            while self._in_hand and not self._stop.requested:
                self._space.clear()
                await self._space.wait()
            self._is_waited_for = False
        if page.works and not self._stop.requested:
            await self._store.hand_out(page.works, suspected=page.suspected)
            self._page.extend(page.works)
        self._is_dry = self._is_dry or not self._page

    async def _fetch(self) -> None:
        while True:
            due = await self._next()
            if due is None or self._stop.requested:
                return
            try:
                self._hand_in(due, await self._fetcher.fetch(due))
            except Stopped:
                return
            except StopRun as reason:
                self._stop.request(reason)
                return

    async def _end_early(self, feeder: asyncio.Task[None], fetchers: Sequence[asyncio.Task[None]]) -> None:
        """After a stop, hand out no more works. Answers under way may come in for a while; then they are cut off."""
        await self._stop.wait()
        feeder.cancel()
        self._is_dry = True
        self._page.clear()
        while not self._pages.empty():
            self._pages.get_nowait()
        self._pages.put_nowait(_Page([]))  # somebody may wait for one
        self._space.set()
        await asyncio.wait(fetchers, timeout=self._grace)
        for task in fetchers:
            task.cancel()

    async def _commit_all(self) -> None:
        while await self._commit(await self._gather()):
            pass

    async def _commit(self, batch: Sequence[Finished]) -> bool:
        """Commit a batch, and let go of it; returns whether there was anything in it."""
        if not batch:
            return False
        await self._store.commit(batch)
        self._uncommitted_bytes -= sum([_bytes(ended) for _, ended in batch])
        self._open -= len(batch)
        self._in_hand -= len(batch)
        self._space.set()
        for _, ended in batch:
            self._tally.pending -= 1
            if isinstance(ended, Result):
                self._tally.results += 1
                if ended.place:
                    ended.place.leave()
            else:
                self._tally.failures += 1
        return True

    def _hand_in(self, due: DueWork, ended: Result | Failure) -> None:
        size = _bytes(ended)
        self._done.append((due, ended))
        self._done_bytes += size
        self._uncommitted_bytes += size
        if isinstance(ended, Result) and ended.place and ended.place.is_wanted:
            self._enough.set()
        self._wake()

    def _wake(self) -> None:
        """Wake the committer, but not for each work: that would cost more than committing it."""
        self._some.set()
        if self._is_over or self._is_waited_for or len(self._done) >= COMMIT_EVERY or self._done_bytes >= COMMIT_BYTES:
            self._enough.set()

    async def _gather(self) -> list[Finished]:
        """Wait for the next batch: until it is full, or old enough, or the last. It is empty at the end."""
        await self._some.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._enough.wait()
        batch: list[Finished] = []
        size = 0
        while self._done and len(batch) < COMMIT_EVERY and size < COMMIT_BYTES:
            batch.append(self._done.popleft())
            size += _bytes(batch[-1][1])
        self._done_bytes -= size
        self._some.clear()
        self._enough.clear()
        if self._done or self._is_over:
            self._wake()
        return batch


def _bytes(ended: Result | Failure) -> int:
    return len(ended.paperbuzz) if isinstance(ended, Result) else 0
