"""`harvester sandbox`: both services on this machine."""

import asyncio
from pathlib import Path

import click

from harvester.cli.streams import STDOUT
from harvester.core.background import BackgroundWriter
from harvester.core.errors import Misconfigured
from harvester.core.text.terminal import printable_text


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--seed", default=1, show_default=True, help="Of records and faults: the same seed gives the same ones.")
@click.option(
    "--faults", default="", metavar="SPEC", help="What goes wrong how often, such as all=0.05 or 429=0.1,reset=0.02."
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="Added to every answer of Paperbuzz.",
)
@click.option(
    "--capacity", type=click.IntRange(1, 1_000_000), metavar="N", help="Requests served at a time; the others wait."
)
@click.option(
    "--watch-rate",
    type=click.FloatRange(0.001, 1_000_000),
    metavar="N",
    help="Watch that this rate is not exceeded in any window.",
)
@click.option(
    "--day",
    type=click.IntRange(0, 36_500),
    default=0,
    metavar="N",
    help="Simulated day: the later, the more events the DOIs have.",
)
@click.option(
    "--log",
    "log_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write each request there, as JSON Lines.",
)
def sandbox(
    host: str,
    port: int,
    seed: int,
    faults: str,
    latency: float,
    capacity: int | None,
    watch_rate: float | None,
    day: int,
    log_path: Path | None,
) -> None:
    """Serve Paperbuzz and OPERAS Altmetrics on this machine, with their quirks, until you press ^C.

    It says how to point harvester at it; the page at / shows what it has been asked. Faults are listed there too.

    \b
    harvester sandbox
    harvester sandbox --faults all=0.05 --seed 7
    harvester sandbox --port 0 --latency 0.2 --capacity 20 --watch-rate 10
    """
    from harvester.sandbox.faults.rates import parse_faults
    from harvester.sandbox.options import SandboxOptions
    from harvester.sandbox.run import serve

    try:
        rates = parse_faults(faults)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--faults") from None
    chosen = SandboxOptions(
        host=host,
        port=port,
        seed=seed,
        faults=rates,
        latency_seconds=latency,
        capacity=capacity,
        watch_rate=watch_rate,
        day=day,
        log_path=log_path,
        entry_seconds=0.006,
        password_seconds=0.26,
    )
    try:
        asyncio.run(serve(chosen, announce=_announce))
    except OSError as error:
        raise Misconfigured(f"cannot listen on {host} port {port}: {error.strerror}. Try --port 0.") from None


def _announce(greeting: str) -> None:
    """Print the greeting, but do not wait for a reader: the services are there without one."""
    BackgroundWriter(STDOUT).put(f"{printable_text(greeting)}\n".encode())
