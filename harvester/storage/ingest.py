"""Taking in a list: what a reading of it found."""

from dataclasses import dataclass

ENROL_CHUNK = 2_000
"""Lines that are enrolled in one transaction."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading of the input found.

    Args:
        lines: lines, rows or entries.
        works: DOIs, each once.
        duplicates: further mentions of them.
        invalid: lines that are no DOI.
        blank: lines with nothing in them.
        dropped: works of an earlier reading that were still due and are listed no more.
    """

    lines: int = 0
    works: int = 0
    duplicates: int = 0
    invalid: int = 0
    blank: int = 0
    dropped: int = 0
