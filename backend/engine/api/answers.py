"""Answers with a form: the smallest value that a JSON schema allows, and the tool that a chat would call.

A model would choose; the engine takes the first of everything, so that clients that parse the answer can.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from backend.engine.api.requests import ChatRequest, GenerateRequest, NamedTool, ToolSpec

_MAX_DEPTH = 32


def schema_example(schema: Any, depth: int = 0, root: Any = None) -> Any:
    """A value that fits `schema` (the parts of JSON schema that name a shape)."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    if "$ref" in schema:
        return schema_example(_resolve(schema["$ref"], root), depth + 1, root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return schema_example(schema[key][0], depth + 1, root)
    return _typed_example(schema, depth, root)


def _typed_example(schema: dict[str, Any], depth: int, root: Any) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            properties = schema.get("properties", {})
            wanted = schema.get("required", list(properties))
            return {name: schema_example(properties.get(name, {}), depth + 1, root) for name in wanted}
        case "array":
            count = max(schema.get("minItems", 1), 1)
            return [schema_example(schema.get("items", {}), depth + 1, root)] * count
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return float(schema.get("minimum", 1.5))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "a wooden boat".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 80)]


def _resolve(reference: str, root: Any) -> Any:
    node = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return node


def structured_answer(request: GenerateRequest) -> bytes | None:
    """The answer to `response_format` or `structured_outputs`; None if the request has neither."""
    form = request.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is not None:
        return orjson.dumps(schema_example(form.json_schema.json_schema or {}))
    if form is not None and form.type == "json_object":
        return b'{"answer":"a wooden boat"}'
    outputs = request.structured_outputs
    if outputs is None:
        return None
    if outputs.choice:
        return outputs.choice[0].encode()
    if outputs.json_value is not None:
        schema = outputs.json_value
        return orjson.dumps(schema_example(orjson.loads(schema) if isinstance(schema, str) else schema))
    return b'{"answer":"a wooden boat"}' if outputs.json_object else None


def _called_tool(request: ChatRequest) -> ToolSpec | None:
    """The tool that the answer calls: the named one; else the first, unless a tool has just answered."""
    if not request.tools or request.tool_choice == "none":
        return None
    if isinstance(request.tool_choice, NamedTool):
        wanted = request.tool_choice.function.name
        return next((tool for tool in request.tools if tool.function.name == wanted), None)
    if request.tool_choice != "required" and request.messages[-1].get("role") == "tool":
        return None
    return request.tools[0]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as a model writes it (Hermes format), and the part of it that clients see.

    The tokens of the frame count but show nothing: a stream has fewer chunks than tokens, as behind vLLM's parsers.
    """

    name: str
    arguments: bytes

    @property
    def _head(self) -> bytes:
        return b'<tool_call>\n{"name": ' + orjson.dumps(self.name) + b', "arguments": '

    @property
    def script(self) -> bytes:
        """Everything that is generated."""
        return self._head + self.arguments + b"}\n</tool_call>"

    def shown(self, start: int, end: int) -> tuple[bool, str]:
        """What the tokens from `start` to `end` show: whether the call opens with them, and which arguments."""
        head = len(self._head)
        arguments = self.arguments[max(start - head, 0) : max(end - head, 0)]
        return start < head <= end, arguments.decode("utf-8", "replace")


def called(request: ChatRequest) -> Call | None:
    """The call that answers this chat, if it is answered by one."""
    tool = _called_tool(request)
    if tool is None:
        return None
    return Call(tool.function.name, orjson.dumps(schema_example(tool.function.parameters or {"type": "object"}) or {}))
