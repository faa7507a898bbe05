"""Settings: defaults, a TOML file, the environment and flags, each over the one before, each value with its origin.

A setting has one name everywhere: `rate` in `[paperbuzz]`, `HARVESTER_PAPERBUZZ__RATE`, `--rate`. What is unknown is an
error with a hint, never ignored: of a misspelt `rate` that leaves the default in force the server would hear first. No
secret is a setting: the password comes from the environment, a file, or systemd's credentials directory.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import orjson

from harvester.errors import Misconfigured
from harvester.settings import KEYS, READERS, SECTIONS, Settings
from harvester.text import printable

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
    """

    settings: Settings
    origins: dict[str, str]


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """Merge flags over environment over file over defaults.

    Args:
        path: a TOML file; its relative paths and globs are relative to the current folder, as those of flags are.
        environ: the environment; only `HARVESTER_SECTION__KEY` is looked at.
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
            raise Misconfigured(f"{origin}: {key} = {printable(repr(value), 80)}, but it takes {error}.") from None
    settings = Settings(**{section: kind(**values[section]) for section, kind in SECTIONS.items()})
    return Loaded(settings, {key: given[key][1] if key in given else "default" for key in KEYS})


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
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        raise Misconfigured(f"the configuration {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the configuration {path} is no valid TOML: {printable(str(error), 200)}.") from None
    found: dict[str, object] = {}
    for section, content in tree.items():
        if section not in SECTIONS:
            raise Misconfigured(f"{path}: unknown section [{printable(section, 60)}]{_nearest(section, SECTIONS)}.")
        if not isinstance(content, dict):
            raise Misconfigured(f"{path}: {section} is a section; write [{section}] and the keys below it.")
        for name, value in content.items():
            found[_known(f"{section}.{name}", f"{path}: unknown key {printable(name, 60)} in [{section}]")] = value
    return found


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    found = []
    for name, value in environ.items():
        if name.startswith(PREFIX) and "__" in name and name != PASSWORD_VARIABLE:
            key = name.removeprefix(PREFIX).lower().replace("__", ".", 1)
            found.append((_known(key, f"unknown environment variable {printable(name, 80)}"), name, value))
    return found


def _known(key: str, complaint: str) -> str:
    if key in READERS:
        return key
    if key == "operas.password":
        raise Misconfigured(
            f"{complaint}: a password never stands in the configuration. Put it into the environment as "
            f"{PASSWORD_VARIABLE}, or into a file that [operas] password_file names."
        )
    raise Misconfigured(f"{complaint}{_nearest(key, READERS)}.")


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def show(loaded: Loaded) -> str:
    """All settings as TOML that loads again, each with its origin as a comment; what is not set is commented out."""
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"[{section}]")
        for key in fields(kind):
            value = getattr(getattr(loaded.settings, section), key.name)
            shown = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            lines.append(f"{shown}  # {loaded.origins[f'{section}.{key.name}']}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # A JSON string, number or boolean is one of TOML as well.
    return orjson.dumps(str(value) if isinstance(value, Path) else value).decode()


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
        Misconfigured: it is nowhere, or its file cannot be read or is empty.
    """
    if environ.get(PASSWORD_VARIABLE):
        return Secret(environ[PASSWORD_VARIABLE])
    if settings.operas.password_file is not None:
        return _password_in(settings.operas.password_file, "[operas] password_file")
    if environ.get("CREDENTIALS_DIRECTORY"):
        path = Path(environ["CREDENTIALS_DIRECTORY"]) / CREDENTIAL_NAME
        if path.exists():
            return _password_in(path, f"the credential {CREDENTIAL_NAME}")
    raise Misconfigured(
        "registration needs the password of your OPERAS account. Put it into the environment as "
        f"{PASSWORD_VARIABLE}, or into a file that only you can read and name it with [operas] password_file "
        f"or HARVESTER_OPERAS__PASSWORD_FILE; under systemd, load it as the credential {CREDENTIAL_NAME}."
    )


def _password_in(path: Path, setting: str) -> Secret:
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Misconfigured(f"{setting}: the password file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{setting}: the password file {path} is not UTF-8 text.") from None
    if not text:
        raise Misconfigured(f"{setting}: the password file {path} is empty.")
    return Secret(text)
