"""The way to the services: through a proxy or not, and which certificates are trusted or shown."""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harvester.core.errors import Misconfigured
from harvester.core.text.sanitize import printable


@dataclass(frozen=True, slots=True)
class Network:
    """How the services are reached.

    Args:
        proxy: address of an HTTP proxy, perhaps with user and password; None for none.
        no_proxy: hosts that are asked directly, in the form of the variable NO_PROXY. This machine always is.
        ca_bundle: certificates that are trusted, in PEM; None for those of the system.
        client_cert: certificate that is shown to servers, in PEM; None for none.
        client_key: its key; None if it is in the same file.
    """

    proxy: str | None = None
    no_proxy: str = ""
    ca_bundle: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def proxy_for(self, url: str) -> str | None:
        """The proxy through which an address is asked; None for none."""
        host = urlsplit(url).hostname or ""
        if self.proxy is None or _is_this_machine(host) or _is_listed(host, self.no_proxy):
            return None
        return self.proxy

    def certificates(self) -> ssl.SSLContext | bool:
        """What TLS trusts and shows; True for what is usual.

        Raises:
            Misconfigured: a file cannot be read, or holds none.
        """
        if not self.ca_bundle and not self.client_cert:
            return True
        try:
            context = ssl.create_default_context(cafile=self.ca_bundle)
        except OSError as error:  # SSLError is one as well
            raise _unusable("ca_bundle", self.ca_bundle, error) from None
        if self.client_cert:
            try:
                # Without a password, OpenSSL would ask for one on the terminal, and at night wait for ever.
                context.load_cert_chain(self.client_cert, self.client_key, password="")
            except (OSError, ValueError) as error:
                raise _unusable("client_cert", self.client_cert, error) from None
        return context


def _is_this_machine(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_listed(host: str, no_proxy: str) -> bool:
    """Whether a host, or a domain that it is in, is in a list such as `.press.example,10.0.0.1`; `*` is all."""
    names = [name.strip().partition(":")[0].lstrip("*.") or name.strip() for name in no_proxy.lower().split(",")]
    return any(name and (name == "*" or host.lower() == name or host.lower().endswith(f".{name}")) for name in names)


def _unusable(setting: str, path: Path | None, error: Exception) -> Misconfigured:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return Misconfigured(
        f"[network] {setting}: {printable(str(path))} cannot be used: {printable(reason, 200)}. It has to be a file in "
        "PEM. Nothing was asked."
    )
