"""How the services of a run are opened."""

from harvester.config.load import load
from harvester.core.clock import SystemClock
from harvester.core.model import PendingRegistration
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
