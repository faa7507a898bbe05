"""Flags that several commands share. A flag that is a setting has the setting's own name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from harvester.config.masking import refused_value
from harvester.config.parsers import as_encoding
from harvester.config.settings import LOG_FORMATS, LOG_LEVELS, PARSERS
from harvester.core.model import LIST_FORMATS
from harvester.core.text.sanitize import printable

Command = TypeVar("Command", bound=Callable[..., Any])

SETTINGS = {
    "email": "paperbuzz.email",
    "rate": "paperbuzz.rate",
    "concurrency": "paperbuzz.concurrency",
    "daily_budget": "paperbuzz.daily_budget",
    "paperbuzz_base_url": "paperbuzz.base_url",
    "operas_base_url": "operas.base_url",
    "operas_email": "operas.email",
    "batch_size": "operas.batch_size",
    "urls_from_metadata": "operas.urls_from_metadata",
    "register": "operas.enabled",
    "doi_column": "input.doi_column",
    "url_column": "input.url_column",
    "header_row": "input.header_row",
    "sheet": "input.sheet",
    "format": "input.format",
    "extract": "input.extract",
    "encoding": "input.encoding",
    "ledger": "ledger.path",
    "failures": "output.failures",
    "only_changed": "output.only_changed",
    "log_format": "log.format",
    "log_level": "log.level",
}
"""The flags that are settings: the name that click gives to the value, and the key of the setting."""


class _ValueOfSetting(click.ParamType[object]):
    """The type of a flag that is a setting: it takes what the setting takes."""

    def __init__(self, key: str) -> None:
        self.name = self._key = key

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return PARSERS[self._key](value)
        except ValueError as error:
            self.fail(f"{refused_value(self._key, value)}, but it takes {error}.", param, ctx)


def _setting(flag: str, key: str, metavar: str, text: str) -> Callable[[Command], Command]:
    """A flag that is a setting; a value that the setting refuses is a mistake on the command line."""
    return click.option(flag, type=_ValueOfSetting(key), metavar=metavar, help=text)


def flags(given: Mapping[str, object]) -> dict[str, object]:
    """Those parameters of a command that are settings and were given, by the key of the setting."""
    return {SETTINGS[name]: value for name, value in given.items() if name in SETTINGS and value is not None}


def _encoding(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse an unknown encoding as click refuses any other value of a flag."""
    try:
        return None if value is None else str(as_encoding(value))
    except ValueError as error:
        raise click.BadParameter(f"{printable(value or '', 40)} is not {error}.") from None


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


config = partial(
    click.option,
    "--config",
    "-c",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="HARVESTER_CONFIG",
)
"""The file with the settings. Each command says in its own words what it takes from there."""

common = _all(
    config(help="Settings in TOML; see config.example.toml."),
    click.option("--log-format", type=click.Choice(LOG_FORMATS), help="How log lines look.  [default: text]"),
    click.option("--log-level", type=click.Choice(LOG_LEVELS), help="[default: info]"),
    click.option("--quiet", "-q", is_flag=True, help="No progress and no closing figures; only warnings and errors."),
)

reading = _all(
    _setting("--doi-column", "input.doi_column", "NAME", "Column with the DOIs, by its name or number."),
    _setting("--url-column", "input.url_column", "NAME", "Column with URLs to register."),
    _setting("--header-row", "input.header_row", "N", "Line with the names of the columns.  [default: found]"),
    click.option("--sheet", metavar="NAME", help="Sheet of a workbook.  [default: the first with DOIs]"),
    click.option("--format", type=click.Choice(LIST_FORMATS), help="Format of the inputs.  [default: auto]"),
    click.option("--extract", is_flag=True, default=None, help="Search the inputs, such as prose or HTML, for DOIs."),
    click.option("--encoding", callback=_encoding, metavar="NAME", help="Encoding of the inputs.  [default: auto]"),
)

paperbuzz = _all(
    click.option("--email", metavar="ADDRESS", help="Your e-mail address, sent to Paperbuzz with each request."),
    _setting("--rate", "paperbuzz.rate", "N", "Requests per second to Paperbuzz.  [default: 10]"),
    _setting("--concurrency", "paperbuzz.concurrency", "N", "Most requests to Paperbuzz at a time.  [default: 8]"),
    _setting("--daily-budget", "paperbuzz.daily_budget", "N", "Requests to Paperbuzz in 24 hours.  [default: 95000]"),
    click.option("--paperbuzz-base-url", metavar="URL", help="Another Paperbuzz, your own or a sandbox."),
)

operas = _all(
    click.option("--operas-base-url", metavar="URL", help="Another OPERAS Altmetrics, such as a sandbox."),
    click.option("--operas-email", metavar="ADDRESS", help="Your account at OPERAS.  [default: as for Paperbuzz]"),
    _setting("--batch-size", "operas.batch_size", "N", "DOIs in one request.  [default: 100]"),
)
