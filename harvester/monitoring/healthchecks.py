"""Tells a web address that a night began and how it ended, in the way of healthchecks.io.

`URL/start` when it begins, `URL` itself when it ended with 0, `URL/CODE` when it ended otherwise. 3 (too many failures)
is no success: whoever sets `--max-failures` wants to be told.

A ping is a courtesy. Whatever becomes of it, the night goes on and its exit code stays. The address is a secret of a
kind, for who knows it can say that all is well: logs name its host alone.
"""

import asyncio
import logging
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from harvester.core.errors import HarvesterError
from harvester.core.sanitize import printable, redacted
from harvester.transport.messages import Request, Transport

log = logging.getLogger("harvester")

TIMEOUT_SECONDS: Final = 10.0
"""What healthchecks.io recommends for its pings (`curl -m 10`)."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The answer is `OK`; a web page in its place is not worth more than this."""

Signal = Literal["start"] | int
"""`start`, or the exit code of the run that ended."""


async def ping(transport: Transport, url: str, signal: Signal, verdict: str = "") -> None:
    """Tell; a failure is a warning in the log and nothing else.

    Args:
        transport: one without budget and without a stop: the last word is said when the run is over.
        url: `[metrics] ping_url`, https or on this machine.
        signal: what is told.
        verdict: a sentence that goes along.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            response = await transport.send(ping_request(url, signal, verdict))
        problem = "" if 200 <= response.status < 300 else f"it answers {response.status}"
    except TimeoutError:
        problem = f"no answer within {TIMEOUT_SECONDS:g} s"
    except HarvesterError as error:
        problem = str(error) or type(error).__name__
    except Exception as error:  # noqa: BLE001 - a ping never changes how a night ends; the text may hold the address
        problem = type(error).__name__
    if problem:
        log.warning("the ping to %s failed: %s. The harvest is not affected.", urlsplit(url).hostname, problem)


def ping_request(url: str, signal: Signal, verdict: str = "") -> Request:
    """The request that tells; a query of the address stays behind its path."""
    parts = urlsplit(url)
    path = parts.path if signal == 0 else f"{parts.path.rstrip('/')}/{signal}"
    return Request(
        "POST",
        urlunsplit(parts._replace(path=path, fragment="")),
        {"Content-Type": "text/plain; charset=utf-8"},
        printable(redacted(verdict)).encode(errors="replace"),
        timeout_seconds=TIMEOUT_SECONDS,
        max_body_bytes=MAX_BODY_BYTES,
    )
