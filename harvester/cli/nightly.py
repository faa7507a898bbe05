"""`harvester nightly`: the scheduled harvest."""

import os
from collections.abc import Awaitable
from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.session import begin, close_with, work
from harvester.config.credentials import Secret
from harvester.harvest.job import Context
from harvester.nightly.notify import nightly_and_notify
from harvester.reports.summary import Summary


@click.command()
@click.option("--wait-lock", is_flag=True, help="Wait for another run on the same ledger instead of ending with 11.")
@click.option("--accept-list", is_flag=True, help="Accept the list as it is now, however much it changed.")
@click.option("--only-changed/--no-only-changed", default=None, help="Write only records that changed.")
@options.common
def nightly(wait_lock: bool, accept_list: bool, config_path: Path | None, quiet: bool, **given: object) -> int:
    """Harvest what is due tonight; everything is taken from the configuration.

    [input] files are read anew, [output] path is a template with {date} or {run_id}, [ledger] path is that of all
    nights.
    A night that was not finished is finished first. A second one at the same time ends with 11.

    \b
    harvester nightly --config /etc/harvester.toml
    """
    session = begin(config_path, options.flags(given), quiet=quiet)

    def password() -> Secret | None:
        return session.password() if session.settings.operas.enabled else None

    def job(context: Context) -> Awaitable[Summary]:
        return nightly_and_notify(
            session.settings, password, context, os.environ, wait_lock=wait_lock, accepts_list=accept_list
        )

    summary = work(lambda context: session.watched(context, job(context)))
    return close_with(summary, quiet=quiet, again="a later night asks again")
