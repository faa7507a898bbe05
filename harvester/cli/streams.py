"""The standard streams of the process: safe for a terminal, never a traceback, and an end that nothing can hold up."""

import atexit
import io
import os
import select
import sys
import threading
from typing import NoReturn, TextIO, cast

from harvester.core.background import BackgroundWriter
from harvester.core.errors import DiskFailed, PipeClosed
from harvester.core.text.terminal import CleanText
from harvester.monitoring.stderr import Stderr

JOIN_SECONDS = 0.2
"""How long the end of the process waits for each thread that is still at work."""

STDIN, STDOUT, STDERR = range(3)


class StdoutBytes(io.RawIOBase):
    """Standard output as bytes; an error becomes one of ours, and is raised once.

    Args:
        is_open: whether the process was given a standard output.
    """

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open, self._has_failed = is_open, False

    def write(self, data: object, /) -> int:
        """Write the beginning of some bytes.

        Raises:
            PipeClosed: the reader went away.
            DiskFailed: there is no standard output, or it cannot be written.
        """
        content = memoryview(data)  # type: ignore[arg-type] # bytes, or a view of some
        if self._has_failed:  # it was told; the interpreter would try again at its end
            return len(content)
        try:
            return self._write(content)
        except BrokenPipeError:
            self._has_failed = True
            raise PipeClosed("whoever read stdout went away") from None
        except OSError as error:
            self._has_failed = True
            raise DiskFailed(f"cannot write to stdout: {error.strerror}.") from error

    def _write(self, content: memoryview) -> int:
        if not self.is_open:
            self._has_failed = True
            raise DiskFailed("cannot write to stdout: it is closed.")
        while True:
            try:
                return os.write(STDOUT, content)
            except BlockingIOError:  # whoever shares it with us made it so
                select.select([], [STDOUT], [])

    def writable(self) -> bool:
        """Whether it is for writing: it is."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.is_open and os.isatty(STDOUT)

    def fileno(self) -> int:
        """Its descriptor."""
        return STDOUT


def guard_streams() -> None:
    """Put our own streams in the place of `sys.stdout` and `sys.stderr`, for the rest of the process.

    Whoever writes there (click, logging, warnings, tracebacks, a progress bar) can then neither send controls to a
    terminal, nor wait for whoever reads stderr, nor end in a traceback because nobody reads stdout.
    """
    if isinstance(sys.stderr, Stderr):  # a second call in one process
        return
    stdout = StdoutBytes(is_open=_occupy_closed())
    out, err = _encoding(sys.stdout), _encoding(sys.stderr)
    sys.stdout = CleanText(io.BufferedWriter(stdout), out, "backslashreplace", line_buffering=stdout.isatty())
    sys.stderr = stderr = Stderr(BackgroundWriter(STDERR), is_terminal=os.isatty(STDERR), encoding=err)
    atexit.register(stderr.last_words)  # its thread is a daemon and does not outlive the interpreter


def _occupy_closed() -> bool:
    """Open the null device in the place of each standard stream that is closed; returns whether stdout was open.

    Otherwise the next file that is opened gets its number, and what was meant for the stream is written into it.
    """
    is_closed = {}
    for number, flags in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            is_closed[number] = os.open(os.devnull, flags)  # the lowest free number, and so this one
    return STDOUT not in is_closed


def _encoding(stream: TextIO | None) -> str:
    """The encoding of a stream. Python says ASCII where nothing is set; terminals of today take UTF-8."""
    named = getattr(stream, "encoding", None) or "utf-8"
    return "utf-8" if named.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968") else named


def require_stdout(otherwise: str = "") -> None:
    """Refuse to begin what is to be written to stdout, if that is closed, even if there turns out to be nothing.

    Args:
        otherwise: what to do instead, in a sentence.

    Raises:
        DiskFailed: it is closed.
    """
    raw = getattr(sys.stdout.buffer, "raw", None)
    if isinstance(raw, StdoutBytes) and not raw.is_open:
        raise DiskFailed(f"cannot write to stdout: it is closed. {otherwise}".rstrip())


def leave(code: int) -> NoReturn:
    """End the process with an exit code. Neither a stalled reader nor a thread that hangs can hold it up for long."""
    if _are_threads_left():
        if isinstance(sys.stderr, Stderr):
            sys.stderr.last_words()
        os._exit(code)
    sys.exit(code)


def _are_threads_left() -> bool:
    """Whether the interpreter would wait for a thread: one that looks up a name, or reads a file that hangs."""
    others = [each for each in threading.enumerate() if not each.daemon and each is not threading.current_thread()]
    for thread in others:
        thread.join(JOIN_SECONDS)
    return any(thread.is_alive() for thread in others)


def binary_stdout() -> io.BufferedWriter:
    """Standard output for data as bytes, such as JSON in UTF-8."""
    return cast("io.BufferedWriter", sys.stdout.buffer)
