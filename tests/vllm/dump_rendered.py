"""Prints, as JSON, the messages that the installed vLLM renders for requests on standard input: pairs of path and body.

Runs under vLLM's own interpreter, without a model: what the template receives is compared, not what it makes of it.
"""

import json
import sys
from typing import Any

from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.renderers.chat_utils import _strip_claude_code_billing_header


def rendered(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation as it goes to the template, texts of system messages as lists of parts."""
    messages = body["messages"]
    if path == "/v1/messages":
        request = AnthropicServingMessages.to_chat_completion_request(AnthropicMessagesRequest.model_validate(body))
        messages = [dict(message) for message in request.messages]
    return [_stripped(message) for message in messages]


def _stripped(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if message["role"] != "system" or content is None:
        return {"role": message["role"], "content": str(content)}
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return {"role": "system", "content": str(_strip_claude_code_billing_header(parts))}


if __name__ == "__main__":
    print(json.dumps([rendered(path, body) for path, body in json.load(sys.stdin)]))  # noqa: T201
