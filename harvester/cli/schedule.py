"""`harvester schedule`: files that start the nightly harvest."""

import os
import shutil
import sys
from datetime import datetime, time
from pathlib import Path

import click

from harvester.cli import options
from harvester.config.credentials import require_email
from harvester.config.load import load, text_of
from harvester.config.settings import KEYS
from harvester.core.errors import DiskFailed, Misconfigured
from harvester.core.files import write_atomically
from harvester.core.ownership import refuse_others_file
from harvester.core.version import __version__
from harvester.nightly.files import nights_ledger
from harvester.schedule import KINDS, SCHEDULE, SchedulePlan, files


class _TimeOfDay(click.ParamType[time]):
    name = "HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> time:
        try:
            return datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 - a time of day, in UTC
        except ValueError:
            self.fail(f"{value!r} is no time of day such as 02:17", param, ctx)


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@options.config(required=True, help="Settings in TOML; everything the nightly harvest does stands there.")
@click.option("--at", type=_TimeOfDay(), default="02:17", show_default=True, help="When to start, in UTC.")
@click.option(
    "--write", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Write the files there."
)
@click.option(
    "--program", type=click.Path(path_type=Path), help="harvester on the machine it will run on.  [default: this one]"
)
@click.option("--image", default=f"harvester:{__version__}", show_default=True, help="Container image, for kubernetes.")
def schedule(kind: str, config_path: Path, at: time, write: Path | None, program: Path | None, image: str) -> None:
    """Print the files that start `harvester nightly` every night; comments at their top say what to type next.

    No password comes into any of them. Paths in the configuration have to be absolute, except for github-actions, where
    they are relative to the repository.

    \b
    harvester schedule systemd --config /etc/harvester/harvester.toml --write /etc/systemd/system
    harvester schedule cron --config /etc/harvester/harvester.toml --at 03:41
    harvester schedule kubernetes --config harvester.toml --image images.press.example/harvester:1
    harvester schedule github-actions --config harvester.toml --write .github/workflows
    """
    made = files(kind, _plan(kind, config_path, at, program, image))
    _warn_about_environment(config_path)
    if write is None:
        parts = [f"# ---- {name} ----\n{text}" if len(made) > 1 else text for name, text in made.items()]
        click.echo("\n".join(parts), nl=False)
        return
    for name in made:  # all before the first is written, so that a service never stands beside another's timer
        refuse_others_file(write / name, SCHEDULE)
    for name, text in made.items():
        _write(write / name, text)


def _plan(kind: str, config_path: Path, at: time, program: Path | None, image: str) -> SchedulePlan:
    settings = load(config_path, {}, {}).settings
    nights_ledger(settings)  # what the night would refuse is refused now
    if kind != "github-actions":  # where the address may be one of GitHub's secrets
        require_email(settings.paperbuzz.email)
    here = program is None
    found = program or Path(shutil.which("harvester", path=str(Path(sys.executable).parent)) or sys.argv[0]).resolve()
    if not found.is_absolute():
        raise Misconfigured(f"--program {found}: give the whole path, beginning with /.")
    return SchedulePlan(
        settings=settings,
        config=config_path if kind == "github-actions" else config_path.absolute(),
        config_text=text_of(config_path),
        program=found,
        at=at,
        version=__version__,
        image=image,
        needs=(Path(sys.base_prefix).resolve(),) if here else (),
    )


def _warn_about_environment(config_path: Path) -> None:
    """Warn of settings in today's environment: they will not be there at night."""
    origins = load(config_path, os.environ, {}).origins
    only_here = [origins[key] for key in KEYS if origins[key] not in ("default", str(config_path))]
    if only_here:
        click.echo(f"harvester: not in the configuration, so not in force at night: {', '.join(only_here)}", err=True)


def _write(path: Path, text: str) -> None:
    """Write one of the files; an older one that this command made is replaced, and no other."""
    replaced = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"cannot write {path}: {error.strerror}. Choose another folder with --write.") from error
    write_atomically(path, [text.encode()], SCHEDULE)
    done = "replaced" if replaced else "written"
    click.echo(f"{path} {done}; its first lines say what to type next", err=True)
