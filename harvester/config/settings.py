"""The settings: their names, defaults and types, one class for each section.

Beside each setting stands its parser (`harvester.config.parsers`), which says what the setting accepts.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_type_hints

from harvester.config.parsers import (
    Parser,
    as_base_url,
    as_choice,
    as_column,
    as_doi,
    as_duration,
    as_encoding,
    as_flag,
    as_hosts,
    as_mail,
    as_number,
    as_output,
    as_path,
    as_path_texts,
    as_proxy,
    as_size,
    as_text,
    as_web_address,
    as_whole,
)
from harvester.core.errors import Misconfigured
from harvester.core.model import LIST_FORMATS

T = TypeVar("T")


def _key(default: T, parse: Parser, *, secret: bool = False) -> T:
    """A setting.

    Args:
        default: its value if none is given.
        parse: the parser for values from outside.
        secret: whether it is not to be shown, because whoever knows it can do something with it.
    """
    return field(default=default, metadata={"parse": parse, "secret": secret})


_RATE = as_number(0.00001, 1_000_000)
"""From one request a day to more than a machine can send."""


@dataclass(frozen=True, slots=True)
class PaperbuzzSettings:
    """`[paperbuzz]`: how the Paperbuzz API is asked. Rates are per second, times in seconds, sizes in bytes."""

    base_url: str = _key("https://api.paperbuzz.org/v0/", as_base_url)
    email: str | None = _key(None, as_mail)
    rate: float = _key(10.0, _RATE)
    burst: float | None = _key(None, as_number(1, 1_000_000))
    concurrency: int = _key(8, as_whole(1, 1_000))
    daily_budget: int = _key(95_000, as_whole(0, 1_000_000_000))
    timeout: float = _key(35.0, as_duration)
    max_attempts: int = _key(5, as_whole(1, 1_000))
    patience: float = _key(2 * 3600.0, as_duration)
    max_body: int = _key(32 * 2**20, as_size)
    reference_doi: str = _key("10.1371/journal.pmed.0020124", as_doi)


@dataclass(frozen=True, slots=True)
class OperasSettings:
    """`[operas]`: whether and how DOIs are registered with OPERAS Altmetrics."""

    enabled: bool = _key(False, as_flag)
    base_url: str = _key("https://altmetrics.operas-eu.org/api/", as_base_url)
    email: str | None = _key(None, as_mail)
    password_file: Path | None = _key(None, as_path)
    batch_size: int = _key(100, as_whole(1, 10_000))
    rate: float = _key(5.0, _RATE)
    urls_from_metadata: bool = _key(False, as_flag)
    register_empty: bool = _key(False, as_flag)
    allow_hosts: tuple[str, ...] = _key((), as_hosts)
    deny_hosts: tuple[str, ...] = _key((), as_hosts)


@dataclass(frozen=True, slots=True)
class InputSettings:
    """`[input]`: which lists are read, and how."""

    files: tuple[str, ...] = _key((), as_path_texts)
    doi_column: str | None = _key(None, as_column)
    url_column: str | None = _key(None, as_column)
    header_row: int | None = _key(None, as_whole(1, 10_000))
    sheet: str | None = _key(None, as_text)
    format: str = _key("auto", as_choice(*LIST_FORMATS))
    extract: bool = _key(False, as_flag)
    encoding: str = _key("auto", as_encoding)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """`[output]`: where the records go."""

    path: str | None = _key(None, as_output)
    failures: Path | None = _key(None, as_path)
    only_changed: bool = _key(False, as_flag)


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """`[ledger]`: where the state of every work is remembered."""

    path: Path | None = _key(None, as_path)


@dataclass(frozen=True, slots=True)
class NightlySettings:
    """`[nightly]`: the scheduled harvest. Times in seconds."""

    min_interval: float = _key(20 * 3600.0, as_duration)
    max_interval: float = _key(90 * 86_400.0, as_duration)
    time_limit: float = _key(6 * 3600.0, as_duration)
    keep_nights: int = _key(30, as_whole(1, 1_000_000))
    list_change: float = _key(0.1, as_number(0, 1))

    def __post_init__(self) -> None:
        """Check what concerns two settings together.

        Raises:
            Misconfigured: the intervals contradict each other.
        """
        if self.max_interval < self.min_interval:
            raise Misconfigured("[nightly] max_interval is shorter than min_interval; it has to be at least as long.")


LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
LOG_LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: form and level of the log."""

    format: LogFormat = _key("text", as_choice(*LOG_FORMATS))
    level: LogLevel = _key("info", as_choice(*LOG_LEVELS))


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`[metrics]`: where to report how a night went."""

    textfile: Path | None = _key(None, as_path)
    ping_url: str | None = _key(None, as_web_address, secret=True)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """`[network]`: the way to the services."""

    proxy: str | None = _key(None, as_proxy, secret=True)
    ca_bundle: Path | None = _key(None, as_path)
    client_cert: Path | None = _key(None, as_path)
    client_key: Path | None = _key(None, as_path)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, one attribute for each section."""

    paperbuzz: PaperbuzzSettings = field(default_factory=PaperbuzzSettings)
    operas: OperasSettings = field(default_factory=OperasSettings)
    input: InputSettings = field(default_factory=InputSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    nightly: NightlySettings = field(default_factory=NightlySettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)


SECTIONS: dict[str, type] = get_type_hints(Settings)
"""The sections in their order, each with its class."""


KEYS = tuple(f"{section}.{key.name}" for section, kind in SECTIONS.items() for key in fields(kind))
"""All settings, as `section.key`."""

PARSERS: dict[str, Parser] = {
    f"{section}.{key.name}": key.metadata["parse"] for section, kind in SECTIONS.items() for key in fields(kind)
}
"""The parser of each setting, by `section.key`."""

SECRETS = frozenset(
    f"{section}.{key.name}" for section, kind in SECTIONS.items() for key in fields(kind) if key.metadata["secret"]
)
"""The settings that are not to be shown."""
