"""What `harvester --help` shows, and what is said to somebody who mistyped a command."""

import click
import pytest

from harvester.cli import COMMANDS, GROUPS
from harvester.cli import harvester as command_line
from tests.tool import Tool


def test_every_command_is_in_exactly_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("width", [80, 132])
def test_no_text_of_a_command_is_cut_off(width: int) -> None:
    context = click.Context(command_line, info_name="harvester", terminal_width=width)
    shown = " ".join(command_line.get_help(context).split())
    assert all(" ".join(text.split()) in shown for _, text in COMMANDS.values())


def test_the_help_fits_a_terminal() -> None:
    context = click.Context(command_line, info_name="harvester", terminal_width=80)
    assert max(map(len, command_line.get_help(context).splitlines())) <= 80


def test_a_command_that_was_mistyped_is_answered_with_the_one_that_was_meant(harvester: Tool) -> None:
    told = harvester("rum", "dois.txt")
    assert told.returncode == 2
    assert "there is no command rum; did you mean run?" in told.stderr
