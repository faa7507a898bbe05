"""`harvester demo`: the whole job on this machine, and what to look at afterwards."""

import os
import shutil
import sys
from importlib.resources import as_file, files
from itertools import count
from pathlib import Path

import click

from harvester.cli.session import begin, close_with, work
from harvester.config.credentials import Secret
from harvester.core.errors import DiskFailed, Usage
from harvester.harvest.from_settings import account, list_options, upstream
from harvester.harvest.job import HarvestJob
from harvester.harvest.run import run as run_job
from harvester.records.lines import read
from harvester.storage.paths import job_paths, own_files

FOLDER, LIST, OUTPUT, STATE = "demo-output", "dois.csv", "harvest.jsonl", ".state"

RATE = 25
"""Requests per second: slow enough to watch, and still below half a minute."""


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the demo leaves its files; nothing is replaced.  [default: demo-output, or demo-output-2 …]",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.01, max=1_000_000),
    default=RATE,
    show_default=True,
    help="Requests per second.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def demo(folder: Path | None, rate: float, quiet: bool) -> int:
    """Run the main job on this machine: sandbox, bundled real DOIs, records, registration; no account, no network."""
    from harvester.sandbox.faults.rates import parse_faults
    from harvester.sandbox.options import SandboxOptions
    from harvester.sandbox.run import run_in_thread

    folder = _made(folder or _unused())
    options = SandboxOptions(faults=parse_faults("429=0.01,500=0.02,reset=0.01,heal=1"), latency_seconds=0.05)
    with as_file(files("harvester.cli") / "data" / "dois.csv") as dois, run_in_thread(options) as sandbox:
        with (folder / LIST).open("xb") as copy:
            copy.write(dois.read_bytes())
        click.echo(f"Both services run on this machine for the time of the demo: {sandbox.url}\n", err=True)
        settings = {
            "paperbuzz.base_url": sandbox.paperbuzz_url,
            "paperbuzz.email": "demo@example.org",
            "paperbuzz.rate": rate,
            "operas.base_url": sandbox.operas_url,
            "operas.rate": 50,
            "operas.urls_from_metadata": True,
        }
        session = begin(None, settings, quiet=quiet)
        out = folder / OUTPUT
        job = HarvestJob(
            inputs=(str(folder / LIST),),
            options=list_options(session.settings),
            paths=job_paths(str(out)),
            upstream=upstream(session.settings),
            account=account(session.settings, Secret(options.accounts[0].password)),
        )
        summary = work(
            lambda context: session.watched(context, run_job(job, context)),
            state=folder / STATE,
        )
        code = close_with(summary, quiet=False)
    click.echo(_what_now(folder, out), err=True)
    return code


def _unused() -> Path:
    """The default folder; if a demo left its files there, the first with a number behind its name that is not there."""
    folder = Path(FOLDER)
    if not _taken(folder):
        return folder
    return next(each for number in count(2) if not os.path.lexists(each := Path(f"{FOLDER}-{number}")))


def _made(folder: Path) -> Path:
    """Make the folder, if it is missing.

    Raises:
        Usage: something in it has a name that the demo needs.
        DiskFailed: it cannot be made.
    """
    if taken := _taken(folder):
        raise Usage(
            f"{taken} is there already, and the demo replaces nothing. Nothing was changed; name another folder with "
            "--folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"cannot make {folder}: {error.strerror}. Choose another one with --folder.") from error
    return folder


def _taken(folder: Path) -> Path | None:
    """What is in the folder under a name that the demo needs; None if all of them are free."""
    needed = [folder / LIST, folder / STATE, *own_files(job_paths(str(folder / OUTPUT)))]
    return next((path for path in needed if os.path.lexists(path)), None)


def _liveliest(out: Path) -> tuple[str, dict[str, int]]:
    """The DOI with events from the most sources, and how many each has."""
    found: tuple[str, dict[str, int]] = ("", {})
    for result in read(out):
        sources = result.record["altmetrics_sources"]
        if len(sources) > len(found[1]):
            found = result.doi, {source["source_id"]: source["events_count"] for source in sources}
    return found


def _what_now(folder: Path, out: Path) -> str:
    doi, events = _liveliest(out)
    tool = "harvester" if shutil.which("harvester") else sys.argv[0]
    most = sorted(events.items(), key=lambda item: -item[1])[:5]
    sources = ", ".join(f"{source} {count:,}" for source, count in most)
    return f"""
What was made, in {folder}/:
  dois.csv                 the list: rows as people keep them, with duplicates, a row that is no DOI, an empty one
  harvest.jsonl            one record a line, for example {doi} with events:
                           {sources}
  harvest.failures.jsonl   what failed and why, with file and line
  harvest.summary.json     the figures above, for machines
  harvest.ledger           what is known of every DOI; the same command again resumes from it

The same with your own list and the real services; first see that all is in place:
  {tool} check --email you@press.example
  {tool} run dois.csv -o harvest.jsonl --email you@press.example
and registered with OPERAS, once you have an account there (this cannot be undone):
  read -rs HARVESTER_OPERAS__PASSWORD && export HARVESTER_OPERAS__PASSWORD
  {tool} run dois.csv -o harvest.jsonl --email you@press.example --register"""
