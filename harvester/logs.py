"""Log lines on stderr: one event a line, fit for a terminal, without secrets, as text or as JSON.

Whatever is logged passes `_safe`: control characters stand escaped, so that a server's text can neither move the cursor nor
fake a second line; e-mail addresses, tokens and every secret that was told to `hide` are masked, tracebacks included.
"""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import orjson

from harvester.clock import timestamp
from harvester.text import printable, redacted

MAX_LINE = 20_000
"""Characters; long enough for a traceback."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Mask a text in all logs from here on."""
    if secret:
        _secrets.add(secret)


def _safe(text: str, limit: int = MAX_LINE) -> str:
    for secret in _secrets:
        text = text.replace(secret, "***")
    return printable(redacted(text), limit)


class TextFormatter(logging.Formatter):
    """`12:00:01 warning: message`; of a traceback each line is a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{moment} {level}{_safe(record.getMessage())}"]
        if record.exc_info:
            lines += [_safe(line) for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, `traceback` where there is one, and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
        event: dict[str, object] = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record.getMessage()),
        }
        event |= {key: _safe(str(value)) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            event["traceback"] = [_safe(line) for line in self.formatException(record.exc_info).splitlines()]
        return orjson.dumps(event).decode()


class _Handler(logging.Handler):
    """Writes whole lines to wherever the terminal can take them at the moment."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record))
        except (OSError, ValueError):
            self.handleError(record)


def configure(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the logs of harvester and its libraries to stderr; a second call replaces the first.

    Args:
        form: `text` or `json`.
        level: the least level of harvester's own events; libraries speak from `warning` on, with `debug` from `info` on.
        stream: None for stderr.
    """
    out = stream or sys.stderr

    def write(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    handler = _Handler(write)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
    logging.getLogger("harvester").setLevel(level.upper())


def write_through(write: Callable[[str], None]) -> Callable[[], None]:
    """Let lines be written by somebody else, such as a progress display that has to step aside; returns the way back."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    before = [handler.write for handler in handlers]
    for handler in handlers:
        handler.write = write

    def restore() -> None:
        for handler, old in zip(handlers, before, strict=True):
            handler.write = old

    return restore
