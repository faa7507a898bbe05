"""Parsers: they turn a value from a TOML file, the environment or a flag into the type of a setting.

A parser takes any object. It returns the value, or raises ValueError with a text that says what it accepts, such as
"a whole number".
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi
from harvester.core.model import OUTPUT_ENDINGS
from harvester.core.text.encodings import text_codec

Parser = Callable[[object], object]


def as_text(value: object) -> object:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("text that is not empty")
    return value


def as_column(value: object) -> object:
    """A column of a table, by its name or by its number from 1."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else as_text(value)
    number = str(text).strip()
    if number.lstrip("-").isdecimal() and (number.startswith("-") or not number.strip("0")):
        raise ValueError("the name of a column, or its number, counted from 1")
    return text


def as_path_text(value: object) -> object:
    """A path or glob, kept as text because `-` may take its place. `~` is the home folder."""
    text = str(as_text(value))
    path = as_path(text)
    return str(path) if text.startswith("~") else text


def as_path_texts(value: object) -> object:
    """A list of paths or globs; one alone needs no list."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise ValueError('text, or a list of texts such as ["a.csv", "b.csv"]')
    return tuple(as_path_text(item) for item in items)


def as_hosts(value: object) -> object:
    """A list of host names, each for itself and all below it; one alone needs no list."""
    items = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    listed = items if isinstance(items, list | tuple) else [None]
    hosts = [item.lower().removeprefix("*.").strip(".") for item in listed if isinstance(item, str)]
    if len(hosts) != len(listed) or not all(map(_HOST.fullmatch, hosts)):
        raise ValueError('host names such as ["europepmc.org", "repository.example.edu"], without https:// and path')
    return tuple(hosts)


_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}")


def as_output(value: object) -> object:
    """Where records go: a path whose ending says how they are packed, or `-`."""
    text = as_path_text(value)
    name = Path(str(text)).name
    if text != "-" and (name in OUTPUT_ENDINGS or not name.endswith(OUTPUT_ENDINGS)):
        raise ValueError(f"a path that ends in {OUTPUT_ENDINGS[0]}, perhaps with .gz or .zst, or - for stdout")
    return text


def as_encoding(value: object) -> object:
    """The name of a text encoding, or `auto`."""
    text = str(as_text(value))
    if text != "auto":
        text_codec(text)
    return text


def as_flag(value: object) -> object:
    """True or false; also the texts `true`, `false`, `yes`, `no`, `1` and `0`."""
    spelled = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, str) and value.lower() in spelled:
        return spelled[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _finite(value: object) -> float | None:
    """The number that a value stands for; None if it is no number, infinite, or not a number (NaN)."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_number(least: float, most: float) -> Parser:
    """A number from `least` to `most`."""

    def parse(value: object) -> object:
        number = _finite(value)
        if number is None or not least <= number <= most:
            raise ValueError(f"a number from {_plain(least)} to {_plain(most)}")
        return number

    return parse


def as_whole(least: int, most: int) -> Parser:
    """A whole number from `least` to `most`."""

    def parse(value: object) -> object:
        number = _finite(value)
        if number is None or not least <= number <= most or number != int(number):
            raise ValueError(f"a whole number from {_plain(least)} to {_plain(most)}")
        return int(number)

    return parse


def _plain(number: float) -> str:
    """A bound as people write it: without an exponent, and without a fraction if it has none."""
    return f"{number:,.6f}".rstrip("0").rstrip(".")


LEAST = 0.000001
"""The smallest measure that counts as above 0: a microsecond."""


def _measure(units: Mapping[str, float], example: str, most: str, *, whole: bool = False) -> Parser:
    """A number with a unit, above 0. Without a unit, it is in the smallest one.

    Args:
        units: their names, each with its size; the smallest first.
        example: for the message.
        most: the greatest value that is taken, with its unit.
        whole: cut off the fraction.
    """
    smallest = next(iter(units))
    number_of_most, _, unit_of_most = most.partition(" ")
    bound = float(number_of_most) * units[unit_of_most]

    def parse(value: object) -> object:
        number, unit = _finite(value), smallest
        if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)):
            number, unit = _finite(match[1]), match[2] or smallest
        if number is None or unit not in units:
            raise ValueError(f"a measure such as {example}; units are {', '.join(units)}")
        amount = number * units[unit]
        if not LEAST <= amount <= bound or (whole and int(amount) == 0):
            raise ValueError(f"a measure above 0 and up to {most}, such as {example}")
        return int(amount) if whole else amount

    return parse


as_duration = _measure({"s": 1, "min": 60, "h": 3600, "d": 86400}, '"35 s", "2 h" or "7 d"', "36500 d")
"""A time in seconds, up to a hundred years: a date that is so far away can still be written."""

as_size = _measure({"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}, '"32 MiB"', "2 GiB", whole=True)
"""A number of bytes, up to what is read as a whole."""


def as_choice(*choices: str) -> Parser:
    """One of some words, in upper or lower case."""

    def parse(value: object) -> object:
        spelled = value.lower() if isinstance(value, str) else None
        if spelled not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return spelled

    return parse


def as_path(value: object) -> object:
    """A path; `~` is the home folder."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path; there is no such home folder") from None


def as_web_address(value: object) -> object:
    """A web address without a password. It has to be https, except on this machine."""
    text = str(value)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("a web address") from None
    clean = text.isascii() and text.isprintable() and not set(' \\"<>') & set(text)
    if parts.scheme not in ("http", "https") or not host or not clean or port == 0:
        raise ValueError("a web address such as https://api.paperbuzz.org/v0/")
    if parts.username is not None:
        raise ValueError("a web address without user and password")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("https; plain http is for this machine (localhost) only")
    return text


def as_proxy(value: object) -> object:
    """The address of an HTTP proxy, with user and password if it wants them."""
    text = str(value)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or parts.scheme not in ("http", "https") or not text.isascii() or not text.isprintable():
        raise ValueError("the address of a proxy such as http://proxy.university.example:3128")
    return text


def as_base_url(value: object) -> object:
    """The base URL of a service, to which paths are appended. A missing slash at the end is added."""
    text = str(as_web_address(value))
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


def as_mail(value: object) -> object:
    """An e-mail address."""
    if not isinstance(value, str) or not re.fullmatch(r"[^\s@]+@[^\s@]+", value) or not value.isprintable():
        raise ValueError("an e-mail address")
    return value


def as_doi(value: object) -> object:
    """A DOI, in its canonical form."""
    try:
        return parse_doi(str(as_text(value)))
    except InvalidDoi:
        raise ValueError("a DOI such as 10.1371/journal.pmed.0020124") from None
