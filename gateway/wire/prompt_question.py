"""How an engine is asked how many tokens a prompt has, and what it answers.

Chats and texts are asked for at `/tokenize`, Anthropic's messages at their own endpoint, the input of Responses as the
chat that an engine makes of it. Nothing is asked where the engine would count something else than it runs: batches,
media, and members of which its templates make more than the question can say.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from gateway.wire.json_body import read_object, write_json
from gateway.wire.request import ParsedRequest
from gateway.wire.surface import Family

_TOKENIZE: Final = "/tokenize"
_COUNT: Final = "/v1/messages/count_tokens"
_CHAT_MEMBERS: Final = (
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "chat_template",
    "chat_template_kwargs",
)
_UNSAYABLE: Final = frozenset({"reasoning_effort", "tool_choice", "truncate_prompt_tokens", "suffix"})
_DOCUMENTS: Final = b',"documents":'  # this text stands in no string, where quotes are escaped
_MESSAGE_MEMBERS: Final = ("tool_choice", "thinking", "chat_template_kwargs")
_ONE_TEXT: Final = b',"prompt":"'
_UNSAYABLE_OF_RESPONSES: Final = ("tools", "reasoning", "text", "previous_input_messages")
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})

Fields = Mapping[str, object]


def prompt_question(parsed: ParsedRequest) -> tuple[str, bytes] | None:
    """The path and the JSON without `model`, from the comma on, that ask for the prompt's tokens; None if none can."""
    if parsed.media_parts or parsed.prompts != 1:
        return None
    family, fields = parsed.endpoint.family, parsed.deciding()
    prompt = parsed.rest[: parsed.prompt_size]
    if family is Family.MESSAGES:
        return _asked(_COUNT, prompt, fields, _MESSAGE_MEMBERS)
    if _DOCUMENTS in prompt or any(fields.get(name) is not None for name in _UNSAYABLE):
        return None
    if family is Family.CHAT:
        return _asked(_TOKENIZE, prompt, fields, _CHAT_MEMBERS)
    if family is Family.RESPONSES:
        return _of_responses(read_object(b"{%b}" % prompt.removeprefix(b",")) | fields)
    if family is Family.COMPLETION:
        return _asked(_TOKENIZE, prompt, fields, ()) if prompt.startswith(_ONE_TEXT) else None
    text = fields.get("input")
    return _asked(_TOKENIZE, b"", {"prompt": text}, ("prompt",)) if isinstance(text, str) else None


def counted_tokens(body: bytes) -> int | None:
    """The number of tokens in an engine's answer; None if it has none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    count = answer.get("count", answer.get("input_tokens")) if isinstance(answer, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _asked(path: str, prompt: bytes, fields: Fields, names: tuple[str, ...]) -> tuple[str, bytes]:
    """The question with the JSON `prompt` as it is, and of `fields` those called `names`."""
    members = {name: fields[name] for name in names if name in fields}
    return path, prompt + (b"," + write_json(members)[1:] if members else b"}")


def _of_responses(fields: Fields) -> tuple[str, bytes] | None:
    """The chat that an engine makes of plain texts; None if the input has tools, reasoning or anything else."""
    if any(fields.get(name) for name in _UNSAYABLE_OF_RESPONSES):
        return None
    messages: list[dict[str, object]] = []
    if fields.get("instructions"):
        messages.append({"role": "system", "content": fields["instructions"]})
    given = fields.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    for item in given if isinstance(given, list) else ():
        text = _text_of(item)
        if text is None:
            return None
        messages.append({"role": item["role"], "content": text})
    return _asked(_TOKENIZE, b"", {"messages": messages}, ("messages",)) if messages else None


def _text_of(item: object) -> str | None:
    """The text of a message that has one text; None for any other item."""
    if not isinstance(item, dict) or not isinstance(item.get("role"), str) or item.get("type", "message") != "message":
        return None
    content = item.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        content = part.get("text") if part.get("type") in _TEXT_PARTS else None
    return content if isinstance(content, str) else None
