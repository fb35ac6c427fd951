"""A stream of real vLLM that is silent while its engine makes steps: hidden reasoning, tools that are collected.

The limits are a second and less than half of what the model thinks: a gateway that took silence for a fault would end
every one of these answers.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OUR_SERVER_SECONDS, SEQUENCES, TERSE_JSON, VLLM_SECONDS, Gateway, write_gateway_config
from contract_cases import MODEL
from vllm_exchange import exchange
from vllm_servers import python, running

from backend.vllm.models import write_byte_llama

LIMIT_SECONDS = 1.0
TOKENS = 1800
THOUGHT = ("<think>", "</think>")
HELLO = [{"role": "user", "content": "Hello"}]
LONG: dict[str, Any] = {"model": MODEL, "stream": True, "ignore_eos": True}
PAINT = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}


@pytest.fixture(scope="module")
def thinking_url(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[str]:
    """vLLM whose model is taken to think until it says that it has done, which random weights never do."""
    folder = tmp_path_factory.mktemp("thinking") / MODEL
    write_byte_llama(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    last = tokenizer["added_tokens"][-1]
    tokenizer["added_tokens"] += [last | {"id": last["id"] + 1 + n, "content": each} for n, each in enumerate(THOUGHT)]
    path.write_text(json.dumps(tokenizer), "utf-8")
    parsers = ("--reasoning-parser", "deepseek_r1", "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    command = python("backend", "vllm", "--model", str(folder), "--", "--load-format", "dummy", *parsers)
    with running([*command, "--max-num-seqs", str(SEQUENCES), *TERSE_JSON], logs / "thinking.log", VLLM_SECONDS) as url:
        yield url


@pytest.fixture(scope="module")
def impatient(thinking_url: str, logs: Path) -> Iterator[Gateway]:
    """A gateway whose limits are shorter than the answers' silences."""
    config = logs / "impatient.yaml"
    timeouts = {"first_byte_seconds": LIMIT_SECONDS, "stall_seconds": LIMIT_SECONDS}
    write_gateway_config(config, thinking_url, pool_keys={"timeouts": timeouts})
    with running(
        python("gateway", "serve", str(config), "--announce"), logs / "impatient.log", OUR_SERVER_SECONDS
    ) as url:
        yield Gateway(url)


CASES = {
    "chat, reasoning hidden": (
        "/v1/chat/completions",
        LONG | {"messages": HELLO, "max_tokens": TOKENS, "min_tokens": TOKENS, "include_reasoning": False},
    ),
    "chat, reasoning shown": ("/v1/chat/completions", LONG | {"messages": HELLO, "max_tokens": TOKENS}),
    "responses, reasoning hidden": (
        "/v1/responses",
        {"model": MODEL, "stream": True, "input": "Hello", "max_output_tokens": TOKENS, "include_reasoning": False},
    ),
    "chat, a named tool": (
        "/v1/chat/completions",
        LONG
        | {
            "messages": HELLO,
            "max_tokens": TOKENS,
            "ignore_eos": False,
            "tools": [{"type": "function", "function": {"name": "paint", "parameters": PAINT}}],
            "tool_choice": {"type": "function", "function": {"name": "paint"}},
        },
    ),
    "chat, tools by choice": (
        "/v1/chat/completions",
        LONG
        | {
            "messages": HELLO,
            "max_tokens": TOKENS,
            "include_reasoning": False,
            "tools": [{"type": "function", "function": {"name": "paint", "parameters": PAINT}}],
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_silent_stream_is_served_to_its_end(impatient: Gateway, case: str) -> None:
    """No error event, no worker that goes down, whatever the parsers hold back."""
    path, body = CASES[case]
    answer = impatient.ask("POST", path, body)
    assert answer.status == 200, answer
    end = b"response." if path == "/v1/responses" else b"data: [DONE]"
    assert answer.events[-1].startswith((end, b"event: " + end)), answer.body[-500:]
    assert not [event for event in answer.events if b'"error":{' in event or event.startswith(b"event: error")]
    (worker,) = impatient.state()["workers"]
    assert worker["state"] == "serving"


def test_hidden_reasoning_is_silent_for_longer_than_the_limit(thinking_url: str) -> None:
    """Else the test above would show nothing: the answer has one piece between its role and its end."""
    _, body = CASES["chat, reasoning hidden"]
    began = time.monotonic()
    answer = exchange(thinking_url, "POST", "/v1/chat/completions", body)
    assert time.monotonic() - began > 2 * LIMIT_SECONDS
    assert len([event for event in answer.events if b'"choices":[{' in event]) <= 3, answer.body[:2000]
