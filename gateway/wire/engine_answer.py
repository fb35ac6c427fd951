"""Classifies a worker's answer: the kind that was asked for, an engine's error about the request, or something else.

Status and content type decide. An answer without a content type is accepted; an HTML page never is. `read_error` reads
the engine's own sentence from the error formats of OpenAI, Anthropic, vLLM and FastAPI, cut to one bounded line.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from gateway.wire.request import ParsedRequest
from gateway.wire.surface import Kind

LEAST_RETRY_SECONDS: Final = 0.5
MOST_RETRY_SECONDS: Final = 5.0
MAX_WORDS: Final = 200  # characters of an engine's sentence that are passed on
_MAX_READ_BYTES: Final = 64 * 1024  # of an error's body

JSON: Final = b"application/json"
"""The media type of an answer that is not streamed."""

_WHOLE: Final = frozenset({b"", JSON})
_STREAM: Final = frozenset({b"", JSON, b"text/event-stream"})  # some engines answer a stream whole
_POOLED: Final = frozenset({b"", JSON, b"application/octet-stream"})
_POOLING: Final = Kind.POOLING


def types_for(parsed: ParsedRequest) -> frozenset[bytes]:
    """The content types that an answer to `parsed` may have."""
    if parsed.stream:
        return _STREAM
    return _POOLED if parsed.endpoint.kind is _POOLING else _WHOLE


def media_type(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The content type without parameters, in lower case; empty if the answer names none."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def retry_after_seconds(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """The seconds of `Retry-After` within our bounds; the least if it is absent or a date."""
    for name, value in headers:
        if name == b"retry-after" and value.strip().isdigit():
            return min(max(LEAST_RETRY_SECONDS, float(value.strip()[:9])), MOST_RETRY_SECONDS)
    return LEAST_RETRY_SECONDS


class EngineError(NamedTuple):
    """An error in the engine's own words; `names_model` means that the engine does not know the model."""

    words: str
    names_model: bool


def read_error(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> EngineError | None:
    """The engine's error; None if `body` is no JSON object."""
    if media_type(headers) not in _WHOLE or len(body) > _MAX_READ_BYTES:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error", document)
    members = error if isinstance(error, dict) else {"message": error}
    text = members.get("message") or members.get("detail") or ""
    words = _one_line(text if isinstance(text, str) else orjson.dumps(text).decode())
    names_model = members.get("param") == "model" or (words.startswith("The model `") and "not exist" in words)
    return EngineError(words, names_model)


def describe(status: int, headers: Sequence[tuple[bytes, bytes]], error: EngineError | None) -> str:
    """One line about an answer that the gateway cannot use: for the log, and for the client if the engine worded it."""
    text = f"status {status}"
    if error is not None and error.words:
        return f"{text}: {error.words}"
    if 300 <= status < 400:
        return f"{text}: a redirect, which no engine sends"
    kind = media_type(headers)
    if kind not in _STREAM:
        return f"{text} with {_one_line(kind.decode('latin-1'))}, which is no answer of an engine"
    return f"{text} with {kind.decode()}, which was not asked for" if status == 200 and kind else text


def _one_line(text: str) -> str:
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * MAX_WORDS]).split())
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "\N{HORIZONTAL ELLIPSIS}"
