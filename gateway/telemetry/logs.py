"""Writes log lines, all in one form and to one stream.

Lines are JSON or, for people, aligned text; what asyncio and other libraries log through the
standard library takes the same form. No line holds a prompt or a key: our lines are built from named
fields, every line passes a redaction of what looks like a credential, and exceptions are told by type and
place, because an HTTP parser's message quotes the client's bytes. Which lines there are is left to
`LogObserver`.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from time import time
from traceback import extract_tb
from typing import Any, Final, TextIO

import orjson

from gateway.config import LogFormat, LogLevel
from gateway.telemetry.budget import LineBudget
from gateway.telemetry.writer import LineWriter

# Keys of this gateway (not its runtime directory, `vtc-gateway-...`), keys meant for others, and whatever follows the
# name of a credential header (not the `<key>` with which our own messages show the form of one).
_CREDENTIAL: Final = re.compile(
    r"\b(?:vtc-(?!gateway-)|sk-)[A-Za-z0-9_-]{16,}|(?:(?<=bearer )|(?<=x-api-key: ))(?!<key>')[^\s\"'\\,]+",
    re.IGNORECASE,
)
_REDACTED: Final = "[redacted]"
_MAX_FRAMES: Final = 12
_LIBRARY_LINES_PER_SECOND: Final = 10.0
_LIBRARY_BURST: Final = 100
_DROPPED: Final = "log lines dropped"
_Fields = MutableMapping[str, Any]
_LEVELS: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "critical",
}


class _Clock:
    """Time stamps in ISO 8601, UTC; the date is computed once a second."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._second = -1
        self._date = ""

    def stamp(self) -> str:
        """The present time to the microsecond."""
        microseconds = int(self._clock() * 1e6)
        second = microseconds // 1_000_000
        if second != self._second:
            self._second, self._date = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._date}.{str(1_000_000 + microseconds % 1_000_000)[1:]}Z"


class _Form:
    """Makes a line from its fields; it names the process that writes it if there are several."""

    def __init__(self, render: Callable[[_Fields], str], process: str) -> None:
        self._render = render
        self._process = process
        self._clock = _Clock()

    def line(self, level: str, event: str, fields: _Fields) -> str:
        """The line of `event`; adds to `fields`."""
        fields["event"] = event
        fields["level"] = level
        if self._process:
            fields["process"] = self._process
        fields["timestamp"] = self._clock.stamp()
        if "exc_info" in fields:
            _place_exception(fields)
        return _redacted(self._render(fields))


def _place_exception(fields: _Fields) -> None:
    """Describe an exception by its type and its frames, innermost last, without its text."""
    info = fields.pop("exc_info")
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        frames = extract_tb(error.__traceback__)[-_MAX_FRAMES:]
        fields["exception"] = f"{type(error).__module__}.{type(error).__qualname__}"
        fields["frames"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _json(fields: _Fields) -> str:
    try:
        return orjson.dumps(fields, default=str).decode()
    except TypeError:  # an integer beyond 64 bits, half of a surrogate pair: the slow way knows both
        return json.dumps(fields, default=str)


def _text(*, colours: bool) -> Callable[[_Fields], str]:
    from structlog.dev import ConsoleRenderer  # imports rich, which no gateway needs that writes JSON

    renderer = ConsoleRenderer(colors=colours, sort_keys=False)

    def render(fields: _Fields) -> str:
        line: str = renderer(None, fields["level"], fields)
        return line.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair has no place in UTF-8

    return render


def _redacted(line: str) -> str:
    folded = line.lower()
    # The expression can match only if one of these texts occurs. Looking for them costs 1 us a line, matching 40 us.
    has_header = " " in folded and ("bearer " in folded or "x-api-key: " in folded)
    if has_header or "vtc-" in folded or "sk-" in folded:
        return _CREDENTIAL.sub(_REDACTED, line)
    return line


class Logger:
    """Writes the lines of `threshold` and above."""

    def __init__(self, form: _Form, writer: LineWriter, threshold: int) -> None:
        self._form = form
        self._writer = writer
        self._threshold = threshold

    def info(self, event: str, **fields: object) -> None:
        """Write a line about something ordinary."""
        self.write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write a line about something that somebody should look at."""
        self.write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Write a line about something that failed."""
        self.write(logging.ERROR, event, fields)

    def log(self, level: int, event: str, **fields: object) -> None:
        """Write a line of the nearest named level that is not above `level`."""
        named = min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self.write(named, event, fields)

    def write(self, level: int, event: str, fields: dict[str, object]) -> None:
        """Write a line of a named level; adds to `fields`."""
        if level >= self._threshold:
            self._writer.write(self._form.line(_LEVELS[level], event, fields))


class _LibraryHandler(logging.Handler):
    """Writes the standard library's records as lines of ours, within a budget."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger
        self._budget = LineBudget(_LIBRARY_LINES_PER_SECOND, _LIBRARY_BURST)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or only count it if the budget is used up."""
        suppressed = self._budget.take(record.created)
        if suppressed is None:
            return
        fields: dict[str, object] = {"library": record.name}
        if suppressed:
            fields["suppressed"] = suppressed
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._logger.log(record.levelno, record.getMessage(), **fields)


class Log:
    """The gateway's log: `logger` writes to `stream`, and until `close` so does the standard library.

    `process` names the process in every line; "" if it is the only one that writes there.
    """

    def __init__(self, stream: TextIO, log_format: LogFormat, level: LogLevel, process: str = "") -> None:
        render = _json if log_format is LogFormat.JSON else _text(colours=stream.isatty())
        self._form = _Form(render, process)
        threshold = logging.getLevelNamesMapping()[level.value.upper()]
        self._writer = LineWriter(stream, self._dropped_line)
        self.logger = Logger(self._form, self._writer, threshold)
        self._handler = _LibraryHandler(self.logger)
        root = logging.getLogger()
        root.addHandler(self._handler)
        # Libraries log ordinary things at INFO (each reload, each connection), which our own lines say already.
        root.setLevel(threshold if level is LogLevel.DEBUG else max(threshold, logging.WARNING))

    def close(self) -> None:
        """Detach from the standard library and write out what is queued."""
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(logging.WARNING)
        self._writer.close()

    def _dropped_line(self, count: int) -> str:
        return self._form.line("warning", _DROPPED, {"count": count})
