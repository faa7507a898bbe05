"""File descriptors: each connection takes one, and so do the ledger, the output and whatever else is open."""

import os
import resource

RESERVED = 8
"""Descriptors that connections leave to the rest of a run: files, locks, the lookup of names."""


def connections_possible(wanted: int) -> int:
    """How many connections may be open at a time; the limit of this process is raised if that is needed and allowed.

    Args:
        wanted: connections.

    Returns:
        As many as are wanted, or as many as are left, at least 1.
    """
    left = _limit(wanted + RESERVED + _in_use()) - RESERVED - _in_use()
    return max(1, min(wanted, left))


def _limit(needed: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # macOS allows less than it says
        return soft
    return raised


def _in_use() -> int:
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a list, to be counted
    except OSError:
        return RESERVED
