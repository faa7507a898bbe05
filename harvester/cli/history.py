"""`harvester history`: how the counts of a DOI grew."""

from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from harvester.cli.printing import show_json_lines
from harvester.core.doi import parse_doi
from harvester.core.errors import GiveUp, Usage
from harvester.core.model import Outcome
from harvester.core.text.sanitize import printable
from harvester.nightly.visits import visits_of
from harvester.storage.status import LedgerWork


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
    rows, work = visits_of(path, name)
    if not rows:
        click.echo(without_counts(name, work), err=True)
    show_json_lines(orjson.dumps({"at": _when(at), "counts": counts}) + b"\n" for at, counts in rows)


def without_counts(name: str, work: LedgerWork | None) -> str:
    """What is said where no counts are known."""
    if work is None:
        return f"{name} is not in this ledger."
    if work.harvested_at is None:
        return f"{name} has no record yet{', it failed' if work.failed else ''}."
    if work.outcome == Outcome.EMPTY:
        return f"The record of {name} of {work.harvested_at} is empty: no events are known."
    return (
        f"{name} has a record of {work.harvested_at} in the output. How counts grow is kept by harvester nightly alone."
    )


def _when(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
