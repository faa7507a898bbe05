"""`harvester nightly`: the scheduled harvest."""

from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.session import begin, close_with, work
from harvester.nightly import nightly_and_tell


@click.command()
@options.common
def nightly(config_path: Path | None, quiet: bool, **given: object) -> int:
    """Harvest what is due tonight; everything is taken from the configuration.

    [input] files are read anew, [output] path is a template with {date} or {run_id}, [ledger] path is that of all
    nights.
    A night that was not finished is finished first. A second one at the same time ends with 11.

    \b
    harvester nightly --config /etc/harvester.toml
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    password = session.password() if session.settings.operas.enabled else None
    report = work(lambda world: session.watched(world, nightly_and_tell(session.settings, password, world)))
    return close_with(report, quiet=quiet)
