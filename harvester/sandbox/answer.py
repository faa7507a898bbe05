"""A request and an answer of a service as plain data, and the pages both servers show for errors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a service sees it.

    Args:
        method: the verb, HEAD already turned into GET.
        path: raw target from the service's root on, without the query.
        query: raw, without `?`.
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
    """What a service says.

    Args:
        status: HTTP status.
        body: uncompressed.
        content_type: as it stands in the header.
        headers: others.
        gzipped: the body compressed, if that is already known.
        close: the connection ends after it.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    gzipped: bytes | None = None
    close: bool = False


def error_page(status: int, text: str | None = None, *, content_type: str = HTML) -> Answer:
    """An error as werkzeug shows it.

    Args:
        status: one of `REASONS`.
        text: in place of the usual sentence, HTML.
        content_type: the two servers differ in the charset.
    """
    title, usual = REASONS[status]
    said = usual if text is None else text
    page = f"{_DOCTYPE}<title>{status} {title}</title>\n<h1>{title}</h1>\n<p>{said}</p>\n"
    return Answer(status, page.encode(), content_type)


def gateway_page(status: int, reason: str) -> Answer:
    """An error as a gateway in front of a service shows it."""
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>"
        "</center>\r\n<hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), HTML)


def line_too_long(length: int) -> Answer:
    """What gunicorn says to a request line over `MAX_REQUEST_LINE` bytes (P11), before any application sees it."""
    page = (
        "<html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n    <h1><p>Bad Request</p></h1>\n"
        f"    Request Line is too large ({length} &gt; {MAX_REQUEST_LINE})\n  </body>\n</html>\n"
    )
    return Answer(400, page.encode(), HTML, close=True)


MAX_REQUEST_LINE = 4_094


def json_answer(value: object, status: int = 200) -> Answer:
    """Compact sorted ASCII JSON with a newline, as Paperbuzz writes it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return Answer(status, text.encode() + b"\n")
