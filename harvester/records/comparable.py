"""What is kept of a record, so that the next record of the same DOI can be compared with it."""

from datetime import datetime
from typing import NamedTuple

from harvester.core.clock import DAY_SECONDS
from harvester.records.changes import Content, content_of
from harvester.records.events import EventHistory, event_history


class Comparable(NamedTuple):
    """What is kept of a record for comparison.

    Args:
        content: digests of its parts, and counts.
        history: four numbers about its events.
    """

    content: Content
    history: EventHistory


def comparable(record: object, now: datetime) -> Comparable:
    """What is to be kept of a record in the form of Paperbuzz.

    Args:
        record: built of Python's own objects; what is no object has nothing to compare.
        now: when it was harvested.
    """
    members = record if isinstance(record, dict) else {}
    return Comparable(content_of(members), event_history(members, int(now.timestamp() / DAY_SECONDS)))
