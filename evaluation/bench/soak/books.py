"""The gateway's account of each request beside the engines' own count of its tokens.

An answer that ended by itself is charged exactly what its engine generated. A client that left a stream, before its
first byte or behind it, is charged what its engine had generated when the gateway saw it leave: the engine may be up to
two steps on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_LEFT = frozenset({"client_gone_streaming", "client_gone_waiting"})
STEPS_AFTER_LEAVING = 2  # the step that runs while the connection closes, and the one before it is seen


@dataclass(slots=True)
class Books:
    """How many requests were compared, and those whose figures differ: id, tokens charged, tokens generated."""

    ended: int = 0
    left: int = 0
    internal: int = 0
    unlike: list[tuple[str, int, int]] = field(default_factory=list)
    left_unlike: list[tuple[str, int, int]] = field(default_factory=list)


def compare(log: Iterable[bytes], witnesses: Mapping[str, Mapping[str, Any]]) -> Books:
    """Go through a gateway's log; `witnesses` are the engines' counts by worker, each by the id that it was sent."""
    counts = {name: _by_id(witness) for name, witness in witnesses.items()}
    books = Books()
    for line in log:
        if b'"event":"request"' in line:
            _enter(books, orjson.loads(line), counts)
    return books


def _by_id(witness: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {request_id.partition("-")[2] or request_id: count for request_id, count in witness["requests"].items()}


def _enter(books: Books, line: Mapping[str, Any], counts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    outcome, request_id = line["outcome"], line["request_id"]
    books.internal += outcome == "internal"
    worker = line.get("worker", "").rpartition("/")[2]
    count = counts.get(worker, {}).get(request_id)
    if count is None:
        return
    charged, generated = line.get("output_tokens", 0), count["output_tokens"]
    if outcome == "completed":
        books.ended += 1
        if charged != generated:
            books.unlike.append((request_id, charged, generated))
    elif outcome in _LEFT and line.get("streamed"):
        books.left += 1
        if abs(charged - generated) > STEPS_AFTER_LEAVING * count["sequences"]:
            books.left_unlike.append((request_id, charged, generated))
