"""Requests and answers as plain data, and the one verb by which they meet: `Transport.send`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, exactly as it will stand on the wire.

    Args:
        method: the verb; only GET may be repeated or redirected.
        url: absolute and already percent-encoded; sent byte for byte.
        headers: sent as given; kept out of `repr`, for `Authorization` is among them.
        body: the plain body of a POST, sent with its length; None for none.
        timeout_seconds: total time from here to the last byte of the answer.
        max_body_bytes: cap on the decompressed body.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 35.0
    max_body_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """One complete answer.

    Args:
        status: the HTTP status.
        headers: names in lower case; of a repeated header the last value.
        body: decompressed, never longer than the request's cap.
        elapsed_seconds: from sending to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_seconds: float = 0.0


class Transport(Protocol):
    """Whatever carries a request to a server and brings the answer back."""

    async def send(self, request: Request) -> Response:
        """Send the request once.

        Raises:
            TimedOut: no complete answer within `timeout_seconds`.
            ConnectionLost: no connection, or it broke off.
            TooLarge: the decompressed body passed `max_body_bytes`.
            RedirectRefused: a redirect that is not followed.
        """
        ...
