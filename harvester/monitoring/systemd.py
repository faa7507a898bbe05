"""Tell systemd the state of a run: ready, alive, stopping (sd_notify(3), sd_watchdog_enabled(3)).

The protocol is a datagram of `NAME=value` lines to the socket in `NOTIFY_SOCKET`. Nothing here raises an error: a
harvest must not end, or wait, because systemd does not listen.
"""

import os
import socket
from collections.abc import Mapping

from harvester.core.text.sanitize import printable


def notify(environ: Mapping[str, str], *lines: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=27 of 100` in one message; drop it if the queue of systemd is full.

    Args:
        environ: the environment.
        lines: the lines; characters that are not printable are escaped, and long lines are cut.

    Returns:
        Whether the message was sent; False if it was dropped, or if systemd did not start us.
    """
    name = environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    address = os.fsencode(name)
    if address.startswith(b"@"):  # a name in the abstract namespace, without a file (unix(7))
        address = b"\0" + address[1:]
    message = "\n".join(printable(line) for line in lines).encode(errors="replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message, address)
    except (OSError, ValueError):
        return False
    return True


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The seconds within which systemd expects the next `WATCHDOG=1`; None if it does not. Send it twice as often."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for another process, from which we inherited the environment
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) / 1_000_000 or None
