"""Reads and writes the JSON of a request. Bounds keep the time short, because the event loop waits meanwhile.

A byte order mark of UTF-8 is skipped. Malformed JSON, other encodings, NaN, lone surrogates, more than `MAX_VALUES`
values or `MAX_FIELDS` fields, and JSON nested too deeply to be written again are refused. The messages never repeat the
body. Left to `request.py`: what the members mean.
"""

from codecs import BOM_UTF8
from typing import Final

import orjson

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

# Reading takes up to half a microsecond per JSON value; names of members are values in this.
MAX_VALUES: Final = 2**18
# Members of the body itself: each is looked up among the fields that are known, of which no API has 200.
MAX_FIELDS: Final = 1024


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` holds; raises `RequestFault`."""
    if body.startswith(BOM_UTF8):
        body = body[len(BOM_UTF8) :]
    if len(body) > MAX_VALUES and _has_too_many_values(body):
        raise RequestFault(Outcome.BAD_REQUEST, f"The body holds more than {MAX_VALUES} values.")
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        if not _is_utf8(body):
            raise RequestFault(Outcome.BAD_REQUEST, "The body must be JSON in UTF-8, and is not UTF-8.") from None
        message = f"The body is not valid JSON: {fault.msg} (line {fault.lineno}, column {fault.colno})."
        raise RequestFault(Outcome.BAD_REQUEST, message) from None
    if not isinstance(members, dict):
        raise RequestFault(Outcome.BAD_REQUEST, "The body must be a JSON object.")
    if len(members) > MAX_FIELDS:
        raise RequestFault(Outcome.BAD_REQUEST, f"The body has more than {MAX_FIELDS} fields.")
    return members


def write_json(value: object) -> bytes:
    """Write `value`, which was read from a body, as JSON; raises `RequestFault` if it is nested too deeply."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise RequestFault(Outcome.BAD_REQUEST, "The body is nested too deeply.") from None


def _is_utf8(body: bytes) -> bool:
    """True for UTF-8. JSON in UTF-16 or UTF-32 has a NUL or a byte order mark among its first four bytes."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in body[:4]


def _has_too_many_values(body: bytes) -> bool:
    return _marks(body) > MAX_VALUES and _values(body) > MAX_VALUES


def _values(body: bytes) -> int:
    """How many values and names the JSON text `body` holds at most; before each stands a mark outside strings."""
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = without_escapes.count(b'"')
    if quotes > 2 * MAX_VALUES:
        return quotes // 2
    outside = b"".join(without_escapes.split(b'"')[::2])
    return _marks(outside) + 1


def _marks(text: bytes) -> int:
    return len(text) - len(text.translate(None, b"[{,:"))
