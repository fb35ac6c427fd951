"""What is cut of Claude Code's billing header is nothing that the installed vLLM renders."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import orjson
from vllm_servers import ROOT

from backend.vllm.launch import find_python
from gateway.wire.request import Rights, read_request
from gateway.wire.surface import ENDPOINTS

RENDER_SECONDS = 120
LINE = "x-anthropic-billing-header: cc_version=2.1.7.abc; cc_entrypoint=cli; cch=a1b2c;"
ASKED = {"role": "user", "content": "hi"}


def part(text: str) -> dict[str, str]:
    """A text block."""
    return {"type": "text", "text": text}


def anthropic(system: Any, *later: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A request to Anthropic's API."""
    return "/v1/messages", {"model": "m", "max_tokens": 5, "system": system, "messages": [ASKED, *later]}


def openai(content: Any) -> tuple[str, dict[str, Any]]:
    """A chat that begins with a system message."""
    return "/v1/chat/completions", {"model": "m", "messages": [{"role": "system", "content": content}, ASKED]}


REQUESTS = [
    anthropic([part(LINE), part("Be kind.")]),
    anthropic([part(LINE)]),
    anthropic(f"{LINE}\nBe kind."),
    anthropic(LINE),
    anthropic([part(f"{LINE}\nmore of the block"), part("Be kind.")]),
    anthropic("Be kind.", {"role": "system", "content": LINE}),
    anthropic("Be kind.", {"role": "system", "content": [part("a"), part(LINE)]}),
    openai(f"{LINE}\nBe kind."),
    openai(LINE),
    openai([part(f"{LINE}\nBe kind."), part(LINE), part("b")]),
]


def rendered(requests: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What vLLM's own interpreter renders."""
    script = Path(__file__).with_name("dump_rendered.py")
    command = [str(find_python(None, os.environ)), str(script)]
    done = subprocess.run(
        command, input=json.dumps(requests).encode(), check=True, capture_output=True, timeout=RENDER_SECONDS, cwd=ROOT
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def test_the_engine_renders_the_same_with_the_header_cut() -> None:
    """Each request as the client wrote it and as the worker is sent it; the header is in none of them."""
    sent = []
    for path, body in REQUESTS:
        parsed = read_request(ENDPOINTS[path], orjson.dumps(body), Rights())
        sent.append((path, orjson.loads(parsed.upstream_start("m", "s") + parsed.rest)))
    assert all("cch=" not in json.dumps(body) for _, body in sent)
    before = rendered(REQUESTS)
    assert rendered(sent) == before
    assert "billing" not in json.dumps(before)
