"""The paced engine sends vLLM's bytes, at the pace that the prompt asks for."""

import asyncio
import itertools
import re
from pathlib import Path

import pytest
from virtual_time import run_in_virtual_time

from evaluation.bench.datapath.engine import (
    PROMPT_TOKENS,
    STREAM_HEAD,
    Calendar,
    EngineConnection,
    Frames,
    whole_answer,
)

CORPUS = Path(__file__).parents[2] / "gateway" / "wire" / "corpus"
TOKENS = 6
FORMS = ("forced", "none", "usage")

# What differs between two answers of one form: names, the model's words, and who wrote them.
_OWN = re.compile(rb'"id":"[^"]*"|"model":"[^"]*"|"content":"(?:[^"\\]|\\.)+"')
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n(.*?)\r\n(?=[0-9a-f]+\r\n)", re.DOTALL)


def without_ids(text: bytes) -> bytes:
    """`text` without what is its own."""
    return _OWN.sub(b"", text)


def unchunked(body: bytes) -> bytes:
    """The content of a chunked body, each length checked."""
    chunks = _CHUNK.findall(body)
    assert all(int(length, 16) == len(content) for length, content in chunks)
    assert body.endswith(b"\r\n0\r\n\r\n")
    return b"".join(content for _, content in chunks)


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_is_what_vllm_sends(form: str) -> None:
    """Byte for byte a recorded stream, but for names and words."""
    frames = Frames(form)
    body = frames.role + b"".join(frames.tokens(TOKENS)[: TOKENS - 1]) + frames.end(TOKENS)
    assert PROMPT_TOKENS == 20
    assert without_ids(unchunked(body)) == without_ids((CORPUS / f"chat.{form}.sse").read_bytes())


def test_a_whole_answer_is_what_vllm_sends() -> None:
    """The body is the recorded one but for names and words, and its length is stated."""
    head, _, body = whole_answer(TOKENS).partition(b"\r\n\r\n")
    assert without_ids(body) == without_ids((CORPUS / "chat.json").read_bytes())
    assert b"content-length: %d\r\n" % len(body) in head


class Wire(asyncio.Transport):
    """A transport that notes what is written, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, bytes]] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append((asyncio.get_running_loop().time(), data))

    def is_closing(self) -> bool:
        return False


def ask(connection: EngineConnection, body: bytes) -> Wire:
    """Send a chat request on `connection`."""
    wire = Wire()
    connection.connection_made(wire)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    connection.data_received(head + body)
    return wire


def test_tokens_come_at_the_pace_that_the_prompt_names() -> None:
    """The first token at once, then one every 40 ms for `pace 25`, the end with the last."""

    async def scene() -> list[tuple[float, bytes]]:
        loop = asyncio.get_running_loop()
        forms = {form: Frames(form) for form in FORMS}
        body = b'{"stream": true, "max_tokens": 5, "messages": [{"content": "pace 25 phases 1 please"}]}'
        wire = ask(EngineConnection(Calendar(loop), forms), body)
        await asyncio.sleep(1.0)
        return [(at - wire.written[0][0], data) for at, data in wire.written]

    (_, head), (first, _), *tokens = run_in_virtual_time(scene())
    assert first == 0.0
    assert head.startswith(STREAM_HEAD)
    assert len(tokens) == 4
    steps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(tokens)]
    assert steps == pytest.approx([0.040] * 3, abs=0.0011)
    assert tokens[-1][1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(("phases", "apart"), [(1, {0}), (2, {0, 20}), (40, {0, 1, 2, 3})])
def test_streams_of_one_engine_step_together(phases: int, apart: set[int]) -> None:
    """Of four streams that begin at different times, those of one phase get each token at the same moment."""

    async def scene() -> list[list[float]]:
        calendar, forms = Calendar(asyncio.get_running_loop()), {form: Frames(form) for form in FORMS}
        body = b'{"stream": true, "max_tokens": 9, "messages": [{"content": "pace 25 phases %d"}]}' % phases
        wires = []
        for _ in range(4):
            wires.append(ask(EngineConnection(calendar, forms), body))
            await asyncio.sleep(0.013)
        await asyncio.sleep(1.0)
        return [[at for at, _ in wire.written[1:]] for wire in wires]

    ends = [times[-5:] for times in run_in_virtual_time(scene())]
    moments = {round(at * 1000) % 40 for times in ends for at in times}
    assert {(each - min(moments)) for each in moments} == apart
