"""Failpoints: named places where a run can be made to die, so that tests can prove what a crash there costs.

They are off unless the environment variable `HARVESTER_FAILPOINT` names one of `FAILPOINTS`; `NAME:N` means that it is
passed for the N-th time. There the process kills itself with SIGKILL: as in a real crash, nothing is flushed, closed or
unlocked. Failpoints lie in commits, publications and recoveries, never in a single request, so that they cost nothing.
"""

import os
import signal
from collections.abc import Callable

VARIABLE = "HARVESTER_FAILPOINT"

FAILPOINTS = (
    "enrol",  # after a chunk of the input was enrolled
    "begin",  # after the reading, before output and ledger are made to agree
    "before-write",
    "mid-write",  # half of a unit is in the file
    "after-write",  # the whole unit is in the file, not yet synced
    "after-sync",  # synced; the ledger knows nothing of it yet
    "in-transaction",  # the ledger has everything but the commit
    "after-commit",
    "before-truncate",  # a torn write was found
    "after-truncate",
    "before-rename",  # of any file: publishing, taking back, archiving, failures, summary
    "after-rename",  # not yet synced
    "published",  # the output has its name; the ledger does not know
    "start-over",  # the ledger knows of a refetch; the old output still has its name
    "after-post",  # OPERAS has a batch; the ledger does not know
    "settled",
)


def _armed(setting: str) -> tuple[str, int]:
    """The failpoint that a setting names, and how often it has to be passed; no name if there is no such failpoint."""
    name, _, number = setting.partition(":")
    return (name, int(number or 1)) if name in FAILPOINTS else ("", 0)


_name, _passings_left = _armed(os.environ.get(VARIABLE, ""))


def hit(name: str, last_words: Callable[[], object] = lambda: None) -> None:
    """Pass a failpoint: die here if the environment says so.

    Args:
        name: one of `FAILPOINTS`.
        last_words: called just before dying, and only then.
    """
    global _passings_left
    if name != _name:
        return
    _passings_left -= 1
    if _passings_left == 0:
        last_words()
        os.kill(os.getpid(), signal.SIGKILL)
