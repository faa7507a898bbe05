"""Plan a night: which works it would ask, and why. Nothing is asked and nothing is changed."""

from dataclasses import dataclass
from datetime import datetime

from harvester.core.errors import Stopped
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Context
from harvester.nightly.job import NightlyJob, own_files_of_nights
from harvester.nightly.revisit import Selection
from harvester.nightly.state import Explanation, NightlyState
from harvester.politeness.book import book_of
from harvester.politeness.quota import requests_left
from harvester.storage.paths import is_there
from harvester.storage.store import Store

SHARE_FOR_RETRIES = 0.05
"""Share of the budget that is kept for second attempts, so that a night with some faults can still be finished."""


@dataclass(frozen=True, slots=True)
class NightPlan:
    """What tonight would ask.

    Args:
        works: in the list.
        unfinished: works left over from a night that was not finished; they are asked first.
        budget: requests that would be left for all other works.
        selection: which of these would be asked, and why.
        covered: listed works that were asked at least once.
        explanation: of the DOI in question; None if there is none, or it is not listed.
    """

    works: int
    unfinished: int
    budget: int
    selection: Selection
    covered: int
    explanation: Explanation | None = None


async def plan(job: NightlyJob, context: Context, doi: str | None = None, at: datetime | None = None) -> NightPlan:
    """Find out what tonight would ask, on a copy of the ledger. Nothing is asked and nothing is changed.

    Args:
        job: of the nights.
        context: its clock and state folder tell what is left of the daily budget.
        doi: a canonical DOI to be explained; None for none.
        at: when the night would begin; None for now.

    Raises:
        StopRun: the list or the ledger cannot be read.
    """
    now = at or context.clock.now()
    async with Store(None, None) as store:
        if is_there(job.ledger):
            await store.call(store.database.copy_from, job.ledger)
        state = await store.call(NightlyState, store.database, job.intervals)
        harvest = job.harvest
        own = own_files_of_nights(job)
        reading = await read_inputs(store, harvest.inputs, harvest.options, context, own=own, enrol_as=harvest.enrol_as)
        unfinished = (await store.call(store.ledger.figures)).pending
        ahead = max(0.0, (now - context.clock.now()).total_seconds())
        budget = await night_budget(job, context, taken=unfinished, ahead_seconds=ahead)
        return NightPlan(
            reading.works,
            unfinished,
            budget,
            await store.call(state.choose, budget, now),
            await store.call(state.covered),
            await store.call(state.explain, doi, now) if doi else None,
        )


async def night_budget(job: NightlyJob, context: Context, *, taken: int = 0, ahead_seconds: float = 0.0) -> int:
    """How many works can be asked within the time limit and the daily budget.

    Args:
        job: of the nights.
        context: its clock and state folder tell what is left of the daily budget.
        taken: requests that are needed for other works.
        ahead_seconds: time until the night begins; by then the daily budget has grown.

    Raises:
        StopRun: the file of the daily budget cannot be read, or the call is to stop.
    """
    limits = job.harvest.upstream.limits
    requests = int(limits.rate * job.time_limit)
    if book := book_of(limits, context.state, context.stop):
        within_seconds = ahead_seconds + job.time_limit
        try:
            requests = min(requests, await requests_left(book, context.clock, within_seconds=within_seconds))
        except Stopped as stopped:
            raise context.stop.reason or stopped from None
    return max(0, int((requests - taken) * (1 - SHARE_FOR_RETRIES)))
