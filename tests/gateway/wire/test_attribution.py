"""Claude Code's attribution header: its value goes, what the engine renders stays."""

import copy
from typing import Any

import orjson
import pytest

from gateway.wire.attribution import HEADER
from gateway.wire.request import ParsedRequest, Rights, read_request
from gateway.wire.surface import ENDPOINTS

LINE = f"{HEADER}: cc_version=2.1.7.abc; cc_entrypoint=cli; cch={{cch}};"
KIND = "You are kind."
ASKED = {"role": "user", "content": "hi"}


def part(text: str) -> dict[str, Any]:
    """A text block, marked for the cache as Claude Code marks them."""
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


def messages(system: Any) -> dict[str, Any]:
    """A request to Anthropic's API."""
    return {"max_tokens": 5, "system": system, "messages": [ASKED]}


def said(content: Any, listing: str = "messages") -> dict[str, Any]:
    """A conversation that begins with a system message."""
    return {"max_tokens": 5, listing: [{"role": "system", "content": content}, ASKED]}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a block of its own": ("/v1/messages", messages([part(LINE), part(KIND)])),
    "a block alone": ("/v1/messages", messages([part(LINE)])),
    "the text's first line": ("/v1/messages", messages(f"{LINE}\n{KIND}")),
    "the whole text": ("/v1/messages", messages(LINE)),
    "a later system message": (
        "/v1/messages",
        {"max_tokens": 5, "messages": [ASKED, {"role": "system", "content": LINE}]},
    ),
    "a later system message of blocks": (
        "/v1/messages",
        {"max_tokens": 5, "messages": [ASKED, {"role": "system", "content": [part(KIND), part(LINE)]}]},
    ),
    "chat, a text": ("/v1/chat/completions", said(f"{LINE}\n{KIND}")),
    "chat, parts": ("/v1/chat/completions", said([part(f"{LINE}\n{KIND}"), part(LINE)])),
    "chat, bare texts as parts": ("/v1/chat/completions", said([f"{LINE}\n{KIND}"])),
    "responses, instructions": ("/v1/responses", {"instructions": f"{LINE}\n{KIND}", "input": "hi"}),
    "responses, an item": ("/v1/responses", said(f"{LINE}\n{KIND}", "input")),
}


def read(path: str, fields: dict[str, Any]) -> ParsedRequest:
    """What the gateway makes of a request."""
    return read_request(ENDPOINTS[path], orjson.dumps({"model": "m", **fields}), Rights())


def marked(fields: Any, cch: str) -> Any:
    """`fields` with `cch` as this request's mark."""
    return orjson.loads(orjson.dumps(fields).replace(b"{cch}", cch.encode()))


@pytest.mark.parametrize("case", CASES)
def test_requests_that_differ_in_the_header_alone_are_one(case: str) -> None:
    """Their prompts and identities are the same, and the worker is sent the same."""
    path, fields = CASES[case]
    first, second = (read(path, marked(fields, cch)) for cch in ("aaaaa", "b"))
    assert first.prompt == second.prompt
    assert first.identity == second.identity
    assert (first.upstream_start("m", "s"), first.rest) == (second.upstream_start("m", "s"), second.rest)


@pytest.mark.parametrize("case", CASES)
def test_nothing_but_the_headers_value_goes(case: str) -> None:
    """What stands behind it and beside it is sent as it came, and the engine finds the header where it was."""
    path, fields = CASES[case]
    parsed = read(path, fields)
    sent = parsed.upstream_start("m", "s") + parsed.rest
    assert LINE.encode() not in sent
    expected = orjson.loads(orjson.dumps(fields).replace(LINE.encode(), f"{HEADER}:".encode()))
    assert orjson.loads(sent).items() >= expected.items()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LINE}]}),
        ("/v1/chat/completions", {"messages": [{"role": "developer", "content": LINE}]}),
        ("/v1/chat/completions", said(f"{KIND}\n{LINE}")),
        ("/v1/messages", messages([part(f" {LINE}")])),
        ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": [part(LINE)]}]}),
        ("/v1/completions", {"prompt": LINE}),
        ("/v1/responses", {"input": LINE}),
        ("/v1/messages", messages([{"type": "text"}, 7, None, {"type": "text", "text": 5}])),
        ("/v1/chat/completions", {"messages": [{"role": "system"}, {"role": "system", "content": None}, 3]}),
    ],
)
def test_the_same_words_elsewhere_are_words(path: str, fields: dict[str, Any]) -> None:
    """A user may speak of the header; only a system text that begins with it carries it."""
    before = copy.deepcopy(fields)
    parsed = read(path, fields)
    assert orjson.loads(parsed.upstream_start("m", "s") + parsed.rest).items() >= before.items()
