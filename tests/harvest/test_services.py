"""How the services of a run are opened."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harvester.config.load import load
from harvester.core.clock import SystemClock
from harvester.core.errors import OutOfBudget, Stopped
from harvester.core.model import PendingRegistration
from harvester.core.stop import Stop, StoppableClock
from harvester.core.tally import Tally
from harvester.harvest.services import open_operas
from harvester.sandbox.server import Sandbox
from tests.jobs import an_account


async def test_no_connection_to_operas_carries_two_requests() -> None:
    """The acknowledgement of a batch says nothing of the batch: only its connection ties it to it."""
    async with Sandbox() as sandbox:
        given = {"operas.base_url": sandbox.operas_url, "operas.email": "demo@example.org", "operas.rate": 1000}
        account = an_account(load(None, {}, given).settings, "sandbox")
        async with open_operas(account, clock=SystemClock(), tally=Tally()) as (client, _):
            for number in range(3):
                await client.register([PendingRegistration(number, f"10.5555/{number}")])
        ports = [entry.remote for entry in sandbox.log.of("operas")]
    assert len(ports) == len(set(ports)) == 4


async def test_a_stop_is_heard_while_the_rate_of_operas_is_waited_for(tmp_path: Path) -> None:
    stop = Stop()
    async with Sandbox() as sandbox:
        given = {"operas.base_url": sandbox.operas_url, "operas.email": "demo@example.org", "operas.rate": 1000}
        account = an_account(load(None, {}, given).settings, "sandbox")
        slow = replace(account, limits=replace(account.limits, rate=0.001, burst=1.0))
        clock = StoppableClock(SystemClock(), stop)
        async with open_operas(slow, clock=clock, tally=Tally(), stop=stop, state=tmp_path) as (client, _):
            await client.token()
            waiting = asyncio.create_task(client.register([PendingRegistration(1, "10.5555/1")]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            asked = time.monotonic()
            stop.request(OutOfBudget("enough"))
            with pytest.raises(Stopped):
                await waiting
    assert time.monotonic() - asked < 1
