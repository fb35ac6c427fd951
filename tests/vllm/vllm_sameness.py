"""When are two answers of one engine the same, although it answered twice?

Ids, times and what a prefix cache held are blanked, for they differ each time. A stream is compared in two ways that
do not depend on timing, since vLLM puts tokens that wait for a slow reader into one event: folded into one document
for each choice (deltas joined), and as the set of its events with words and numbers blanked (which holds every key
and byte of format).
"""

import json
import re
import sys
from collections.abc import Iterable
from functools import reduce
from typing import Any

from vllm_exchange import Answer

_FRESH = (
    (re.compile(rb'"((?:item_|call_|response_)?id)":"[^"]*"'), rb'"\1":"-"'),
    (re.compile(rb'"(created|created_at|completed_at)":\d+(?:\.\d+)?'), rb'"\1":0'),
    # Direct clients and tenants do not share a prefix cache.
    (re.compile(rb'"(cached_tokens|created_cache_tokens)":\d+'), rb'"\1":0'),
)
_CHOICE = re.compile(rb'"choices":\[\{"index":(\d+)')
# What grows with the tokens in an event.
_WORDS = re.compile(rb'"(content|text|delta|arguments|partial_json|thinking)":"(?:[^"\\]|\\.)*"')
_LISTS = re.compile(rb'"(token_ids)":\[[^\]]*\]')
_LOGPROBS = re.compile(rb'"logprobs":\{.*?\},"finish_reason"')
_CALLS = re.compile(rb'"tool_calls":\[\{.*?\}\](?=\},"logprobs")')
# The last words come with the end or before it.
_END = re.compile(rb'"finish_reason":"')
_DELTA = re.compile(rb'"delta":\{.*?\},"logprobs"')
_COUNTS = re.compile(rb'"(total_tokens|completion_tokens|output_tokens|sequence_number)":\d+')

_JOINED_TEXT = frozenset({"content", "text", "delta", "arguments", "partial_json", "thinking", "reasoning"})


def without_fresh(body: bytes) -> bytes:
    """`body` with its ids, times and cache counts blanked."""
    for pattern, blank in _FRESH:
        body = pattern.sub(blank, body)
    return body


_BEHIND_CHOICES = [sys.maxsize]


def event_forms(answer: Answer) -> set[bytes]:
    """Every event of a stream with words, lists and counts blanked."""
    forms = set()
    for event in answer.events:
        form = _WORDS.sub(rb'"\1":"-"', without_fresh(event))
        form = _LOGPROBS.sub(rb'"logprobs":{},"finish_reason"', _LISTS.sub(rb'"\1":[]', form))
        form = _CALLS.sub(rb'"tool_calls":[]', form)
        if _END.search(form):
            form = _DELTA.sub(rb'"delta":{},"logprobs"', form)
        forms.add(_COUNTS.sub(rb'"\1":0', form))
    return forms


def folded(answer: Answer) -> Any:
    """A stream as documents: for each kind of event and choice one, in which the deltas are joined.

    In the order of the choices: which of several prompts speaks first is chance in the engine's batches.
    """
    documents: dict[str, Any] = {}
    places: dict[str, list[int]] = {}
    for event in answer.events:
        kind, data = _parts(without_fresh(event))
        if data is None:
            documents[event.decode()] = None
            continue
        data.pop("sequence_number", None)
        for choice in data.get("choices", ()):
            _join_calls(choice.get("delta", {}))
        indices = [choice["index"] for choice in data.get("choices", ())]
        key = json.dumps([kind, indices, data.get("index"), data.get("output_index")])
        documents[key] = _join(documents[key], data) if key in documents else data
        places[key] = indices or _BEHIND_CHOICES
    return {key: documents[key] for key in sorted(documents, key=lambda key: places.get(key, _BEHIND_CHOICES))}


def _join_calls(delta: Any) -> None:
    """Make one of the parts of one tool call that came in one event."""
    if len(delta.get("tool_calls", ())) > 1:
        first, *rest = delta["tool_calls"]
        assert all(call["index"] == first["index"] for call in rest)
        delta["tool_calls"] = [reduce(_join, rest, first)]


def _parts(event: bytes) -> tuple[str, Any]:
    """The name of an event and its data, None where that is no JSON."""
    fields = dict(line.split(b": ", 1) for line in event.split(b"\n"))
    data = fields[b"data"]
    return fields.get(b"event", b"").decode(), json.loads(data) if data.startswith(b"{") else None


def _join(earlier: Any, later: Any, key: str = "") -> Any:
    """One value out of the same value of two events."""
    match earlier, later:
        case dict(), dict():
            names: Iterable[str] = dict.fromkeys((*earlier, *later))
            return {name: _join(earlier.get(name), later.get(name), name) for name in names}
        case list(), list() if key in {"choices", "tool_calls"} and len(earlier) == len(later):
            return [_join(one, other) for one, other in zip(earlier, later, strict=True)]
        case list(), list():
            return earlier + later
        case str(), str() if key in _JOINED_TEXT:
            return earlier + later
        case _:
            return earlier if later is None else later


def assert_same_answer(direct: Answer, through: Answer) -> None:
    """Status, kind and body are equal but for ids and times."""
    assert (through.status, through.headers["content-type"]) == (direct.status, direct.headers["content-type"])
    if direct.headers["content-type"].startswith("text/event-stream"):
        assert event_forms(through) == event_forms(direct)
        # As text, for the order of keys counts.
        assert json.dumps(folded(through)) == json.dumps(folded(direct))
        expected, tracks = _tracks(direct), _tracks(through)
        if _lengths(tracks) == _lengths(expected):  # otherwise other tokens share an event this time
            assert tracks == expected
    else:
        assert without_fresh(through.body) == without_fresh(direct.body)


def _tracks(answer: Answer) -> dict[bytes, list[bytes]]:
    """The events of each choice: choices stream side by side, in an order of chance."""
    tracks: dict[bytes, list[bytes]] = {}
    for event in answer.events:
        choice = _CHOICE.search(event)
        tracks.setdefault(choice[1] if choice else b"", []).append(without_fresh(event))
    return tracks


def _lengths(tracks: dict[bytes, list[bytes]]) -> dict[bytes, list[int]]:
    return {choice: [len(event) for event in events] for choice, events in tracks.items()}
