"""`harvester completion`: the script with which a shell completes our commands and flags."""

import click
from click.shell_completion import get_completion_class

from harvester.cli import harvester


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    harvester completion bash > ~/.local/share/bash-completion/completions/harvester
    harvester completion zsh > "${fpath[1]}/_harvester"
    harvester completion fish > ~/.config/fish/completions/harvester.fish
    """
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(completion_class(harvester, {}, "harvester", "_HARVESTER_COMPLETE").source())
