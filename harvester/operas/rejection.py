"""What is written down of an entry that OPERAS refuses."""

from harvester.core.model import Failure, PendingRegistration, Stage, failed
from harvester.operas.responses import BatchRefused

ATTEMPTS_ALONE = 2
"""How often an entry is sent alone before it is rejected."""


def rejection(entry: PendingRegistration, reason: str, status: int | None, failed_at: str) -> Failure:
    """The failure of an entry.

    Args:
        entry: that is refused.
        reason: for people.
        status: of the answer; None if the entry was not even sent.
        failed_at: when, as a timestamp.
    """
    attempts = 0 if status is None else ATTEMPTS_ALONE
    return failed(entry, BatchRefused(reason, status=status), failed_at, attempts=attempts, stage=Stage.REGISTER)
