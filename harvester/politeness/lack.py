"""Waiting for what this machine lacks to open a connection: file descriptors, ports, memory."""

from random import Random

from harvester.core.clock import Clock
from harvester.core.errors import MachineExhausted, NoResources

SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Lack:
    """How long it has been lacking.

    Args:
        clock: time; its sleep ends when the run does.
        random: spreads the pauses.
        patience_seconds: how long it may be lacking.
    """

    def __init__(self, clock: Clock, random: Random, patience_seconds: float) -> None:
        self._clock, self._random, self._patience = clock, random, patience_seconds
        self._since = 0.0
        self._successes = -1

    async def wait(self, error: NoResources, successes: int) -> None:
        """Wait a while: the longer, the longer it has been lacking.

        Args:
            error: what is lacking.
            successes: good answers so far. While there are more of them, something is there now and then.

        Raises:
            MachineExhausted: it has been lacking for longer than our patience.
        """
        now = self._clock.monotonic()
        if successes != self._successes:
            self._since, self._successes = now, successes
        lacking_for = now - self._since
        if lacking_for >= self._patience:
            raise MachineExhausted(
                f"{error}, for {lacking_for:,.0f} s. What was harvested is kept, and no DOI was written off for it. "
                "Close other programs, raise the limit (ulimit -n) or lower --concurrency; then give the same command "
                "again."
            )
        pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, lacking_for))
        await self._clock.sleep(self._random.uniform(pause / 2, pause))
