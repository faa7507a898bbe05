"""Numbers and times in words, as people say them."""

from harvester.core.text.sanitize import safe_line

LONGEST_ERROR = 200
"""Characters of an error that are shown in a message."""


def are(number: int) -> str:
    """`is` or `are`."""
    return "is" if number == 1 else "are"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 work`, `2,500 works`.

    Args:
        number: how many.
        one: the noun for one of them.
        many: its plural, where that is not the noun with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def in_words(seconds: float) -> str:
    """A duration as people say it: `48 s`, `2 min 40 s`, `3 h 5 min`, `27 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, name, smaller, smaller_name = next(unit for unit in units if whole >= unit[0])
    rest = whole % size // smaller
    return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")


def in_a_line(error: Exception) -> str:
    """An error that nobody foresaw, for the message of a failure: its class and what it says, cut and safe to print."""
    return safe_line(f"{type(error).__name__}: {error}", LONGEST_ERROR)
