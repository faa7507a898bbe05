"""`harvester status`: a ledger in figures."""

from dataclasses import asdict
from pathlib import Path

import click

from harvester.cli.printing import show, show_json
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
        show_json(_for_machines(found))
    else:
        show(*_in_words(found))


def _for_machines(found: Status) -> dict[str, object]:
    return {
        "ledger": found.ledger,
        "output": found.output,
        "complete": found.complete,
        **asdict(found.figures),
    }


def _in_words(found: Status) -> list[str]:
    figures = found.figures
    output = f"{found.output}, {'complete' if found.complete else 'not complete yet'}" if found.output else "none"
    became = f"{figures.results:,} results + {figures.failures:,} failures + {figures.pending:,} pending"
    became += f" + {figures.resting:,} resting" if figures.resting else ""
    lines = [
        f"ledger        {found.ledger}",
        f"output        {output}",
        f"works         {figures.works:,} = {became}",
    ]
    for name, counts in (("outcomes", figures.outcomes), ("failures", figures.failures_by_kind)):
        if counts:
            lines.append(f"{name:<13} " + ", ".join(f"{what} {count:,}" for what, count in counts.items()))
    if figures.gone:
        lines.append(f"gone          {figures.gone:,} left the list; what was harvested of them stays")
    if figures.registered or figures.rejected or figures.registration_pending:
        lines.append(
            f"registration  {figures.registered:,} registered, {figures.rejected:,} rejected, "
            f"{figures.registration_pending:,} waiting"
        )
    return lines
