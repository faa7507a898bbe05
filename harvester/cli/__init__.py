"""What a person types: the `harvester` command, with one file for each of its subcommands.

Here are flags, help texts and exit codes. What a command does is decided in the rooms below.
"""

import gc
import logging
import os
import sys
from importlib import import_module

import click

from harvester.core.errors import PipeClosed, StopRun
from harvester.core.version import __version__

NEW_OBJECTS = 20_000
"""How many new containers start a garbage collection. With Python's own 700, collections take an eighth of the time and
find nothing: a DOI that gets its record leaves no cycle, and one that fails leaves a small one (measured)."""

_COMMANDS = {
    "run": "run",
    "nightly": "nightly",
    "register": "register",
    "registered": "register",
    "check": "check",
    "status": "status",
    "plan": "plan",
    "history": "history",
    "failures": "failures",
    "verify": "verify",
    "config": "config",
    "schedule": "schedule",
    "schema": "schema",
    "sandbox": "sandbox",
    "demo": "demo",
    "completion": "completion",
}
"""Each command and its module. A module is imported when its command is called, so that `--help` stays fast."""


class _Commands(click.Group):
    """A group that imports the module of a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"harvester.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command


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


def main() -> None:
    """Run the command line. An error that we foresee becomes one message and an exit code."""
    gc.set_threshold(NEW_OBJECTS, 10, 10)
    try:
        code = harvester.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (PipeClosed, BrokenPipeError):
        _redirect_stdout_to_null()
        sys.exit(PipeClosed.exit_code)
    except StopRun as error:
        _show_error(error)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost frame: what arrives here is a bug of ours
        _show_bug(error)
        sys.exit(1)


def _show_error(error: StopRun) -> None:
    """Show why the run ended: as a sentence, or as a log event if the log is JSON."""
    from harvester.monitoring import logs

    if logs.is_json():
        logging.getLogger("harvester").error("%s", error, extra={"exit_code": error.exit_code, "exit_name": error.name})
    else:
        click.echo(f"harvester: {error}", err=True)


def _redirect_stdout_to_null() -> None:
    """At exit the interpreter flushes stdout. With a closed pipe behind it, that would print an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_bug(error: Exception) -> None:
    """Show a bug of ours with its traceback, through the log, because that masks secrets."""
    from harvester.monitoring import logs

    logs.configure(form="json" if logs.is_json() else "text", level="error")
    logging.getLogger("harvester").error(
        "this is a bug in harvester; what was committed is safe, and the same command goes on", exc_info=error
    )
