"""Reads chunks of chat and completions as JSON, where the patterns of `stream_meter` do not fit.

Everything in a choice except its role is output: text, reasoning, a tool call, a refusal, the choice's end.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson


def shows_output(data: bytes) -> bool:
    """True if the chunk in `data` has output; bytes that are no chunk count as output."""
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return True
    return not isinstance(chunk, dict) or has_output(chunk)


def has_output(chunk: Mapping[str, Any]) -> bool:
    """True if a choice of `chunk` has output."""
    for choice in _choices(chunk):
        delta = choice.get("delta")
        contents = [value for name, value in delta.items() if name != "role"] if isinstance(delta, dict) else []
        if choice.get("finish_reason") or choice.get("text") or any(contents):
            return True
    return False


def finished_choices(chunk: Mapping[str, Any]) -> Iterator[int]:
    """The numbers of the choices that end with `chunk`."""
    for choice in _choices(chunk):
        index = choice.get("index", 0)
        if choice.get("finish_reason") and isinstance(index, int):
            yield index


def _choices(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = chunk.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
