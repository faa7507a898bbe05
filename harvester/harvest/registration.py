"""Registration alone: a list, or what OPERAS holds."""

from contextlib import nullcontext

from harvester.config.credentials import Secret, operas_account
from harvester.config.limits import operas_limits
from harvester.config.settings import Settings
from harvester.core.errors import GiveUp, ServiceDown, TryAgain
from harvester.core.stop import StoppableClock
from harvester.core.tasks import until_stopped
from harvester.harvest.job import Context, Job
from harvester.harvest.run import Run
from harvester.harvest.services import open_operas
from harvester.reports.summary import Summary
from harvester.storage.lock import lock
from harvester.storage.paths import check_paths
from harvester.storage.store import Store


async def register(job: Job, settings: Settings, password: Secret, world: Context) -> Summary:
    """Register a list with OPERAS, without asking Paperbuzz.

    Raises:
        StopRun: the run could not begin, or had to end without a report.
    """
    check_paths(job.inputs, job.paths)
    with lock(job.paths.ledger) if job.paths.ledger else nullcontext():
        async with Store(job.paths.ledger, None) as store:
            return await Run(job, settings, password, world, store).registering()


async def holdings(settings: Settings, password: Secret, world: Context) -> list[dict[str, object]]:
    """What OPERAS holds for the account, sorted by DOI.

    Raises:
        StopRun: it cannot be had.
    """
    clock = StoppableClock(world.clock, world.stop)
    account = operas_account(settings)
    async with open_operas(operas_limits(settings), account, password, clock=clock, tally=world.tally) as (operas, _):
        try:
            rows = await until_stopped(operas.holdings(), world.stop, grace_seconds=0)
        except (TryAgain, GiveUp) as error:
            raise ServiceDown(f"OPERAS does not give its list: {error}. Try again later.") from None
    if world.stop.reason:
        raise world.stop.reason
    return sorted(rows or [], key=lambda row: str(row["raw"]))
