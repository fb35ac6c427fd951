"""Recorded answers of vLLM 0.32 and ways to cut a byte string into reads.

The corpus was recorded from `python -m backend vllm` with a random-weight byte-level Llama and
`--enable-prompt-tokens-details`; only the times of creation were set to one value.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import orjson
from hypothesis import HealthCheck, settings

from gateway.wire.meter import Meter
from gateway.wire.request import ParsedRequest, Rights, read_request
from gateway.wire.surface import ENDPOINTS

# A slow machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CORPUS = Path(__file__).parent / "corpus"
EVERYTHING = Rights(
    allow=frozenset({"echo", "best_of", "beam_search", "ignore_eos", "prompt_logprobs"}), max_choices=64
)
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
    "/v1/embeddings": {"input": "hi"},
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v1/score": {"queries": "q", "documents": ["a", "b"]},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [1]},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
}
"""A small valid request of each path, without its model."""


def recorded(name: str) -> bytes:
    """The body of the recorded answer `name`."""
    return (CORPUS / name).read_bytes()


def parsed(path: str, **fields: object) -> ParsedRequest:
    """A parsed small valid request to `path` with `fields` in it."""
    return read_request(ENDPOINTS[path], orjson.dumps({"model": "tiny", **BODIES[path], **fields}), EVERYTHING)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in reads of `size` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def at_cuts(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in reads that end at `cuts`."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def shown(meter: Meter, reads: Iterator[bytes] | list[bytes]) -> bytes:
    """What the client sees of a whole answer that comes in `reads`."""
    return b"".join([meter.feed(read) for read in reads]) + meter.end()


def numbers(meter: Meter) -> tuple[int, int, int, bool, bool, bool, bool]:
    """Everything that a meter says of an answer."""
    return (
        meter.prompt_tokens,
        meter.cached_tokens,
        meter.output_tokens,
        meter.has_usage,
        meter.is_complete,
        meter.has_error,
        meter.outputs > 0,
    )
