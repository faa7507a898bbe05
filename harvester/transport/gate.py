"""The last point before the wire: a request passes it with its connection in hand, right before its bytes are sent.

A limiter that is asked earlier limits when requests ask for a connection. Requests that then wait for the name of the
server, for a connection or for TLS may leave together.
"""

from typing import Protocol


class NotYet(Exception):
    """The request was not sent: it would wait too long with a connection in hand. Give that back, and come again."""


class Gate(Protocol):
    """Decides when a request is sent, and knows when it was.

    Nothing may be awaited between the return of `enter` and the write, and `leave` is called right after it.
    """

    async def enter(self) -> None:
        """Wait until the request may be sent; from then on nobody else may send until `leave`.

        Raises:
            NotYet: it may not be sent soon enough.
            StopRun, Stopped: it may not be sent at all.
        """
        ...

    def leave(self) -> None:
        """Note that the request was sent."""
        ...
