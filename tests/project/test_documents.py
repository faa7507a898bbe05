"""The documents say what is so: every command, flag, setting and exit code, and every command line in them runs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harvester import cli
from harvester.cli import harvester as group
from harvester.config.load import load
from harvester.config.settings import KEYS, Settings
from harvester.core import errors
from harvester.sandbox.server import Sandbox
from tests.folders import ROOT
from tests.tool import Tool

COMMANDS = ROOT / "docs" / "reference" / "commands.md"
CONFIGURATION = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "config.example.toml"


def helps() -> Iterator[tuple[str, str]]:
    """Each command with its help, as a terminal of 100 columns shows it."""
    context = click.Context(group, info_name="harvester", terminal_width=100, max_content_width=100)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found = {name: command}
        if isinstance(command, click.Group):
            found = {f"{name} {each}": command.commands[each] for each in command.commands}
        for path, each in found.items():
            inner = click.Context(each, info_name=f"harvester {path}", terminal_width=100, max_content_width=100)
            yield path, re.sub(r"[ \t]+$", "", each.get_help(inner), flags=re.MULTILINE)


def reference() -> str:
    """The text of the commands' reference; `python -m tests.project.test_documents` writes it."""
    parts = [
        "# Commands\n",
        "What each command says of itself with `--help`. stdout carries data only; progress, logs and the closing",
        "figures go to stderr. Exit codes are [here](exit-codes.md), settings [here](configuration.md).\n",
        "Shell completion: `harvester completion bash|zsh|fish` prints the script and says where it goes.\n",
    ]
    for path, text in helps():
        parts += [f"## harvester {path}\n", "```text", text, "```\n"]
    return "\n".join(parts)


def test_every_command_is_documented_with_its_help() -> None:
    assert COMMANDS.read_text(encoding="utf-8") == reference(), "write it anew: python -m tests.project.test_documents"


def test_every_command_shows_an_example() -> None:
    for path, text in helps():
        assert "harvester " in text.partition("Options:")[0].partition("\n")[2] or path == "demo", path


def test_the_example_configuration_is_the_defaults() -> None:
    assert load(EXAMPLE, {}, {}).settings == Settings()


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_is_in_the_example_and_in_the_reference(key: str) -> None:
    section, _, name = key.partition(".")
    content = EXAMPLE.read_text(encoding="utf-8").partition(f"[{section}]\n")[2].partition("\n[")[0]
    assert re.search(rf"^(?:# )?{name} = ", content, re.MULTILINE)
    described = CONFIGURATION.partition(f"## `[{section}]`\n")[2].partition("\n## ")[0]
    assert re.search(rf"^\| `{name}` \|.*`HARVESTER_{section.upper()}__{name.upper()}`", described, re.MULTILINE)


def test_every_way_to_end_is_in_the_table_of_exit_codes() -> None:
    table = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    for kind in errors.StopRun.__subclasses__():
        if kind is not errors.Interrupted:
            assert f"| {kind.exit_code} | `{kind.name}` |" in table


LEFT_OUT = (
    "make ",  # the whole project's own commands, run by CI
    "pipx ",
    "pip install",
    "git clone",
    "python3 -m venv",
    "read -rs",  # waits for a person
    "export HARVESTER_",  # the test points everything at its own sandbox
)
"""Beginnings of command lines that are shown and not run."""


def command_lines(document: Path) -> list[str]:
    """What stands behind `$ ` in the console blocks of a document."""
    blocks = re.findall(r"```console\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_the_command_lines_of_a_document_run(tmp_path: Path, sandbox: Sandbox, name: str) -> None:
    tool = Tool(tmp_path, sandbox)
    tool.write("dois.txt", ["10.5555/ok-1", "https://doi.org/10.5555/OK-2", "doi:10.5555/ok-1", "not a doi"])
    tool.write("dois.csv", ["doi,url", "10.5555/ok-1,https://press.example.org/1"])
    environment = tool.environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["HARVESTER_OPERAS__EMAIL"] = "demo@example.org"
    for line in command_lines(ROOT / name):
        if line.startswith(LEFT_OUT):
            continue
        if line.startswith("harvester sandbox"):
            line = f"timeout --signal=INT 2 {line} --port 0"
        line = line.replace("--rate 30", "--rate 3000")
        line = line.replace("--email you@press.example", "--operas-email demo@example.org --email you@press.example")
        shell = ["/bin/bash", "-c", line]
        run = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode in ((0, 124) if "sandbox" in line else (0,)), f"{line}\n{run.stdout}\n{run.stderr}"


if __name__ == "__main__":
    COMMANDS.write_text(reference(), encoding="utf-8")


def test_the_list_of_commands_says_what_their_help_begins_with() -> None:
    """It is a table of its own, so that `harvester --help` imports no command."""
    context = click.Context(group)
    for name, (_, text) in cli.COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert (command.help or "").partition("\n\n")[0] == text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_list_of_commands_is_the_one_that_click_would_write(width: int) -> None:
    context = click.Context(group, terminal_width=width, max_content_width=width)
    ours, clicks = context.make_formatter(), context.make_formatter()
    group.format_commands(context, ours)
    click.Group.format_commands(group, context, clicks)
    assert ours.getvalue() == clicks.getvalue() != ""


HELP = """
import sys
from harvester.cli import main

try:
    main()
finally:
    sys.exit("asyncio" in sys.modules)
"""


def test_help_imports_no_command() -> None:
    told = subprocess.run([sys.executable, "-c", HELP, "--help"], capture_output=True, text=True, check=False)
    assert (told.returncode, "registered" in told.stdout) == (0, True)
