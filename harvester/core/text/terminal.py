"""Text and JSON as they may be shown: whatever a terminal could obey stands there as an escape.

Terminals obey control characters (C0, DEL, C1), and show text in another order after a bidirectional control. Texts of
servers, lists, ledgers and file names are not ours, so everything that is shown passes one of these functions. Line
feeds and tabs stay.
"""

import io
import json
from collections.abc import Callable

from harvester.core.text.sanitize import printable


def printable_text(text: str) -> str:
    r"""The text with an escape such as `\x1b` for each character that is not printable."""
    return _piecewise(text, lambda piece: printable(piece, len(piece)))


def printable_json(text: str) -> str:
    r"""JSON of the same value, with an escape such as `\u009b` for each character that is not printable."""
    return _piecewise(text, _escaped_json)


def _escaped_json(piece: str) -> str:
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in piece)


def _piecewise(text: str, escape: Callable[[str], str]) -> str:
    """Escape what is between line feeds and tabs; JSON has these between its values only, never inside a text."""
    lines = (line.split("\t") for line in text.split("\n"))
    return "\n".join("\t".join(piece if piece.isprintable() else escape(piece) for piece in line) for line in lines)


class CleanText(io.TextIOWrapper):
    """A text stream that escapes what a terminal could obey, whoever writes to it."""

    def write(self, text: str, /) -> int:
        """Write the text, made printable. What the encoding does not have is escaped as well."""
        super().write(printable_text(text))
        return len(text)
