"""`harvester check`: check settings, files, credentials and services before a run."""

import asyncio
from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.printing import Marked, show
from harvester.cli.session import Session, begin, work
from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured
from harvester.core.tasks import until_stopped
from harvester.harvest.check import Finding, Setup
from harvester.harvest.check import check as findings
from harvester.harvest.from_settings import account, list_options, paths, upstream
from harvester.harvest.job import Account, Context
from harvester.nightly.files import is_for_nights, nights_ledger


@click.command()
@click.option("--offline", is_flag=True, help="Leave the network out.")
@click.option("--register/--no-register", default=None, help="Check the OPERAS account as well.")
@options.paperbuzz
@options.operas
@options.common
def check(offline: bool, config_path: Path | None, quiet: bool, **given: object) -> int:
    """Check settings, files, credentials and both services; nothing is harvested or registered.

    Ends with 0 if all is well, else with the exit code that a run would end with. Metrics that cannot be written are a
    problem here, while a night goes on without them.

    \b
    harvester check --email you@press.example
    harvester check --config press.toml --offline
    """
    session = begin(config_path, options.flags(given), quiet=quiet)

    async def show_findings(context: Context) -> int:
        code = 0
        async for finding in findings(_setup(session), context, offline=offline):
            code = code or (finding.problem.exit_code if finding.problem else 0)
            if finding.problem or not quiet:
                await asyncio.to_thread(show, _line(finding))  # whoever reads it may sleep, and a stop be asked for
        return code

    async def check_until_stopped(context: Context) -> int:
        code = await until_stopped(show_findings(context), context.stop, grace_seconds=0)
        if context.stop.reason:
            raise context.stop.reason
        return code or 0

    return work(check_until_stopped)


def _setup(session: Session) -> Setup:
    settings = session.settings

    def with_password() -> Account:
        return account(settings, session.password())

    return Setup(
        upstream=upstream(settings),
        account=with_password if settings.operas.enabled else None,
        inputs=settings.input.files,
        options=list_options(settings),
        paths=(lambda: paths(settings)) if settings.output.path else None,
        textfile=settings.metrics.textfile,
        nights=lambda: _nights(settings),
    )


def _nights(settings: Settings) -> str:
    """Whether `harvester nightly` would begin; only a problem where the settings are meant for it."""
    try:
        return f"ready; what is known of each work is in {nights_ledger(settings)}"
    except Misconfigured as problem:
        if is_for_nights(settings):
            raise
        return f"not set up: {problem}"


def _line(finding: Finding) -> Marked:
    mark, colour = ("PROBLEM", "red") if finding.problem else ("ok", "green")
    return Marked(mark, colour, f" {finding.what}: {finding.message}", len("PROBLEM"))
