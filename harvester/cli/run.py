"""`harvester run`: the batch job."""

from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.session import begin, close_with, work
from harvester.cli.streams import require_stdout
from harvester.config.credentials import require_email
from harvester.config.settings import Settings
from harvester.core.errors import Usage
from harvester.harvest.dry_run import dry_run
from harvester.harvest.from_settings import account, list_options, paths, upstream
from harvester.harvest.job import Context, HarvestJob, Mode
from harvester.harvest.run import run as run_job
from harvester.nightly.files import PLACEHOLDERS
from harvester.reports.summary import Summary
from harvester.storage.paths import check_paths


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--output", "-o", metavar="OUT", help="NAME.jsonl, .jsonl.gz, .jsonl.zst, or - for stdout.")
@click.option(
    "--register/--no-register", default=None, help="Register the harvested DOIs with OPERAS (cannot be undone)."
)
@click.option(
    "--urls-from-metadata/--no-urls-from-metadata", default=None, help="Also register the URLs a record gives."
)
@click.option(
    "--retry-failed", is_flag=True, help="Ask the failed DOIs of this output again; with --register, rejected ones too."
)
@click.option("--only-failed", is_flag=True, help="Ask the failed DOIs of this output again, and no others.")
@click.option("--refetch", is_flag=True, help="Start a new output; the old one stays as OUT.1.")
@click.option("--wait", is_flag=True, help="When the daily budget is used up, wait and go on, over days if need be.")
@click.option("--dry-run", "dry", is_flag=True, help="Say how many DOIs, how long, how much budget; ask nothing.")
@click.option(
    "--max-failures", type=click.IntRange(min=0), metavar="N", help="More failures than N end with exit code 3."
)
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="What is known of each DOI.  [default: beside the output]",
)
@click.option(
    "--failures",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="What failed and why.  [default: beside the output]",
)
@options.reading
@options.paperbuzz
@options.operas
@options.common
def run(
    inputs: tuple[str, ...],
    output: str | None,
    retry_failed: bool,
    only_failed: bool,
    refetch: bool,
    wait: bool,
    dry: bool,
    max_failures: int | None,
    config_path: Path | None,
    quiet: bool,
    **given: object,
) -> int:
    """Harvest the DOIs of INPUT... into OUT.

    INPUT is a file, a glob in quotes, or - for stdin: text, CSV, TSV, JSON, JSON Lines, RIS, BibTeX, Web of Science,
    KBART, also .gz, .zst, .bz2, .xz. Beside OUT you find OUT's failures, summary and ledger. The same command again
    goes on where it was left, or says that all is done.

    With --only-failed no INPUT is needed: what failed stands in OUT's ledger.

    \b
    harvester run dois.csv -o harvest.jsonl --email you@press.example
    harvester run 'lists/*.ris' more.txt -o harvest.jsonl.zst
    harvester run dois.csv -o harvest.jsonl --register
    harvester run --only-failed -o harvest.jsonl
    cut -f1 list.tsv | harvester run - -o - | jq .doi
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    settings = session.settings
    if only_failed and (refetch or retry_failed):
        other = "--refetch all of them" if refetch else "--retry-failed those that were never asked as well"
        raise Usage(f"--only-failed asks the failed DOIs alone, {other}: choose one")
    inputs = inputs or (() if only_failed else settings.input.files)
    if not inputs and not only_failed:
        raise Usage("no input: name a file with DOIs, or - for stdin")
    named = output or settings.output.path
    if not named:
        raise Usage("no output: say where the records go, for example -o harvest.jsonl")
    if any(placeholder in named for placeholder in PLACEHOLDERS):
        raise Usage(f"{named} is a template for harvester nightly: say with -o where the records of this run go")
    if named == "-":
        require_stdout("Nothing was asked; give -o a file.")
    registers = settings.operas.enabled
    job = HarvestJob(
        inputs=inputs,
        options=list_options(settings),
        paths=paths(settings, output),
        upstream=upstream(settings),
        retry_failures=retry_failed,
        mode=_mode(refetch=refetch, retry_failed=retry_failed, only_failed=only_failed),
        wait=wait,
        max_failures=max_failures,
    )
    if dry:
        click.echo(work(lambda context: dry_run(job, context, registers=registers)), err=True)
        return 0
    if registers:
        password = session.password()
        require_email(settings.paperbuzz.email)
        job = replace(job, account=account(settings, password))
    summary = work(lambda context: session.watched(context, _run(job, settings, context)))
    return close_with(summary, quiet=quiet)


def _mode(*, refetch: bool, retry_failed: bool, only_failed: bool) -> Mode:
    """The mode that the flags mean. A new refetch asks all works, the failed ones among them."""
    if only_failed:
        return Mode.ONLY_FAILED
    if refetch:
        return Mode.REFETCH
    return Mode.RETRY_FAILED if retry_failed else Mode.RESUME


def _run(job: HarvestJob, settings: Settings, context: Context) -> Awaitable[Summary]:
    """Run the job. What failed in a night is asked as the night would have asked it, so that nights learn from it."""
    if job.mode is Mode.ONLY_FAILED:
        # Imported here: an ordinary run starts without the nights.
        from harvester.nightly.job import intervals
        from harvester.nightly.retry import is_of_nights, retry

        require_email(job.upstream.email)
        check_paths(job.inputs, job.paths)
        if job.paths.ledger and is_of_nights(job.paths.ledger):
            return retry(job, intervals(settings), context, only_changed=settings.output.only_changed)
    return run_job(job, context)
