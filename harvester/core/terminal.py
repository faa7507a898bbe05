"""Text and JSON as they may be shown: whatever a terminal could obey stands there as an escape.

Terminals obey control characters (C0, DEL, C1), and show text in another order after a bidirectional control. Texts of
servers, lists, ledgers and file names are not ours, so everything that is shown passes one of these functions. Line
feeds and tabs stay.
"""

import io
import json

from harvester.core.sanitize import printable

KEPT = "\n\t"
"""Characters that are not printable and do no harm. JSON has them between its values only, never inside a text."""


def printable_text(text: str) -> str:
    r"""The text with an escape such as `\x1b` for each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(char if char in KEPT else printable(char) for char in text)


def printable_json(text: str) -> str:
    r"""JSON of the same value, with an escape such as `\u009b` for each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in KEPT else json.dumps(char)[1:-1] for char in text)


class CleanText(io.TextIOWrapper):
    """A text stream that escapes what a terminal could obey, whoever writes to it."""

    def write(self, text: str, /) -> int:
        """Write the text, made printable. What the encoding does not have is escaped as well."""
        super().write(printable_text(text))
        return len(text)
