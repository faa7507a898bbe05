"""Jobs that end at a stop."""

from harvester.core.errors import OutOfBudget, Stopped
from harvester.core.stop import Stop
from harvester.core.tasks import until_stopped


async def test_a_job_that_hears_the_stop_itself_ends_like_one_that_is_cut_off() -> None:
    stop = Stop()

    async def job() -> int:
        await stop.wait()
        raise Stopped

    stop.request(OutOfBudget("enough"))
    assert await until_stopped(job(), stop) is None
