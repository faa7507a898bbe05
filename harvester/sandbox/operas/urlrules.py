"""What OPERAS accepts as a DOI and as a URL (O4).

The server uses a URL validator of its framework. These rules agree with it on every recorded example.
"""

import ipaddress
import re

_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Z0-9]+", re.IGNORECASE)

_LETTER = "a-z\u00a1-\uffff"
_PARTS = re.compile(
    r"(?:https?|ftp)://"
    r"(?:(?P<user>[^/?#@\s]*)@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^/?#@:\s]+)"
    r"(?P<port>:\d{2,5})?"
    r"(?P<path>/[^?#]*)?"
    r"(?P<query>\?[^#\s]*)?"
    r"(?P<fragment>#\S*)?",
    re.IGNORECASE,
)
_USER = re.compile(rf"[-{_LETTER}0-9._~%!$&'()*+,;=:]+", re.IGNORECASE)
_PATH = re.compile(rf"[-{_LETTER}0-9._~%!$&'()*+,;=:@/]+", re.IGNORECASE)
# Letters and digits with single hyphens between them. So "--" (as in punycode) and hyphens at an end do not match.
_LABEL = re.compile(rf"[{_LETTER}0-9]+(?:-[{_LETTER}0-9]+)*", re.IGNORECASE)
_TOP = re.compile(rf"[{_LETTER}]{{2,}}", re.IGNORECASE)


def doi_accepted(value: object) -> bool:
    """Whether the server accepts this as a DOI. Only its beginning has to match; NUL fits no column of the database."""
    return isinstance(value, str) and _DOI.match(value) is not None and "\0" not in value


def url_accepted(value: object) -> bool:
    """Whether the server's validator accepts this as a URL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    found = _PARTS.fullmatch(value)
    if found is None or not _host_accepted(found["host"].replace("_", "-")):
        return False
    user, path = found["user"], found["path"]
    return (user is None or _USER.fullmatch(user) is not None) and (path is None or _PATH.fullmatch(path) is not None)


def _host_accepted(host: str) -> bool:
    if host.startswith("["):
        return _is_ipv6(host[1:-1])
    if host.lower() == "localhost" or _is_ipv4(host):
        return True
    *labels, top = host.split(".")
    return bool(labels) and all(map(_LABEL.fullmatch, labels)) and _TOP.fullmatch(top) is not None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    """Whether this is four numbers, the first from 1 to 223. Addresses beyond that are reserved."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return 1 <= address.packed[0] <= 223
