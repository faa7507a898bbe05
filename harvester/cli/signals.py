"""Signals: the first asks a run to stop, the second ends the process, whatever the event loop is doing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harvester.core.background import BackgroundWriter

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar hides the cursor of the terminal."""

CURSOR_SECONDS = 0.2


@contextmanager
def heard_signals(on_first: Callable[[int], object]) -> Iterator[None]:
    """Hear ^C and SIGTERM on a thread of their own while the block runs.

    Python runs handlers of signals on the main thread, between two of its steps. That thread may be waiting for a disk
    or a lock. The interpreter also writes the number of each signal to a descriptor at once, and here a thread reads
    it. So the second signal ends the process even if the main thread never goes on.

    Args:
        on_first: called on that thread with the number of the first signal.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    descriptor_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader, on_first), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)  # the thread reads the end, and ends


def _listen(reader: int, on_first: Callable[[int], object]) -> None:
    with open(reader, "rb", buffering=0) as signals:
        first = signals.read(1)
        if first:
            on_first(first[0])
        second = signals.read(1)
    if second:
        _end_now(128 + second[0])


def _end_now(code: int) -> None:
    """End the process at once. The order of commits makes that safe, so there is nothing to clean up."""
    with suppress(OSError):
        if os.isatty(2):
            terminal = BackgroundWriter(2)
            terminal.put(SHOW_CURSOR)
            terminal.flush(CURSOR_SECONDS)
    os._exit(code)
