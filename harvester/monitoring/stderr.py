"""Standard error as a stream that never waits for its reader.

Logs, progress, closing figures, errors and warnings all go there. If nobody reads it (a full pipe, ^S on a terminal), a
thread waits, and the harvest goes on. What is not read in time is dropped and counted, and the count is told when
somebody reads again.
"""

import io
from collections.abc import Callable
from contextlib import suppress

from harvester.core.background import BackgroundWriter
from harvester.core.text.terminal import CleanText
from harvester.core.text.wording import counted

LIMIT_BYTES = 256 * 1024
"""Bytes that may wait for a reader: some thousand lines. What comes after them is dropped."""

PATIENCE_SECONDS = 0.5
"""How long the last words wait for a reader that takes none of them."""

LAST_WORDS_SECONDS = 5.0
"""How long the last words may take in all, if the reader is slow."""


def _notice(lost: int) -> str:
    return f"harvester: {counted(lost, 'message')} left out here, because nobody read them in time"


class _Buffer(io.BufferedIOBase):
    """The bytes below the text streams: hands them to the writer, or drops and counts them."""

    name = "<stderr>"

    def __init__(self, writer: BackgroundWriter, *, is_terminal: bool) -> None:
        self.writer, self._is_terminal = writer, is_terminal
        self.lost = 0
        self.notice: Callable[[int], str] = _notice

    def write(self, data: object, /) -> int:
        text = bytes(data)  # type: ignore[call-overload] # bytes, or a view of some
        if self.writer.waiting > LIMIT_BYTES:
            self.lost += 1
        else:
            self.tell_lost()
            self.writer.put(text)
        return len(text)

    def tell_lost(self) -> None:
        """Say how much was dropped, if anything was."""
        if self.lost:
            lost, self.lost = self.lost, 0
            self.writer.put(f"{self.notice(lost)}\n".encode())

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._is_terminal

    def close(self) -> None:
        """Stay open: two text streams share this one, and the descriptor belongs to the process."""


class Stderr(CleanText):
    """A text stream onto standard error: it never waits, and escapes what a terminal could obey.

    Args:
        writer: writes to the descriptor.
        is_terminal: whether a terminal is behind it.
        encoding: of the terminal.

    Attributes:
        control: the same stream for a progress bar, which moves the cursor: nothing is escaped in it.
    """

    def __init__(self, writer: BackgroundWriter, *, is_terminal: bool = False, encoding: str = "utf-8") -> None:
        self._bytes = _Buffer(writer, is_terminal=is_terminal)
        super().__init__(self._bytes, encoding, "backslashreplace", write_through=True)
        self.control = io.TextIOWrapper(self._bytes, encoding, "backslashreplace", write_through=True)

    @property
    def is_behind(self) -> bool:
        """Whether something was not yet read; then a progress bar need not be painted anew."""
        return self._bytes.writer.waiting > 0

    def tell_losses_with(self, notice: Callable[[int], str]) -> None:
        """Set how it is told that messages were left out.

        Args:
            notice: makes a line from their number.
        """
        self._bytes.notice = notice

    def last_words(self) -> None:
        """Give the reader some time to take what is still waiting; with ^C, none."""
        self._bytes.tell_lost()
        with suppress(KeyboardInterrupt):
            self._bytes.writer.flush(PATIENCE_SECONDS, LAST_WORDS_SECONDS)
