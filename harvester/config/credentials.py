"""The e-mail address for Paperbuzz, and the account and password of OPERAS."""

import logging
import stat
from collections.abc import Mapping
from pathlib import Path

from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured
from harvester.core.text.sanitize import printable

log = logging.getLogger("harvester")

PASSWORD_VARIABLE = "HARVESTER_OPERAS__PASSWORD"  # noqa: S105 - the name of the variable, not the secret

CREDENTIAL_NAME = "operas-password"
"""The file in systemd's credentials directory: `LoadCredential=operas-password:/etc/harvester/password`."""


class Secret:
    """A text that `repr`, `str` and logs show as `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Send it; never show it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def require_email(email: str | None) -> str:
    """The e-mail address that is sent to Paperbuzz, which has to be set.

    Raises:
        Misconfigured: none is set.
    """
    if email is None:
        raise Misconfigured(
            "Paperbuzz asks for your e-mail address with each request. Give it with --email you@press.example, "
            "as HARVESTER_PAPERBUZZ__EMAIL, or as email in [paperbuzz] of the configuration."
        )
    return email


def operas_account(settings: Settings) -> str:
    """The e-mail address of the OPERAS account: its own setting, or else the one for Paperbuzz.

    Raises:
        Misconfigured: neither is set.
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
        Misconfigured: there is none, it is not plain text, or its file is empty or cannot be read.
    """
    if password := _without_line_end(environ.get(PASSWORD_VARIABLE, "")):
        if not password.isprintable():  # bytes that are not UTF-8 appear as lone surrogates, which are not printable
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


def password_origin(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """The variable or the file from which `operas_password` would take the password; None if there is none."""
    if _without_line_end(environ.get(PASSWORD_VARIABLE, "")):
        return PASSWORD_VARIABLE
    path = settings.operas.password_file or _credential(environ)
    return str(path) if path else None


def _credential(environ: Mapping[str, str]) -> Path | None:
    """The file of the credential that systemd gives us, if it does."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL_NAME if folder else None
    return path if path and path.exists() else None


def _without_line_end(text: str) -> str:
    """A password without the line end that editors and `echo` put behind it, also on the way into the environment."""
    return text.removesuffix("\n").removesuffix("\r")


def _password_in(path: Path, setting: str) -> Secret:
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
        text = _without_line_end(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Misconfigured(f"{setting}: the password file {shown} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{setting}: the password file {shown} is not UTF-8 text.") from None
    if not text:
        raise Misconfigured(f"{setting}: the password file {shown} is empty.")
    if mode & stat.S_IROTH:
        log.warning("anyone on this machine can read the password in %s; say chmod 600 to it", shown)
    return Secret(text)
