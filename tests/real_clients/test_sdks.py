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
    found = front.node("openai.mjs")
    for name in ("whole", "streamed", "responses", "responses streamed"):
        assert speaks(found[name]), (name, found[name])
    assert found["helper"]["text"] and re.fullmatch("[0-9a-f]{32}", found["whole"]["id"])
    assert isinstance(found["tool"]["colour"], str)
    assert found["completion"]["text"] and found["completion"]["finish_reason"] == "length"
    assert (found["responses streamed"]["first"], found["responses streamed"]["last"]) == (
        "response.created",
        "response.completed",
    )
    assert (found["embedding"], found["models"], found["left"]) == (2, ["tiny"], True)
    assert errors(found, "wrong key", "wrong model", "wrong field", "forbidden", "twice /v1") == [
        ("AuthenticationError", 401),
        ("NotFoundError", 404),
        ("BadRequestError", 400),
        ("PermissionDeniedError", 403),
        ("NotFoundError", 404),
    ]
    assert "allow: [ignore_eos]" in found["forbidden"]["message"]


def test_anthropic_for_node(front: Front) -> None:
    """Messages whole, streamed and by the helper, tools, counting; faults are the SDK's errors."""
    found = front.node("anthropic.mjs")
    assert speaks(found["whole"]) and re.fullmatch("[0-9a-f]{32}", found["whole"]["id"])
    assert speaks(found["helper"]) and found["helper"]["stop"] == "max_tokens"
    assert {"message_start", "content_block_delta", "message_delta", "message_stop"} <= set(found["streamed"])
    assert isinstance(found["tool"]["colour"], str) and found["count"] > 0
    assert errors(found, "wrong key", "wrong model", "twice /v1") == [
        ("AuthenticationError", 401),
        ("NotFoundError", 404),
        ("NotFoundError", 404),
    ]


def test_the_ai_sdk(front: Front) -> None:
    """Its four providers for the four APIs, whole and streamed, validate what the gateway passes on."""
    found = front.node("ai_sdk.mjs")
    for provider in ("responses", "chat", "compatible", "messages"):
        assert speaks(found[f"{provider} whole"]), found[f"{provider} whole"]
        assert speaks(found[f"{provider} streamed"]), found[f"{provider} streamed"]
    assert isinstance(found["tool"]["colour"], str) and found["embeddings"] == 2
    assert found["wrong key"]["status"] == 401


def test_langchain(front: Front) -> None:
    """Its OpenAI and Anthropic models, streamed with their usage, a bound tool, embeddings."""
    found = front.results(PYTHON, HERE / "python" / "langchain_calls.py")
    for name in ("openai whole", "openai streamed", "anthropic whole", "anthropic streamed", "responses"):
        assert speaks(found[name]), (name, found[name])
    assert isinstance(found["tool"]["colour"], str) and found["embeddings"] == 2


def test_litellm(front: Front) -> None:
    """As a client, by three of its providers."""
    found = front.results(PYTHON, HERE / "python" / "litellm_calls.py")
    for provider in ("openai", "hosted_vllm", "anthropic"):
        assert speaks(found[f"{provider} whole"]) and speaks(found[f"{provider} streamed"]), found
    assert found["wrong key"] == 401


WORDS = {
    "rate": r"This key's tenant has reached its rate limit\. Retry after \d{2,} s\.",
    "budget": r"The budget of this key's tenant for this month has too little left .* a retry has no effect\.",
}


def check_ended_at_once(found: Mapping[str, Any], calls: int) -> None:
    """Of a tenant's `calls` each made one attempt, although five more were allowed, and told the gateway's words."""
    for why, words in WORDS.items():
        names = [name for name in found if name.startswith(f"{why}:") and not name.endswith("attempts")]
        assert len(names) == calls
        assert errors(found, *names) == [("RateLimitError", 429)] * calls
        for name in names:
            assert re.search(words, found[name]["message"]), (name, found[name])
            assert found[f"{name}: attempts"] == 1, name


def test_the_vendors_sdks_for_node_end_at_once_where_retrying_is_vain(front: Front) -> None:
    """The tenant owes its rate more than a minute, or its budget is used up for the month."""
    check_ended_at_once(front.node("spent.mjs"), calls=6)


def test_the_vendors_sdks_for_python_end_at_once_where_retrying_is_vain(front: Front) -> None:
    """As those for Node."""
    check_ended_at_once(front.results(PYTHON, HERE / "python" / "spent_calls.py"), calls=5)


def test_a_stream_that_breaks_is_reported_in_our_words(breaking: Front) -> None:
    """Every client of every API raises, with the gateway's sentence and not with a complaint about its form."""
    found = breaking.node("broken.mjs")
    assert len(found) == 7
    for name, result in found.items():
        assert "type" in result, f"{name} took a broken answer for a whole one: {result}"
        assert LOST in result["message"], (name, result)
