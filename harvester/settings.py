"""The settings: their names, defaults, types and limits, one class a section.

What a setting takes is said beside it, by a reader: a function that turns a value from a TOML file, the environment or
a flag into the setting's type, or raises ValueError with what it takes, in words.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

Reader = Callable[[object], object]

T = TypeVar("T")


def _text(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("text that is not empty")
    return value


def _place(value: object) -> object:
    """A path or glob that stays text, for `-` may stand in its place; `~` is the home folder."""
    text = str(_text(value))
    return str(_path(text)) if text.startswith("~") else text


def _places(value: object) -> object:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise ValueError('text, or a list of texts such as ["a.csv", "b.csv"]')
    return tuple(_place(item) for item in items)


def _flag(value: object) -> object:
    spelled = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, str) and value.lower() in spelled:
        return spelled[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _finite(value: object) -> float | None:
    """The number a value stands for; None if it is none, or one that cannot be counted with."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _number(least: float, above: bool = False) -> Reader:
    def read(value: object) -> object:
        number = _finite(value)
        if number is None or not (number > least if above else number >= least):
            raise ValueError(f"a number {'above' if above else 'of at least'} {least:g}")
        return number

    return read


def _whole(least: int) -> Reader:
    def read(value: object) -> object:
        number = _number(least)(value)
        if not isinstance(number, float) or number != int(number):
            raise ValueError("a whole number")
        return int(number)

    return read


def _measure(units: Mapping[str, float], example: str, *, whole: bool = False) -> Reader:
    """A number with a unit, or without one in the smallest, which comes first."""
    smallest = next(iter(units))

    def read(value: object) -> object:
        number, unit = _finite(value), smallest
        if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)):
            number, unit = _finite(match[1]), match[2] or smallest
        if number is None or unit not in units or not math.isfinite(number * units[unit]):
            raise ValueError(f"a measure such as {example}; units are {', '.join(units)}")
        amount = int(number * units[unit]) if whole else number * units[unit]
        if amount <= 0:
            raise ValueError(f"a measure above 0 such as {example}")
        return amount

    return read


_duration = _measure({"s": 1, "min": 60, "h": 3600, "d": 86400}, '"35 s", "2 h" or "7 d"')
_size = _measure({"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}, '"32 MiB"', whole=True)


def _one_of(*choices: str) -> Reader:
    def read(value: object) -> object:
        spelled = value.lower() if isinstance(value, str) else None
        if spelled not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return spelled

    return read


def _path(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path; there is no such home folder") from None


def _web(value: object) -> object:
    """A web address that may leave this machine only by https, and that carries no password."""
    text = str(value)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("a web address") from None
    clean = text.isascii() and text.isprintable() and not set(' \\"<>') & set(text)
    if parts.scheme not in ("http", "https") or not host or not clean:
        raise ValueError("a web address such as https://api.paperbuzz.org/v0/")
    if parts.username is not None:
        raise ValueError("a web address without user and password")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("https; plain http is for this machine (localhost) only")
    return text


def _address(value: object) -> object:
    """The base URL of a service, with a slash at its end, to which paths are appended."""
    text = str(_web(value))
    if "?" in text or "#" in text:
        raise ValueError("a web address without query and fragment")
    return text if text.endswith("/") else text + "/"


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _mail(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[^\s@]+@[^\s@]+", value) or not value.isprintable():
        raise ValueError("an e-mail address")
    return value


def _key(default: T, read: Reader) -> T:
    """A setting: its default, and what turns a value from outside into its type or raises ValueError."""
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True, slots=True)
class PaperbuzzSettings:
    """`[paperbuzz]`: how the Paperbuzz API is asked. Rates a second, times in seconds, sizes in bytes."""

    base_url: str = _key("https://api.paperbuzz.org/v0/", _address)
    email: str | None = _key(None, _mail)
    rate: float = _key(10.0, _number(0, above=True))
    burst: float | None = _key(None, _number(1))
    concurrency: int = _key(8, _whole(1))
    daily_budget: int = _key(95_000, _whole(0))
    timeout: float = _key(35.0, _duration)
    max_attempts: int = _key(5, _whole(1))
    patience: float = _key(2 * 3600.0, _duration)
    max_body: int = _key(32 * 2**20, _size)


@dataclass(frozen=True, slots=True)
class OperasSettings:
    """`[operas]`: whether and how DOIs are registered with OPERAS Altmetrics."""

    enabled: bool = _key(False, _flag)
    base_url: str = _key("https://altmetrics.operas-eu.org/api/", _address)
    email: str | None = _key(None, _mail)
    password_file: Path | None = _key(None, _path)
    batch_size: int = _key(100, _whole(1))
    rate: float = _key(5.0, _number(0, above=True))
    urls_from_metadata: bool = _key(False, _flag)


@dataclass(frozen=True, slots=True)
class InputSettings:
    """`[input]`: what is read, and how."""

    files: tuple[str, ...] = _key((), _places)
    doi_column: str | None = _key(None, _text)
    url_column: str | None = _key(None, _text)
    format: str = _key("auto", _one_of("auto", "txt", "csv", "tsv", "json", "jsonl", "ris", "bibtex", "wos", "kbart"))
    encoding: str = _key("auto", _text)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """`[output]`: where the records go."""

    path: str | None = _key(None, _place)
    failures: Path | None = _key(None, _path)
    only_changed: bool = _key(False, _flag)


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """`[ledger]`: where it is remembered what became of every work."""

    path: Path | None = _key(None, _path)


@dataclass(frozen=True, slots=True)
class NightlySettings:
    """`[nightly]`: the scheduled harvest. Times in seconds."""

    min_interval: float = _key(86_400.0, _duration)
    max_interval: float = _key(90 * 86_400.0, _duration)
    time_limit: float = _key(6 * 3600.0, _duration)
    keep_nights: int = _key(30, _whole(1))


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: how the run talks."""

    format: Literal["text", "json"] = _key("text", _one_of("text", "json"))
    level: Literal["debug", "info", "warning", "error"] = _key("info", _one_of("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`[metrics]`: who is told how a night went."""

    textfile: Path | None = _key(None, _path)
    ping_url: str | None = _key(None, _web)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, one attribute a section."""

    paperbuzz: PaperbuzzSettings = field(default_factory=PaperbuzzSettings)
    operas: OperasSettings = field(default_factory=OperasSettings)
    input: InputSettings = field(default_factory=InputSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    nightly: NightlySettings = field(default_factory=NightlySettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


SECTIONS: dict[str, type] = {
    "paperbuzz": PaperbuzzSettings,
    "operas": OperasSettings,
    "input": InputSettings,
    "output": OutputSettings,
    "ledger": LedgerSettings,
    "nightly": NightlySettings,
    "log": LogSettings,
    "metrics": MetricsSettings,
}

KEYS = tuple(f"{section}.{key.name}" for section, kind in SECTIONS.items() for key in fields(kind))
"""All settings as `section.key`."""

READERS: dict[str, Reader] = {
    f"{section}.{key.name}": key.metadata["read"] for section, kind in SECTIONS.items() for key in fields(kind)
}
"""What each setting takes."""
