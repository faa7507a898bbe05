"""How many requests share something at the same time, such as a DOI or an account.

It only watches. A client that asks for one DOI twice at once is served. The tests look here, and say that it must not.
"""

from collections.abc import Callable

OFFENDERS_KEPT = 100


class OpenRequest:
    """A request that is being served.

    Attributes:
        key: what it shares with others.
        is_awaited: whether its client still waits for the answer.
        count: how many requests with this key were being served when it came, itself included.
    """

    def __init__(self, key: str, is_awaited: Callable[[], bool]) -> None:
        self.key = key
        self.is_awaited = is_awaited
        self.count = 1


class Overlaps:
    """Counts requests that share a key and are served at the same time.

    Attributes:
        most: the highest count so far. It is 1 if no two requests overlapped.
        offenders: keys of requests that came while another one was being served, at most `OFFENDERS_KEPT` of them.
    """

    def __init__(self) -> None:
        self.most = 0
        self.offenders: list[str] = []
        self._open: dict[str, list[OpenRequest]] = {}

    def enter(self, key: str, is_awaited: Callable[[], bool] = lambda: True) -> OpenRequest:
        """Note that a request begins.

        Args:
            key: what it shares with others.
            is_awaited: whether its client still waits for the answer. If not, the request does not count any more.
        """
        request = OpenRequest(key, is_awaited)
        others = [other for other in self._open.get(key, ()) if other.is_awaited()]
        self._open[key] = [*others, request]
        request.count = len(others) + 1
        self.most = max(self.most, request.count)
        if others and len(self.offenders) < OFFENDERS_KEPT:
            self.offenders.append(key)
        return request

    def leave(self, request: OpenRequest) -> None:
        """Note that a request has ended."""
        left = [other for other in self._open.get(request.key, ()) if other is not request]
        if left:
            self._open[request.key] = left
        else:
            self._open.pop(request.key, None)
