"""Requests and responses as plain data, and `Transport.send`, which turns one into the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, Protocol

from harvester.transport.room import Place


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, exactly as it is sent.

    Args:
        method: the verb; only GET may be repeated or redirected.
        url: absolute and already percent-encoded; sent byte for byte.
        headers: sent as given; kept out of `repr`, because `Authorization` is among them.
        body: the plain body of a POST, sent with its length; None for none.
        timeout_seconds: total time from here to the last byte of the answer.
        max_body_bytes: cap on the decompressed body.
        fresh: send it over a connection of its own, that carried nothing before and will carry nothing after it.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 35.0
    max_body_bytes: int = 32 * 1024 * 1024
    fresh: bool = False


def _nothing() -> None:
    pass


class Response(NamedTuple):
    """One complete answer.

    Args:
        status: the HTTP status.
        headers: names in lower case; if a header is repeated, its last value.
        body: decompressed, never longer than the request's cap.
        elapsed_seconds: from sending to the last byte.
        place: the room that a large body takes; to be kept as long as the body, and to be left with it.
        distrust: to be called by whoever sees that this is the answer to another request. The connection that it came
            over is not used again, nor are the others that are open now: they may go through the same gateway.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_seconds: float = 0.0
    place: Place | None = None
    distrust: Callable[[], None] = _nothing


class Transport(Protocol):
    """Carries a request to a server and brings the response back."""

    async def send(self, request: Request) -> Response:
        """Send the request once.

        Raises:
            TimedOut: no complete answer within `timeout_seconds`.
            Unreachable: no connection could be made.
            ConnectionLost: it broke off.
            TooLarge: the decompressed body passed `max_body_bytes`.
        """
        ...


def retry_after(response: Response, now: datetime) -> float | None:
    """Seconds that the server asks us to wait; None if it says nothing, nothing sensible, or a time that is past.

    Both forms count (RFC 9110, section 10.2.3). A date is compared with the server's own `Date`, because its clock may
    differ from ours.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        until, since = _http_date(text), _http_date(response.headers.get("date", "")) or now
        if until is None:
            return None
        seconds = (until - since).total_seconds()
    return seconds if seconds > 0 else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
