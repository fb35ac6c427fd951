"""What an application does with the official SDKs: each call returns plain data without ids and times.

Streams are returned as the application sees them after joining the deltas, for vLLM decides by timing which tokens
share an event.
"""

from collections.abc import Callable
from typing import Any, Literal

from anthropic import Anthropic
from contract_cases import MODEL
from openai import OpenAI
from pydantic import BaseModel

SdkCall = Callable[[Any], Any]

HELLO: Any = [{"role": "user", "content": "Say hello to the wörld."}]
COLOURS: Any = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["green", "grey"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
ONE_COLOUR: Any = COLOURS | {"properties": {"colour": {"type": "string", "enum": ["green"]}}}
PAINT: Any = {"name": "paint", "description": "Paint it.", "strict": True}
FUNCTION: Any = {"type": "function", "function": {**PAINT, "parameters": COLOURS}}
# Random weights would write blanks between the parts of JSON for ever.
NO_BLANKS: Any = {"9": -100, "10": -100, "13": -100, "32": -100}
SHORT: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 8, "temperature": 0, "seed": 7}
LONG_ENOUGH = 60
CALL_TOKENS = 120
CALL: Any = {
    "tools": [FUNCTION],
    "tool_choice": {"type": "function", "function": {"name": "paint"}},
    "max_tokens": CALL_TOKENS,
    "logit_bias": NO_BLANKS,
}
# New each time; and what the prefix cache held, which direct clients and tenants do not share.
FRESH = {"id", "created", "created_at", "completed_at", "call_id", "item_id", "_request_id", "sequence_number"}
CACHED = {"cached_tokens", "created_cache_tokens", "cache_write_tokens", "cached_tokens_per_turn"}


class Colour(BaseModel):
    """What a structured answer is parsed into."""

    colour: Literal["green", "grey"]


def openai_client(url: str, key: str) -> OpenAI:
    """A client that tells every failure at once."""
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def anthropic_client(url: str, key: str) -> Anthropic:
    """A client that tells every failure at once."""
    return Anthropic(base_url=url, api_key=key, max_retries=0)


def plain(value: Any) -> Any:
    """`value` of an SDK as plain data without ids, times and cache counts."""
    match value:
        case BaseModel():
            return plain(value.model_dump(warnings=False))
        case dict():
            return {name: plain(item) for name, item in value.items() if name not in FRESH | CACHED}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def chat(client: OpenAI) -> Any:
    """A whole chat answer."""
    return plain(client.chat.completions.create(**SHORT))


def chat_with_logprobs(client: OpenAI) -> Any:
    """A whole chat answer with alternatives."""
    return plain(client.chat.completions.create(**SHORT, logprobs=True, top_logprobs=2))


def chat_stream(client: OpenAI) -> Any:
    """A streamed chat for which no usage was asked."""
    with client.chat.completions.create(**SHORT, stream=True) as stream:
        chunks = list(stream)
    assert not any(chunk.usage for chunk in chunks)
    return _joined(chunks)


def chat_stream_with_usage(client: OpenAI) -> Any:
    """A streamed chat with the usage at its end, and only there."""
    with client.chat.completions.create(**SHORT, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return [_joined(chunks[:-1]), plain(chunks[-1])]


def _joined(chunks: list[Any]) -> Any:
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return [text, chunks[0].choices[0].delta.role, chunks[-1].choices[0].finish_reason]


def chat_tool(client: OpenAI) -> Any:
    """A tool that the model has to call."""
    asked = SHORT | CALL
    answer = client.chat.completions.create(**asked)
    assert answer.choices[0].message.tool_calls
    return plain(answer)


def chat_tool_stream(client: OpenAI) -> Any:
    """The same, streamed."""
    asked = SHORT | CALL
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls
    return plain(final)


def chat_structured(client: OpenAI) -> Any:
    """An answer that is parsed into an object."""
    answer = client.chat.completions.parse(**SHORT | {"max_tokens": LONG_ENOUGH}, response_format=Colour)
    assert isinstance(answer.choices[0].message.parsed, Colour)
    return plain(answer)


def completion(client: OpenAI) -> Any:
    """A whole text completion of two prompts."""
    return plain(client.completions.create(model=MODEL, prompt=["one", "two"], max_tokens=8, temperature=0))


def completion_stream(client: OpenAI) -> Any:
    """A streamed text completion, joined."""
    with client.completions.create(model=MODEL, prompt="one", max_tokens=8, temperature=0, stream=True) as stream:
        chunks = list(stream)
    assert not any(chunk.usage for chunk in chunks)
    return ["".join(chunk.choices[0].text for chunk in chunks), chunks[-1].choices[0].finish_reason]


def responses(client: OpenAI) -> Any:
    """A whole answer of the responses API."""
    return plain(client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=8, temperature=0))


def responses_stream(client: OpenAI) -> Any:
    """A streamed answer of the responses API: its kinds of events, its text and its end."""
    asked = client.responses.create(model=MODEL, input="Hello.", max_output_tokens=8, temperature=0, stream=True)
    with asked as stream:
        events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    return [list(dict.fromkeys(event.type for event in events)), text, plain(events[-1])]


def responses_tool_stream(client: OpenAI) -> Any:
    """A tool that the model has to call, in the responses API."""
    tool: Any = {"type": "function", **PAINT, "parameters": COLOURS}
    asked: Any = {"model": MODEL, "input": "Paint.", "max_output_tokens": CALL_TOKENS, "temperature": 0}
    extra = {"logit_bias": NO_BLANKS}
    with client.responses.create(
        **asked, tools=[tool], tool_choice="required", extra_body=extra, stream=True
    ) as stream:
        events = list(stream)
    arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert arguments
    return [list(dict.fromkeys(event.type for event in events)), arguments, plain(events[-1])]


def message(client: Anthropic) -> Any:
    """A whole message."""
    return plain(client.messages.create(**MESSAGE))


def message_stream(client: Anthropic) -> Any:
    """A streamed message: its kinds of events and what the SDK joins them to."""
    with client.messages.stream(**MESSAGE) as stream:
        kinds = list(dict.fromkeys(event.type for event in stream))
        return [kinds, plain(stream.get_final_message())]


def message_tool(client: Anthropic) -> Any:
    """A tool that the model has to call; the Anthropic API cannot forbid blanks, but drawn at random they end."""
    answer = client.messages.create(**MESSAGE | MESSAGE_CALL)
    assert answer.stop_reason == "tool_use"
    return plain(answer.content)


def message_tool_stream(client: Anthropic) -> Any:
    """The same, streamed."""
    with client.messages.stream(**MESSAGE | MESSAGE_CALL) as stream:
        kinds = list(dict.fromkeys(event.type for event in stream))
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    return [kinds, plain(final.content)]


def message_structured(client: Anthropic) -> Any:
    """An answer in the form of a schema."""
    form = {"format": {"type": "json_schema", "schema": COLOURS}}
    answer = client.messages.create(**MESSAGE | {"max_tokens": LONG_ENOUGH, "output_config": form})
    assert Colour.model_validate_json("".join(block.text for block in answer.content if block.type == "text"))
    return plain(answer)


def count_tokens(client: Anthropic) -> Any:
    """The length of a prompt."""
    return plain(client.messages.count_tokens(model=MODEL, messages=HELLO))


def embedding(client: OpenAI) -> Any:
    """Two vectors, which the SDK asks for in base64."""
    return plain(client.embeddings.create(model=MODEL, input=["one", "two"]))


MESSAGE: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 8, "extra_body": {"temperature": 0}}
MESSAGE_CALL: Any = {
    "tools": [{**PAINT, "input_schema": ONE_COLOUR}],
    "tool_choice": {"type": "tool", "name": "paint"},
    "max_tokens": 1000,
    "extra_body": {"temperature": 1},
}

OPENAI_CALLS: tuple[SdkCall, ...] = (
    chat,
    chat_with_logprobs,
    chat_stream,
    chat_stream_with_usage,
    chat_tool,
    chat_tool_stream,
    chat_structured,
    completion,
    completion_stream,
    responses,
    responses_stream,
    responses_tool_stream,
)
ANTHROPIC_CALLS: tuple[SdkCall, ...] = (
    message,
    message_stream,
    message_tool,
    message_tool_stream,
    message_structured,
    count_tokens,
)
OPENAI_POOLING_CALLS: tuple[SdkCall, ...] = (embedding,)
