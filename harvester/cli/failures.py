"""`harvester failures`: what failed and why, from the ledger."""

from pathlib import Path

import click

from harvester.cli.printing import show_json_lines
from harvester.core.model import Stage
from harvester.records.lines import failure_line
from harvester.storage.status import failures_of


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--kind", metavar="KIND", help="Only failures of this kind, such as timeout or invalid-doi.")
@click.option("--stage", type=click.Choice([stage.value for stage in Stage]), help="Only failures that arose there.")
def failures(path: Path, kind: str | None, stage: str | None) -> None:
    """Print what failed and why, as JSON Lines; OUT is the output of a run, or its ledger. A run may be going on.

    \b
    harvester failures harvest.jsonl | jq -r '[.origin, .kind, .message] | @tsv'
    harvester failures harvest.jsonl --stage input
    """
    show_json_lines(
        failure_line(failure)
        for failure in failures_of(path)
        if kind in (None, failure.kind) and stage in (None, failure.stage)
    )
