"""Log lines on stderr: one event a line, fit for a terminal, without secrets, as text or as JSON.

Whatever is logged passes `_safe`: control characters stand escaped, so that a server's text can neither move the cursor
nor fake a second line; e-mail addresses, tokens and whatever was told to `text.hide` are masked, in tracebacks too.
"""

import contextlib
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import orjson

from harvester.core.clock import timestamp
from harvester.core.sanitize import printable, redacted

MAX_LINE = 20_000
"""Characters; long enough for a traceback."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_FIRST = ("time", "level", "logger", "message")
"""The fields of every event, in this order; extra fields cannot take their names."""


def _safe(text: str, limit: int = MAX_LINE) -> str:
    return printable(redacted(text), limit)


class TextFormatter(logging.Formatter):
    """`12:00:01 warning: message`; of a traceback each line is a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{moment} {level}{_safe(record.getMessage())}"]
        return "\n".join(lines + _traceback(self, record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, `traceback` if there is one, and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
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
    if not record.exc_info:
        return []
    # Masked as a whole first: a secret may lie across lines.
    return [_safe(line) for line in redacted(formatter.formatException(record.exc_info)).splitlines()]


def _plain(value: object) -> object:
    """A field as JSON has it; integers beyond 64 bits and whatever else is no JSON value become text."""
    if isinstance(value, bool | float | None) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return _safe(str(value))


class _Handler(logging.Handler):
    """Writes whole lines to wherever the terminal can take them at the moment."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        # Not `handleError`: it prints the arguments as they are, secrets among them. And no log line ends a run.
        with contextlib.suppress(OSError, ValueError):
            self.write(self._formatted(record))

    def _formatted(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception:  # noqa: BLE001 - a field's own __str__ may raise anything
            record.msg, record.args, record.exc_info = f"unreadable log record: {record.msg!r}", None, None
            bare = {name: value for name, value in vars(record).items() if name in _STANDARD}
            return self.format(logging.makeLogRecord(bare))


def configure(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the logs of harvester and its libraries to stderr; a second call replaces the first.

    Args:
        form: `text` or `json`.
        level: the least level of our own events; libraries speak from `warning` on, with `debug` from `info` on.
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


def is_json() -> bool:
    """Whether what is read on stderr is one JSON object a line; then nothing else may be written there."""
    ours = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    return any(isinstance(each.formatter, JsonFormatter) for each in ours)


def release() -> None:
    """Write no more: what `configure` did is taken back; what was hidden stays hidden."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("harvester").setLevel(logging.NOTSET)


def write_through(write: Callable[[str], None]) -> Callable[[], None]:
    """Let lines be written by a progress display, which steps aside for them; returns the way back."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    before = [handler.write for handler in handlers]
    for handler in handlers:
        handler.write = write

    def restore() -> None:
        for handler, old in zip(handlers, before, strict=True):
            handler.write = old

    return restore
