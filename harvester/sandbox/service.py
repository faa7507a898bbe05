"""What the sandbox expects of a stand-in, and the names of the services that have one.

A service is the real thing on the internet; a stand-in is our imitation of it. The server knows a stand-in through
`StandIn` alone. How to add one is described in `docs/sandbox.md`.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from harvester.sandbox.messages import Answer, Request, error_page
from harvester.sandbox.overlaps import Overlaps
from harvester.sandbox.requestlog import LoggedRequest

ServiceName = Literal["paperbuzz", "operas"]
"""The word for a service in URLs, rates of faults and the log."""

READ_FROM: tuple[ServiceName, ...] = ("paperbuzz",)
"""Services that give data. Faults in records apply to them."""

WRITTEN_TO: tuple[ServiceName, ...] = ("operas",)
"""Services that store what they are sent. Faults after a request was carried out apply to them."""

SERVICES: tuple[ServiceName, ...] = READ_FROM + WRITTEN_TO


class StandIn(ABC):
    """An imitation of one service.

    The server receives the request, plays faults, and sends the answer. A stand-in says what the service answers, and
    how the server has to treat its requests.

    Attributes:
        name: of the service. Its URLs begin with `/NAME`.
        title: the name that people read.
        api_path: path of the API behind `/NAME/`; with it the base URL for harvester's settings is complete.
        server_header: value of the Server header.
        compressed_from: bytes from which a body is compressed for clients that accept it; None for never.
        is_delayed: whether the sandbox's latency and capacity apply to this service.
        overlaps: which requests shared an `overlap_key` while they were being served.
    """

    name: ClassVar[ServiceName]
    title: ClassVar[str]
    api_path: ClassVar[str]
    server_header: ClassVar[str]
    compressed_from: ClassVar[int | None] = None
    is_delayed: ClassVar[bool] = False

    def __init__(self) -> None:
        self.overlaps = Overlaps()

    @property
    def mount(self) -> str:
        """The path under which the sandbox serves it, such as `/paperbuzz`."""
        return f"/{self.name}"

    @abstractmethod
    async def answer(self, request: Request, attempt: int) -> Answer:
        """What the service answers.

        Args:
            request: its path begins behind the mount, and may hold a raw `#`.
            attempt: 1 for the first request for this key, 2 for the second, and so on.
        """

    def key_of(self, path: str) -> str:
        """What a path asks for, such as a DOI. Attempts are counted, and faults are drawn, by this key."""
        return path

    def account_of(self, request: Request) -> str:  # noqa: ARG002 - for stand-ins that need it
        """The account that a request claims to come from, for the log; empty if the service has no accounts."""
        return ""

    def overlap_key(self, request: Request, entry: LoggedRequest) -> str | None:  # noqa: ARG002 - for stand-ins that need it
        """What no other request should share while this one is served; None if that does not matter.

        Args:
            request: that has come.
            entry: the same request in the log, with its key and account.
        """
        return None

    def collides(self, key: str, count: int) -> bool:  # noqa: ARG002 - for stand-ins that need it
        """Whether the service fails with a 500 because requests with one overlap key came at the same time.

        Args:
            key: what is asked for.
            count: how many such requests are being served, this one included.
        """
        return False

    def named_fault(self, key: str, attempt: int) -> str | None:  # noqa: ARG002 - for stand-ins that need it
        """The fault that the key itself names, whatever the rates say; None if it names none."""
        return None

    def error(self, status: int) -> Answer:
        """The service's own page for an error with this status."""
        return error_page(status)

    def other_body(self, key: str) -> bytes:  # noqa: ARG002 - for stand-ins that need it
        """The body of a good answer to another question than this key; for the fault `wrong-doi`."""
        return b""
