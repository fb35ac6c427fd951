"""The chat template: the bytes that a list of messages becomes, the same as the `byte-llama` model folder's template.

`role: content` a line, tool calls as `name(arguments)`, tools in front, `assistant: ` at the end. Parts of a message
that are not text count as nothing: the embedded engine sees no pictures.
"""

import json
from collections.abc import Sequence
from typing import Any


def render_chat(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, generate: bool = True) -> bytes:
    """The prompt of a chat."""
    lines = [f"tools: {_json(list(tools))}\n"] if tools else []
    lines += [f"{message.get('role', '')}: {_content(message)}{_calls(message)}\n" for message in messages]
    if generate:
        lines.append("assistant: ")
    return "".join(lines).encode()


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
    return content if isinstance(content, str) else ""


def _calls(message: dict[str, Any]) -> str:
    functions = (call.get("function", {}) for call in message.get("tool_calls") or [])
    return "".join(f"{function.get('name')}({_arguments(function)})" for function in functions)


def _arguments(function: dict[str, Any]) -> str:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError:
            return _json(arguments)
    return _json(arguments)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
