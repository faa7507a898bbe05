"""All that we believe about the Paperbuzz API v0: pure functions read answers, and a short class sends the requests.

P1 to P12 are the numbers of the facts in docs/design.md, "The services on the wire".
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from harvester.core.clock import Clock
from harvester.core.doi import doi_path, is_same_doi
from harvester.core.errors import (
    DoiMismatch,
    GiveUp,
    HarvesterError,
    InvalidJson,
    NotJson,
    RedirectRefused,
    Refused,
    ServerBusy,
    ServerFailed,
    TryAgain,
    Unforeseen,
)
from harvester.core.limits import ServiceLimits
from harvester.core.text.sanitize import printable, safe_line
from harvester.core.text.wording import in_a_line
from harvester.providers.base import Record
from harvester.records.classify import doi_of_metadata, is_truncated, landing_urls_of, outcome_of, says_more
from harvester.records.comparable import comparable
from harvester.records.lazy_json import elements, is_object, look_into, members, names
from harvester.records.lines import PIECE_BYTES, without_line_ends
from harvester.transport.messages import Request, Response, Transport, retry_after

log = logging.getLogger("harvester")

T = TypeVar("T")


MAX_REDIRECTS = 3


LARGE_BYTES = 256 * 1024
"""A larger answer is read in a thread, one at a time: it may take a second, in which a stop has to be heard."""


HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}


REFUSED_FOR_GOOD = frozenset({400, 413, 414, 431})
"""The statuses that say that this very request will not be answered; a gateway in trouble says so to all. Paperbuzz
answers an unknown DOI with 200, and text that is no DOI with 500 (P3, P4). So 401, 403 or 404 do not mean that a DOI is
bad, but that the service is not where we think it is."""


class PaperbuzzProvider:
    """Gives records of Paperbuzz: one request a call, redirects aside. See `harvester.providers.base.Provider`.

    Args:
        transport: carries the requests, within the limits of the service.
        limits: of the service; used here are `base_url`, `timeout` (P5) and `max_body`.
        email: sent with every request, as the service asks for.
        clock: for `Retry-After` given as a date.
        landing_urls: whether to look for the URLs that records give.
        compares: whether records are to be compared with later ones.
    """

    name: Final = "paperbuzz"
    title: Final = "Paperbuzz"
    works_per_request: Final = 1

    def __init__(
        self,
        transport: Transport,
        limits: ServiceLimits,
        email: str,
        clock: Clock,
        *,
        landing_urls: bool = False,
        compares: bool = False,
    ) -> None:
        self._transport = transport
        self._base_url, self._timeout, self._max_body = limits.base_url, limits.timeout, limits.max_body
        self._clock = clock
        self._landing_urls, self._compares = landing_urls, compares
        self._large = asyncio.Lock()
        self._query = "?email=" + quote(email, safe="")

    async def record(self, doi: str, *, fresh: bool = False) -> Record:
        """Ask for the record of one DOI.

        Args:
            doi: whose record.
            fresh: ask over a connection of its own.

        Raises:
            TryAgain: the attempt failed in a way that may pass.
            GiveUp: this DOI will get no record.
        """
        response = None
        try:
            response = await self._get("doi/" + doi_path(doi), self._max_body, fresh=fresh)
            if len(response.body) > LARGE_BYTES:
                return await self._read_large(doi, response)
            return self._read(doi, response)
        except (TryAgain, GiveUp) as error:
            raise _light(error) from None
        finally:
            response = None  # otherwise this frame would hold it as long as the error lives

    def _read(self, doi: str, response: Response) -> Record:
        try:
            return read_record(
                doi, response, self._clock.now(), landing_urls=self._landing_urls, compares=self._compares
            )
        except HarvesterError:
            raise
        except Exception as error:
            log.exception("the record of %s cannot be read", printable(doi), extra={"doi": doi})
            raise Unforeseen(f"its record cannot be read: {in_a_line(error)}", status=response.status) from None

    async def _read_large(self, doi: str, response: Response) -> Record:
        try:
            async with self._large:
                return await asyncio.to_thread(self._read, doi, response)
        except BaseException:
            if response.place:
                response.place.leave()
            raise

    async def alive(self) -> None:
        """Ask for the status object.

        Raises:
            TryAgain: the service does not answer as it should.
            GiveUp: what answers is not Paperbuzz.
        """
        try:
            told = _seen(
                check_status(await self._get("", min(self._max_body, LARGE_BYTES), fresh=True), self._clock.now()),
                lambda status: set(names(status)),
            )
        except (TryAgain, GiveUp) as error:
            raise _light(error) from None
        if not {"msg", "version"} & told:
            raise InvalidJson("the answer is JSON, but not the status object of a Paperbuzz API")

    async def _get(self, path: str, max_body: int, *, fresh: bool) -> Response:
        request = Request(
            "GET",
            self._base_url + path + self._query,
            HEADERS,
            timeout_seconds=self._timeout,
            max_body_bytes=max_body,
            fresh=fresh,
        )
        response = await self._transport.send(request)
        for _ in range(MAX_REDIRECTS):
            if response.status not in (301, 302, 303, 307, 308):
                break
            request = follow(request, response)
            response = await self._transport.send(request)
        return response


def _light(error: TryAgain | GiveUp) -> TryAgain | GiveUp:
    """The same error, without the body that it is about.

    A work keeps its error as long as it waits, and a body may have 32 MiB. What holds the body are the frames of the
    traceback, and the parser's own error.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def follow(request: Request, response: Response) -> Request:
    """The request that a redirect asks for, if it stays on the same origin.

    Raises:
        RedirectRefused: no target, or another scheme, host or port.
    """
    target = response.headers.get("location", "")
    try:
        target = urljoin(request.url, target)
        same = urlsplit(target)[:2] == urlsplit(request.url)[:2] and "location" in response.headers
    except ValueError:
        same = False
    if not same or not target.isascii() or not target.isprintable() or " " in target:
        raise RedirectRefused(f"a redirect to {safe_line(target, 100)!r} is not followed", status=response.status)
    return replace(request, url=target)


def check_status(response: Response, now: datetime) -> Response:
    """Return a good answer as it is; anything else becomes the error that says what to do next.

    The cases, in order: 1. a good answer; 2. 200 from something else than the service; 3. one redirect too many, or of
    another kind; 4. too fast for the server; 5. this request is refused for good; 6. another try may help.

    Raises:
        NotJson, RedirectRefused, ServerBusy, Refused, ServerFailed: by case.
    """
    status = response.status
    if status == 200:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in ("application/json", "text/json") or media_type.endswith("+json"):
            return response
        shown = safe_line(media_type, 60) or "no content type"
        raise NotJson(f"200 with {shown} in place of JSON", status=status)
    if 300 <= status < 400:
        raise RedirectRefused(f"the server answers {status}, or more than {MAX_REDIRECTS} redirects", status=status)
    if status in (429, 503):
        raise ServerBusy(f"the server answers {status}", status=status, retry_after=retry_after(response, now))
    if status in REFUSED_FOR_GOOD:
        raise Refused(f"the server answers {status} to this request", status=status)
    raise ServerFailed(f"the server answers {status}", status=status)


def read_record(
    doi: str, response: Response, now: datetime, *, landing_urls: bool = False, compares: bool = False
) -> Record:
    """Read the answer to a request for `doi`.

    Only `doi` and `altmetrics_sources` have to be there (P8). What is kept are the server's bytes without CR and LF,
    which JSON allows only between tokens (RFC 8259, sections 2 and 7); of a large record they are dropped when it is
    written, so that there is no second copy of it. The answer is parsed once: all that anybody wants to know of the
    record is looked up here, and nothing later depends on what is in it.

    Args:
        doi: that was asked for.
        response: the answer.
        now: when it came.
        landing_urls: whether to look for the URLs that the record gives.
        compares: whether the record is to be compared with later ones.

    Raises:
        TryAgain: see `check_status`.
        DoiMismatch: the record is another DOI's (P2).
        InvalidJson: no JSON object, or without the two required members.
        Refused, RedirectRefused: see `check_status`.
    """
    check_status(response, now)
    if not compares:
        return _seen(response, lambda content: _record(doi, response, content, landing_urls))
    return _seen(
        response,
        lambda content: _record(doi, response, content, landing_urls)._replace(comparable=comparable(content, now)),
        built=True,
    )


def _record(doi: str, response: Response, content: object, landing_urls: bool) -> Record:
    told, listed, metadata, open_access = members(content, "doi", "altmetrics_sources", "metadata", "open_access")
    if not isinstance(told, str):
        what = "the record has no doi" if is_object(content) else "the answer is JSON, but no object"
        raise InvalidJson(what, status=response.status)
    if not is_same_doi(told, doi):
        response.distrust()
        raise DoiMismatch(
            f"the record is of {safe_line(told, 120)!r}, not of the DOI asked for",
            status=response.status,
        )
    sources = elements(listed)
    if sources is None:
        raise InvalidJson("the record has no list altmetrics_sources", status=response.status)
    named = doi_of_metadata(metadata)
    if named is not None and not is_same_doi(named, doi):
        log.warning(
            "metadata of %s came with the record of %s; they count as none", printable(named, 120), printable(doi)
        )
        metadata = open_access = None
    body, digest = response.body, hashlib.sha256()
    if len(body) <= PIECE_BYTES:
        body = body.replace(b"\n", b"").replace(b"\r", b"")
        digest.update(body)
    else:
        for piece in without_line_ends(body):
            digest.update(piece)
    return Record(
        body=body,
        # Computed here and not where it is written: the bytes are still in the cache, and the writer thread would have
        # to fight for the interpreter lock after each record.
        sha256=digest.hexdigest(),
        outcome=outcome_of(says_more(metadata, "crossref_url"), bool(sources), says_more(open_access, "oadoi_url")),
        truncated=is_truncated(sources),
        landing_urls=landing_urls_of(metadata, open_access) if landing_urls else (),
        status=response.status,
        elapsed_seconds=response.elapsed_seconds,
        place=response.place,
    )


def _seen(response: Response, look: Callable[[object], T], *, built: bool = False) -> T:
    """What `look` returns for the JSON of an answer."""
    try:
        return look_into(response.body, look, built=built)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"the answer is no valid JSON: {printable(str(error), 120)}", status=200) from error
