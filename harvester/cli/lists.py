"""`harvester lists`: what lists hold and how they are read, before anything is asked or registered."""

from collections.abc import Iterator
from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.printing import show, show_json
from harvester.cli.session import begin, work
from harvester.core.errors import Usage
from harvester.core.text.wording import counted
from harvester.core.urls.landing import IN_WORDS
from harvester.harvest.from_settings import list_options
from harvester.harvest.listing import Listing, look_through
from harvester.lists.notes import FileNotes

MOST_HOSTS = 10
"""Hosts that are shown to people; JSON has all."""


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.reading
@options.common
def lists(inputs: tuple[str, ...], as_json: bool, config_path: Path | None, quiet: bool, **given: object) -> int:
    """Show how INPUT... is read: format, columns, works, URLs by host, what looks wrong. Asks and changes nothing.

    Look here before you register: what is registered stays. Ends with 0, or with the exit code that a run would end
    with.

    \b
    harvester lists dois.csv
    harvester lists 'lists/*.ris' --json
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    inputs = inputs or session.settings.input.files
    if not inputs:
        raise Usage("no input: name a file with DOIs, or - for stdin")
    found = work(lambda context: look_through(inputs, list_options(session.settings), context))
    if as_json:
        show_json(_as_json(found))
    else:
        for notes in found.files:
            show(*_about(notes))
        show(_total(found))
    if found.problem is not None:
        raise found.problem
    return 0


def _about(notes: FileNotes) -> Iterator[str]:
    """What is said of one file."""
    yield notes.name
    encoding = f", {notes.encoding}" if notes.encoding else ""
    yield f"  format     {notes.format}{encoding}"
    if notes.columns.doi:
        urls = ", ".join(notes.columns.urls)
        yield f"  columns    DOIs from {notes.columns.doi}; {f'URLs from {urls}' if urls else 'no column with URLs'}"
    yield f"  holds      {counted(notes.works, 'DOI')}, {notes.invalid:,} invalid, {notes.blank:,} blank"
    hosts = [f"{host} {count:,}" for host, count in notes.hosts.most_common(MOST_HOSTS)]
    if hosts:
        more = ", …" if len(notes.hosts) > MOST_HOSTS else ""
        yield f"  URLs       {notes.hosts.total():,}: {', '.join(hosts)}{more}"
    for reason, count in notes.left_out.most_common():
        where, url = notes.first_left_out[reason]
        yield f"  left out   {count:,}, because {IN_WORDS[reason]}; the first, {where}: {url}"
    for doi, works_urls in notes.examples:
        yield f"  example    {doi} → {' '.join(works_urls) or '(no URL)'}"
    for where, text, why in notes.bad_lines:
        yield f"  invalid    {where}: {why}: {text}"
    for sentence in (*notes.columns.wrong, *notes.columns.unused):
        yield f"  look       {sentence}"


def _total(found: Listing) -> str:
    reading = found.reading
    read = f"{counted(reading.works, 'work')} + {counted(reading.duplicates, 'duplicate')}"
    return f"total: {reading.lines:,} = {read} + {reading.invalid:,} invalid + {reading.blank:,} blank"


def _as_json(found: Listing) -> dict[str, object]:
    reading = found.reading
    return {
        "works": reading.works,
        "duplicates": reading.duplicates,
        "invalid": reading.invalid,
        "blank": reading.blank,
        "files": [
            {
                "name": notes.name,
                "format": notes.format,
                "encoding": notes.encoding or None,
                "doi_column": notes.columns.doi or None,
                "url_columns": notes.columns.urls,
                "dois": notes.works,
                "invalid": notes.invalid,
                "blank": notes.blank,
                "urls_by_host": dict(notes.hosts.most_common()),
                "urls_left_out": dict(notes.left_out.most_common()),
                "examples": [{"doi": doi, "urls": urls} for doi, urls in notes.examples],
                "invalid_lines": [{"at": at, "text": text, "why": why} for at, text, why in notes.bad_lines],
                "warnings": list(notes.warnings()),
            }
            for notes in found.files
        ],
    }
