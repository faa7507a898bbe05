"""Load the settings: flags over environment over a TOML file over defaults. Each value keeps its origin.

A setting has one name everywhere: `rate` in `[paperbuzz]`, `HARVESTER_PAPERBUZZ__RATE`, `--rate`. An unknown name is an
error with a hint and is never ignored: with a misspelt `rate` the default would stay in force, and the server would be
the first to notice. No secret is a setting: the password comes from the environment, a file, or systemd's credentials
directory.
"""

import difflib
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harvester.config.credentials import PASSWORD_VARIABLE, password_origin
from harvester.config.masking import refused_value
from harvester.config.settings import KEYS, PARSERS, SECTIONS, Settings
from harvester.core.errors import Misconfigured
from harvester.core.text.sanitize import printable

PREFIX = "HARVESTER_"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each of them comes from.

    Args:
        settings: the merged settings.
        origins: by `section.key`: `default`, the name of the file, the variable or the flag.
        password_from: the variable or file with the OPERAS password; None if there is none. It has not been read.
    """

    settings: Settings
    origins: dict[str, str]
    password_from: str | None = None


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """Merge flags over environment over file over defaults.

    Args:
        path: a TOML file. Relative paths and globs in it are relative to the current folder, like those of flags.
        environ: the environment. Only variables `HARVESTER_SECTION__KEY` are read; an empty one counts as not set.
        flags: by `section.key`.

    Raises:
        Misconfigured: a name is unknown, or a value is of the wrong type or out of range.
    """
    given: dict[str, tuple[object, str]] = {}
    if path is not None:
        given |= {key: (value, str(path)) for key, value in _from_file(path).items()}
    given |= {key: (value, name) for key, name, value in _from_environment(environ)}
    given |= {key: (value, flag_of(key)) for key, value in flags.items()}
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for key, (value, origin) in given.items():
        section, _, name = key.partition(".")
        try:
            values[section][name] = PARSERS[key](value)
        except ValueError as error:
            shown = refused_value(key, value)
            raise Misconfigured(f"{printable(origin)}: {key} = {shown}, but it takes {error}.") from None
    settings = Settings(**{section: kind(**values[section]) for section, kind in SECTIONS.items()})
    origins = {key: given[key][1] if key in given else "default" for key in KEYS}
    return Loaded(settings, origins, password_origin(settings, environ))


def flag_of(key: str) -> str:
    """The flag of a setting: its name, with the section where the name alone would not be clear."""
    section, _, name = key.partition(".")
    spelled = name.replace("_", "-")
    return _OWN_FLAGS.get(key, f"--log-{spelled}" if section == "log" else f"--{spelled}")


_OWN_FLAGS = {
    "paperbuzz.base_url": "--paperbuzz-base-url",
    "operas.base_url": "--operas-base-url",
    "operas.email": "--operas-email",
    "operas.enabled": "--register",
    "output.path": "--output",
    "ledger.path": "--ledger",
}
"""Flags that are not called like their setting."""


def variable_of(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.replace(".", "__").upper()


def _from_file(path: Path) -> dict[str, object]:
    """The values in a TOML file, by `section.key`."""
    tree, name = _parsed(path), printable(str(path))
    found: dict[str, object] = {}
    for section, content in tree.items():
        if section in SECTIONS and not isinstance(content, dict):
            raise Misconfigured(f"{name}: {section} is a section; write [{section}] and the keys below it.")
        if not isinstance(content, dict):
            wrong = f"{name}: {printable(section, 60)} stands outside of every section"
            raise _unknown("", section, wrong, _in_file)
        for key, value in content.items():
            wrong = f"{name}: unknown key {printable(key, 60)} in [{printable(section, 60)}]"
            found[_known(section, key, wrong, _in_file)] = value
        if section not in SECTIONS:
            raise Misconfigured(f"{name}: unknown section [{printable(section, 60)}]; known are {', '.join(SECTIONS)}.")
    return found


def text_of(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        Misconfigured: it cannot be read.
    """
    try:
        # To open a named pipe waits for a writer, perhaps for ever. Those that a shell makes have one.
        if stat.S_ISFIFO(path.stat().st_mode) and path.parts[1:2] not in (("dev",), ("proc",)):
            raise Misconfigured(f"the configuration {printable(str(path))} is a pipe. Name a file.")
        # Editors on Windows put a byte order mark at the beginning, and CR before each LF.
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise Misconfigured(f"the configuration {printable(str(path))} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise _invalid_toml(path, error) from None


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        # Not only TOMLDecodeError: a number with thousands of digits raises ValueError, deep nesting RecursionError.
        raise _invalid_toml(path, error) from None


def _invalid_toml(path: Path, error: Exception) -> Misconfigured:
    wrong = printable(str(error), 200)
    return Misconfigured(f"the configuration {printable(str(path))} is no valid TOML: {wrong}.")


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The key, the variable's name and the value, for each setting in the environment."""
    found = []
    for name, value in environ.items():
        if name in _SINGLE_UNDERSCORE:
            meant = _SINGLE_UNDERSCORE[name]
            raise Misconfigured(f"unknown environment variable {name}; did you mean {meant}, with two underscores?")
        if name.startswith(PREFIX) and "__" in name and name != PASSWORD_VARIABLE:
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            known = _known(section, key, f"unknown environment variable {printable(name, 80)}", variable_of)
            if value:
                found.append((known, name, value))
    return found


_SINGLE_UNDERSCORE = {
    name.replace("__", "_"): name for name in (*(variable_of(key) for key in KEYS), PASSWORD_VARIABLE)
}
"""Each variable as it looks with one underscore missing, and its right name."""


def _in_file(key: str) -> str:
    """How a message names a key in a TOML file."""
    section, _, name = key.partition(".")
    return f"{name} in [{section}]"


def _known(section: str, name: str, wrong: str, spell: Callable[[str], str]) -> str:
    """The key `section.name`, if there is such a setting.

    Args:
        section: as given.
        name: as given.
        wrong: the beginning of the message if there is not.
        spell: how a key is written where this one was given: in a file, or as a variable.

    Raises:
        Misconfigured: there is no such setting.
    """
    key = f"{section}.{name}"
    if key not in PARSERS:
        raise _unknown(section, name, wrong, spell)
    return key


def _unknown(section: str, name: str, wrong: str, spell: Callable[[str], str]) -> Misconfigured:
    """The error for an unknown key. It says where a password belongs, else the nearest key, else all keys there are."""
    if name in ("password", "passwd", "passphrase"):
        return Misconfigured(
            f"{wrong}: a password never stands in the configuration. Put it into the environment as "
            f"{PASSWORD_VARIABLE}, or into a file that [operas] password_file names."
        )
    nearest = _nearest(section, name)
    if nearest:
        return Misconfigured(f"{wrong}; did you mean {spell(nearest)}?")
    known = [key.partition(".")[2] for key in KEYS if key.startswith(f"{section}.")]
    return Misconfigured(f"{wrong}; known {f'in [{section}] ' if known else ''}are {', '.join(known or SECTIONS)}.")


def _nearest(section: str, name: str) -> str | None:
    """The key that was probably meant: the same name in another section, or a similar name, in this section first."""
    elsewhere = [key for key in KEYS if key.endswith(f".{name}")]
    own = [key for key in KEYS if key.startswith(f"{section}.")]
    for candidates in (elsewhere, _alike(name, own), _alike(name, KEYS)):
        if candidates and not section:
            return candidates[0]
        if candidates:
            return difflib.get_close_matches(f"{section}.{name}", candidates, n=1, cutoff=0)[0]
    return None


def _alike(name: str, keys: Sequence[str]) -> list[str]:
    """The keys whose name is the most similar one."""
    names = {key.partition(".")[2] for key in keys}
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return [key for key in keys if key.partition(".")[2] in close]
