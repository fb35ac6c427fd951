"""What an engine is asked about a prompt, for each API; and a body with a lower output limit."""

import json
from typing import Any

import pytest

from gateway.wire.prompt_question import counted_tokens, prompt_question
from gateway.wire.request import ParsedRequest, Rights, read_request
from gateway.wire.surface import ENDPOINTS

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES, EMBEDDINGS = "/v1/responses", "/v1/messages", "/v1/embeddings"
HI = [{"role": "user", "content": "hi"}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}]}]


def parsed(path: str, **fields: Any) -> ParsedRequest:
    """A request as the gateway reads it."""
    return read_request(ENDPOINTS[path], json.dumps({"model": "tiny", **fields}).encode(), Rights())


def asked(path: str, **fields: Any) -> tuple[str, dict[str, Any]] | None:
    """Where an engine is asked, and with which members besides the model."""
    question = prompt_question(parsed(path, **fields))
    return None if question is None else (question[0], json.loads(b'{"model":"tiny"' + question[1]))


@pytest.mark.parametrize(
    ("path", "fields", "where", "members"),
    [
        (CHAT, {"messages": HI, "temperature": 0, "max_tokens": 9}, "/tokenize", {"messages": HI}),
        (
            CHAT,
            {"messages": HI, "tools": [], "chat_template_kwargs": {"a": 1}},
            "/tokenize",
            {"messages": HI, "tools": [], "chat_template_kwargs": {"a": 1}},
        ),
        (COMPLETIONS, {"prompt": "hi", "max_tokens": 9}, "/tokenize", {"prompt": "hi"}),
        (EMBEDDINGS, {"input": "hi"}, "/tokenize", {"prompt": "hi"}),
        (
            MESSAGES,
            {"messages": HI, "system": "be", "max_tokens": 9},
            "/v1/messages/count_tokens",
            {"messages": HI, "system": "be"},
        ),
        (RESPONSES, {"input": "hi"}, "/tokenize", {"messages": HI}),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], "instructions": "be"},
            "/tokenize",
            {"messages": [{"role": "system", "content": "be"}, *HI]},
        ),
    ],
)
def test_an_engine_is_asked_for_what_it_would_run(
    path: str, fields: dict[str, Any], where: str, members: dict[str, Any]
) -> None:
    """The members that make up the prompt, and no other."""
    assert asked(path, **fields) == (where, {"model": "tiny", **members})


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": IMAGE}),
        (CHAT, {"messages": HI, "documents": [{"text": "a"}]}),
        (CHAT, {"messages": HI, "reasoning_effort": "low"}),
        (COMPLETIONS, {"prompt": ["a", "b"]}),
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}),
        (EMBEDDINGS, {"input": ["a", "b"]}),
        (RESPONSES, {"input": "hi", "tools": [{"type": "function", "name": "f"}]}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * 2}]}),
    ],
)
def test_nothing_is_asked_where_the_answer_would_be_another(path: str, fields: dict[str, Any]) -> None:
    """Batches, media, and what only a template knows."""
    assert asked(path, **fields) is None


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"count":7,"max_model_len":9,"tokens":[]}', 7),
        (b'{"input_tokens":0}', 0),
        (b'{"count":-1}', None),
        (b'{"count":true}', None),
        (b'{"count":"7"}', None),
        (b"[7]", None),
        (b"{", None),
        (b"", None),
    ],
)
def test_the_count_of_an_answer(body: bytes, count: int | None) -> None:
    """A number of tokens, or nothing."""
    assert counted_tokens(body) == count


@pytest.mark.parametrize(
    ("path", "fields", "limits"),
    [
        (CHAT, {"messages": HI}, {"max_completion_tokens": 50}),
        (CHAT, {"messages": HI, "max_tokens": 90}, {"max_tokens": 50}),
        (
            CHAT,
            {"messages": HI, "max_tokens": 90, "max_completion_tokens": 70},
            {"max_tokens": 50, "max_completion_tokens": 50},
        ),
        (CHAT, {"messages": HI, "max_tokens": 20}, {"max_tokens": 20}),
        (COMPLETIONS, {"prompt": "hi", "max_tokens": 90}, {"max_tokens": 50}),
        (RESPONSES, {"input": "hi"}, {"max_output_tokens": 50}),
        (
            MESSAGES,
            {"messages": HI, "max_tokens": 90, "thinking": {"type": "enabled", "budget_tokens": 80}},
            {"max_tokens": 50, "thinking": {"type": "enabled", "budget_tokens": 49}},
        ),
    ],
)
def test_a_body_with_a_lower_output_limit(path: str, fields: dict[str, Any], limits: dict[str, Any]) -> None:
    """Every API's own fields get the limit, unless they have a lower one; all else stays, and so does the original."""
    request = parsed(path, **fields)
    before = json.loads(b'{"model":"tiny"' + request.rest)
    assert json.loads(b'{"model":"tiny"' + request.shortened(50)) == before | limits
    assert json.loads(b'{"model":"tiny"' + request.rest) == before
