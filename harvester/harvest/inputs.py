"""Reading the lists of a job into its ledger."""

from collections.abc import Callable, Collection, Sequence
from itertools import chain
from pathlib import Path

from harvester.core.clock import timestamp
from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.harvest.job import Context
from harvester.lists import ListOptions, fingerprint, read_list
from harvester.lists.notes import FileNotes
from harvester.storage.database import WorkState
from harvester.storage.ingest import Reading, enrol
from harvester.storage.store import Store


async def read_inputs(
    store: Store,
    inputs: Sequence[str],
    options: ListOptions,
    context: Context,
    *,
    own: Collection[Path] = (),
    enrol_as: WorkState = WorkState.DUE,
    note: Callable[[FileNotes], None] = lambda _: None,
) -> Reading:
    """Enrol all inputs.

    Args:
        store: takes the works.
        inputs: files, globs, `-` for stdin.
        options: how they are read.
        context: its stop breaks the reading off.
        own: files that the job writes, and so never lists.
        enrol_as: state of works that are new.
        note: takes what was found in a file. It is called on the thread that reads.

    Raises:
        InputUnusable: there is no DOI in them.
        StopRun: they cannot be read, or the run was stopped.
    """
    now = timestamp(context.clock.now())

    def is_stopped() -> bool:
        return context.stop.requested or store.is_closing()

    # Already the search for the files may take long, so that it is left to the thread that reads them.
    lines = chain.from_iterable(
        read_list(
            inputs, options, warn=context.warn, now=now, stdin=context.stdin, own=own, is_stopped=is_stopped, note=note
        )
        for _ in range(1)
    )
    reading = await store.call(
        enrol,
        store.ledger,
        lines,
        is_stopped=is_stopped,
        fingerprint=lambda: fingerprint(inputs, options, own),
        enrol_as=enrol_as,
    )
    if context.stop.reason:
        raise context.stop.reason
    if not reading.works:
        raise InputUnusable(
            f"there is no DOI in {', '.join(map(printable, inputs))}: of {reading.lines:,} lines {reading.invalid:,} "
            f"are no DOIs and {reading.blank:,} are empty. Nothing was asked."
        )
    if reading.dropped:
        context.warn(
            f"{reading.dropped:,} DOIs of the last reading are listed no more and were not asked yet; left out"
        )
    return reading
