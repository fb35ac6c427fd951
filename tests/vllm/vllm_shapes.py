"""The shape of an answer: everything that must be equal between two engines that say different words.

Keys in their order, the kind of every value, the events of a stream in their order; numbers that both engines must
agree on (usage) are compared by value elsewhere. Runs of events of one shape count as one, because how many tokens
share an event is a matter of timing.
"""

import json
from itertools import groupby
from typing import Any

from vllm_exchange import Answer

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


def event_shape(event: bytes) -> Any:
    """The shape of one event: its fields in order, the data's shape where it is JSON."""
    fields: list[Any] = []
    for line in event.split(b"\n"):
        name, separator, value = line.partition(b":")
        if name != b"data" or not value.strip().startswith(b"{"):
            fields.append(line.decode())
            continue
        leading_space = value.startswith(b" ")
        fields.append([name.decode() + separator.decode() + " " * leading_space, shape(json.loads(value))])
    return fields


def answer_shape(answer: Answer) -> Any:
    """The shape of a body: of a document, or of a stream's events with runs of one shape as one."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [found for found, _ in groupby(event_shape(event) for event in answer.events)]
    return shape(answer.document) if answer.body else "empty"
