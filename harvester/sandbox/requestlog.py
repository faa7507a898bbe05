"""What the sandbox was asked, when, and what it answered; and how many requests were under way at once."""

import json
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harvester.core.clock import timestamp

OFFENDERS_KEPT = 100


@dataclass(slots=True)
class RequestLog:
    """One request.

    Args:
        number: 1 for the first.
        service: `paperbuzz`, `operas` or `sandbox` (its own pages).
        time: monotonic seconds at the start; the rate is judged by these.
        wall: seconds since 1970 at the start; daily quotas are judged by these.
        day: simulated day.
        method: the verb.
        path: the raw target, as it came.
        key: the DOI as the service read it, or what else is asked for.
        attempt: 1 for the first request for this key.
        remote: the client's port, which tells connections apart.
        account: e-mail of the OPERAS account, once known.
        request_bytes: length of the request's body.
        status: of the answer; 0 if none was given.
        fault: its name, if one was played.
        body_bytes: length of the answer's body as sent.
        elapsed_seconds: from start to end; None while under way.
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
        """The key, for Paperbuzz."""
        return self.key

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "started_at": timestamp(datetime.fromtimestamp(self.wall, UTC))
        }


class Log:
    """All requests in order, kept in memory and written to a file at their end.

    Args:
        path: JSON Lines, appended to; None for none.
        keep: entries to keep in memory; None for all.
    """

    def __init__(self, path: Path | None = None, keep: int | None = None) -> None:
        self.entries: deque[RequestLog] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.total = 0
        # Times are kept whatever is dropped of the entries: the limits are judged over the whole run.
        self._times: dict[str, tuple[array[float], array[float]]] = {}
        # Line buffered: whoever kills the sandbox finds all that was answered.
        self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1) if path else None

    def begin(self, entry: RequestLog) -> None:
        """Note a request at its start."""
        self.total += 1
        entry.number = self.total
        self.entries.append(entry)
        if entry.service not in self._times:
            self._times[entry.service] = array("d"), array("d")
        monotonic, wall = self._times[entry.service]
        monotonic.append(entry.time)
        wall.append(entry.wall)

    def times(self, service: str) -> tuple[Sequence[float], Sequence[float]]:
        """Start of every request to a service: monotonic seconds, and seconds since 1970."""
        return self._times.get(service, (array("d"), array("d")))

    def end(self, entry: RequestLog) -> None:
        """Note its answer."""
        self.counts[entry.service] += 1
        self.statuses[f"{entry.service} {entry.status}"] += 1
        if entry.fault:
            self.faults[f"{entry.service} {entry.fault}"] += 1
        if self._file:
            self._file.write(json.dumps(entry.as_dict(), ensure_ascii=True) + "\n")

    def of(self, service: str) -> list[RequestLog]:
        """The entries of one service, oldest first."""
        return [entry for entry in self if entry.service == service]

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def __iter__(self) -> Iterator[RequestLog]:
        # A copy: the sandbox may serve in another thread.
        return iter(self.entries.copy())

    def __len__(self) -> int:
        return len(self.entries)


class Place:
    """One request among those that share a key; `count` is how many there were when it came, itself included."""

    def __init__(self, key: str, alive: Callable[[], bool]) -> None:
        self.key = key
        self.alive = alive
        self.count = 1


class Overlaps:
    """How many requests share something at the same time: a DOI, or the right to POST for an account."""

    def __init__(self) -> None:
        self.most = 0
        self.offenders: list[str] = []
        self._now: dict[str, list[Place]] = {}

    def enter(self, key: str, alive: Callable[[], bool] = lambda: True) -> Place:
        """One more.

        Args:
            key: what is shared.
            alive: whether somebody still waits for the answer; a request nobody waits for no longer counts.
        """
        place = Place(key, alive)
        others = [other for other in self._now.get(key, ()) if other.alive()]
        self._now[key] = [*others, place]
        place.count = len(others) + 1
        self.most = max(self.most, place.count)
        if others and len(self.offenders) < OFFENDERS_KEPT:
            self.offenders.append(key)
        return place

    def leave(self, place: Place) -> None:
        """One less."""
        left = [other for other in self._now.get(place.key, ()) if other is not place]
        if left:
            self._now[place.key] = left
        else:
            self._now.pop(place.key, None)
