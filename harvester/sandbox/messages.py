"""Requests and answers as plain data, what stand-ins need to read and write them, and the usual error pages.

Nothing here knows a service or a socket. `Request` is what a stand-in is given, `Answer` is what it gives back.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

JSON = "application/json"
HTML = "text/html"
HTML_UTF8 = "text/html; charset=utf-8"

_DOCTYPE = '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'

REASONS: dict[int, tuple[str, str]] = {
    302: ("Redirecting...", ""),
    400: ("Bad Request", "The browser (or proxy) sent a request that this server could not understand."),
    401: ("Unauthorized", ""),
    404: (
        "Not Found",
        (
            "The requested URL was not found on the server. If you entered the URL manually please check your "
            "spelling and try again."
        ),
    ),
    405: ("Method Not Allowed", "The method is not allowed for the requested URL."),
    500: (
        "Internal Server Error",
        (
            "The server encountered an internal error and was unable to complete your request. Either the server is "
            "overloaded or there is an error in the application."
        ),
    ),
}


MAX_REQUEST_LINE = 4_094
"""Bytes of the longest request line that gunicorn accepts (P11)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a stand-in sees it. What aiohttp makes of a request is a `web.BaseRequest`, and not this.

    Args:
        method: in capitals. HEAD arrives here as GET.
        path: the raw target from the service's root on, without the query.
        query: the raw query, without `?`.
        headers: by lower-case name.
        body: as sent.
        host: the Host header.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    host: str = ""


@dataclass(slots=True)
class Answer:
    """What a stand-in answers.

    Args:
        status: HTTP status.
        body: not compressed.
        content_type: value of the Content-Type header.
        headers: the other headers.
        gzipped: the body compressed, if somebody has already done that.
        close: whether the connection ends after this answer.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    gzipped: bytes | None = None
    close: bool = False


def decoded(raw: str) -> str:
    """Decode the percent escapes of a raw target once. Bytes that are not UTF-8 become U+FFFD."""
    return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def gzip(body: bytes) -> bytes:
    """Compress quickly. The result depends on the body alone: it holds no file name and no time."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client accepts gzip. The header names are in lower case."""
    return "gzip" in headers.get("accept-encoding", "").lower()


def json_answer(value: object, status: int = 200) -> Answer:
    """JSON as Paperbuzz writes it: compact, sorted, ASCII, with a newline at the end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return Answer(status, text.encode() + b"\n")


def error_page(status: int, text: str | None = None, *, content_type: str = HTML) -> Answer:
    """An error page as werkzeug writes it. Both services are built on werkzeug.

    Args:
        status: one of `REASONS`.
        text: HTML that replaces the usual sentence.
        content_type: the two services name different ones.
    """
    title, usual = REASONS[status]
    said = usual if text is None else text
    page = f"{_DOCTYPE}<title>{status} {title}</title>\n<h1>{title}</h1>\n<p>{said}</p>\n"
    return Answer(status, page.encode(), content_type)


def gateway_page(status: int, reason: str) -> Answer:
    """An error page as a gateway in front of a service writes it."""
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>"
        "</center>\r\n<hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), HTML)


def line_too_long(length: int) -> Answer:
    """What gunicorn answers to a request line of more than `MAX_REQUEST_LINE` bytes, before any application sees it."""
    page = (
        "<html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n    <h1><p>Bad Request</p></h1>\n"
        f"    Request Line is too large ({length} &gt; {MAX_REQUEST_LINE})\n  </body>\n</html>\n"
    )
    return Answer(400, page.encode(), HTML, close=True)
