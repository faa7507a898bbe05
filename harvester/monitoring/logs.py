"""Log lines on stderr: one line for each event, safe for a terminal, without secrets, as text or as JSON.

Everything that is logged passes `_safe`. It escapes control characters, so that the text of a server can neither move
the cursor nor fake a second line. It masks e-mail addresses, tokens and whatever `sanitize.hide` was told, also in
tracebacks. Warnings of Python and its libraries are log lines as well.
"""

import contextlib
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import orjson

from harvester.core.clock import timestamp
from harvester.core.text.sanitize import masked, safe_line
from harvester.core.text.wording import counted
from harvester.monitoring.stderr import Stderr

MAX_LINE = 20_000
"""The greatest length of a line in characters."""

MAX_TRACEBACK = 200_000
"""The greatest length of a traceback in characters. The message of an error may hold a whole answer."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_FIRST = ("time", "level", "logger", "message")
"""The fields that every event begins with. Extra fields cannot replace them."""


def _safe(text: str) -> str:
    """The text with secrets masked and control characters escaped."""
    return safe_line(text, MAX_LINE)


class TextFormatter(logging.Formatter):
    """`12:00:01 warning: message`, followed by the lines of the traceback, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of one event."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{moment} {level}{_safe(record.getMessage())}"]
        return "\n".join(lines + _traceback(self, record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, extra fields, and `traceback` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The JSON of one event."""
        event = {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        event |= {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record.getMessage()),
        }
        if record.exc_info:
            event["traceback"] = _traceback(self, record)
        return orjson.dumps({key: event.pop(key) for key in _FIRST} | event).decode()


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """The lines of the traceback, if there is one."""
    if not record.exc_info:
        return []
    # Masked before it is split: a secret may span several lines.
    return [_safe(line) for line in masked(formatter.formatException(record.exc_info), MAX_TRACEBACK).splitlines()]


def _plain(value: object) -> object:
    """A field as a JSON value. Integers of more than 64 bits, and all that JSON does not have, become text."""
    if isinstance(value, bool | float | None) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return _safe(str(value))


class _Handler(logging.Handler):
    """Writes whole lines with a function that can be replaced, such as by a progress display."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        # Not `handleError`: it prints the arguments unmasked. And a log line that cannot be written must not end a run.
        with contextlib.suppress(OSError, ValueError):
            self.write(self._formatted(record))

    def loss(self, lost: int) -> str:
        """The line that tells how many lines were dropped, because nobody read them in time."""
        told = f"{counted(lost, 'log line')} left out here, because nobody read them in time"
        return self._formatted(logging.LogRecord("harvester", logging.WARNING, __file__, 0, told, None, None))

    def _formatted(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception:  # noqa: BLE001 - the __str__ of a field may raise anything
            record.msg, record.args, record.exc_info = f"unreadable log record: {record.msg!r}", None, None
            bare = {name: value for name, value in vars(record).items() if name in _STANDARD}
            return self.format(logging.makeLogRecord(bare))


def configure(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the logs of harvester and of its libraries to stderr. A second call replaces the first.

    Args:
        form: `text` or `json`.
        level: the lowest level of our own events. Libraries are logged from `warning` on; with `debug`, from `info` on.
        stream: None for stderr.
    """
    out = stream or sys.stderr

    def write(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    handler = _Handler(write)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    release()
    root = logging.getLogger()
    root.addHandler(handler)
    ours = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(logging.INFO if level == "debug" else max(logging.WARNING, ours))
    logging.getLogger("harvester").setLevel(ours)
    logging.captureWarnings(capture=True)
    if isinstance(out, Stderr):
        out.tell_losses_with(handler.loss)


def is_json() -> bool:
    """Whether stderr carries one JSON object on each line. Then nothing else may be written there."""
    ours = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    return any(isinstance(each.formatter, JsonFormatter) for each in ours)


def release() -> None:
    """Undo `configure`: write no more. Secrets stay masked."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("harvester").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def write_through(write: Callable[[str], None]) -> Callable[[], None]:
    """Write log lines through a progress display, so that the two do not mix.

    Args:
        write: writes one line.

    Returns:
        A function that restores the way in which lines were written before.
    """
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    before = [handler.write for handler in handlers]
    for handler in handlers:
        handler.write = write

    def restore() -> None:
        for handler, old in zip(handlers, before, strict=True):
            handler.write = old

    return restore
