"""What a night knows beyond its summary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harvester.reports.compared import Compared
from harvester.reports.failures import FailureGroup


@dataclass(frozen=True, slots=True)
class NightRecords:
    """What the records of a night tell; None is not known.

    Args:
        changed: records that differ from the ones before.
        truncated: records that lack events at the cap of 2,500, or may lack some.
        predicted_events: new events that were expected in the works that were asked.
        found_events: new events in them.
    """

    changed: int | None = None
    truncated: Compared[int] | None = None
    predicted_events: float | None = None
    found_events: int | None = None


@dataclass(frozen=True, slots=True)
class NightTiming:
    """How fast the service answered, and whether the clock can be trusted; None is not known.

    Args:
        median_seconds: the median time of the good answers.
        usual_median_seconds: the median of the medians of the nights before.
        clock_jumps_seconds: by how much the wall clock left the monotonic one, each time; negative: it was set back.
    """

    median_seconds: Compared[float] | None = None
    usual_median_seconds: float | None = None
    clock_jumps_seconds: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Campaign:
    """How far a list is covered that takes more than a night.

    Args:
        works: DOIs in the list.
        covered: those that were asked at least once.
        tonight: those of them that were asked for the first time tonight.

    Attributes:
        nights_left: nights until all are covered, at tonight's pace; None if there is no pace.
    """

    works: int
    covered: int
    tonight: int
    nights_left: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nights_left", self._nights_left())  # a field, as in `Compared`

    def _nights_left(self) -> int | None:
        left = max(0, self.works - self.covered)
        if not left:
            return 0
        return math.ceil(left / self.tonight) if self.tonight > 0 else None


@dataclass(frozen=True, slots=True)
class ListChange:
    """How tonight's list differs from the one that was accepted last.

    Args:
        come: DOIs that are listed now and were never listed before.
        gone: DOIs that were listed and are no more.
        turned_invalid: lines that are no DOIs, beyond those that there were.
        is_doubted: whether that is so much that a person has to look; nothing is registered until then.
    """

    come: int
    gone: int
    turned_invalid: int
    is_doubted: bool = False


@dataclass(frozen=True, slots=True)
class NightDetails:
    """What a night knows beyond its summary; what it does not know is left out.

    Args:
        groups: tonight's failures, see `FailureGroups`; kinds without a group are reported without an example.
        records: what its records tell.
        timing: of the answers and of the clock.
        daily_budget: requests a day; None or 0 without a limit.
        campaign: how far the list is covered; None if all of it was asked at least once.
        files: further files by name, beside those of the summary.
        unread: why lists could not be read, a sentence for each.
        list_change: how the list changed; None if it was not compared.
    """

    groups: Sequence[FailureGroup] = ()
    records: NightRecords = field(default_factory=NightRecords)
    timing: NightTiming = field(default_factory=NightTiming)
    daily_budget: int | None = None
    campaign: Campaign | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    unread: Sequence[str] = ()
    list_change: ListChange | None = None
