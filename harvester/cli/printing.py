"""Print on standard output: lines for people, JSON for machines; neither can do anything to a terminal.

Texts of others (of a ledger, of a server, names of files) may hold anything. They are made safe here, in one place, so
that no command has to think of it.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

import click

from harvester.cli.streams import binary_stdout, require_stdout
from harvester.core.text.sanitize import printable
from harvester.core.text.terminal import printable_json

MARK_WIDTH = 10


class Marked(NamedTuple):
    """A line that begins with a word in colour.

    Args:
        mark: the word.
        colour: as click calls it.
        text: the rest of the line.
        width: columns of the word.
    """

    mark: str
    colour: str
    text: str
    width: int = MARK_WIDTH


def show(*lines: str | Marked) -> None:
    """Print lines for people. Each stays one line, whatever is in it."""
    for line in lines:
        if isinstance(line, Marked):
            _show_mark(f"{line.mark:<{line.width}}", line.colour)
        text = line.text if isinstance(line, Marked) else line
        click.echo(printable(text, len(text)))


def _show_mark(mark: str, colour: str) -> None:
    """The word is ours and not escaped; in colour on a terminal, if nobody said otherwise."""
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo((click.style(mark, fg=colour) if is_coloured else mark).encode(), nl=False)


def show_json(value: object) -> None:
    """Print a value as indented JSON. Names of files are any bytes: one that is no text stands as `?`."""
    _write([f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode(errors="replace")])


def show_json_lines(lines: Iterable[bytes]) -> None:
    """Print JSON Lines, each with its line feed. They are UTF-8, whatever the terminal has."""
    _write(lines)


def _write(chunks: Iterable[bytes]) -> None:
    require_stdout()
    sys.stdout.flush()
    out = binary_stdout()
    for chunk in chunks:
        out.write(printable_json(chunk.decode(errors="backslashreplace")).encode())
    out.flush()
