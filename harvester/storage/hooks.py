"""Who else takes part in a commit: the seam through which the store serves rooms that it does not know."""

import sqlite3
from collections.abc import Sequence

from harvester.core.model import Finished, Result


class CommitHook:
    """Takes part in every commit; a hook overrides what it needs.

    The first three are called on the writer thread, in this order, the last one on the event loop. An error of one of
    them fails the commit, and with it the run.
    """

    def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
        """What is to be committed, before anything is written; a hook may say more about the results."""
        return finished

    def is_written(self, result: Result) -> bool:  # noqa: ARG002 - a hook may look at it
        """Whether a result has a line in the output. One that has none is remembered all the same."""
        return True

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:
        """Write down what belongs to these works, inside the one transaction that commits them."""

    def committed(self) -> None:
        """Learn that the transaction is on disk."""
