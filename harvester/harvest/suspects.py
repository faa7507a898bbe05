"""Works that were in hand when a run died: what ended a run is not met first again.

Theory. Works are asked in the order of their ids. So whatever ends a run (the kernel kills it for want of memory, or
there is a bug) would be the first thing that each further call meets, and nothing behind it would ever be asked.
Therefore the ledger remembers which works have been handed out to the fetchers, before they are asked, and forgets it
when the run ends in an orderly way. If a start finds this mark, the last run died. The works that it had in hand, and
that are still to be asked, become *suspects*, and are asked last:

- after one death in groups, each when the one before it is committed;
- after two or more one by one. The third death shows which work it is;
- after three deaths while it was the only work in hand, a work fails without being asked again.

A death may have had nothing to do with the works, as a power failure. That costs a little time, and no work.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from harvester.core.model import DueWork
from harvester.storage.database import Database, WorkState
from harvester.storage.store import Store

GROUP: Final = {0: 1_000, 1: 32}
"""Suspects that are asked at a time, by their deaths; after more deaths one."""

HOPELESS: Final = 5
"""Deaths after which a work fails: the first two may have been those of others in hand, the last three were its own."""

MOST_IN_HAND: Final = 3_000
"""So many works are in memory at a time (`harvester.harvest.pipeline`). Where failed works are asked again, those that
failed once more look like works in hand; they are not suspected."""

OF_STATE = "SELECT id, doi, origin FROM work WHERE state = {state:d} AND listed >= ?"


class Suspects:
    """The suspects in a ledger. Only the writer thread uses it.

    Args:
        database: the ledger's file.
    """

    def __init__(self, database: Database) -> None:
        self._file, self._meta = database, database.meta

    # While a run goes on

    def hand_out(self, works: Sequence[DueWork], state: WorkState = WorkState.DUE, *, suspected: bool) -> None:
        """Remember that works are in hand from now on.

        Args:
            works: they come in the order of their ids, so that all before them have been handed out as well.
            state: of these works.
            suspected: they are a group of suspects, and nothing else is in hand.
        """
        ids = [due.work_id for due in works]
        self._meta.in_hand = orjson.dumps({"state": state, "works": ids if suspected else max(ids)}).decode()

    def ids(self) -> str:
        """The works that are asked last, as a JSON list."""
        return orjson.dumps([*self._deaths()]).decode()

    def groups(self, state: WorkState) -> list[list[DueWork]]:
        """The suspects that are to be asked, group by group, those with the fewest deaths first."""
        deaths = self._deaths()
        groups: list[list[DueWork]] = []
        of_group = -1
        for due in sorted(self._works(state, deaths), key=lambda due: (deaths[due.work_id], due.work_id)):
            times = deaths[due.work_id]
            if times != of_group or len(groups[-1]) >= GROUP.get(times, 1):
                groups.append([])
            of_group = times
            groups[-1].append(due)
        return groups

    def hopeless(self, state: WorkState) -> list[DueWork]:
        """The works that are not to be asked again in this run. If another run wants them, one more death is enough."""
        deaths = self._deaths()
        found = [due for due in self._works(state, deaths) if deaths[due.work_id] >= HOPELESS]
        if found:
            self._remember(deaths | {due.work_id: HOPELESS - 1 for due in found})
        return found

    # At its ends

    def after_death(self) -> list[DueWork]:
        """At a start: suspect what the last run had in hand, if it died.

        Returns:
            The works that it had in hand; empty if it did not die.
        """
        return self._suspect(deaths=1)

    def end(self, *, last: bool) -> None:
        """At an orderly end: nothing is in hand any more.

        Args:
            last: ask what was in hand last, the next time: perhaps one of these works was why the run ended.
        """
        if last:
            self._suspect(deaths=0)
        elif self._meta.in_hand is not None:
            self._meta.in_hand = None
        deaths = self._deaths()
        if answered := self._answered(deaths):
            self._remember({work: times for work, times in deaths.items() if work not in answered})

    def _suspect(self, *, deaths: int) -> list[DueWork]:
        in_hand = self._meta.in_hand
        if in_hand is None:
            return []
        known, mark = self._deaths(), orjson.loads(in_hand)
        if not isinstance(mark, dict):  # written by an earlier version
            mark = {"state": WorkState.DUE, "works": mark}
        state, handed_out = WorkState(mark["state"]), mark["works"]
        if isinstance(handed_out, int):
            found = [due for due in self._works_up_to(state, handed_out) if due.work_id not in known]
        else:
            found = self._works(state, handed_out)
        with self._file.transaction():
            self._remember(known | {due.work_id: known.get(due.work_id, 0) + deaths for due in found})
            self._meta.in_hand = None
        return found

    def _deaths(self) -> dict[int, int]:
        return {int(work): times for work, times in orjson.loads(self._meta.suspects or "{}").items()}

    def _remember(self, deaths: dict[int, int]) -> None:
        self._meta.suspects = orjson.dumps({str(work): times for work, times in deaths.items()}).decode()

    def _works(self, state: WorkState, ids: Iterable[int]) -> list[DueWork]:
        """Those of some works that are in this state, in the order of their ids."""
        among = "AND id IN (SELECT value FROM json_each(?)) ORDER BY id"
        return self._found(f"{OF_STATE.format(state=state)} {among}", orjson.dumps([*ids]).decode())

    def _works_up_to(self, state: WorkState, last: int) -> list[DueWork]:
        query = f"{OF_STATE.format(state=state)} AND id <= ? ORDER BY id DESC LIMIT {MOST_IN_HAND}"
        return self._found(query, last)[::-1]

    def _found(self, query: str, value: str | int) -> list[DueWork]:
        with self._file.reading() as db:
            return [DueWork(*row) for row in db.execute(query, (self._meta.reading, value))]

    def _answered(self, ids: Iterable[int]) -> set[int]:
        """Those of some works that have a record by now."""
        with self._file.reading() as db:
            query = "SELECT id FROM work WHERE state = ? AND id IN (SELECT value FROM json_each(?))"
            return {row[0] for row in db.execute(query, (WorkState.RESULT, orjson.dumps([*ids]).decode()))}


class WorksToAsk:
    """The works of a store in the order in which they are asked, for the pipeline: suspects come last.

    Args:
        store: open, and begun.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._state = store, store.state_to_ask
        self._suspects = Suspects(store.database)
        self.commit = store.commit

    async def due(self, after: int, limit: int) -> list[DueWork]:
        """The next due works by key, those above `after`, without suspects."""
        return await self._store.call(
            lambda: self._store.ledger.due(after, limit, self._state, without=self._suspects.ids())
        )

    async def groups_of_suspects(self) -> list[list[DueWork]]:
        """The works to ask after all others, group by group."""
        return await self._store.call(self._suspects.groups, self._state)

    async def hand_out(self, works: Sequence[DueWork], *, suspected: bool) -> None:
        """Remember that works are in hand from now on, until the run ends."""
        await self._store.call(self._suspects.hand_out, works, self._state, suspected=suspected)

    async def after_death(self) -> list[DueWork]:
        """At a start: what the last run had in hand if it died."""
        return await self._store.call(self._suspects.after_death)

    async def hopeless(self) -> list[DueWork]:
        """Works that are not to be asked any more."""
        return await self._store.call(self._suspects.hopeless, self._state)

    async def end(self, *, last: bool = False) -> None:
        """Remember that the run ends in an orderly way; `last`: what is in hand is to be asked last the next time."""
        await self._store.call(self._suspects.end, last=last)
