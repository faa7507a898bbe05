"""The address of a service: what it means, however it is spelled.

One service has one budget, one rate and one ledger. So two addresses have to be the same where they lead to the same
place: `HTTPS://API.example.org:443/v0/./` is `https://api.example.org/v0/`. What is sent stays as the user spelled it;
the form made here is for comparing and for the names of files.
"""

import ipaddress
import re
import socket
from urllib.parse import unquote, urlsplit

THIS_MACHINE = "localhost"
"""Stands for all names and addresses of the loopback: they all lead to this machine."""

DEFAULT_PORTS = {"http": 80, "https": 443}

UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
"""Characters that mean the same whether they are percent-encoded or not (RFC 3986, section 2.3)."""


def canonical(url: str) -> str:
    """The one form of all addresses that mean the same as a base URL.

    It has no user, no default port, no full stop after the host, no empty or dotted parts in its path, and nothing
    percent-encoded that need not be. Names stay names: that two of them, or a name and an address, lead to the same
    place is certain for the loopback alone. An address that cannot be understood stays as it is.

    Args:
        url: as a setting or a ledger has it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return url
    if not host:
        return url
    has_port = port is not None and port != DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{_host(host)}{f':{port}' if has_port else ''}{_path(parts.path)}"


def _host(host: str) -> str:
    """A host in lower case; an IPv6 address in brackets."""
    name = host.lower().removesuffix(".")
    address = _address(name)
    if address is None:
        if name == THIS_MACHINE or name.endswith("." + THIS_MACHINE):  # RFC 6761, section 6.3
            return THIS_MACHINE
        return _punycode(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    # To connect to 0.0.0.0 or :: is to connect to this machine.
    if address.is_loopback or address.is_unspecified:
        return THIS_MACHINE
    return f"[{address}]" if address.version == 6 else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is; None for a name. The system also takes `127.1`, `0x7f000001` and the like."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fx.]+", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _punycode(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _path(path: str) -> str:
    """A path without empty parts and dots, with a slash at its end."""
    kept: list[str] = []
    for part in re.sub("%[0-9A-Fa-f]{2}", _decoded, path).split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "".join(f"{part}/" for part in kept)


def _decoded(escape: re.Match[str]) -> str:
    character = unquote(escape[0])
    return character if UNRESERVED.fullmatch(character) else escape[0].upper()
