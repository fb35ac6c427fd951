"""The meters of answers that are not streamed: bodies pass, usage is read at the end."""

import tracemalloc

import pytest

from gateway.wire.body_meter import MOST_KEPT_BYTES
from gateway.wire.meters import meter_for

from .transcripts import numbers, parsed, pieces, recorded, shown

RECORDED = {
    "chat.json": ("/v1/chat/completions", (20, 0, 6)),
    "completion.json": ("/v1/completions", (5, 0, 6)),
    "completion_prompts.json": ("/v1/completions", (14, 0, 16)),
    "responses.json": ("/v1/responses", (20, 0, 5)),
    "messages_cached.json": ("/v1/messages", (918, 896, 5)),
}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_recorded_bodies(name: str, size: int) -> None:
    """The body passes byte for byte, and its usage is known at its end, not before."""
    path, counts = RECORDED[name]
    meter = meter_for(parsed(path))
    body = recorded(name)
    assert b"".join([meter.feed(piece) for piece in pieces(body, size)]) == body
    assert not meter.has_usage
    assert meter.end() == b""
    assert numbers(meter) == (*counts, True, True, False, True)


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/messages/count_tokens"])
def test_utilities_cost_no_tokens(path: str) -> None:
    """No model runs, so nothing is read, whatever the body says."""
    meter = meter_for(parsed(path))
    body = b'{"usage":{"prompt_tokens":7,"total_tokens":7}}'
    assert shown(meter, [body]) == body
    assert numbers(meter) == (0, 0, 0, False, True, False, True)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/score"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_pooling_bodies(path: str, size: int) -> None:
    """Prompt tokens only; an embedding of any length is read from its last bytes."""
    usage = b'"usage":{"prompt_tokens":8,"total_tokens":8,"completion_tokens":0,"prompt_tokens_details":null}'
    body = b'{"id":"x","data":[{"embedding":[%b0.5]}],%b}' % (b"0.25," * 3000, usage)
    meter = meter_for(parsed(path))
    assert shown(meter, pieces(body, size)) == body
    assert numbers(meter) == (8, 0, 0, True, True, False, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{broken",
        b'{"usage":null}',
        b'{"usage":{}}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":"8"}}',
        b'{"usage":{"prompt_tokens":1e3}}',
        b'{"usage":{nonsense}}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"])
def test_usage_that_cannot_be_read_stays_unknown(path: str, body: bytes) -> None:
    """The caller then settles by its estimate."""
    meter = meter_for(parsed(path))
    assert shown(meter, [body]) == body
    assert numbers(meter)[:4] == (0, 0, 0, False)


def test_usage_inside_the_answer_is_not_the_usage_of_the_answer() -> None:
    """A tool's input is the model's own JSON: only the outermost `usage` counts."""
    meter = meter_for(parsed("/v1/messages"))
    inner = b'{"usage":{"input_tokens":0,"output_tokens":0}}'
    shown(meter, [b'{"usage":{"input_tokens":4,"output_tokens":2},"content":[{"input":%b}]}' % inner])
    assert numbers(meter)[:3] == (4, 0, 2)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_whole_answer_teaches_the_fingerprint(path: str) -> None:
    """What a worker writes in a whole answer is what its streams lack; an answer without it teaches nothing."""
    meter = meter_for(parsed(path))
    shown(meter, [recorded("chat.json")])
    assert meter.fingerprint == b',"system_fingerprint":"vllm-0.32.0-28a3aadf"'
    for nothing in (b"{}", b'{"system_fingerprint":null}', b'{"choices":[{"system_fingerprint":"x"}]}'):
        meter = meter_for(parsed(path))
        shown(meter, [nothing])
        assert meter.fingerprint is None


def test_an_error_in_a_good_status_is_noted() -> None:
    """vLLM's answers of `/v1/responses` may carry `error: null`, which is none."""
    for body, has_error in ((b'{"error":null}', False), (b'{"error":{"code":1}}', True)):
        meter = meter_for(parsed("/v1/responses"))
        shown(meter, [body])
        assert meter.has_error is has_error


LONG = b"x" * (2 * MOST_KEPT_BYTES)
USAGE = b'"usage":{"prompt_tokens":4,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}'


@pytest.mark.parametrize("size", [100, 2**16, 2**20])
@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":["%b"],"system_fingerprint":"f",%b}' % (LONG, USAGE),
        b'{"system_fingerprint":"f",%b,"prompt_logprobs":["%b"]}' % (USAGE, LONG),
        b'{"system_fingerprint":"f","error":null,"choices":[{"usage":{"prompt_tokens":9}},"%b"],%b}' % (LONG, USAGE),
        b'{"system_fingerprint":"f",%b,"echo":[{"usage":{"prompt_tokens":9}},"%b"]}' % (USAGE, LONG),
    ],
)
def test_a_long_body_is_metered_wherever_its_usage_stands(body: bytes, size: int) -> None:
    """Before or behind what is long; only the outermost members count."""
    meter = meter_for(parsed("/v1/chat/completions"))
    assert shown(meter, pieces(body, size)) == body
    assert numbers(meter) == (4, 1, 2, True, True, False, True)
    assert meter.fingerprint == b',"system_fingerprint":"f"'


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/rerank"])
def test_a_long_body_is_not_kept(path: str) -> None:
    """Of an answer of any length no more stays in memory than of a short one."""
    meter = meter_for(parsed(path))
    tracemalloc.start()
    meter.feed(b'{"text":"')
    for _ in range(64):
        meter.feed(b"x" * 2**16)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * MOST_KEPT_BYTES + 2**17


def test_an_embedding_is_not_kept() -> None:
    """Of a long body of embeddings only the last bytes stay in memory."""
    meter = meter_for(parsed("/v1/embeddings"))
    tracemalloc.start()
    for _ in range(64):
        meter.feed(bytes(2**16))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**18


def test_a_body_that_breaks_off_has_no_usage() -> None:
    """Nothing is read from half a body."""
    meter = meter_for(parsed("/v1/chat/completions"))
    meter.feed(b'{"usage":{"prompt_tokens":1}}')
    assert meter.cut() == b""
    assert numbers(meter) == (0, 0, 0, False, False, False, True)
