"""The log: what the sandbox was asked, when, and what it answered.

`LoggedRequest` is one entry, `RequestLog` is all of them. Only requests to a service are logged, not those for the
sandbox's own pages. The log judges nothing; whether limits were kept is computed in `limits`.
"""

import json
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harvester.core.clock import timestamp
from harvester.core.errors import Usage
from harvester.core.ownership import FileKind, refuse_others_file


@dataclass(slots=True)
class LoggedRequest:
    """One request and what became of it.

    Args:
        number: 1 for the first request.
        service: `paperbuzz` or `operas`.
        time: monotonic seconds when the request came. Rates are judged by it.
        wall: seconds since 1970 when the request came. Daily quotas are judged by it.
        day: the simulated day.
        method: as it came.
        path: the raw target, without the service's mount.
        key: the DOI as the service read it, or what else is asked for. For a POST a digest of the body follows.
        attempt: 1 for the first request for this key.
        remote: the client's port. It tells connections apart.
        account: e-mail address of the OPERAS account, once it is known.
        request_bytes: length of the request's body.
        status: of the answer; 0 if there was none.
        fault: name of the fault that was played, if any.
        body_bytes: length of the answer's body as it was sent.
        elapsed_seconds: from the request to the end of the answer; None until then.
    """

    number: int
    service: str
    time: float
    wall: float
    day: int
    method: str
    path: str
    key: str = ""
    attempt: int = 0
    remote: int = 0
    account: str = ""
    request_bytes: int = 0
    status: int = 0
    fault: str | None = None
    body_bytes: int = 0
    elapsed_seconds: float | None = None

    @property
    def doi(self) -> str:
        """The key, which is a DOI in requests to Paperbuzz."""
        return self.key

    def as_dict(self) -> dict[str, object]:
        """The members of the entry's line in the log file."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "started_at": timestamp(datetime.fromtimestamp(self.wall, UTC))
        }


def _is_log(head: bytes) -> bool:
    try:
        first = json.loads(head.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.keys() >= {"number", "service", "method", "status"}


LOG = FileKind("a log of the sandbox", _is_log)


def _opened(path: Path) -> TextIO:
    """Open a log to append to: a file of its own, or a terminal or pipe, which takes it as it comes.

    Raises:
        Usage: it is neither, or cannot be opened.
    """
    try:
        if not path.exists() or path.is_file():
            refuse_others_file(path, LOG)
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise Usage(f"the log {path} cannot be written: {error.strerror}. Choose another one with --log.") from error


class RequestLog:
    """All requests in the order in which they came, in memory. Each is also written to a file when it ends.

    Args:
        path: file of JSON Lines to append to; None for no file.
        keep: how many entries to keep in memory; None for all.

    Attributes:
        entries: the entries in memory, oldest first. To iterate over the log gives a copy of them.
        total: how many requests came, dropped entries included.
        counts: requests that have ended, by service.
        statuses: the same by service and status, as in `paperbuzz 200`.
        faults: requests that met a fault, by service and fault.
    """

    def __init__(self, path: Path | None = None, keep: int | None = None) -> None:
        self.entries: deque[LoggedRequest] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.total = 0
        # Times are never dropped, because limits are judged over the whole run.
        self._times: dict[str, tuple[array[float], array[float]]] = {}
        # Line buffered: if the sandbox is killed, the file still holds every request that was answered.
        self._file: TextIO | None = _opened(path) if path else None

    def begin(self, entry: LoggedRequest) -> None:
        """Add a request that has come, and number it."""
        self.total += 1
        entry.number = self.total
        self.entries.append(entry)
        if entry.service not in self._times:
            self._times[entry.service] = array("d"), array("d")
        monotonic, wall = self._times[entry.service]
        monotonic.append(entry.time)
        wall.append(entry.wall)

    def times(self, service: str) -> tuple[Sequence[float], Sequence[float]]:
        """When each request to a service came: monotonic seconds, and seconds since 1970."""
        return self._times.get(service, (array("d"), array("d")))

    def end(self, entry: LoggedRequest) -> None:
        """Count a request that has ended, and write it to the file."""
        self.counts[entry.service] += 1
        self.statuses[f"{entry.service} {entry.status}"] += 1
        if entry.fault:
            self.faults[f"{entry.service} {entry.fault}"] += 1
        if self._file:
            self._file.write(json.dumps(entry.as_dict(), ensure_ascii=True) + "\n")

    def of(self, service: str) -> list[LoggedRequest]:
        """The entries of one service, oldest first."""
        return [entry for entry in self if entry.service == service]

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def __iter__(self) -> Iterator[LoggedRequest]:
        # A copy: the sandbox may serve in another thread.
        return iter(self.entries.copy())

    def __len__(self) -> int:
        return len(self.entries)
