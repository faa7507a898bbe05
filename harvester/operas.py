"""All we believe about OPERAS Altmetrics: pure functions build requests and read answers, a short client joins them.

O1 to O14 are the numbers of the facts in docs/design.md, "The services on the wire".
"""

import asyncio
import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import quote

import orjson

from harvester.clock import Clock
from harvester.errors import (
    CredentialsRefused,
    GiveUp,
    InvalidJson,
    Misconfigured,
    NotJson,
    RedirectRefused,
    ServerBusy,
    ServerFailed,
    TryAgain,
)
from harvester.outcome import Entry
from harvester.text import hide, printable, redacted
from harvester.wire import Request, Response, Transport, retry_after

POST_TIMEOUT_SECONDS = 60.0
"""A batch of 100 takes 0.6 s, one of 5,000 more than 30 s (O3); a timeout means unknown (O13)."""

RENEW_AT = 0.8
"""Share of its life after which a token is renewed (O1)."""

ALL_AT_ONCE = 100_000
"""Rows asked for in one page: only a single page is in an order that loses nothing (O8)."""

PAGE = 500
"""Rows a page where one page will not do."""

MAX_PASSES = 5
"""Passes over smaller pages: each shows most rows, no pass need show all (O8)."""

_REFUSALS = frozenset({400, 413, 422, 500})
"""Answers that may be about the batch itself (O10). Any other comes from something in front of the application and says
nothing of the entries: nobody's DOI is written off for a 403 or a 521."""

_NO_SUCH_PLACE = frozenset({404, 405, 410})
"""Answers to `get_token` which say that this is not the API."""

_PAGE_BYTES_READ = 4096
"""How much of an error page is looked at; what is shown of it is shorter."""

Row = dict[str, object]
"""What OPERAS holds for one DOI: `raw` (the DOI), `urls`, `last_checked`."""

_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Z0-9]+", re.IGNORECASE)
"""The server's rule; it looks at the start alone (O4)."""


class BatchRefused(GiveUp):
    """The application itself refused a batch; some entry of it may be bad, and part of it may be stored (O4)."""

    kind = "rejected"


class OperasClient:
    """Asks OPERAS, one request a call; retries and halving are the registrar's business.

    Args:
        transport: carries the requests; the caller has put the rate into it.
        base_url: of the API, `https://altmetrics.operas-eu.org/api/`.
        email: of the account.
        password: of the account; kept out of `repr`.
        clock: tells when a token is to be renewed.
    """

    def __init__(self, transport: Transport, base_url: str, email: str, password: str, clock: Clock) -> None:
        self._transport = transport
        self._base_url = base_url.rstrip("/") + "/"
        self._clock = clock
        value = base64.b64encode(f"{email}:{password}".encode()).decode()
        self._basic = f"Basic {value}"
        self._secrets = (password, value)
        for secret in self._secrets:
            hide(secret)
        self._token = ""
        self._renew_at = 0.0
        self._turn = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for a while; asked for once, however many wait for it.

        Raises:
            CredentialsRefused: wrong password, or an account that is not approved.
            Misconfigured: the base URL is not that of the API.
            TryAgain: the service does not answer as it should.
        """
        async with self._turn:
            if not self._token or self._clock.now().timestamp() >= self._renew_at:
                headers = {"Authorization": self._basic, "Accept": "application/json"}
                request = Request("GET", self._base_url + "get_token", headers)
                self._token = read_token(await self._transport.send(request), self._clock.now())
                issued, expires = token_life(self._token)
                self._renew_at = self._clock.now().timestamp() + RENEW_AT * (expires - issued)
            return self._token

    async def register(self, entries: Sequence[Entry]) -> None:
        """Post one batch.

        Raises:
            BatchRefused: the application refused it.
            TryAgain: the service is down or slow; whether the batch is stored is unknown.
            CredentialsRefused, Misconfigured: see `token`.
        """
        response = await self._authorized(lambda token: post_request(self._base_url, token, entries))
        check_posted(response, self._clock.now(), (*self._secrets, self._token))

    async def held(self, limit: int) -> list[str]:
        """Some DOIs that OPERAS holds for the account, at most `limit` (at least 1); none of an empty account.

        Raises:
            TryAgain, InvalidJson, CredentialsRefused, Misconfigured: OPERAS does not say.
        """
        rows, _ = await self._page(1, limit)
        return [str(row["raw"]) for row in rows]

    async def holdings(self) -> list[Row]:
        """All rows that OPERAS holds for the account, each once, in no order (O8).

        Read in one page where that is possible. Over several pages a row may still be missed: one that is not here is
        not proven to be unregistered.

        Raises:
            TryAgain, GiveUp, CredentialsRefused, Misconfigured: OPERAS does not give its list.
        """
        try:
            rows, more = await self._page(1, ALL_AT_ONCE)
        except (TryAgain, GiveUp):
            rows, more = [], True
        found = {str(row["raw"]): row for row in rows}
        return await self._holdings_by_pages(found) if more else list(found.values())

    async def _holdings_by_pages(self, found: dict[str, Row]) -> list[Row]:
        """Pass after pass over smaller pages, until one brings nothing new."""
        for _ in range(MAX_PASSES):
            known = len(found)
            await self._pass(found)
            if len(found) == known:
                break
        return list(found.values())

    async def _pass(self, found: dict[str, Row]) -> None:
        rows: list[Row] = []
        more, number = True, 0
        while more:
            before, number = rows, number + 1
            rows, more = await self._page(number, PAGE)
            found.update((str(row["raw"]), row) for row in rows)
            if rows == before:
                break  # a server that takes no notice of `page` would go on for ever

    async def _page(self, number: int, size: int) -> tuple[list[Row], bool]:
        query = f"uriset?page={number}&per_page={size}"
        response = await self._authorized(lambda token: _get(self._base_url + query, token))
        if response.status == 404 and number > 1:
            return [], False  # past the end (O8); the first page of an empty account is 200
        return read_page(response, self._clock.now())

    async def _authorized(self, request: Callable[[str], Request]) -> Response:
        """Send with a token; a token that is refused is renewed once (O1)."""
        token = await self.token()
        response = await self._transport.send(request(token))
        if response.status == 401:
            if token == self._token:
                self._token = ""
            response = await self._transport.send(request(await self.token()))
        if response.status == 401:
            said = _excerpt(response, (*self._secrets, token, self._token))
            raise CredentialsRefused(
                f"OPERAS gives a token and then refuses it: {said}. Check with OPERAS whether the account of "
                "[operas] email is still there."
            )
        return response


def _get(url: str, token: str) -> Request:
    return Request("GET", url, {"Authorization": f"Bearer {token}", "Accept": "application/json"}, timeout_seconds=60.0)


def post_request(base_url: str, token: str, entries: Sequence[Entry]) -> Request:
    """The request that registers a batch: JSON with its length, `url` always a list (O4, O11)."""
    body = orjson.dumps([{"doi": entry.doi, "url": list(entry.urls)} for entry in entries])
    headers = {
        "Authorization": f"Bearer {token}",  # the scheme is case-sensitive (O2)
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    return Request("POST", base_url + "uriset", headers, body, timeout_seconds=POST_TIMEOUT_SECONDS)


def read_token(response: Response, now: datetime) -> str:
    """The token in an answer of `get_token`, which is the bare text of a JWT (O1).

    Raises:
        CredentialsRefused: 401; an account that is not approved is told apart by the text (O2).
        Misconfigured: a redirect, a 404 or something that is no token: the base URL is not that of the API.
        TryAgain: the service does not answer as it should.
    """
    if response.status == 401:
        if b"not yet been approved" in response.body:
            raise CredentialsRefused(
                "your OPERAS account has not been approved yet, though e-mail and password are right. "
                "Ask OPERAS to approve it."
            )
        raise CredentialsRefused(
            "OPERAS does not accept e-mail and password. Check [operas] email (or HARVESTER_OPERAS__EMAIL; it is "
            "case-sensitive) and HARVESTER_OPERAS__PASSWORD or password_file."
        )
    _refuse_redirect(response)
    if response.status in _NO_SUCH_PLACE:
        raise Misconfigured(_wrong_address(f"answers the request for a token with {response.status}"))
    if response.status != 200:
        raise _passing(response, now)
    text = response.body.decode("utf-8", "replace").strip()
    try:
        token_life(text)
    except ValueError:
        raise Misconfigured(_wrong_address("answers the request for a token with something that is none")) from None
    return text


def _wrong_address(what: str) -> str:
    return (
        f"OPERAS {what}. Check [operas] base_url: it has to be the address of the API, such as "
        "https://altmetrics.operas-eu.org/api/."
    )


def token_life(token: str) -> tuple[float, float]:
    """When a JWT was issued and when it expires, in seconds since 1970; its signature is none of our business.

    Raises:
        ValueError: it is no JWT.
    """
    parts = token.split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
        raise ValueError("not three parts")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["iat"]), float(claims["exp"])
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("not the claims of a token") from error


def check_posted(response: Response, now: datetime, secrets: Sequence[str] = ()) -> None:
    """Read the answer to a batch: `200` as JSON, and nothing more, is all the acknowledgement there is (O3).

    Args:
        response: the answer.
        now: wall time, for a `Retry-After` that is a date.
        secrets: texts that must not be shown, should the answer repeat them.

    Raises:
        RedirectRefused: a redirect, as of a service under maintenance. Followed, it would turn the POST into a GET,
            which answers 200 and registers nothing.
        BatchRefused: the application refused it.
        TryAgain: somebody else answered.
    """
    if 300 <= response.status < 400:
        raise RedirectRefused(_redirected(response), status=response.status)
    if response.status == 200:
        if response.body.strip() != b"200":
            raise NotJson("OPERAS answers a batch with 200, but not with its acknowledgement", status=200)
        return
    if response.status not in _REFUSALS:
        raise _passing(response, now)
    raise BatchRefused(f"OPERAS answers {response.status}: {_excerpt(response, secrets)}", status=response.status)


def read_page(response: Response, now: datetime) -> tuple[list[Row], bool]:
    """The rows of a page, and whether there are more pages.

    `next` says only that: the address in it is what the server takes for its own (O8).

    Raises:
        InvalidJson: this is not the list.
        Misconfigured: a redirect.
        TryAgain: the service does not answer as it should.
    """
    _refuse_redirect(response)
    if response.status != 200:
        raise _passing(response, now)
    try:
        content = orjson.loads(response.body)
        rows, more = content["data"], "next" in content
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidJson("the list of OPERAS is not the JSON it should be", status=200) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("raw"), str) for row in rows):
        raise InvalidJson("the list of OPERAS holds rows without a DOI", status=200)
    return rows, more


def _refuse_redirect(response: Response) -> None:
    if 300 <= response.status < 400:
        raise Misconfigured(_redirected(response))


def _redirected(response: Response) -> str:
    where = printable(redacted(response.headers.get("location", "")), 100)
    return _wrong_address(f"redirects to {where!r}, which is not followed")


def _passing(response: Response, now: datetime) -> TryAgain:
    kind = ServerBusy if response.status in (429, 503) else ServerFailed
    return kind(f"OPERAS answers {response.status}", status=response.status, retry_after=retry_after(response, now))


def _excerpt(response: Response, secrets: Sequence[str]) -> str:
    """What an answer says, fit to be stored: one short line, without tags and secrets; it may echo headers (O2)."""
    text = response.body[:_PAGE_BYTES_READ].decode("utf-8", "replace")
    if len(response.body) > _PAGE_BYTES_READ:
        text = " ".join(text.split()[:-1])
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    # Whole words only, and redacted before they are cut: half an address or half a token would not be known for one.
    return printable(redacted(" ".join(re.sub(r"<[^<>]*>", " ", text).split())))


def doi_refusal(doi: str) -> str | None:
    """Why OPERAS would refuse a DOI; None if it takes it (O4)."""
    if _DOI.match(doi) and "\0" not in doi and _is_unicode(doi):
        return None
    return "OPERAS registers only DOIs of the form 10.NNNN/… with four to nine digits and a plain first character"


def _is_unicode(text: str) -> bool:
    """Whether a text can be sent at all; a lone surrogate cannot."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


_URL = re.compile(
    r"(https?|ftp)://(?:([^/?#@]*)@)?(\[[^\]/]*\]|[^/?#:]*)(:[0-9]{2,5})?([/?#].*)?", re.IGNORECASE | re.DOTALL
)
# Spelled out: to ignore the case of a range like this costs 30 ms when the pattern is compiled.
_LETTER = r"a-zA-Z\u00a1-\uffff"
_USER = re.compile(rf"[-{_LETTER}0-9._~%!$&'()*+,;=:]*")
_LABEL = rf"(?:[{_LETTER}0-9][-_]?)*[{_LETTER}0-9]"
_HOST = re.compile(rf"(?i:localhost)|(?:{_LABEL}\.)+[{_LETTER}]{{2,}}")
_NOT_IN_PATH = re.compile(rf"\s|[^-{_LETTER}0-9._~%!$&'()*+,;=:@/?#]")
"""What OPERAS refuses in a path; encoded in queries and fragments too, where it refuses less and it does no harm."""


def clean_url(url: str) -> str | None:
    """A URL as OPERAS takes it, or None if it cannot be made so (O4; checked against 72 answers of the real server).

    Characters that it refuses are percent-encoded; a host in punycode, which it refuses, is written in Unicode, which
    it takes.
    """
    match = _URL.fullmatch(url.strip())
    if not match or not _is_unicode(url):
        return None
    scheme, user, host, port, rest = match.groups(default="")
    host = _unicode_host(host)
    if not _USER.fullmatch(user) or not _is_host(host):
        return None
    if rest.startswith("#"):
        rest = f"/{rest}"  # the same place; a fragment right behind the host is not among the answers we know
    encoded = _NOT_IN_PATH.sub(lambda found: quote(found[0], safe=""), rest)
    return f"{scheme}://{user + '@' if user else ''}{host}{port}{encoded}"


def _unicode_host(host: str) -> str:
    """A host name without punycode; empty if the punycode is none."""
    if "xn--" not in host.lower():
        return host
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return ""


def _is_host(host: str) -> bool:
    """A name with a dot and a top domain of letters, `localhost`, or an address."""
    if _HOST.fullmatch(host):
        return not re.search(r"\s", host)
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1]).scope_id is None
        return 1 <= ipaddress.IPv4Address(host).packed[0] <= 223  # the rest is reserved
    except ValueError:
        return False
