"""What tonight would ask, and why; nothing is asked and nothing is changed."""

from dataclasses import dataclass
from datetime import datetime

from harvester.config.limits import paperbuzz_limits
from harvester.config.settings import Settings
from harvester.harvest.job import Context
from harvester.harvest.run import limits_of, read_inputs
from harvester.nightly.files import nights_ledger
from harvester.nightly.revisit import Selection
from harvester.nightly.state import Explanation
from harvester.politeness.quota import book_of, requests_left
from harvester.storage.store import Store

SHARE_FOR_RETRIES = 0.05
"""Of the budget that is left, kept for second attempts, so that a night with some faults still comes to its end."""


@dataclass(frozen=True, slots=True)
class NightPlan:
    """What tonight would ask.

    Args:
        works: in the list.
        unfinished: works that are left of a night that was not finished, and are asked first.
        budget: requests that would be spent on all others.
        selection: which, and why.
        covered: listed works asked at least once.
        explanation: of the one DOI that was asked about, if it is listed.
    """

    works: int
    unfinished: int
    budget: int
    selection: Selection
    covered: int
    explanation: Explanation | None = None


async def plan(settings: Settings, world: Context, doi: str | None = None, at: datetime | None = None) -> NightPlan:
    """Find out what tonight would ask, on a copy of the ledger; nothing is asked and nothing is changed.

    Args:
        settings: of the nights.
        world: its clock says what is left of the budget.
        doi: canonical, to be explained.
        at: when the night would begin; None for now.

    Raises:
        StopRun: the list or the ledger cannot be read.
    """
    ledger = nights_ledger(settings)
    now = at or world.clock.now()
    async with Store(None, None, limits=limits_of(settings)) as store:
        if ledger.exists():
            await store.copy_of(ledger)
        reading = await read_inputs(store, settings.input.files, settings, world)
        unfinished = (await store.figures()).pending
        ahead = max(0.0, (now - world.clock.now()).total_seconds())
        budget = await night_budget(settings, world, taken=unfinished, ahead_seconds=ahead)
        return NightPlan(
            reading.works,
            unfinished,
            budget,
            await store.planned(budget, now),
            await store.covered(),
            await store.explained(doi, now) if doi else None,
        )


async def night_budget(settings: Settings, world: Context, *, taken: int = 0, ahead_seconds: float = 0.0) -> int:
    """How many works can be asked within the time limit.

    Args:
        settings: of the nights.
        world: its clock says what is left of the daily budget.
        taken: requests that are for other works.
        ahead_seconds: until the night begins.
    """
    limit = settings.nightly.time_limit
    requests = int(settings.paperbuzz.rate * limit)
    if book := book_of(paperbuzz_limits(settings), world.state):
        requests = min(requests, await requests_left(book, world.clock, within_seconds=ahead_seconds + limit))
    return max(0, int((requests - taken) * (1 - SHARE_FOR_RETRIES)))
