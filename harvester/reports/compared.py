"""Figures of tonight beside those of the night before."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Compared(Generic[Number]):
    """One figure of tonight beside the same figure of the night before.

    Args:
        tonight: a count or seconds.
        last_night: the same of the night before; None if it is not known.

    Attributes:
        change: by how much it grew; negative if it shrank; None if there is nothing to compare with.
    """

    tonight: Number
    last_night: Number | None = None
    change: Number | None = field(init=False)

    def __post_init__(self) -> None:
        # A field rather than a property: whatever writes the fields, such as JSON, then writes the change too.
        change = None if self.last_night is None else self.tonight - self.last_night
        object.__setattr__(self, "change", change)
