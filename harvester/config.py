"""Settings: defaults, a TOML file, the environment and flags, each over the one before, each value with its origin.

A setting has one name everywhere: `rate` in `[paperbuzz]`, `HARVESTER_PAPERBUZZ__RATE`, `--rate`. What is unknown is an
error with a hint, never ignored: of a misspelt `rate` that leaves the default in force the server would hear first. No
secret is a setting: the password comes from the environment, a file, or systemd's credentials directory.
"""

import difflib
import logging
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import orjson

from harvester.errors import Misconfigured
from harvester.settings import KEYS, READERS, SECTIONS, Settings
from harvester.text import printable

log = logging.getLogger("harvester")

PREFIX = "HARVESTER_"

PASSWORD_VARIABLE = "HARVESTER_OPERAS__PASSWORD"  # noqa: S105 - the name of the variable, not the secret
CREDENTIAL_NAME = "operas-password"
"""File in systemd's credentials directory: `LoadCredential=operas-password:/etc/harvester/password`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings and where each of them comes from.

    Args:
        settings: merged.
        origins: by `section.key`: `default`, the file's name, the variable or the flag.
        password_from: where the OPERAS password would be taken from; None if there is none. It was not read yet.
    """

    settings: Settings
    origins: dict[str, str]
    password_from: str | None = None


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """Merge flags over environment over file over defaults.

    Args:
        path: a TOML file; its relative paths and globs are relative to the current folder, as those of flags are.
        environ: the environment; only `HARVESTER_SECTION__KEY` is looked at, and what is empty counts as not set.
        flags: by `section.key`.

    Raises:
        Misconfigured: anything unknown, of the wrong type or out of range.
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
            values[section][name] = READERS[key](value)
        except ValueError as error:
            raise Misconfigured(f"{printable(origin)}: {key} = {_shown(value)}, but it takes {error}.") from None
    settings = Settings(**{section: kind(**values[section]) for section, kind in SECTIONS.items()})
    if settings.nightly.max_interval < settings.nightly.min_interval:
        raise Misconfigured("[nightly] max_interval is shorter than min_interval; it has to be at least as long.")
    origins = {key: given[key][1] if key in given else "default" for key in KEYS}
    return Loaded(settings, origins, _password_origin(settings, environ))


def _shown(value: object) -> str:
    """A refused value for a message; a password in a web address is the reason for some refusals."""
    return printable(re.sub(r"//\S*@", "//***@", repr(value)), 80)


def flag_of(key: str) -> str:
    """The flag of a setting: its name, with the section where the name alone would not do."""
    section, _, name = key.partition(".")
    spelled = name.replace("_", "-")
    own = {
        "paperbuzz.base_url": "--paperbuzz-base-url",
        "operas.base_url": "--operas-base-url",
        "operas.email": "--operas-email",
        "operas.enabled": "--register",
        "output.path": "--output",
        "ledger.path": "--ledger",
    }
    return own.get(key, f"--log-{spelled}" if section == "log" else f"--{spelled}")


def variable_of(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.replace(".", "__").upper()


def _from_file(path: Path) -> dict[str, object]:
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
        # Editors on Windows put a byte order mark at the beginning, and CR before each LF.
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise Misconfigured(f"the configuration {printable(str(path))} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise _no_toml(path, error) from None


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        # Not only TOMLDecodeError: numbers of thousands of digits and deep nesting raise these themselves.
        raise _no_toml(path, error) from None


def _no_toml(path: Path, error: Exception) -> Misconfigured:
    wrong = printable(str(error), 200)
    return Misconfigured(f"the configuration {printable(str(path))} is no valid TOML: {wrong}.")


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
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
"""What a slip of the finger makes of each variable."""


def _in_file(key: str) -> str:
    section, _, name = key.partition(".")
    return f"{name} in [{section}]"


def _known(section: str, name: str, wrong: str, spell: Callable[[str], str]) -> str:
    """The key `section.name`.

    Raises:
        Misconfigured: there is none.
    """
    key = f"{section}.{name}"
    if key not in READERS:
        raise _unknown(section, name, wrong, spell)
    return key


def _unknown(section: str, name: str, wrong: str, spell: Callable[[str], str]) -> Misconfigured:
    """What to say of an unknown key: where a secret belongs, else the nearest key, else all of its section."""
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
    """The key that was probably meant: this name in another section, or one like it, in this section first."""
    elsewhere = [key for key in KEYS if key.endswith(f".{name}")]
    own = [key for key in KEYS if key.startswith(f"{section}.")]
    for candidates in (elsewhere, _alike(name, own), _alike(name, KEYS)):
        if candidates and not section:
            return candidates[0]
        if candidates:
            return difflib.get_close_matches(f"{section}.{name}", candidates, n=1, cutoff=0)[0]
    return None


def _alike(name: str, keys: Sequence[str]) -> list[str]:
    names = {key.partition(".")[2] for key in keys}
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return [key for key in keys if key.partition(".")[2] in close]


def show(loaded: Loaded) -> str:
    """All settings as TOML that loads again, each with its origin as a comment; what is not set is commented out.

    Of the password only where it comes from is shown; it is no setting, and was not even read.
    """
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"[{section}]")
        for key in fields(kind):
            value = getattr(getattr(loaded.settings, section), key.name)
            shown = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            lines.append(f"{shown}  # {printable(loaded.origins[f'{section}.{key.name}'])}")
        if section == "operas":
            password = f"set, from {printable(loaded.password_from)}" if loaded.password_from else "not set"
            lines.append(f"# password: {password}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str | Path):
        # A file name need not be text; TOML has to be. Whatever a terminal might obey stands escaped.
        text = orjson.dumps(str(value).encode(errors="replace").decode()).decode()
        return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    # A JSON number or boolean is one of TOML as well.
    return orjson.dumps(value).decode()


class Secret:
    """A text that shows itself only when asked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, to be sent and nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def require_email(settings: Settings) -> str:
    """The e-mail address for Paperbuzz.

    Raises:
        Misconfigured: there is none.
    """
    if settings.paperbuzz.email is None:
        raise Misconfigured(
            "Paperbuzz asks for your e-mail address with each request. Give it with --email you@press.example, "
            "as HARVESTER_PAPERBUZZ__EMAIL, or as email in [paperbuzz] of the configuration."
        )
    return settings.paperbuzz.email


def operas_account(settings: Settings) -> str:
    """The e-mail address of the OPERAS account: its own setting, or else the one for Paperbuzz.

    Raises:
        Misconfigured: there is neither.
    """
    email = settings.operas.email or settings.paperbuzz.email
    if email is None:
        raise Misconfigured(
            "registration needs the e-mail address of your OPERAS account: --operas-email, "
            "HARVESTER_OPERAS__EMAIL, or email in [operas] of the configuration."
        )
    return email


def operas_password(settings: Settings, environ: Mapping[str, str]) -> Secret:
    """The password of the OPERAS account: from the environment, a file, or systemd's credentials directory.

    Raises:
        Misconfigured: it is nowhere, no plain text, or its file cannot be read or is empty.
    """
    if password := environ.get(PASSWORD_VARIABLE):
        if not password.isprintable():  # undecodable bytes among them, which stand as lone surrogates
            raise Misconfigured(f"{PASSWORD_VARIABLE} is not plain UTF-8 text.")
        return Secret(password)
    if settings.operas.password_file is not None:
        return _password_in(settings.operas.password_file, "[operas] password_file")
    if credential := _credential(environ):
        return _password_in(credential, f"the credential {CREDENTIAL_NAME}")
    raise Misconfigured(
        "registration needs the password of your OPERAS account. Put it into the environment as "
        f"{PASSWORD_VARIABLE}, or into a file that only you can read and name it with [operas] password_file "
        f"or HARVESTER_OPERAS__PASSWORD_FILE; under systemd, load it as the credential {CREDENTIAL_NAME}."
    )


def _password_origin(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """Where `operas_password` would look, in the same order."""
    if environ.get(PASSWORD_VARIABLE):
        return PASSWORD_VARIABLE
    path = settings.operas.password_file or _credential(environ)
    return str(path) if path else None


def _credential(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL_NAME if folder else None
    return path if path and path.exists() else None


def _password_in(path: Path, setting: str) -> Secret:
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Misconfigured(f"{setting}: the password file {shown} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{setting}: the password file {shown} is not UTF-8 text.") from None
    if not text:
        raise Misconfigured(f"{setting}: the password file {shown} is empty.")
    if mode & stat.S_IROTH:
        log.warning("anyone on this machine can read the password in %s; say chmod 600 to it", shown)
    return Secret(text)
