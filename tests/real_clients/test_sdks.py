"""Published SDKs get answers, counts and tools as from vLLM; what goes wrong reaches them as their own errors."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from .conftest import HERE, PYTHON, Front

pytestmark = pytest.mark.clients

LOST = "The worker was lost while it answered; the answer is not complete."


def speaks(result: Any, tokens: int = 12) -> bool:
    """True for an answer with words in it, and with the tokens that were asked for where it tells a number."""
    return bool(result.get("text")) and result.get("tokens", tokens) == tokens


def errors(results: Mapping[str, Any], *names: str) -> list[tuple[str, int]]:
    """How each of these calls failed: the error's class and status."""
    return [(results[name]["type"], results[name]["status"]) for name in names]


def test_openai_for_node(front: Front) -> None:
    """Chat, tools, completions, responses, embeddings and models; each fault is the SDK's error of its status."""
    told = front.node("openai.mjs")
    for name in ("whole", "streamed", "responses", "responses streamed"):
        assert speaks(told[name]), (name, told[name])
    assert told["helper"]["text"] and re.fullmatch("[0-9a-f]{32}", told["whole"]["id"])
    assert isinstance(told["tool"]["colour"], str)
    assert told["completion"]["text"] and told["completion"]["finish_reason"] == "length"
    assert (told["responses streamed"]["first"], told["responses streamed"]["last"]) == (
        "response.created",
        "response.completed",
    )
    assert (told["embedding"], told["models"], told["left"]) == (2, ["tiny"], True)
    assert errors(told, "wrong key", "wrong model", "wrong field", "forbidden", "twice /v1") == [
        ("AuthenticationError", 401),
        ("NotFoundError", 404),
        ("BadRequestError", 400),
        ("PermissionDeniedError", 403),
        ("NotFoundError", 404),
    ]
    assert "allow: [ignore_eos]" in told["forbidden"]["message"]


def test_anthropic_for_node(front: Front) -> None:
    """Messages whole, streamed and by the helper, tools, counting; faults are the SDK's errors."""
    told = front.node("anthropic.mjs")
    assert speaks(told["whole"]) and re.fullmatch("[0-9a-f]{32}", told["whole"]["id"])
    assert speaks(told["helper"]) and told["helper"]["stop"] == "max_tokens"
    assert {"message_start", "content_block_delta", "message_delta", "message_stop"} <= set(told["streamed"])
    assert isinstance(told["tool"]["colour"], str) and told["count"] > 0
    assert errors(told, "wrong key", "wrong model", "twice /v1") == [
        ("AuthenticationError", 401),
        ("NotFoundError", 404),
        ("NotFoundError", 404),
    ]


def test_the_ai_sdk(front: Front) -> None:
    """Its four providers for the four APIs, whole and streamed, validate what the gateway passes on."""
    told = front.node("ai_sdk.mjs")
    for provider in ("responses", "chat", "compatible", "messages"):
        assert speaks(told[f"{provider} whole"]), told[f"{provider} whole"]
        assert speaks(told[f"{provider} streamed"]), told[f"{provider} streamed"]
    assert isinstance(told["tool"]["colour"], str) and told["embeddings"] == 2
    assert told["wrong key"]["status"] == 401


def test_langchain(front: Front) -> None:
    """Its OpenAI and Anthropic models, streamed with their usage, a bound tool, embeddings."""
    told = front.results(PYTHON, HERE / "python" / "langchain_calls.py")
    for name in ("openai whole", "openai streamed", "anthropic whole", "anthropic streamed", "responses"):
        assert speaks(told[name]), (name, told[name])
    assert isinstance(told["tool"]["colour"], str) and told["embeddings"] == 2


def test_litellm(front: Front) -> None:
    """As a client, by three of its providers."""
    told = front.results(PYTHON, HERE / "python" / "litellm_calls.py")
    for provider in ("openai", "hosted_vllm", "anthropic"):
        assert speaks(told[f"{provider} whole"]) and speaks(told[f"{provider} streamed"]), told
    assert told["wrong key"] == 401


def test_a_stream_that_breaks_is_told_in_our_words(breaking: Front) -> None:
    """Every client of every API raises, with the gateway's sentence and not with a complaint about its form."""
    told = breaking.node("broken.mjs")
    assert len(told) == 7
    for name, result in told.items():
        assert "type" in result, f"{name} took a broken answer for a whole one: {result}"
        assert LOST in result["message"], (name, result)
