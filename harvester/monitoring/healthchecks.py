"""Ping a web address when a night begins and when it ends, as healthchecks.io expects it.

The ping goes to `URL/start` when a night begins, to `URL` when it ended with 0, and to `URL/CODE` when it ended with
another exit code. 3 (more failures than allowed) is no success here.

A ping must not disturb a night: if it fails, the night goes on and keeps its exit code. The address is a kind of
secret, because whoever knows it can report that all is well. So logs name only its host.
"""

import asyncio
import logging
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from harvester.core.errors import HarvesterError
from harvester.core.text.sanitize import safe_line
from harvester.transport.messages import Request, Transport

log = logging.getLogger("harvester")

TIMEOUT_SECONDS: Final = 10.0
"""The time limit that healthchecks.io recommends (`curl -m 10`)."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The expected answer is `OK`. A web page in its place is not read further than this."""

Signal = Literal["start"] | int
"""`start`, or the exit code of a run that ended."""


async def ping(transport: Transport, url: str, signal: Signal, verdict: str = "") -> None:
    """Send a ping. A failure is only a warning in the log.

    Args:
        transport: without a budget and without a stop, because the last ping is sent after the run.
        url: `[metrics] ping_url`; https, or on this machine.
        signal: `start` or an exit code.
        verdict: a sentence that is sent along.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            response = await transport.send(ping_request(url, signal, verdict))
        problem = "" if 200 <= response.status < 300 else f"it answers {response.status}"
    except TimeoutError:
        problem = f"no answer within {TIMEOUT_SECONDS:g} s"
    except HarvesterError as error:
        problem = str(error) or type(error).__name__
    except Exception as error:  # noqa: BLE001 - a ping never changes how a night ends; its text may hold the address
        problem = type(error).__name__
    if problem:
        log.warning("the ping to %s failed: %s. The harvest is not affected.", urlsplit(url).hostname, problem)


def ping_request(url: str, signal: Signal, verdict: str = "") -> Request:
    """The request of a ping. A query of the address is kept, behind the extended path."""
    parts = urlsplit(url)
    path = parts.path if signal == 0 else f"{parts.path.rstrip('/')}/{signal}"
    return Request(
        "POST",
        urlunsplit(parts._replace(path=path, fragment="")),
        {"Content-Type": "text/plain; charset=utf-8"},
        safe_line(verdict).encode(errors="replace"),
        timeout_seconds=TIMEOUT_SECONDS,
        max_body_bytes=MAX_BODY_BYTES,
    )
