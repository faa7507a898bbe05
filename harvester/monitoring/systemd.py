"""Telling systemd how it goes: ready, still alive, stopping (sd_notify(3), sd_watchdog_enabled(3)).

The protocol is one datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. Nothing here ever raises: a
harvest does not end because nobody listens.
"""

import os
import socket
from collections.abc import Mapping

from harvester.core.sanitize import printable

SEND_SECONDS = 1.0
"""How long a message may wait while systemd's queue is full; after that it is dropped."""


def notify(environ: Mapping[str, str], *lines: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=27 of 100`, all in one message.

    Args:
        environ: the environment.
        lines: each made one line that is safe to show; a long one is cut.

    Returns:
        Whether somebody was told; False outside of systemd.
    """
    name = environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    address = os.fsencode(name)
    if address.startswith(b"@"):  # a name of its own space, without a file (unix(7), "abstract")
        address = b"\0" + address[1:]
    message = "\n".join(printable(line) for line in lines).encode(errors="replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_SECONDS)
            sender.sendto(message, address)
    except (OSError, ValueError):
        return False
    return True


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Within how many seconds `WATCHDOG=1` has to come again; send it at half of this. None if nobody waits for it."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for another process that gave us its environment
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) / 1_000_000 or None
