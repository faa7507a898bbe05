"""Paperbuzz API v0 as its server behaves (wire facts P1 to P12): one `Ask` in, one `Answer` out."""

import html
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harvester.sandbox.answer import HTML_UTF8, Answer, Ask, error_page, json_answer
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.paperbuzz.doipath import clean_doi, decoded
from harvester.sandbox.paperbuzz.records import InventedWorld, encoded, record

COMPRESSED_FROM = 500
"""Bytes from which a body is compressed (measured: 452 plain, 508 compressed)."""

CACHE_BYTES = 64 * 1024 * 1024

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
    """A record's bytes, plain, and compressed once somebody has asked for it."""

    plain: bytes
    gzipped: bytes | None = None


class Paperbuzz:
    """The service.

    Args:
        options: the sandbox's.
        day: tells the simulated day.
        mount: path in front of `/v0`, which a redirect has to name.
    """

    def __init__(self, options: SandboxOptions, day: Callable[[], int], mount: str = "") -> None:
        self.world = InventedWorld(options.seed, options.shares, options.size_scale, options.indented)
        self._options = options
        self._day = day
        self._mount = mount
        self._cache: dict[tuple[str, int, str, int], Body] = {}
        self._cached_bytes = 0
        self.asked: set[str] = set()

    def doi_of(self, path: str) -> str | None:
        """The DOI that a path asks for, as the server reads it; None if it is no DOI request or holds none."""
        text = _after(path, "/v0/doi/")
        return clean_doi(decoded(text)) if text else None

    def answer(self, ask: Ask, attempt: int = 1) -> Answer:
        """What the server says.

        Args:
            ask: the request; its `path` may hold a raw `#`.
            attempt: of this DOI, for `reorder`.
        """
        answer = self._routed(ask, attempt)
        answer.headers.update(CORS)
        return answer

    def _routed(self, ask: Ask, attempt: int) -> Answer:
        # 1. known routes: method first; 2. the redirect of /v0; 3. everything else is 404.
        route = self._route(ask)
        if route is None:
            return error_page(404, content_type=HTML_UTF8)
        if ask.method == "OPTIONS":
            return Answer(200, b"", HTML_UTF8, {"Allow": "GET, HEAD, OPTIONS"})
        if ask.method != "GET":
            refused = error_page(405, content_type=HTML_UTF8)
            refused.headers["Allow"] = "GET, HEAD, OPTIONS"
            return refused
        return route(attempt)

    def _route(self, ask: Ask) -> Callable[[int], Answer] | None:
        path = decoded(ask.path.partition("#")[0]) if "/v0/doi/" not in ask.path else ask.path
        if path in ("", "/", "/v0/"):
            return lambda _: json_answer(_INDEX)
        if path == "/v0":
            return lambda _: self._to_slash(ask)
        if path == "/trending":
            return lambda _: json_answer([])
        if event := _after(path, "/v0/event/"):
            return lambda _: json_answer({"event_id": event})
        if text := _after(path, "/v0/doi/"):
            return lambda attempt: self._doi(clean_doi(decoded(text)), ask, attempt)
        return None

    def _to_slash(self, ask: Ask) -> Answer:
        query = f"?{ask.query}" if ask.query else ""
        target = f"http://{ask.host}{self._mount}/v0/{query}"
        shown = html.escape(target)
        page = (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<title>Redirecting...</title>\n'
            "<h1>Redirecting...</h1>\n<p>You should be redirected automatically to target URL: "
            f'<a href="{shown}">{shown}</a>. If not click the link.'
        )
        return Answer(308, page.encode(), HTML_UTF8, {"Location": target})

    def _doi(self, doi: str | None, ask: Ask, attempt: int) -> Answer:
        if doi is None or self.world.kind(doi, self._day()) == "broken":
            return error_page(500, content_type=HTML_UTF8)
        self.asked.add(doi)
        body = self.body(doi, ask.host, attempt if self._options.reorder else 0)
        if accepts_gzip(ask.headers) and body.gzipped is None and len(body.plain) >= COMPRESSED_FROM:
            body.gzipped = gzip(body.plain)
        return Answer(200, body.plain, gzipped=body.gzipped)

    def body(self, doi: str, host: str = "", shuffle: int = 0) -> Body:
        """The bytes of a DOI's record on the present simulated day."""
        key = (doi, self._day(), self._options.icon_host or host, shuffle)
        found = self._cache.get(key)
        if found is None:
            value = record(self.world, doi, key[1], f"http://{key[2]}", shuffle)
            plain = encoded(value, indented=self._options.indented)
            found = Body(plain)
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, int, str, int], body: Body) -> None:
        self._cache[key] = body
        self._cached_bytes += len(body.plain)
        # First in, first out: a harvest asks for each DOI once or a few times in a row, so recency tells nothing.
        while self._cached_bytes > CACHE_BYTES:
            oldest = self._cache.pop(next(iter(self._cache)))
            self._cached_bytes -= len(oldest.plain)


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client offers gzip; by lower-case header names."""
    return "gzip" in headers.get("accept-encoding", "").lower()


def gzip(body: bytes) -> bytes:
    """Compressed quickly, and the same each time: no file name, no time."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _after(path: str, start: str) -> str:
    return path[len(start) :] if path.startswith(start) else ""
