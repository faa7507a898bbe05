"""Turns a plain answer into the response that aiohttp sends.

Faults of the connection write to the transport themselves; see `faults.connection`. For them aiohttp is given a `Spent`
response. It sends nothing, and closes what is left of the connection.
"""

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from harvester.sandbox.messages import Answer, gzip


class Spent(web.Response):
    """A response of which nothing is left to send: everything was written already, or the connection is gone."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - as inherited
        """Send no headers."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no body."""


def spent() -> Spent:
    """A response for a connection on which a fault was played."""
    response = Spent()
    response.force_close()
    return response


def response_of(
    answer: Answer, incoming: web.BaseRequest, server: str, *, compressed_from: int | None = None
) -> tuple[web.Response, int]:
    """The response that says this answer, and the length of its body on the wire.

    Args:
        answer: what is to be said.
        incoming: the request that is answered.
        server: value of the Server header.
        compressed_from: bytes from which the body is compressed, if the client accepts that; None for never.
    """
    headers = {"Server": server, "Content-Type": answer.content_type, **answer.headers}
    body = answer.body
    if compressed_from is not None and _wants_gzip(incoming, answer, compressed_from):
        headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept-Encoding"
        body = answer.gzipped or gzip(body)
    closing = answer.close or not incoming.keep_alive
    headers["Connection"] = "close" if closing else "keep-alive"
    response = web.Response(status=answer.status, body=body, headers=headers)
    if closing:
        response.force_close()
    return response, len(body)


def _wants_gzip(incoming: web.BaseRequest, answer: Answer, compressed_from: int) -> bool:
    if len(answer.body) < compressed_from or "Content-Encoding" in answer.headers:
        return False
    return "gzip" in incoming.headers.get("Accept-Encoding", "").lower()
