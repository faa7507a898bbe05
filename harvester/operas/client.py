"""The client of OPERAS Altmetrics: it builds requests and sends them; `responses` reads the answers.

O1 to O14 are the numbers of the facts in docs/design.md, "The services on the wire".
"""

import asyncio
import base64
from collections.abc import Callable, Sequence

import orjson

from harvester.core.clock import Clock
from harvester.core.errors import CredentialsRefused, GiveUp, InvalidJson, TryAgain
from harvester.core.model import PendingRegistration
from harvester.core.text.sanitize import hide
from harvester.operas.responses import AcknowledgedRow, check_posted, excerpt, read_page, read_token, token_life
from harvester.transport.messages import Request, Response, Transport

POST_TIMEOUT_SECONDS = 60.0
"""A batch of 100 takes 0.6 s, one of 5,000 more than 30 s (O3). After a timeout it is unknown what was stored (O13)."""


RENEW_AT = 0.8
"""A token is renewed when this share of its life is over (O1)."""


ALL_AT_ONCE = 100_000
"""Rows of a page that is to hold everything: only a single page is certain to leave out no row (O8)."""


PAGE = 500
"""Rows of a page if a single page is not enough."""


LOOK_BEYOND_AFTER = 10
"""Pages after which it is asked once whether there is an end, at a page that no account can have."""

BEYOND = 1_000_000

MOST_PAGES = 10_000
"""Five million rows: more are taken for pages without end."""


MAX_PASSES = 5
"""How often all smaller pages are read at most. Each pass shows most rows, but perhaps not all (O8)."""


class OperasClient:
    """Asks OPERAS, one request for each call. Retries and bisecting are the registrar's business.

    Args:
        transport: carries the requests; the rate limit is part of it.
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
        self._token_lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that stays valid for a while. OPERAS is asked once, however many callers wait.

        Raises:
            CredentialsRefused: wrong password, or an account that is not approved.
            Misconfigured: the base URL is not that of the API.
            TryAgain: the service does not answer as it should.
        """
        async with self._token_lock:
            if not self._token or self._clock.now().timestamp() >= self._renew_at:
                headers = {"Authorization": self._basic, "Accept": "application/json"}
                request = Request("GET", self._base_url + "get_token", headers)
                self._token = read_token(await self._transport.send(request), self._clock.now())
                issued, expires = token_life(self._token)
                self._renew_at = self._clock.now().timestamp() + RENEW_AT * (expires - issued)
            return self._token

    async def register(self, entries: Sequence[PendingRegistration]) -> None:
        """Post one batch.

        Raises:
            BatchRefused: the application refused it.
            TryAgain: the service is down or slow; whether the batch is stored is unknown.
            CredentialsRefused, Misconfigured: see `token`.
        """
        response = await self._authorized(lambda token: post_request(self._base_url, token, entries))
        check_posted(response, self._clock.now(), (*self._secrets, self._token))

    async def held(self, limit: int) -> list[str]:
        """Some DOIs that OPERAS holds for the account; empty if it holds none.

        Args:
            limit: how many at most; at least 1.

        Raises:
            TryAgain, InvalidJson, CredentialsRefused, Misconfigured: OPERAS does not give its list.
        """
        rows, _ = await self._page(1, limit)
        return [str(row["raw"]) for row in rows]

    async def holdings(self) -> list[AcknowledgedRow]:
        """All rows that OPERAS holds for the account, each once, in no order (O8).

        They are read in one page if that is possible. Over several pages a row may be missed, so that a DOI that is not
        in the result may still be registered.

        Raises:
            TryAgain, GiveUp, CredentialsRefused, Misconfigured: OPERAS does not give its list.
        """
        try:
            rows, more = await self._page(1, ALL_AT_ONCE)
        except (TryAgain, GiveUp):
            rows, more = [], True
        found = {str(row["raw"]): row for row in rows}
        return await self._holdings_by_pages(found) if more else list(found.values())

    async def _holdings_by_pages(self, found: dict[str, AcknowledgedRow]) -> list[AcknowledgedRow]:
        """Read all smaller pages again and again, until that brings no new row."""
        for _ in range(MAX_PASSES):
            known = len(found)
            await self._read_pages(found)
            if len(found) == known:
                break
        return list(found.values())

    async def _read_pages(self, found: dict[str, AcknowledgedRow]) -> None:
        """Read all pages once, and add their rows to `found`, by DOI.

        Raises:
            InvalidJson: the pages have no end.
        """
        rows: list[AcknowledgedRow] = []
        more, number = True, 0
        while more:
            before, number = rows, number + 1
            rows, more = await self._page(number, PAGE)
            found.update((str(row["raw"]), row) for row in rows)
            if rows == before:
                break  # a server that ignores `page` would never come to an end
            if number == MOST_PAGES or (number == LOOK_BEYOND_AFTER and (await self._page(BEYOND, PAGE))[0]):
                raise InvalidJson(f"its list has no end: {number:,} pages were read, and however many follow")

    async def _page(self, number: int, size: int) -> tuple[list[AcknowledgedRow], bool]:
        query = f"uriset?page={number}&per_page={size}"
        response = await self._authorized(lambda token: _get(self._base_url + query, token))
        if response.status == 404 and number > 1:
            return [], False  # past the end (O8); the first page of an empty account is 200
        return read_page(response, self._clock.now())

    async def _authorized(self, request: Callable[[str], Request]) -> Response:
        """Send a request with a token. If OPERAS refuses the token, it is renewed once (O1)."""
        token = await self.token()
        response = await self._transport.send(request(token))
        if response.status == 401:
            if token == self._token:  # otherwise somebody else has renewed it meanwhile
                self._token = ""
            response = await self._transport.send(request(await self.token()))
        if response.status == 401:
            said = excerpt(response, (*self._secrets, token, self._token))
            raise CredentialsRefused(
                f"OPERAS gives a token and then refuses it: {said}. Check with OPERAS whether the account of "
                "[operas] email is still there."
            )
        return response


def _get(url: str, token: str) -> Request:
    return Request("GET", url, {"Authorization": f"Bearer {token}", "Accept": "application/json"}, timeout_seconds=60.0)


def post_request(base_url: str, token: str, entries: Sequence[PendingRegistration]) -> Request:
    """The request that registers a batch: JSON with its length; `url` is always a list (O4, O11)."""
    body = orjson.dumps([{"doi": entry.doi, "url": list(entry.urls)} for entry in entries])
    headers = {
        "Authorization": f"Bearer {token}",  # the scheme is case-sensitive (O2)
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    return Request("POST", base_url + "uriset", headers, body, timeout_seconds=POST_TIMEOUT_SECONDS)
