"""What a person types: the `harvester` command, with one file for each of its subcommands.

Here are flags, help texts and exit codes. What a command does is decided in the rooms below.
"""

import gc
import logging
import platform
import sys
from importlib import import_module
from typing import NoReturn

import click

from harvester.cli.streams import guard_streams, leave
from harvester.core.errors import DiskFailed, PipeClosed, StopRun
from harvester.core.text.sanitize import safe_line
from harvester.core.version import __version__

MAX_MESSAGE = 8_192
"""Characters of a message at the end of a command: paths may be long, and there may be some of them."""

BUG = (
    "this is a bug in harvester; what was committed is safe, and the same command goes on. Please report it, with the "
    "lines below and: harvester %s, Python %s, %s"
)

NEW_OBJECTS = 20_000
"""How many new containers start a garbage collection. With Python's own 700, collections take an eighth of the time and
find nothing: a DOI that gets its record leaves no cycle, and one that fails leaves a small one (measured)."""

COMMANDS = {
    "run": ("run", "Harvest the DOIs of INPUT... into OUT."),
    "nightly": ("nightly", "Harvest what is due tonight; everything is taken from the configuration."),
    "register": (
        "register",
        "Register the DOIs of INPUT... with OPERAS, without asking Paperbuzz. This cannot be undone.",
    ),
    "registered": (
        "register",
        "Print what OPERAS holds for your account, as JSON Lines: raw (the DOI), urls, last_checked.",
    ),
    "lists": (
        "lists",
        "Show how INPUT... is read: format, columns, works, URLs by host, what looks wrong. Asks and changes nothing.",
    ),
    "check": ("check", "Check settings, files, credentials and both services; nothing is harvested or registered."),
    "status": (
        "status",
        "Show how far the job of an output is; OUT is the output of a run, or its ledger. A run may be going on.",
    ),
    "plan": (
        "plan",
        "Show what tonight would ask and why; with a DOI, explain its score part by part. Asks and changes nothing.",
    ),
    "history": (
        "history",
        "Print how the counts of DOI grew, as JSON Lines: at (when they were found), counts (events by source).",
    ),
    "failures": (
        "failures",
        "Print what failed and why, as JSON Lines; OUT is the output of a run, or its ledger. A run may be going on.",
    ),
    "verify": (
        "verify",
        "Check what was promised of OUT, the output of a run, or its ledger; complete or not. Nothing is changed.",
    ),
    "recover": (
        "recover",
        "Make a new ledger for OUT, the output of a run or a night, when the ledger or the output is damaged.",
    ),
    "config": ("config", "Look at the settings."),
    "schedule": (
        "schedule",
        "Print the files that start `harvester nightly` every night; comments at their top say what to type next.",
    ),
    "schema": ("schema", "Print the JSON Schema of a record: result (the default), failure or summary."),
    "sandbox": (
        "sandbox",
        "Serve Paperbuzz and OPERAS Altmetrics on this machine, with their quirks, until you press ^C.",
    ),
    "demo": (
        "demo",
        "Run the main job on this machine: sandbox, bundled real DOIs, records, registration; no account, no network.",
    ),
    "completion": ("completion", "Print the completion script for a shell."),
}
"""Each command, its module, and the first paragraph of its help. A module is imported only when its command is called.
The list of commands in `--help` is made of this table, in a sixth of the time that importing all of them takes."""


class _Commands(click.Group):
    """A group that imports the module of a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"harvester.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Invoke the command. Of a broken pipe click would end without a word, and only that of stdout deserves it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise DiskFailed(f"a pipe broke that is not stdout: {error.filename or error.strerror}.") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands as click does, without importing them."""
        listed = click.Group(commands=[click.Command(name, help=text) for name, (_, text) in COMMANDS.items()])
        listed.list_commands = self.list_commands  # type: ignore[method-assign] # their order is ours
        listed.format_commands(ctx, formatter)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="harvester")
def harvester() -> None:
    """Harvest altmetrics from Paperbuzz for lists of DOIs, and register them with OPERAS, exactly once.

    \b
    harvester demo                                 watch the whole job on this machine, no account, no network
    harvester run dois.csv -o harvest.jsonl        harvest a list; the same command again resumes
    harvester check                                config, credentials, both services; harvests nothing

    Every command has its own --help.
    """


def main() -> NoReturn:
    """Run the command line. An error that we foresee becomes one message and an exit code."""
    gc.set_threshold(NEW_OBJECTS, 10, 10)
    guard_streams()
    leave(_run())


def _run() -> int:
    """Run the command line; returns the exit code."""
    try:
        code = harvester.main(standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PipeClosed as error:
        return error.exit_code
    except StopRun as error:
        return _shown(error)
    except Exception as error:  # noqa: BLE001 - the outermost frame: what arrives here nobody foresaw
        return _shown_unforeseen(error)
    return code if isinstance(code, int) else 0


def _shown(error: StopRun) -> int:
    """Show why the run ended: as a sentence, or as a log event if the log is JSON. Returns the exit code."""
    from harvester.monitoring import logs

    if logs.is_json():
        logging.getLogger("harvester").error("%s", error, extra={"exit_code": error.exit_code, "exit_name": error.name})
    else:
        click.echo(f"harvester: {safe_line(str(error), MAX_MESSAGE)}", err=True)
    return error.exit_code


def _shown_unforeseen(error: Exception) -> int:
    """Show an error of the system in words, and a bug of ours with its traceback. Returns the exit code."""
    from harvester.cli.foreseen import in_words
    from harvester.monitoring import logs

    if known := in_words(error):
        logging.getLogger("harvester").debug("how it came about", exc_info=error)
        return PipeClosed.exit_code if isinstance(known, PipeClosed) else _shown(known)
    # Through the log, because that masks secrets.
    logs.configure(form="json" if logs.is_json() else "text", level="error")
    logging.getLogger("harvester").error(BUG, __version__, platform.python_version(), sys.platform, exc_info=error)
    return StopRun.exit_code
