"""All we believe about OPERAS Altmetrics: pure functions build requests and read answers, a short client joins them.

O1 to O14 are the numbers of the facts in docs/design.md, "The services on the wire".
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

import orjson

from harvester.clock import Clock
from harvester.errors import (
    CredentialsRefused,
    GiveUp,
    InvalidJson,
    Misconfigured,
    NotJson,
    ServerBusy,
    ServerFailed,
    TryAgain,
)
from harvester.outcome import Entry
from harvester.text import printable, redacted
from harvester.wire import Request, Response, Transport

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

_GATEWAY = frozenset({408, 429, 502, 503, 504})
"""Answers of what stands in front of the application, not of the application itself (O10)."""

_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Z0-9]+", re.IGNORECASE | re.ASCII)
"""The server's rule; it looks at the start alone (O4)."""


class BatchRefused(GiveUp):
    """The application itself refused a batch; some entry of it may be bad, and part of it may be stored (O4)."""

    kind = "rejected"


class OperasClient:
    """Asks OPERAS, one request a call; retries and halving are the registrar's business.

    Args:
        transport: carries the requests; the caller has put the rate into it.
        base_url: ends with a slash, `https://altmetrics.operas-eu.org/api/`.
        email: of the account.
        password: of the account; kept out of `repr`.
        clock: tells when a token is to be renewed.
    """

    def __init__(self, transport: Transport, base_url: str, email: str, password: str, clock: Clock) -> None:
        self._transport = transport
        self._base_url = base_url
        self._clock = clock
        self._basic = "Basic " + base64.b64encode(f"{email}:{password}".encode()).decode()
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
                self._token = read_token(await self._transport.send(request))
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
        check_posted(await self._authorized(lambda token: post_request(self._base_url, token, entries)))

    async def holdings(self) -> list[dict[str, object]]:
        """All rows that OPERAS holds for the account, each once, in no order (O8).

        Raises:
            TryAgain, CredentialsRefused, Misconfigured: see `register`.
        """
        try:
            return _distinct(await self._page(1, ALL_AT_ONCE))
        except (TryAgain, GiveUp):
            return await self._holdings_by_pages()

    async def _holdings_by_pages(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for _ in range(MAX_PASSES):
            known, number = len(rows), 1
            while page := await self._page(number, PAGE):
                rows, number = _distinct([*rows, *page]), number + 1
            if len(rows) == known:
                break
        return rows

    async def _page(self, number: int, size: int) -> list[dict[str, object]]:
        query = f"uriset?page={number}&per_page={size}"
        return read_page(await self._authorized(lambda token: _get(self._base_url + query, token)))

    async def _authorized(self, request: Callable[[str], Request]) -> Response:
        """Send with a token; a token that is refused is renewed once (O1)."""
        token = await self.token()
        response = await self._transport.send(request(token))
        if response.status == 401:
            if token == self._token:
                self._token = ""
            response = await self._transport.send(request(await self.token()))
        if response.status == 401:
            raise CredentialsRefused(f"OPERAS refuses its own token: {_excerpt(response)}. Is the account still there?")
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


def read_token(response: Response) -> str:
    """The token in an answer of `get_token`, which is the bare text of a JWT (O1).

    Raises:
        CredentialsRefused: 401; an account that is not approved is told apart by the text (O2).
        Misconfigured: a redirect, or something that is no token: the base URL is not that of the API.
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
    if response.status != 200:
        raise _passing(response)
    text = response.body.decode("utf-8", "replace").strip()
    try:
        token_life(text)
    except ValueError:
        raise Misconfigured(
            "OPERAS answers the request for a token with something that is no token. Check [operas] base_url: "
            "it has to be the address of the API, such as https://altmetrics.operas-eu.org/api/."
        ) from None
    return text


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


def check_posted(response: Response) -> None:
    """Read the answer to a batch: `200` as JSON, and nothing more, is all the acknowledgement there is (O3).

    Raises:
        Misconfigured: a redirect. Followed, it would turn the POST into a GET that answers 200 (pitfall 4).
        BatchRefused: the application refused it.
        TryAgain: a gateway answered, or nobody.
    """
    _refuse_redirect(response)
    if response.status == 200:
        if response.body.strip() != b"200":
            raise NotJson("OPERAS answers a batch with 200, but not with its acknowledgement", status=200)
        return
    if response.status in _GATEWAY:
        raise _passing(response)
    raise BatchRefused(f"OPERAS answers {response.status}: {_excerpt(response)}", status=response.status)


def read_page(response: Response) -> list[dict[str, object]]:
    """The rows of a page; past the end, where the server answers 404, there are none (O8)."""
    _refuse_redirect(response)
    if response.status == 404:
        return []
    if response.status != 200:
        raise _passing(response)
    try:
        content = orjson.loads(response.body)
        rows = content["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidJson("the list of OPERAS is not the JSON it should be", status=200) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("raw"), str) for row in rows):
        raise InvalidJson("the list of OPERAS holds rows without a DOI", status=200)
    return rows


def _distinct(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    return list({row["raw"]: row for row in rows}.values())


def _refuse_redirect(response: Response) -> None:
    if 300 <= response.status < 400:
        where = printable(response.headers.get("location", ""), 100)
        raise Misconfigured(f"OPERAS redirects to {where!r}, which is not followed. Check [operas] base_url.")


def _passing(response: Response) -> TryAgain:
    kind = ServerBusy if response.status in (429, 503) else ServerFailed
    return kind(f"OPERAS answers {response.status}", status=response.status)


def _excerpt(response: Response) -> str:
    """What an answer says, fit to be stored: short, one line, without tags and secrets (O2)."""
    text = response.body[:2048].decode("utf-8", "replace")
    return redacted(printable(" ".join(re.sub(r"<[^>]*>", " ", text).split())))


def doi_refusal(doi: str) -> str | None:
    """Why OPERAS would refuse a DOI; None if it takes it (O4)."""
    if _DOI.match(doi):
        return None
    return "OPERAS registers only DOIs of the form 10.NNNN/… with four to nine digits and a plain first character"


_UNSAFE = re.compile(r"[\x00-\x20\x7f<>\[\]{}|\\^\"`\s]")
_HOST_LABEL = r"(?:[a-z0-9\u00a1-\uffff][-_]?)*[a-z0-9\u00a1-\uffff]"
_HOST = re.compile(rf"(?:localhost|(?:{_HOST_LABEL}\.)+[a-z\u00a1-\uffff]{{2,}})\Z", re.IGNORECASE)
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\Z")
_IPV6 = re.compile(r"\[[0-9a-f:.]+\]\Z", re.IGNORECASE)
_URL = re.compile(
    r"(https?|ftp)://(?:([^/?#@]*)@)?(\[[^\]/]*\]|[^/?#:]*)(:[0-9]{2,5})?([/?#].*)?\Z", re.IGNORECASE | re.DOTALL
)


def clean_url(url: str) -> str | None:
    """A URL as OPERAS takes it, or None if it cannot be made so (O4; 72 answers of the real server).

    Characters that it refuses are percent-encoded; a host in punycode, which it refuses, is written in Unicode, which
    it takes.
    """
    match = _URL.match(url.strip())
    if not match:
        return None
    scheme, user, host, port, rest = match.groups(default="")
    if "xn--" in host.lower():
        try:
            host = host.encode("ascii").decode("idna")
        except UnicodeError:
            return None
    if _UNSAFE.search(user) or not (_HOST.match(host) or _IPV4.match(host) or _IPV6.match(host)):
        return None
    if rest.startswith("#"):
        return None
    encoded = _UNSAFE.sub(lambda found: quote(found[0], safe=""), rest)
    return f"{scheme}://{user + '@' if user else ''}{host}{port}{encoded}"
