"""`harvester failures`: what failed and why, from the ledger."""

from difflib import get_close_matches
from pathlib import Path

import click

from harvester.cli.printing import show_json_lines
from harvester.core.errors import FailureKind
from harvester.core.model import Stage
from harvester.core.text.sanitize import printable
from harvester.records.lines import failure_line
from harvester.storage.status import failures_of


def _known_kind(_context: click.Context, _parameter: click.Parameter, kind: str | None) -> str | None:
    """Refuse a kind that does not exist: it would look as if nothing of it had failed."""
    if kind is None or kind in list(FailureKind):
        return kind
    meant = get_close_matches(kind, list(FailureKind), 1)
    raise click.BadParameter(
        f"there is no kind {printable(kind, 40)}"
        + (f"; did you mean {meant[0]}?" if meant else f". The kinds are {', '.join(FailureKind)}.")
    )


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--kind",
    metavar="KIND",
    callback=_known_kind,
    shell_complete=lambda _context, _parameter, begun: [kind for kind in FailureKind if kind.startswith(begun)],
    help="Only failures of this kind, such as timeout or invalid-doi.",
)
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
