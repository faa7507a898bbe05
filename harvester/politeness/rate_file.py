"""A bucket that all runs of a user on one machine share: one small file for each service, and a lock on it.

Theory. `harvester.politeness.bucket` says why the bound holds if nobody else can look between a look and its write. The
lock of this file keeps them out: it is taken for each request, held until the bytes are handed to the kernel, and then
given back. Three things can happen to the process that holds it:

1. It is stopped. It keeps the lock, so that nothing of it can be sent too late. The others wait as long as that takes.
2. It ends. The system takes the lock from it. Whether its request was sent is not known. So it writes down *before* it
   sends that a request is under way, and whoever finds that counts the request as sent at that very moment.
3. The machine ends. The file then counts in the time of another start. How long ago that was is told by the wall clock.

The file is one record, written in place by one call. It is not synced: after a loss of power the rate begins anew.
"""

import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from harvester.core.clock import boot_id, uptime_ns
from harvester.core.errors import DiskFailed
from harvester.core.limits import ServiceLimits
from harvester.core.ownership import identity_at, identity_of
from harvester.politeness.bucket import HELD, SECOND_NS, cost_ns, default_burst, depth_ns
from harvester.politeness.state import make_folder, service_file, state_folder

MAGIC = b"harvest1"

RECORD = struct.Struct("<8s16sqqqqq")
"""Magic; id of the machine's start; uptime and wall time when it was written; when the bucket is empty, in uptime; the
cost of a request under way, or 0; the process that wrote it. Times in nanoseconds."""


SEEN_NS = SECOND_NS // 10
"""How long it is believed that the file is still there."""


class RateFile:
    """A `harvester.politeness.bucket.Bucket` in a file; a context manager that keeps it open.

    Args:
        path: the file; made if it is missing, with its folder.
        rate: requests per second.
        burst: requests that may start at once, at least 1.
        uptime_ns: nanoseconds since the machine was started, the same for all processes.
        wall_ns: nanoseconds since 1970; compared only across a start of the machine.
        boot: which start of the machine it is, 16 bytes.
    """

    def __init__(
        self,
        path: Path,
        rate: float,
        burst: float,
        *,
        uptime_ns: Callable[[], int] = uptime_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        boot: bytes | None = None,
    ) -> None:
        self._path = path
        self._cost, self._depth = cost_ns(rate), depth_ns(rate, burst)
        self._uptime_ns, self._wall_ns = uptime_ns, wall_ns
        self._boot = boot_id() if boot is None else boot
        self._pid = os.getpid()
        self._file = -1
        self._is_held = False
        self._empty_at = 0
        self._seen_at = 0
        self._record = b""
        """What this process wrote last; while the file still says so there is nothing new in it."""

    def __enter__(self) -> Self:
        make_folder(self._path.parent)
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # even if this reports an error, the file is closed and the lock released
            if self._file >= 0:
                os.close(self._file)

    def take(self) -> float:
        """See `Bucket`."""
        if self._is_held:
            return HELD
        try:
            if not self._lock():
                return HELD
            now = self._look()
            wait = self._empty_at - self._depth - now
            if wait > 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)
                return wait / SECOND_NS
            self._write(now, under_way=self._cost)
        except OSError as error:
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            raise self._failed(error) from error
        self._is_held = True
        return 0.0

    def sent(self) -> None:
        """See `Bucket`. If it cannot be written the mark of a request under way stands, and says the same."""
        now = self._uptime_ns()
        self._empty_at = max(now, self._empty_at) + self._cost
        with suppress(OSError):
            self._write(now, under_way=0)
        self._is_held = False
        with suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def ahead(self) -> float:
        """See `Bucket`."""
        if self._is_held:
            return HELD
        try:
            if not self._lock():
                return HELD
            try:
                now = self._look()
                return max(0, self._empty_at - self._depth - now) / SECOND_NS
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            raise self._failed(error) from error

    def holder(self) -> str:
        """See `Bucket`."""
        with suppress(OSError, struct.error):
            *_, under_way, pid = RECORD.unpack(os.pread(self._file, RECORD.size, 0))
            if under_way:
                return f"process {pid}"
        return "another process"

    def _open(self) -> None:
        try:
            # A link in its place is not followed, and a pipe not waited for: neither is ours.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            file = os.open(self._path, flags, 0o600)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise OSError(0, "it is no regular file")
            self._file = file
        except OSError as error:
            raise self._failed(error) from error

    def _lock(self) -> bool:
        """Take the lock of the file that has the name; False if somebody else holds it."""
        if self._uptime_ns() - self._seen_at > SEEN_NS:
            self._see()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _see(self) -> None:
        """Open the file anew if somebody deleted or renamed it: others would meet in a new one."""
        self._seen_at = self._uptime_ns()
        if identity_at(self._path) != identity_of(self._file):
            # Not before it is closed for certain, and not twice: its number may belong to another file by then.
            closed, self._file = self._file, -1
            os.close(closed)
            make_folder(self._path.parent)
            self._open()

    def _look(self) -> int:
        """The time now; from here on `_empty_at` is what the file says."""
        record = os.pread(self._file, RECORD.size, 0)
        now = self._uptime_ns()
        if record != self._record:
            self._empty_at = self._read(record, now)
        return now

    def _read(self, record: bytes, now: int) -> int:
        """When the bucket is empty, by a record that somebody else wrote; as far as this run knows if it is none."""
        if len(record) != RECORD.size or not record.startswith(MAGIC):
            return max(now, self._empty_at)
        boot, written, wall, empty_at, under_way = _unpacked(record)
        if boot != self._boot or written > now:
            empty_at = now + max(0, empty_at - written - max(0, self._wall_ns() - wall))
        return max(now, empty_at) + under_way if under_way else empty_at

    def _write(self, now: int, *, under_way: int) -> None:
        record = (MAGIC, self._boot, now, self._wall_ns(), self._empty_at, under_way, self._pid)
        self._record = RECORD.pack(*record)
        os.pwrite(self._file, self._record, 0)

    def _failed(self, error: OSError) -> DiskFailed:
        return DiskFailed(
            f"the file {self._path}, in which all runs share the rate, cannot be used: {error.strerror}. "
            "Nothing more was asked; mend it, or choose another folder with XDG_STATE_HOME."
        )


def _unpacked(record: bytes) -> tuple[bytes, int, int, int, int]:
    _, boot, written, wall, empty_at, under_way, _ = RECORD.unpack(record)
    return boot, written, wall, empty_at, under_way


def bucket_of(limits: ServiceLimits, state: Path | None) -> RateFile:
    """The bucket of a service on this machine.

    Args:
        limits: of the service.
        state: the folder; None for the user's state directory.

    Raises:
        Misconfigured: there is no such directory.
    """
    path = service_file(state_folder(state), "rate", limits.base_url, ".bin")
    return RateFile(path, limits.rate, limits.burst or default_burst(limits.rate), uptime_ns=uptime_ns)
