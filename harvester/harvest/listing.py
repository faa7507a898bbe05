"""What lists hold, before anybody is asked and anything is registered. Nothing is written."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from harvester.core.errors import StopRun
from harvester.core.model import PendingRegistration
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Context
from harvester.lists import ListOptions
from harvester.lists.notes import FileNotes
from harvester.storage.ingest import Reading
from harvester.storage.store import Store

PAGE = 500
"""Works that are read from the ledger at a time."""


@dataclass(slots=True)
class Listing:
    """What was found.

    Args:
        files: each file by itself, in the order of reading.
        reading: all of them together; nothing if the reading ended early.
        problem: why it did.
    """

    files: list[FileNotes] = field(default_factory=list)
    reading: Reading = field(default_factory=Reading)
    problem: StopRun | None = None


async def look_through(inputs: Sequence[str], options: ListOptions, context: Context) -> Listing:
    """Read lists as a run reads them. What ends the reading early is in the result; files before it are too."""
    listing = Listing()
    async with Store(None, None) as store:
        try:
            listing.reading = await read_inputs(store, inputs, options, context, note=listing.files.append)
        except StopRun as problem:
            listing.problem = problem
    return listing


async def to_register(
    inputs: Sequence[str], options: ListOptions, context: Context
) -> AsyncIterator[PendingRegistration]:
    """The works of lists, each with the URLs that would be registered with it, in the order of the lists.

    Raises:
        StopRun: they cannot be read.
    """
    async with Store(None, None) as store:
        await read_inputs(store, inputs, options, context)
        last = 0
        while works := await store.call(store.outbox.listed, last, PAGE):
            for work in works:
                yield work
            last = works[-1].work_id
