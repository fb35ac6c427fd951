"""Answers with a form: the smallest value that a JSON schema allows, and the tool that a chat would call.

A model would choose; the engine takes the first of everything, so that clients that parse the answer can.
"""

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
    """The answer to `response_format` or `structured_outputs`; None where the request has neither."""
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


def called_tool(request: ChatRequest) -> ToolSpec | None:
    """The tool that the answer calls: the named one; else the first, unless a tool has just answered."""
    if not request.tools or request.tool_choice == "none":
        return None
    if isinstance(request.tool_choice, NamedTool):
        wanted = request.tool_choice.function.name
        return next((tool for tool in request.tools if tool.function.name == wanted), None)
    if request.tool_choice != "required" and request.messages[-1].get("role") == "tool":
        return None
    return request.tools[0]


def tool_arguments(tool: ToolSpec) -> bytes:
    """The arguments of a call, as JSON."""
    return orjson.dumps(schema_example(tool.function.parameters or {"type": "object"}) or {})
