"""The shape of an answer: everything that must be equal between two engines that say different words.

Keys in their order, the kind of every value, the events of a stream in their order for each choice; numbers that both
engines must agree on (usage) are compared by value elsewhere. Runs of events of one shape count as one, because how
many tokens share an event is a matter of timing.
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from vllm_exchange import Answer

_CHOICE = re.compile(rb'"choices":\[\{"index":(\d+)')
# Maps from something the model chose to a value: their keys are content.
_OPEN_MAPS = frozenset({"logit_bias", "metadata"})


def shape(value: Any, key: str = "") -> Any:
    """The shape of a JSON value; a list is the set of the shapes of its items."""
    match value:
        case dict() if key == "top_logprobs":
            return ["map of", "number"]
        case dict() if key in _OPEN_MAPS:
            return ["map"]
        case dict():
            return [[name, shape(item, name)] for name, item in value.items()]
        case list():
            shapes: list[Any] = []
            for item in value:
                found = shape(item, key)
                if found not in shapes:
                    shapes.append(found)
            return {"list": shapes}
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "string"


def answer_shape(answer: Answer) -> Any:
    """The shape of a body: of a document, or for each choice of a stream its events with runs of one shape as one."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return shape(answer.document) if answer.body else "empty"
    tracks: dict[str, list[Any]] = {}
    for event in answer.events:
        found = _CHOICE.search(event)
        # Choices stream side by side, in an order of chance.
        tracks.setdefault(found[1].decode() if found else "", []).extend(_event_shapes(event))
    return {choice: [found for found, _ in groupby(shapes)] for choice, shapes in tracks.items()}


def _event_shapes(event: bytes) -> Iterator[Any]:
    """The shapes of an event: its fields in order, the data's shape where it is JSON; several for a regrouped one."""
    *names, data_line = event.split(b"\n")
    name, separator, value = data_line.partition(b":")
    fields = [*(line.decode() for line in names), (name + separator).decode() + " " * value.startswith(b" ")]
    if not value.strip().startswith(b"{"):
        yield [*fields, value.decode()]
        return
    for data in _regrouped(json.loads(value)):
        yield [*fields, shape(data)]


def _regrouped(data: Any) -> Iterator[Any]:
    """A chunk of a chat as if each part had come by itself: the end without words, tool calls one at a time."""
    choice = next(iter(data.get("choices", ())), {})
    calls = choice.get("delta", {}).get("tool_calls", ())
    if choice.get("finish_reason") and "delta" in choice:
        yield data | {"choices": [choice | {"delta": {}}]}
    elif len(calls) > 1:
        for call in calls:
            yield data | {"choices": [choice | {"delta": choice["delta"] | {"tool_calls": [call]}}]}
    else:
        yield data
