"""Commit hooks: other rooms take part in a commit without the store knowing them."""

import sqlite3
from collections.abc import Sequence

from harvester.records.result import Finished, Result


class CommitHook:
    """Takes part in every commit. A hook overrides the methods that it needs.

    The store calls `prepare`, `is_written`, `record` and `adopt` on the writer thread, in this order, and `committed`
    on the event loop. If one of the first three fails because of a work, the store tries again with fewer works, until
    it knows the work. So whatever a hook remembers counts only when `adopt` is called; `prepare` begins anew.
    """

    def prepare(self, finished: Sequence[Finished]) -> Sequence[Finished]:
        """Called before anything is written; returns what is to be committed. A hook may complete the results."""
        return finished

    def is_written(self, result: Result) -> bool:  # noqa: ARG002 - a hook may look at it
        """Whether a result gets a line in the output. A result without a line is still recorded in the ledger."""
        return True

    def record(self, db: sqlite3.Connection, finished: Sequence[Finished]) -> None:
        """Write what belongs to these works, inside the one transaction that commits them."""

    def adopt(self) -> None:
        """Called when the transaction is on disk: what was prepared and recorded counts from now on."""

    def committed(self) -> None:
        """Called when all of what was to be committed is on disk."""
