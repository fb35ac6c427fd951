"""Requests that the embedded engine and real vLLM must answer alike: a name, a path, a body.

Lengths are fixed (`ignore_eos`, `max_tokens`), because a stream's shape depends on whether it ended by itself.
Prompts stay below a KV block, so that nothing is cached between cases.
"""

from dataclasses import dataclass
from typing import Any

MODEL = "byte-llama"

_HELLO = [{"role": "user", "content": "Say hello to the wörld."}]
_FIXED = {"model": MODEL, "max_tokens": 6, "ignore_eos": True, "temperature": 0}
# Letters only: a token that is half a character has an event without text.
_TWO = {"n": 2, "temperature": 1, "seed": 1, "allowed_token_ids": [97, 98, 99]}
_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
_RUNNING_USAGE = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}

_COLOURS = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["green", "grey"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
_PAINT = {"name": "paint", "description": "Paint it.", "parameters": _COLOURS, "strict": True}
_TOOLS = [{"type": "function", "function": _PAINT}]
# A call is a grammar of vLLM's in which blanks may stand between the parts of JSON; random weights would write them
# for ever.
_NO_BLANKS = {"logit_bias": {"9": -100, "10": -100, "13": -100, "32": -100}}
_CALL = {"tools": _TOOLS, "max_tokens": 120, "ignore_eos": False, **_NO_BLANKS}
_NAMED = {"tool_choice": {"type": "function", "function": {"name": "paint"}}, **_CALL}
_SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "colour", "schema": _COLOURS}}}
_CALLED = [
    *_HELLO,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "paint", "arguments": '{"colour":"grey"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "done"},
]


@dataclass(frozen=True, slots=True)
class Case:
    """One request."""

    name: str
    path: str
    body: Any
    method: str = "POST"

    def __str__(self) -> str:
        return self.name


def _chat(name: str, **fields: Any) -> Case:
    return Case(f"chat {name}", "/v1/chat/completions", _FIXED | {"messages": _HELLO} | fields)


def _completion(name: str, **fields: Any) -> Case:
    return Case(f"completion {name}", "/v1/completions", _FIXED | {"prompt": "Once upon a time"} | fields)


def _responses(name: str, **fields: Any) -> Case:
    body = {"model": MODEL, "input": "Say hello.", "max_output_tokens": 6, "ignore_eos": True, "temperature": 0}
    return Case(f"responses {name}", "/v1/responses", body | fields)


def _messages(name: str, **fields: Any) -> Case:
    body = {"model": MODEL, "messages": _HELLO, "max_tokens": 6, "temperature": 0}
    return Case(f"messages {name}", "/v1/messages", body | fields)


GENERATING = (
    _chat("whole"),
    _chat("whole, two choices", **_TWO),
    _chat("whole, logprobs", logprobs=True, top_logprobs=2),
    _chat("whole, token ids", return_token_ids=True),
    _chat(
        "whole, system and parts",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
    ),
    _chat("whole, after a tool", messages=_CALLED),
    _chat("whole, named tool", **_NAMED),
    _chat("whole, tools that may not be called", tools=_TOOLS, tool_choice="none"),
    _chat("whole, schema", **_SCHEMA, max_tokens=60, ignore_eos=False),
    _chat("whole, choice", structured_outputs={"choice": ["yes", "yes!"]}, max_tokens=60, ignore_eos=False),
    _chat("stream", stream=True),
    _chat("stream, usage", **_USAGE),
    _chat("stream, running usage", **_RUNNING_USAGE),
    _chat("stream, two choices", **_TWO, **_RUNNING_USAGE),
    _chat("stream, logprobs", stream=True, logprobs=True, top_logprobs=2),
    _chat("stream, token ids", stream=True, return_token_ids=True),
    _chat("stream, named tool", **_NAMED, **_USAGE),
    _chat("stream, schema", **_SCHEMA, stream=True, max_tokens=60, ignore_eos=False),
    _completion("whole"),
    _completion("whole, two prompts", prompt=["one", "two"]),
    _completion("whole, token ids", prompt=[72, 105]),
    _completion("whole, logprobs", logprobs=2),
    _completion("whole, echo", echo=True),
    _completion("stream", stream=True),
    _completion("stream, usage", **_USAGE),
    _completion("stream, running usage", prompt=["one", "two"], **_RUNNING_USAGE),
    _completion("stream, logprobs", stream=True, logprobs=2),
    _responses("whole"),
    _responses("whole, instructions and messages", instructions="Be brief.", input=_HELLO),
    _responses("stream", stream=True),
    _messages("whole"),
    _messages("whole, system", system="Be brief."),
    _messages("stream", stream=True),
)

ANSWERING = (
    Case("models", "/v1/models", None, "GET"),
    Case("version", "/version", None, "GET"),
    Case("health", "/health", None, "GET"),
    Case("tokenize prompt", "/tokenize", {"model": MODEL, "prompt": "wörld"}),
    Case("tokenize messages", "/tokenize", {"model": MODEL, "messages": _HELLO}),
    Case("tokenize strings", "/tokenize", {"model": MODEL, "prompt": "wörld", "return_token_strs": True}),
    Case("detokenize", "/detokenize", {"model": MODEL, "tokens": [72, 105]}),
    Case("count tokens", "/v1/messages/count_tokens", {"model": MODEL, "messages": _HELLO}),
)

REFUSED = (
    _chat("unknown model", model="nobody"),
    _chat("no messages", messages=[]),
    Case("chat messages left out", "/v1/chat/completions", _FIXED),
    _chat("wrong type", temperature="hot"),
    _chat("too long", messages=[{"role": "user", "content": "x" * 3000}]),
    _chat("too many tokens wanted", max_tokens=3000),
    _chat("stream options without stream", stream_options={"include_usage": True}),
    _chat("no choices", n=0),
    _chat("negative length", max_tokens=-1),
    _chat("wrong salt", cache_salt="a/b"),
    _chat("temperature below zero", temperature=-1),
    _chat("top_p zero", top_p=0),
    _chat("min_p above one", min_p=2),
    _chat("presence penalty too large", presence_penalty=3),
    _chat("repetition penalty zero", repetition_penalty=0),
    _chat("too many top logprobs", logprobs=True, top_logprobs=50),
    _chat("top logprobs without logprobs", top_logprobs=2),
    _chat("more tokens at least than at most", min_tokens=20),
    _chat("named tool that is not there", tools=_TOOLS, tool_choice={"type": "function", "function": {"name": "x"}}),
    _chat("required tool without tools", tool_choice="required"),
    Case("chat broken JSON", "/v1/chat/completions", b'{"model": '),
    Case("chat not an object", "/v1/chat/completions", b"[1]"),
    Case("chat by GET", "/v1/chat/completions", None, "GET"),
    Case("unknown path", "/v1/nothing", {}),
    _completion("unknown model", model="nobody"),
    _completion("no prompt", prompt=None),
    _completion("too long", prompt="x" * 3000),
    _responses("unknown model", model="nobody"),
    _responses("no input", input=None),
    _messages("unknown model", model="nobody"),
    _messages("no length", max_tokens=None),
    Case("tokenize unknown model", "/tokenize", {"model": "nobody", "prompt": "a"}),
)

POOLING = (
    Case("embedding of a text", "/v1/embeddings", {"model": MODEL, "input": "wörld"}),
    Case("embeddings of texts", "/v1/embeddings", {"model": MODEL, "input": ["one", "two"]}),
    Case("embedding of tokens", "/v1/embeddings", {"model": MODEL, "input": [72, 105]}),
    Case("embedding in base64", "/v1/embeddings", {"model": MODEL, "input": "a", "encoding_format": "base64"}),
    Case("embedding, unknown model", "/v1/embeddings", {"model": "nobody", "input": "a"}),
    Case("score", "/v1/score", {"model": MODEL, "text_1": "red", "text_2": ["red", "blue"]}),
    Case("rerank", "/v1/rerank", {"model": MODEL, "query": "red", "documents": ["red", "blue"]}),
    Case("rerank, the best", "/v1/rerank", {"model": MODEL, "query": "red", "documents": ["a", "b"], "top_n": 1}),
)
