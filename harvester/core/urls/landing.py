"""Is an address a landing page? If not, why it is left out.

OPERAS attaches an address to the first DOI that brings it, whoever sends it, and never takes it back. So only what may
be the page of the work itself is registered. What is in doubt is left out, and told.
"""

import ipaddress
import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi
from harvester.core.urls.clean import MAX_HOST, URL, clean_url


class LeftOut(StrEnum):
    """Why an address is not registered."""

    REPEATS_DOI = "repeats-doi"
    RESOLVER = "resolver"
    DATABASE = "database"
    PROXY = "proxy"
    SEARCH = "search"
    REDIRECTOR = "redirector"
    ARCHIVE = "archive"
    PRIVATE = "private"
    CREDENTIALS = "credentials"
    DENIED = "denied"
    NOT_HTTP = "not-http"
    NO_SCHEME = "no-scheme"
    GLUED = "glued"
    SEVERAL_DOIS = "several-dois"
    MALFORMED = "malformed"
    TEXT = "text"


IN_WORDS: Final[Mapping[LeftOut, str]] = {
    LeftOut.REPEATS_DOI: "it only repeats the DOI",
    LeftOut.RESOLVER: "it is an address of a resolver",
    LeftOut.DATABASE: "it is a database's own record",
    LeftOut.PROXY: "it leads through a library's proxy or link resolver",
    LeftOut.SEARCH: "it is a search page",
    LeftOut.REDIRECTOR: "it is a short link or a redirect",
    LeftOut.ARCHIVE: "it is an archived copy",
    LeftOut.PRIVATE: "its host is an IP address, this machine or a private network",
    LeftOut.CREDENTIALS: "it holds a user name or a password",
    LeftOut.DENIED: "its host is in [operas] deny_hosts",
    LeftOut.NOT_HTTP: "it is not http or https",
    LeftOut.NO_SCHEME: "it does not begin with https://",
    LeftOut.GLUED: "something is glued to it, such as a remark or another address",
    LeftOut.SEVERAL_DOIS: "its line names several DOIs, and nobody can say whose page it is",
    LeftOut.MALFORMED: "it is no address that OPERAS takes",
    LeftOut.TEXT: "it is no address",
}
"""Each reason as a clause."""

SILENT: Final = frozenset({LeftOut.REPEATS_DOI, LeftOut.TEXT})
"""Reasons for which nothing is lost: there was no address, or one that says no more than the DOI. They are counted."""

CACHED_HOSTS = 4_096
"""A list has few hosts. What is known of them is kept; if there are more, it is forgotten and looked up again."""

_GLUED = re.compile(r"[\s\\]|(?<=[A-Za-z0-9.,;])(?:https?|ftp)://", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PLAIN = re.compile(r"https?://([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})(/[A-Za-z0-9._~%/-]*)?\Z")
_ALMOST_WEB = re.compile(r"h[tps]{2,6}[:;]?/|https?:", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?=\S)(?!\d)")
_BARE = re.compile(r"(?:/{1,2})?(?:[\w-]+\.)+[^\W\d_]{2,}(?::\d+)?(?:[/?#]|\Z|(?=\s))")
_CREDENTIALS = re.compile(r"://[^/?#\s]*@")

_PROXY_PART = re.compile(r"[a-z]*proxy[0-9]*|proxy[a-z]*|ezp[0-9]*|webvpn|libaccess")
_WAM = re.compile(r"[0-9]-")
_LINK_RESOLVER_HOST = re.compile(r"(?:sfx|openurl|linkresolver|findit|link-resolver)[a-z0-9-]*\Z")
_LINK_RESOLVER = re.compile(
    r"[?&](?:url_ver|ctx_ver|rft_id|rft_val_fmt|rft\.[a-z]+)=|/openurl\b|/sfx(?:lcl|_local)?[0-9]*\b|/login\?(?:q?url)=|"
    r"[?&]qurl=",
    re.IGNORECASE,
)
_SEARCH = re.compile(
    r"/(?:search|searches|search-?results?|results|suche|recherche|ricerca|busqueda|busca)(?:\.[a-z]+)?/?(?:[?#]|\Z)|"
    r"[?&](?:q|query|search|search_?term|search_?text|keywords?|all_?fields?)=[^&]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LandingPages:
    """Tells landing pages from all other addresses.

    Args:
        allowed: hosts that the table leaves out and this user does not, each with all below it.
        denied: hosts that this user leaves out besides.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    _known: dict[str, "_Host"] = field(default_factory=dict, repr=False, compare=False)

    def why_left_out(self, url: str, doi: str = "") -> LeftOut | None:
        """Why an address is not registered; None if it may be. It takes linear time.

        Args:
            url: a piece of a cell, see `harvester.core.urls.cells`.
            doi: of its work.
        """
        if plain := _PLAIN.match(url):  # nearly all: keep them cheap
            return self._of_place(plain[1].lower(), plain[2] or "", url, doi)
        if not _WEB.match(url):
            return _kind_of_text(url)
        if _CREDENTIALS.search(url[: url.find("/", 8) + 1 or len(url)]):
            return LeftOut.CREDENTIALS
        if _GLUED.search(url, 8):
            return LeftOut.GLUED
        parts = URL.fullmatch(url)
        if not parts or not parts[3] or len(parts[3]) > MAX_HOST:
            return LeftOut.MALFORMED
        reason = self._of_place(parts[3].lower().rstrip("."), parts[5] or "", url, doi)
        return reason or (None if clean_url(url) else LeftOut.MALFORMED)

    def _of_place(self, name: str, rest: str, url: str, doi: str) -> LeftOut | None:
        """Why a host, or what follows it, makes an address no landing page."""
        host = self._known.get(name)
        if host is None:
            if len(self._known) >= CACHED_HOSTS:
                self._known.clear()
            host = self._known[name] = _looked_up(name, self.allowed, self.denied)
        for path, reason in host.paths:
            if rest.lower().startswith(path):
                return LeftOut.REPEATS_DOI if reason is LeftOut.RESOLVER and _is_of(url, doi) else reason
        if host.is_allowed or len(rest) < 2:
            return None
        if _LINK_RESOLVER.search(rest):
            return LeftOut.PROXY
        return LeftOut.SEARCH if _SEARCH.search(rest) else None


@dataclass(frozen=True, slots=True)
class _Host:
    """What is known of a host.

    Args:
        paths: beginnings of paths that are left out, with the reason; the empty one is all of the host.
        is_allowed: whether the user allowed it, so that nothing else is looked at.
    """

    paths: tuple[tuple[str, LeftOut], ...] = ()
    is_allowed: bool = False


def _looked_up(name: str, allowed: Sequence[str], denied: Sequence[str]) -> _Host:
    domains = _domains(name)
    if domains & _names(denied):
        return _Host((("", LeftOut.DENIED),))
    if _is_private(name):
        return _Host((("", LeftOut.PRIVATE),))
    if not clean_url(f"https://{name}/"):
        return _Host((("", LeftOut.MALFORMED),))
    if domains & _names(allowed):
        return _Host(is_allowed=True)
    listed = sorted((entry for domain in domains for entry in _table().get(domain, ())), reverse=True)
    pattern = _by_pattern(name.split("."))
    return _Host((*listed, ("", pattern)) if pattern else tuple(listed))


def _names(hosts: Sequence[str]) -> frozenset[str]:
    return frozenset(host.lower().strip(".").removeprefix("*.") for host in hosts)


def _domains(name: str) -> frozenset[str]:
    """A host and all domains that it is in: `a.b.org`, `b.org`, `org`."""
    labels = name.split(".")
    return frozenset(".".join(labels[at:]) for at in range(len(labels)))


def _is_private(name: str) -> bool:
    """Whether a host is an address in numbers, in whatever form, or a name without a dot."""
    if name.startswith("[") or "." not in name:
        return True
    last = name.rpartition(".")[2]
    if last.isdecimal() or last.startswith("0x"):
        try:
            socket.inet_aton(name)
        except (OSError, ValueError):
            try:
                ipaddress.ip_address(name)
            except ValueError:
                return last.isdecimal()
        return True
    return any(reason is LeftOut.PRIVATE for _, reason in _table().get(last, ()))


def _by_pattern(labels: Sequence[str]) -> LeftOut | None:
    """Proxies and search engines that have a host for each library or country. The registered name says nothing."""
    below = labels[:-2]
    if _WAM.match(labels[0]) and len(labels) > 3:
        return LeftOut.PROXY
    if any(_PROXY_PART.fullmatch(part) for label in below for part in (label, *label.split("-"))):
        return LeftOut.PROXY
    if _LINK_RESOLVER_HOST.match(labels[0]) or "sfx" in below:
        return LeftOut.PROXY
    if below and labels[0] in ("scholar", "books") and labels[1] == "google":
        return LeftOut.SEARCH
    if labels[0] in ("search", "suche", "opac", "webopac"):
        return LeftOut.SEARCH
    return LeftOut.DATABASE if "sci-hub" in labels else None


@cache
def _table() -> Mapping[str, tuple[tuple[str, LeftOut], ...]]:
    """The hosts of the table, each with beginnings of paths and reasons."""
    content = tomllib.loads(files(__package__).joinpath("hosts.toml").read_text(encoding="utf-8"))
    table: dict[str, tuple[tuple[str, LeftOut], ...]] = {}
    for reason, section in content.items():
        for entry in section["hosts"]:
            host, slash, path = entry.partition("/")
            table[host] = (*table.get(host, ()), (slash + path, LeftOut(reason)))
    return table


def _kind_of_text(text: str) -> LeftOut:
    """What a piece is that does not begin as a web address."""
    if _ALMOST_WEB.match(text):
        return LeftOut.MALFORMED
    if _SCHEME.match(text) and not any(map(str.isspace, text)):
        return LeftOut.CREDENTIALS if _CREDENTIALS.search(text) else LeftOut.NOT_HTTP
    return LeftOut.NO_SCHEME if _BARE.match(text) else LeftOut.TEXT


def _is_of(url: str, doi: str) -> bool:
    """Whether an address of a resolver is that of a DOI."""
    try:
        return bool(doi) and parse_doi(url) == doi
    except InvalidDoi:
        return False


def without_credentials(url: str) -> str:
    """An address as it may be shown and written down: what may be a user and a password is replaced."""
    return _CREDENTIALS.sub("://***@", url)
