"""`harvester status`: a ledger in figures."""

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from harvester.storage.status import Status
from harvester.storage.status import status as read_status


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(path: Path, as_json: bool) -> None:
    """Show how far the job of an output is; OUT is the output of a run, or its ledger. A run may be going on.

    \b
    harvester status harvest.jsonl
    harvester status harvest.ledger --json | jq .pending
    """
    found = read_status(path)
    if as_json:
        click.echo(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(_in_words(found))


def _in_words(found: Status) -> str:
    output = f"{found.output}, {'complete' if found.complete else 'not complete yet'}" if found.output else "none"
    became = f"{found.results:,} results + {found.failures:,} failures + {found.pending:,} pending"
    became += f" + {found.resting:,} resting" if found.resting else ""
    lines = [
        f"ledger        {found.ledger}",
        f"output        {output}",
        f"works         {found.works:,} = {became}",
    ]
    for name, counts in (("outcomes", found.outcomes), ("failures", found.failures_by_kind)):
        if counts:
            lines.append(f"{name:<13} " + ", ".join(f"{what} {count:,}" for what, count in counts.items()))
    if found.gone:
        lines.append(f"gone          {found.gone:,} left the list; what was harvested of them stays")
    if found.registered or found.rejected or found.registration_pending:
        lines.append(
            f"registration  {found.registered:,} registered, {found.rejected:,} rejected, "
            f"{found.registration_pending:,} waiting"
        )
    return "\n".join(lines)
