"""`harvester check`: check settings, files, credentials and services before a run."""

from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.session import Session, begin, work
from harvester.core.tasks import until_stopped
from harvester.harvest.check import Finding, Setup
from harvester.harvest.check import check as findings
from harvester.harvest.from_settings import account, list_options, upstream
from harvester.harvest.job import Account, Context


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
        async for finding in findings(_setup(session), context.clock, offline=offline):
            code = code or (finding.problem.exit_code if finding.problem else 0)
            if finding.problem or not quiet:
                click.echo(_line(finding))
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
        output=settings.output.path,
        ledger=settings.ledger.path,
        failures=settings.output.failures,
        textfile=settings.metrics.textfile,
    )


def _line(finding: Finding) -> str:
    mark = click.style("PROBLEM", fg="red") if finding.problem else click.style("ok", fg="green")
    return f"{mark:<7} {finding.what}: {finding.message}"
