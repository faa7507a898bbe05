"""`python -m bench`: the experiments from the command line; tables on stdout, what is going on on stderr."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from bench import compare as comparing
from bench import costs as costing
from bench import counts as counting
from bench import nights as nightly
from bench import pace as pacing
from bench import scale as scaling
from bench.contenders import CONTENDERS, Contender, harvester
from bench.records import SIZES, Size

tell = partial(click.echo, err=True)

OF_RECORDS = "Of the records: about 1, 18 or 400 kB."
ROUNDS = "How many rounds the medians are taken over."

json_option = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the figures go as JSON.")
concurrency_option = click.option("--concurrency", default=50, show_default=True, help="Most requests at a time.")
list_option = click.option(
    "--list", "source", type=click.Path(exists=True, path_type=Path), help="DOIs, one a line.  [default: made ones]"
)
folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, path_type=Path),
    help="A disk to write on.  [default: the temporary folder]",
)


def _numbers(least: float) -> Callable[[click.Context, click.Parameter, str], list[float]]:
    """Parse comma-separated numbers, each at least `least`."""

    def read(_: click.Context, __: click.Parameter, text: str) -> list[float]:
        try:
            numbers = [float(number) for number in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(least <= number < math.inf for number in numbers):
            raise click.BadParameter(f"{text!r} is not numbers of at least {least:g} with commas between them")
        return numbers

    return read


@click.group()
def bench() -> None:
    """Measure harvester."""


@bench.command()
@click.option("--size", "sizes", type=click.Choice(SIZES), multiple=True, help=f"{OF_RECORDS}  [default: all]")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help=ROUNDS)
@click.option("--dois", "count", type=click.IntRange(min=2), help="[default: 20,000 small and median, 1,000 large]")
@click.option("--only", help=f"With commas, of {', '.join(each.name for each in CONTENDERS)}.")
@click.option("--also", multiple=True, metavar="FLAGS", help="harvester once more, with these flags.")
@concurrency_option
@list_option
@folder_option
@json_option
def compare(
    sizes: tuple[Size, ...],
    count: int | None,
    only: str | None,
    also: tuple[str, ...],
    json_path: Path | None,
    **given: Any,
) -> None:
    """Compare harvester with other ways to do its job."""
    contenders = [
        *_chosen(only),
        *(harvester(f"harvester {flags}", f"harvester `{flags}`", flags=flags) for flags in also),
    ]
    found = []
    for size in sizes or SIZES:
        found.append(comparing.compare(contenders, size, count=count, tell=tell, **given))
        click.echo(f"\n{size}: {found[-1].dois:,} DOIs, {found[-1].concurrency} at a time\n\n{found[-1].as_text()}")
    _write(json_path, [each.as_json() for each in found])


def _chosen(only: str | None) -> list[Contender]:
    """The contenders that were asked for and can run here."""
    names = [name.strip() for name in only.split(",")] if only else [each.name for each in CONTENDERS]
    if unknown := set(names) - {each.name for each in CONTENDERS}:
        known = ", ".join(each.name for each in CONTENDERS)
        raise click.UsageError(f"no contender {', '.join(sorted(unknown))}; there are {known}")
    chosen = [each for each in CONTENDERS if each.name in names]
    for each in chosen:
        if not each.is_here:
            tell(f"{each.what}: left out, {each.needs} is not installed")
    return [each for each in chosen if each.is_here]


@bench.command()
@click.option(
    "--sizes",
    callback=_numbers(1000),
    default=",".join(map(str, scaling.SIZES)),
    show_default=True,
    help="DOIs, with commas.",
)
@click.option("--size", type=click.Choice(SIZES), default="small", show_default=True, help=OF_RECORDS)
@click.option("--at-most", type=click.IntRange(min=1), help="Kill a run after this many requests.  [default: never]")
@click.option("--flags", default="", help="More flags for harvester.")
@click.option("--svg", "svg_path", type=click.Path(path_type=Path), help="Where a chart goes.")
@concurrency_option
@list_option
@folder_option
@json_option
def scale(sizes: list[float], json_path: Path | None, svg_path: Path | None, **given: Any) -> None:
    """Measure what depends on the number of DOIs, and what must not."""
    found = scaling.scale([int(count) for count in sizes], tell=tell, **given)
    click.echo(scaling.as_text(found))
    _write(json_path, scaling.as_json(found))
    if svg_path:
        svg_path.parent.mkdir(parents=True, exist_ok=True)
        svg_path.write_text(scaling.as_svg(found), encoding="utf-8")


@bench.command()
@click.option(
    "--rates",
    callback=_numbers(0.1),
    default=",".join(f"{rate:g}" for rate in pacing.RATES),
    show_default=True,
    help="With commas.",
)
@click.option("--seconds", default=20.0, show_default=True, help="For each rate.")
@click.option("--full-speed", default=pacing.AT_FULL_SPEED, show_default=True, help="DOIs without a rate; 0 for none.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help=ROUNDS)
@concurrency_option
@json_option
def pace(rates: list[float], json_path: Path | None, **given: Any) -> None:
    """Measure whether the rate is reached and kept."""
    found = pacing.pace(rates, tell=tell, **given)
    click.echo(pacing.as_text(found))
    _write(json_path, pacing.as_json(found))


@bench.command()
@click.option("--size", type=click.Choice(SIZES), default="median", show_default=True, help=OF_RECORDS)
@json_option
def counts(size: Size, json_path: Path | None) -> None:
    """Count the calls that a DOI costs; nearly the same on every machine."""
    found = counting.a_doi_costs(size=size)
    click.echo(counting.as_text(found))
    _write(json_path, counting.as_json(found))


@bench.command()
@click.option("--size", type=click.Choice(SIZES), default="median", show_default=True, help=OF_RECORDS)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help=ROUNDS)
@click.option("--dois", "count", type=click.IntRange(min=2), help="[default: as for compare]")
@concurrency_option
@list_option
@folder_option
@json_option
def costs(json_path: Path | None, **given: Any) -> None:
    """Measure what each promise costs, by leaving it out."""
    found = costing.prices(comparing.compare(costing.contenders(), tell=tell, **given))
    click.echo(costing.as_text(found))
    _write(json_path, costing.as_json(found))


@bench.command()
@click.option("--dois", "count", type=click.IntRange(min=2), default=100_000, show_default=True, help="In the list.")
@click.option("--size", type=click.Choice(SIZES), default="median", show_default=True, help=OF_RECORDS)
@concurrency_option
@json_option
def nights(json_path: Path | None, **given: Any) -> None:
    """Measure a night over works that are new, and one over works that are known."""
    found = nightly.nights(**given)
    click.echo(nightly.as_text(found))
    _write(json_path, nightly.as_json(found))


def _write(path: Path | None, content: object) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    bench(prog_name="python -m bench")
