"""Show values of settings without what may be secret in them."""

from urllib.parse import urlsplit

from harvester.config.settings import SECRETS
from harvester.core.text.sanitize import printable

MAX_SHOWN = 80
"""Characters of a refused value in a message."""


def masked_address(url: str) -> str:
    """A web address of which only the host may be seen: `https://ping.example/***`.

    Args:
        url: that was taken as a setting, or refused as one.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "***"
    return f"{parts.scheme}://{host}/***" if parts.scheme in ("http", "https") and host else "***"


def refused_value(key: str, value: object) -> str:
    """A refused value, for a message. It may have been refused because of a password in it: that is masked.

    Args:
        key: of the setting, `section.key`.
        value: as it was given.
    """
    if key in SECRETS:
        return masked_address(str(value))
    text = repr(value)[: 4 * MAX_SHOWN]
    before, slashes, address = text.partition("//")
    if slashes:
        account, at, rest = address.rpartition("@")
        address, question, _ = (rest if at else account + rest).partition("?")
        text = f"{before}//{'***@' if at else ''}{address}{'?***' if question else ''}"
    return printable(text, MAX_SHOWN)
