"""The stand-in for the Paperbuzz API v0, which behaves as the real server does (wire facts P1 to P12)."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from harvester.sandbox.faults.rates import FAULTS
from harvester.sandbox.messages import (
    HTML_UTF8,
    Answer,
    Request,
    accepts_gzip,
    decoded,
    error_page,
    gzip,
    json_answer,
)
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.paperbuzz.doipath import clean_doi
from harvester.sandbox.paperbuzz.records import RecordGenerator, encoded
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.service import ServiceName, StandIn

CACHE_BYTES = 64 * 1024 * 1024
"""How much memory the records that were sent last may take."""

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS, PUT, DELETE, PATCH",
    "Access-Control-Allow-Headers": "origin, content-type, accept, x-requested-with",
}

_INDEX = {
    "description": "wrapper for crossrev event data api.",
    "documentation_url": "none yet",
    "msg": "Don't panic",
    "name": "paperbuzz-api",
    "version": "0.1",
}


@dataclass(slots=True)
class Body:
    """The bytes of a record. They are compressed when a client first accepts that, and kept."""

    plain: bytes
    gzipped: bytes | None = None


class Paperbuzz(StandIn):
    """The stand-in for Paperbuzz.

    Args:
        options: of the sandbox.
        day: tells the present simulated day.

    Attributes:
        records: makes the records.
        asked: DOIs that were answered with a record.
    """

    name: ClassVar[ServiceName] = "paperbuzz"
    title = "Paperbuzz"
    api_path = "v0/"
    server_header = "gunicorn"
    # Measured: 452 bytes came plain, 508 compressed.
    compressed_from = 500
    is_delayed = True

    def __init__(self, options: SandboxOptions, day: Callable[[], int]) -> None:
        super().__init__()
        self.records = RecordGenerator(options.seed, options.shares, options.size_scale)
        self._options = options
        self._day = day
        self._cache: dict[tuple[str, int, str, int], Body] = {}
        self._cached_bytes = 0
        self.asked: set[str] = set()

    async def answer(self, request: Request, attempt: int = 1) -> Answer:
        """What Paperbuzz answers. The attempt matters for the option `reorder` alone."""
        answer = self._routed(request, attempt)
        answer.headers.update(CORS)
        return answer

    def key_of(self, path: str) -> str:
        """The DOI as the server reads it out of the path. The path itself if it asks for no DOI, or holds none."""
        text = _after(path, "/v0/doi/")
        doi = clean_doi(decoded(text)) if text else None
        return path if doi is None else doi

    def overlap_key(self, request: Request, entry: LoggedRequest) -> str | None:  # noqa: ARG002 - as inherited
        """The DOI. A path without one, such as a probe of /v0/, may be asked for as often as one likes."""
        return entry.key if entry.key.startswith("10") else None

    def collides(self, key: str, count: int) -> bool:
        """Whether this is the second of two first requests for a DOI (P11), and the options let them collide."""
        return self._options.collide and count > 1 and key not in self.asked

    def named_fault(self, key: str, attempt: int) -> str | None:
        """The fault that the DOI itself names: 10.5555/fault-NAME always, 10.5555/heals-NAME the first time."""
        if not key.startswith("10.5555/"):
            return None
        name = key.removeprefix("10.5555/")
        if name.startswith("slow"):
            return "slow"
        if name.startswith("heals-"):
            name = "fault-" + name.removeprefix("heals-") if attempt == 1 else ""
        if not name.startswith("fault-"):
            return None
        wanted = name.removeprefix("fault-").partition("/")[0]
        return wanted if wanted in FAULTS and self.name in FAULTS[wanted][0] else None

    def error(self, status: int) -> Answer:
        """An error page. Paperbuzz names the encoding, OPERAS does not."""
        return error_page(status, content_type=HTML_UTF8)

    def other_body(self, key: str) -> bytes:
        """A good record of another DOI."""
        return self.body(f"10.5555/ok.other.{len(key)}").plain

    def _routed(self, request: Request, attempt: int) -> Answer:
        # A path that is not known is a 404, whatever the method; only then the method is looked at.
        route = self._route(request)
        if route is None:
            return self.error(404)
        if request.method == "OPTIONS":
            return Answer(200, b"", HTML_UTF8, {"Allow": "GET, HEAD, OPTIONS"})
        if request.method != "GET":
            refused = self.error(405)
            refused.headers["Allow"] = "GET, HEAD, OPTIONS"
            return refused
        return route(attempt)

    def _route(self, request: Request) -> Callable[[int], Answer] | None:
        path = decoded(request.path.partition("#")[0]) if "/v0/doi/" not in request.path else request.path
        if path in ("", "/", "/v0/"):
            return lambda _: json_answer(_INDEX)
        if path == "/v0":
            return lambda _: self._to_slash(request)
        if path == "/trending":
            return lambda _: json_answer([])
        if event := _after(path, "/v0/event/"):
            return lambda _: json_answer({"event_id": event})
        if text := _after(path, "/v0/doi/"):
            return lambda attempt: self._doi(clean_doi(decoded(text)), request, attempt)
        return None

    def _to_slash(self, request: Request) -> Answer:
        query = f"?{request.query}" if request.query else ""
        target = f"http://{request.host}{self.mount}/v0/{query}"
        shown = html.escape(target)
        page = (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<title>Redirecting...</title>\n'
            "<h1>Redirecting...</h1>\n<p>You should be redirected automatically to target URL: "
            f'<a href="{shown}">{shown}</a>. If not click the link.'
        )
        return Answer(308, page.encode(), HTML_UTF8, {"Location": target})

    def _doi(self, doi: str | None, request: Request, attempt: int) -> Answer:
        if doi is None or self.records.kind(doi, self._day()) == "broken":
            return self.error(500)
        self.asked.add(doi)
        body = self.body(doi, request.host, attempt if self._options.reorder else 0)
        if accepts_gzip(request.headers) and body.gzipped is None and len(body.plain) >= self.compressed_from:
            body.gzipped = gzip(body.plain)
        return Answer(200, body.plain, gzipped=body.gzipped)

    def body(self, doi: str, host: str = "", shuffle: int = 0) -> Body:
        """The bytes of a DOI's record on the present simulated day.

        Args:
            doi: as the server reads it.
            host: the request's Host header, for `icon_url`.
            shuffle: if not 0, the order of the sources depends on it.
        """
        key = (doi, self._day(), self._options.icon_host or host, shuffle)
        found = self._cache.get(key)
        if found is None:
            value = self.records.record(doi, key[1], f"http://{key[2]}", shuffle)
            plain = encoded(value, indented=self._options.indented)
            found = Body(plain)
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, int, str, int], body: Body) -> None:
        self._cache[key] = body
        self._cached_bytes += len(body.plain)
        # First in, first out: a harvest asks for a DOI once or a few times in a row, so recent use says nothing.
        while self._cached_bytes > CACHE_BYTES:
            oldest = self._cache.pop(next(iter(self._cache)))
            self._cached_bytes -= len(oldest.plain)


def _after(path: str, start: str) -> str:
    return path[len(start) :] if path.startswith(start) else ""
