"""The states of a night in the ledger: open, begun, over."""

from dataclasses import dataclass

from harvester.nightly.revisit import NightForecast
from harvester.nightly.state import NightFigures, NightPace


@dataclass(frozen=True, slots=True)
class NightProgress:
    """What is to be told of a night, at its end or where it had to stop.

    Args:
        night: what it was expected to find, and found.
        figures: of its records.
        covered: listed works that were asked at least once.
        paces: how the nights before it went, the latest last.
        outputs: paths of the outputs of the nights before it, the latest last.
    """

    night: NightForecast
    figures: NightFigures
    covered: int
    paces: tuple[NightPace, ...]
    outputs: tuple[str, ...]
