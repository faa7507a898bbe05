"""One harvest as a function: how it ends when it is stopped, and what its mode means."""

import asyncio
from pathlib import Path

import pytest

from harvester.config.load import load
from harvester.config.settings import Settings
from harvester.core.errors import Interrupted
from harvester.harvest.job import Context, Mode
from harvester.harvest.registration import register
from harvester.harvest.run import run
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.server import Sandbox
from harvester.storage.paths import Paths, job_paths
from tests.jobs import harvest_job, registration_job
from tests.records.test_schema import outside

SIGINT = 2


def settings_for(sandbox: Sandbox) -> Settings:
    given = {
        "paperbuzz.base_url": sandbox.paperbuzz_url,
        "paperbuzz.email": "demo@example.org",
        "paperbuzz.rate": 1000,
        "paperbuzz.max_attempts": 1,
        "paperbuzz.concurrency": 2,
        "operas.base_url": sandbox.operas_url,
        "operas.rate": 1000,
    }
    return load(None, {}, given).settings


async def test_a_registration_that_is_stopped_ends_as_stopped_and_goes_on_later(tmp_path: Path) -> None:
    listed = tmp_path / "dois.txt"
    listed.write_text("10.5555/ok-1\n10.5555/ok-2\n")
    paths = Paths(None, tmp_path / "r.ledger", tmp_path / "r.failures.jsonl", tmp_path / "r.summary.json")
    async with Sandbox(SandboxOptions()) as sandbox:
        job = registration_job(settings_for(sandbox), [listed], paths, "sandbox")
        sandbox.set_outage("operas")
        context = outside(tmp_path)
        asyncio.get_running_loop().call_later(0.3, context.stop.request, Interrupted(SIGINT))
        stopped = await register(job, context)
        assert (stopped.exit.code, stopped.figures.registration_pending) == (128 + SIGINT, 2)
        sandbox.set_outage("operas", None)
        ended = await register(job, outside(tmp_path))
    assert (ended.exit.code, ended.figures.registered) == (0, 2)


@pytest.mark.parametrize("retries", [True, False])
async def test_a_refetch_that_goes_on_asks_its_failures_again_on_request(tmp_path: Path, retries: bool) -> None:
    listed = tmp_path / "dois.txt"
    listed.write_text("\n".join(["10.5555/500-1", *(f"10.5555/ok-{number}" for number in range(60))]))
    async with Sandbox(SandboxOptions()) as sandbox:
        job = harvest_job(
            settings_for(sandbox),
            [listed],
            job_paths(str(tmp_path / "out.jsonl")),
            mode=Mode.REFETCH,
            retry_failures=retries,
        )
        await run(job, outside(tmp_path))
        sandbox.latency_seconds, cut_off = 0.1, outside(tmp_path)
        stop_at_the_first_failure(cut_off)
        stopped = await run(job, cut_off)
        assert (stopped.figures.failures, stopped.figures.pending > 0) == (1, True)
        sandbox.latency_seconds = 0
        before = len([entry for entry in sandbox.log if entry.doi == "10.5555/500-1"])
        ended = await run(job, outside(tmp_path))
        after = len([entry for entry in sandbox.log if entry.doi == "10.5555/500-1"])
    assert (ended.figures.results, ended.figures.failures) == (60, 1)
    assert (after > before) is retries


def stop_at_the_first_failure(context: Context) -> None:
    """Look now and then, and stop a run that has committed a failure and results."""
    if context.tally.failures and context.tally.results:
        context.stop.request(Interrupted(SIGINT))
    elif not context.stop.requested:
        asyncio.get_running_loop().call_later(0.01, stop_at_the_first_failure, context)
