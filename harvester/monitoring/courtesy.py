"""What is told about a run is a courtesy: if it fails, that is a warning, and the run is as if nobody had been told."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from harvester.core.errors import HarvesterError

log = logging.getLogger("harvester")


@contextmanager
def courtesy(what: str, *, more: str = "") -> Iterator[None]:
    """Turn whatever is raised in the block into a warning. Only a cancellation passes.

    Args:
        what: the subject of the warning, such as `the report of the night`.
        more: another sentence, such as which setting to look at.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, HarvesterError) and error.__cause__ else error
        kind = "" if isinstance(cause, HarvesterError | OSError) else f"{type(cause).__name__}: "
        reason = f"{kind}{cause}" if str(cause) else type(cause).__name__
        end = f" {more}" if more else ""
        log.warning("%s failed: %s. The harvest is not affected.%s", what, reason.rstrip("."), end)
        if not isinstance(error, HarvesterError | OSError | TimeoutError):
            log.debug("how it came about", exc_info=error)
