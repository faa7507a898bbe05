"""`harvester schema`: the record format for machines."""

import click

from harvester.cli.printing import show_json
from harvester.records.schema import SCHEMAS


@click.command()
@click.argument("record", type=click.Choice(sorted(SCHEMAS)), default="result")
def schema(record: str) -> None:
    """Print the JSON Schema of a record: result (the default), failure or summary.

    \b
    harvester schema failure > failure.schema.json
    """
    show_json(SCHEMAS[record]())
