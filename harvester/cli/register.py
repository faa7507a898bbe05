"""`harvester register` and `harvester registered`: use OPERAS without asking Paperbuzz."""

import asyncio
from pathlib import Path

import click
import orjson

from harvester.cli import options
from harvester.cli.printing import show, show_json_lines
from harvester.cli.session import begin, close_with, work
from harvester.core.errors import Usage
from harvester.core.text.wording import counted
from harvester.harvest.from_settings import account, list_options
from harvester.harvest.job import Context, RegistrationJob
from harvester.harvest.listing import to_register
from harvester.harvest.registration import holdings
from harvester.harvest.registration import register as register_job
from harvester.lists import ListOptions
from harvester.storage.paths import ledger_paths


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="What was registered.  [default: NAME.registration.ledger, here]",
)
@click.option("--dry-run", "dry", is_flag=True, help="Print each DOI with its URLs; send nothing.")
@options.reading
@options.operas
@options.common
def register(inputs: tuple[str, ...], dry: bool, config_path: Path | None, quiet: bool, **given: object) -> int:
    """Register the DOIs of INPUT... with OPERAS, without asking Paperbuzz. This cannot be undone.

    What was registered is remembered in a ledger, so that the same command again goes on, or sends only what is new.
    The password is read from HARVESTER_OPERAS__PASSWORD or a password file, never from the command line.

    \b
    harvester register dois.csv --dry-run | less
    harvester register dois.csv --operas-email you@press.example
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    inputs = inputs or session.settings.input.files
    if not inputs:
        raise Usage("no input: name a file with DOIs, or - for stdin")
    if dry:
        return work(lambda context: _show_all(inputs, list_options(session.settings), context))
    stem = "stdin" if inputs[0] == "-" else Path(inputs[0]).name.split(".")[0] or "list"
    ledger = session.settings.ledger.path or Path(f"{stem}.registration.ledger")
    known = account(session.settings, session.password())
    job = RegistrationJob(inputs, list_options(session.settings), ledger_paths(ledger.absolute()), known)
    summary = work(lambda context: session.watched(context, register_job(job, context)))
    return close_with(summary, quiet=quiet)


async def _show_all(inputs: tuple[str, ...], given: ListOptions, context: Context) -> int:
    """Print what would be sent: all of it, since it goes through a pipe where it is long."""
    count = urls = 0
    async for entry in to_register(inputs, given, context):
        count, urls = count + 1, urls + len(entry.urls)
        await asyncio.to_thread(show, "  ".join([entry.doi, *entry.urls]))
    click.echo(f"{counted(count, 'work')} with {counted(urls, 'URL')}. Nothing was sent.", err=True)
    return 0


@click.command()
@options.operas
@options.common
def registered(config_path: Path | None, quiet: bool, **given: object) -> None:
    """Print what OPERAS holds for your account, as JSON Lines: raw (the DOI), urls, last_checked.

    \b
    harvester registered --operas-email you@press.example | jq -r .raw
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    known = account(session.settings, session.password())

    async def fetch(context: Context) -> list[dict[str, object]]:
        return await holdings(known, context)

    rows = work(fetch)
    if not rows and not quiet:
        click.echo("OPERAS holds nothing for this account.", err=True)
    show_json_lines(orjson.dumps(row) + b"\n" for row in rows)
