"""`harvester config show`: all settings, and where each comes from."""

import os
from pathlib import Path

import click

from harvester.cli import options
from harvester.config.load import load
from harvester.config.show import show as shown


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@options.config(help="Settings in TOML.")
def show(config_path: Path | None) -> None:
    """Print every setting in TOML, with where its value comes from. No secret is a setting, and none is shown.

    \b
    harvester config show
    HARVESTER_PAPERBUZZ__RATE=5 harvester config show --config press.toml
    """
    click.echo(shown(load(config_path, os.environ, {})), nl=False)
