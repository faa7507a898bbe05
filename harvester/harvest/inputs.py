"""Reading the lists of a job into its ledger."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from harvester.core.clock import timestamp
from harvester.core.errors import InputMissing, InputUnusable, StopRun
from harvester.core.model import Blank, Failure, Work
from harvester.core.text.sanitize import printable
from harvester.harvest.job import Context
from harvester.lists import ListOptions, fingerprint, read_list
from harvester.lists.inputs import expand
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
    unread: list[StopRun] | None = None,
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
        unread: takes why an input cannot be read, and the others are read all the same; None if that ends the run.
        note: takes what was found in a file. It is called on the thread that reads.

    Raises:
        InputUnusable: there is no DOI in them.
        StopRun: they cannot be read, or the run was stopped.
    """
    now = timestamp(context.clock.now())

    def is_stopped() -> bool:
        return context.stop.requested or store.is_closing()

    read = partial(
        read_list,
        options=options,
        warn=context.warn,
        now=now,
        stdin=context.stdin,
        own=own,
        is_stopped=is_stopped,
        note=note,
    )

    def known() -> str | None:
        try:
            return None if unread else fingerprint(inputs, options, own)
        except (InputMissing, InputUnusable):
            if unread is None:
                raise
            return None

    # Already the search for the files may take long, so that it is left to the thread that reads them.
    lines = chain.from_iterable(
        read(inputs) if unread is None else _each_that_can_be_read(read, inputs, context, own, unread) for _ in range(1)
    )
    reading = await store.call(
        enrol,
        store.ledger,
        lines,
        is_stopped=is_stopped,
        fingerprint=known,
        enrol_as=enrol_as,
    )
    if context.stop.reason:
        raise context.stop.reason
    if not reading.works and unread:
        raise unread[0]
    if not reading.works:
        raise InputUnusable(
            f"there is no DOI in {', '.join(map(printable, inputs))}: of {reading.lines:,} lines {reading.invalid:,} "
            f"are no DOIs and {reading.blank:,} are empty. Nothing was asked."
        )
    for reason in unread or ():
        context.warn(f"{reason} The other lists are read.")
    if reading.dropped:
        context.warn(
            f"{reading.dropped:,} DOIs of the last reading are listed no more and were not asked yet; left out"
        )
    return reading


def _each_that_can_be_read(
    read: Callable[[Sequence[str]], Iterator[Work | Failure | Blank]],
    inputs: Sequence[str],
    context: Context,
    own: Collection[Path],
    unread: list[StopRun],
) -> Iterator[Work | Failure | Blank]:
    """Read the inputs one after the other; an input that cannot be read, or not to its end, does not end the rest."""
    for name in expand(inputs, context.warn, own, refused=unread.append):
        try:
            yield from read([name])
        except (InputMissing, InputUnusable) as reason:
            unread.append(reason)
