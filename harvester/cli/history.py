"""`harvester history`: how the counts of a DOI grew."""

from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from harvester.cli.printing import show_json_lines
from harvester.core.doi import parse_doi
from harvester.core.errors import GiveUp, Usage
from harvester.core.text.sanitize import printable
from harvester.nightly.visits import visits_of


@click.command()
@click.argument("doi")
@click.argument("path", type=click.Path(path_type=Path), metavar="LEDGER")
def history(doi: str, path: Path) -> None:
    """Print how the counts of DOI grew, as JSON Lines: at (when they were found), counts (events by source).

    \b
    harvester history 10.5334/bbc /var/lib/harvester/harvest.ledger
    """
    try:
        name = parse_doi(doi)
    except GiveUp as error:
        raise Usage(f"{printable(doi)} is no DOI: {error}") from None
    rows = visits_of(path, name)
    if not rows:
        click.echo(f"Nothing is known of {name}.", err=True)
    show_json_lines(orjson.dumps({"at": _when(at), "counts": counts}) + b"\n" for at, counts in rows)


def _when(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
