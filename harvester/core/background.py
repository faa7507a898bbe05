"""Write to a descriptor from a thread of its own, so that nobody has to wait for whoever reads it."""

import os
import select
import threading
import time
from collections import deque

CHUNK_BYTES = 4096
"""Bytes in one write: what a pipe takes as a whole (`PIPE_BUF`), so that progress shows with a slow reader too."""


class BackgroundWriter:
    """Takes bytes at once, and writes them in their order from a daemon thread.

    A write can take for ever: the reader of a pipe sleeps, or a terminal was stopped with ^S. Only the thread waits for
    that. It is a daemon thread, so it does not keep the process from ending either.

    Args:
        descriptor: open for writing.

    Attributes:
        error: of the last write that failed; None if none did. What could not be written is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: deque[bytes | memoryview] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting = 0
        self.error: OSError | None = None

    @property
    def waiting(self) -> int:
        """How many bytes were taken and are not yet written."""
        return self._waiting

    def put(self, data: bytes | memoryview) -> None:
        """Take bytes to be written. This never waits for the descriptor."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="background-writer", daemon=True)
                self._thread.start()
            self._queue.append(data)
            self._waiting += len(data)
            self._changed.notify_all()

    def flush(self, patience_seconds: float, at_most_seconds: float = float("inf")) -> bool:
        """Wait until everything is written.

        Args:
            patience_seconds: stop waiting when not a byte was written for so long.
            at_most_seconds: or after so long in all.

        Returns:
            Whether everything is written, or dropped because of an error.
        """
        deadline = time.monotonic() + at_most_seconds
        with self._changed:
            while self._waiting:
                moved = self._changed.wait(min(patience_seconds, deadline - time.monotonic()))
                if not moved or time.monotonic() >= deadline:
                    return not self._waiting
        return True

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                rest = memoryview(self._queue.popleft())
            while rest:
                done = self._write(rest)
                rest = rest[done:]
                with self._changed:
                    self._waiting -= done
                    self._changed.notify_all()

    def _write(self, data: memoryview) -> int:
        """Write the beginning of some bytes; returns how many are done with."""
        try:
            return os.write(self._descriptor, data[:CHUNK_BYTES])
        except BlockingIOError:  # whoever shares it with us made it so
            select.select([], [self._descriptor], [])
            return 0
        except OSError as error:
            self.error = error
            return len(data)
