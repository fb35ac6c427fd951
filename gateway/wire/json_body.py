"""Reads and writes the JSON of a request. Bounds keep each step short, because the event loop waits meanwhile.

A byte order mark of UTF-8 is skipped. Malformed JSON, other encodings, NaN, lone surrogates, more than `MAX_VALUES`
values, `MAX_NAMES` names or `MAX_FIELDS` fields, and JSON nested too deeply to be written again are refused. The
messages never repeat the body. Left to `request.py`: what the members mean.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

import orjson

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

# Reading takes up to half a microsecond per JSON value; names of members are values in this.
MAX_VALUES: Final = 2**18
# Reading an object takes another 0.1 us per member, because each name is a text of its own. A conversation of as many
# items as may be has half as many names.
MAX_NAMES: Final = 2**16
# Members of the body itself: each is looked up among the fields that are known, of which no API has 200.
MAX_FIELDS: Final = 1024


_SLICE_BYTES: Final = 2**19  # counting the values in so many bytes takes up to 4 ms


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` holds; raises `RequestFault`."""
    for _ in count_values(body):
        pass
    return parse_object(body)


def count_values(body: bytes) -> Iterator[None]:
    """Count the values and names in `body`, one slice in each step; raises `RequestFault` once there are too many."""
    if len(body) > MAX_VALUES:  # a value takes a byte at least
        values = Values()
        start = 0
        while start < len(body):
            start = values.count(body, start)
            yield


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` holds, whose values were counted; raises `RequestFault`."""
    if body.startswith(BOM_UTF8):
        body = body[len(BOM_UTF8) :]
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


class Values:
    """How many values and names a JSON text holds at most; before each but the first stands a mark outside strings."""

    def __init__(self, slice_bytes: int = _SLICE_BYTES) -> None:
        """Nothing is counted yet; a slice has `slice_bytes`, an even number."""
        self._slice_bytes = slice_bytes
        self.marks = 0
        self.quotes = 0
        self.names = 0
        self._is_in_string = False

    def count(self, text: bytes, start: int) -> int:
        """Count the next slice of `text`, from `start`; returns its end. Raises `RequestFault` if they are too many."""
        piece = text[start : start + self._slice_bytes]
        if len(piece) == self._slice_bytes:
            backslashes = len(piece) - len(piece.rstrip(b"\\"))
            if backslashes & 1:  # the escape ends in the next slice
                piece = piece[:-1]
        if b'"' in piece:
            self._count(piece.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"'))
        elif not self._is_in_string:
            self._count([piece])
        if self.quotes // 2 > MAX_VALUES or self.marks >= MAX_VALUES:
            raise RequestFault(Outcome.BAD_REQUEST, f"The body holds more than {MAX_VALUES} values.")
        if self.names > MAX_NAMES:
            raise RequestFault(Outcome.BAD_REQUEST, f"The body's objects have more than {MAX_NAMES} members.")
        return start + len(piece)

    def _count(self, between_quotes: list[bytes]) -> None:
        outside = b"".join(between_quotes[int(self._is_in_string) :: 2])
        quotes = len(between_quotes) - 1
        self.quotes += quotes
        self.names += outside.count(b":")
        self.marks += len(outside) - len(outside.translate(None, b"[{,:"))
        self._is_in_string = self._is_in_string is (quotes % 2 == 0)
