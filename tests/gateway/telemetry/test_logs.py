"""The form of a line: JSON or text, the same for ours and for libraries, without credentials."""

import asyncio
import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from aiohttp.http_exceptions import BadStatusLine

from gateway.config import LogFormat, LogLevel
from gateway.telemetry.logs import Log

KEY = "vtc-" + "Ab3_" * 10 + "xyz"


def fail(error: Exception) -> None:
    raise error


class Opened:
    """A log on a string; `lines` closes it and reads what it wrote."""

    def __init__(self, log_format: LogFormat = LogFormat.JSON, level: LogLevel = LogLevel.INFO) -> None:
        self.stream = StringIO()
        self.log = Log(self.stream, log_format, level)
        self.logger = self.log.logger

    def text(self) -> str:
        self.log.close()
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def untouched_library() -> Iterator[None]:
    """Whatever a test opens, the standard library's logging ends as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    assert (list(root.handlers), root.level) == before


def test_a_line_is_one_json_object() -> None:
    """Event, level, time and fields; newlines in a field do not break the line."""
    opened = Opened()
    opened.logger.info("gateway started", url="http://127.0.0.1:8000", note="two\nlines")
    (line,) = opened.lines()
    assert line.pop("timestamp").endswith("Z")  # type: ignore[attr-defined]
    assert line == {
        "event": "gateway started",
        "level": "info",
        "url": "http://127.0.0.1:8000",
        "note": "two\nlines",
    }


def test_console_lines_are_text() -> None:
    """For people a line has event and fields, without colours if the stream is no terminal."""
    opened = Opened(LogFormat.CONSOLE)
    opened.logger.warning("worker", worker="w0", state="down")
    text = opened.text()
    assert text.count("\n") == 1
    assert "worker" in text
    assert "state=down" in text
    assert "\x1b[" not in text


@pytest.mark.parametrize("log_format", LogFormat)
@pytest.mark.parametrize("value", ["half \ud800 a pair", 2**64, -(2**70), {"deep": ["\udfff", 10**30]}, float("nan")])
def test_no_value_of_a_field_loses_a_line(log_format: LogFormat, value: object) -> None:
    """A value that UTF-8 or 64 bits cannot hold is written all the same, and so is the next line."""
    opened = Opened(log_format)
    opened.logger.info("strange", value=value)
    opened.logger.info("ordinary", value=1)
    first, second = opened.text().splitlines()
    assert "strange" in first and "value" in first
    assert "ordinary" in second


def test_lines_below_the_level_are_not_written() -> None:
    """The level holds for ours and for libraries."""
    opened = Opened(level=LogLevel.WARNING)
    opened.logger.info("quiet")
    opened.logger.warning("loud")
    logging.getLogger("aiohttp.client").info("quiet")
    logging.getLogger("aiohttp.client").error("loud too")
    assert [line["event"] for line in opened.lines()] == ["loud", "loud too"]


def test_libraries_are_heard_from_warning_on() -> None:
    """At INFO the ordinary lines of libraries are left out; at DEBUG they are written."""
    for level, events in ((LogLevel.INFO, ["b"]), (LogLevel.DEBUG, ["a", "b"])):
        opened = Opened(level=level)
        logging.getLogger("aiohttp.internal").info("a")
        logging.getLogger("aiohttp.internal").warning("b")
        assert [line["event"] for line in opened.lines()] == events


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY} is wrong", "key [redacted] is wrong"),
        ("Authorization: Bearer abc.DEF-123 x", "Authorization: Bearer [redacted] x"),
        ('{"x-api-key: s3cret"}', '{"x-api-key: [redacted]"}'),
        ("sk-proj-0123456789abcdef", "[redacted]"),
        ("the bearer", "the bearer"),
        ("as 'Authorization: Bearer <key>' or 'x-api-key: <key>'",) * 2,
        ("Authorization: Bearer <key>abc.DEF", "Authorization: Bearer [redacted]"),
        ("unix:///run/vtc-gateway-10001-0123abcd/store.sock", "unix:///run/vtc-gateway-10001-0123abcd/store.sock"),
    ],
)
@pytest.mark.parametrize("log_format", LogFormat)
def test_credentials_are_redacted_wherever_they_stand(log_format: LogFormat, text: str, shown: str) -> None:
    """In our fields, in nested fields and in libraries' messages nothing that looks like a key is written."""
    opened = Opened(log_format)
    opened.logger.info("event", field=text, nested=[text])
    logging.getLogger("aiohttp.server").error("%s", text)
    written = opened.text()
    assert KEY not in written
    assert "abc.DEF" not in written
    assert "s3cret" not in written
    assert "sk-proj" not in written
    if log_format is LogFormat.JSON:
        ours, theirs = (json.loads(line) for line in written.splitlines())
        assert ours["field"] == shown
        assert ours["nested"] == [shown]
        assert theirs["event"] == shown


def test_an_exception_is_reported_by_type_and_place() -> None:
    """A parser's exception quotes the client's bytes, so the line has its frames but not its text."""
    opened = Opened()
    try:
        fail(BadStatusLine("GET /?prompt=my+diary HTTP/9"))
    except BadStatusLine:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    text = opened.text()
    line = json.loads(text)
    assert "diary" not in text
    assert line["event"] == "Error handling request"
    assert line["library"] == "aiohttp.server"
    assert line["exception"] == "aiohttp.http_exceptions.BadStatusLine"
    assert line["frames"][-1].endswith(" fail")


def test_an_exception_of_ours_is_reported_the_same_way() -> None:
    """This holds for the current exception and for one that is passed."""
    opened = Opened()
    try:
        fail(ValueError("my diary"))
    except ValueError as error:
        opened.logger.error("failed", exc_info=True)
        kept = error
    opened.logger.error("failed", exc_info=kept)
    lines = opened.lines()
    assert [line["level"] for line in lines] == ["error", "error"]
    for line in lines:
        assert line["exception"] == "builtins.ValueError"
        assert "diary" not in json.dumps(line)


def test_a_flood_of_library_lines_is_cut() -> None:
    """A thousand malformed requests at once write only the burst, and the next line says how many were left out."""
    opened = Opened()
    logger = logging.getLogger("aiohttp.server")
    for number in range(1000):
        record = logger.makeRecord(logger.name, logging.ERROR, "f", 1, "bad request %d", (number,), None)
        record.created = 5000.0
        logger.handle(record)
    late = logger.makeRecord(logger.name, logging.ERROR, "f", 1, "bad request", (), None)
    late.created = 5001.0
    logger.handle(late)
    lines = opened.lines()
    assert len(lines) == 101
    assert lines[-1]["suppressed"] == 900


def test_asyncio_reports_arrive_in_the_same_form() -> None:
    """What the event loop's exception handler says is a line like any other, without the exception's text."""
    opened = Opened()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "task failed", "exception": RuntimeError("my diary")})

    asyncio.run(run())
    (line,) = opened.lines()
    assert line["library"] == "asyncio"
    assert line["exception"] == "builtins.RuntimeError"
    assert "diary" not in json.dumps(line)


def test_levels_between_the_named_ones_are_rounded_down() -> None:
    """A line at a library's own level is written at the next lower named level."""
    opened = Opened()
    for level in (35, 55):
        logging.getLogger("odd").log(level, "odd")
    assert [line["level"] for line in opened.lines()] == ["warning", "critical"]
