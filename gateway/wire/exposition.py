"""Reads the few figures that the gateway needs from an engine's Prometheus metrics.

The names are vLLM's. Gauges and counters are summed over the label `engine` (one for each data-parallel rank); the use
of the cache is averaged. Reading never raises, whatever the text holds: a line that cannot be read is skipped, a figure
that is missing is None, and the number of lines is bounded. Left to others: whether the figures can be true.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

MAX_LINES = 50_000  # vLLM's whole page has 1,200 for each data-parallel rank
MAX_KV_TOKENS = 10**12
_MAX_DIGITS = 64

_RUNNING = b"vllm:num_requests_running"
_WAITING = b"vllm:num_requests_waiting"
_BY_REASON = b"vllm:num_requests_waiting_by_reason"
_KV_USAGE = b"vllm:kv_cache_usage_perc"
_PREEMPTIONS = b"vllm:num_preemptions_total"
_STEPS = b"vllm:iteration_tokens_total_count"
_STEP_TOKENS = b"vllm:iteration_tokens_total_sum"
_PROMPT_TOKENS = b"vllm:prompt_tokens_total"
_OUTPUT_TOKENS = b"vllm:generation_tokens_total"
_CACHE = b"vllm:cache_config_info"

_FIGURES = frozenset(
    {_RUNNING, _WAITING, _BY_REASON, _KV_USAGE, _PREEMPTIONS, _STEPS, _STEP_TOKENS, _PROMPT_TOKENS, _OUTPUT_TOKENS},
)
FIGURE_NAMES = tuple(sorted(name.decode() for name in _FIGURES))
CACHE_NAME = _CACHE.decode()

_DEFERRED = b'reason="deferred"'
_LABEL = re.compile(
    rb'(?<![a-z_])(block_size|kv_cache_size_tokens|kv_cache_max_concurrency|num_gpu_blocks)="([^"]{1,32})"'
)


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """The figures of one page; one that the engine does not export is None. `waiting` does not count the `deferred`."""

    running: float | None
    waiting: float | None
    kv_usage: float | None
    preemptions: float | None
    steps: float | None
    step_tokens: float | None
    output_tokens: float | None
    deferred: float = 0.0
    prompt_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """The size of the KV cache over all ranks, the size of a block, and how many requests of full length fit."""

    kv_tokens: int
    block_tokens: int
    max_full_length_sequences: float | None


def read_figures(page: bytes) -> EngineFigures:
    """The figures on a page of metrics."""
    found = _samples(page, _FIGURES)
    waiting = _sum(found, _WAITING)
    deferred = sum(value for labels, value in found.get(_BY_REASON, ()) if _DEFERRED in labels)
    if waiting is not None:
        waiting = max(0.0, waiting - deferred)
    usages = found.get(_KV_USAGE, ())
    return EngineFigures(
        running=_sum(found, _RUNNING),
        waiting=waiting,
        kv_usage=sum(value for _, value in usages) / len(usages) if usages else None,
        preemptions=_sum(found, _PREEMPTIONS),
        steps=_sum(found, _STEPS),
        step_tokens=_sum(found, _STEP_TOKENS),
        output_tokens=_sum(found, _OUTPUT_TOKENS),
        deferred=deferred,
        prompt_tokens=_sum(found, _PROMPT_TOKENS),
    )


def read_cache(page: bytes) -> CacheFigures | None:
    """What the page says about the KV cache; None if it says nothing usable."""
    ranks = [dict(_LABEL.findall(labels)) for labels, _ in _samples(page, {_CACHE}).get(_CACHE, ())]
    block = max((int(_number(rank.get(b"block_size")) or 0) for rank in ranks), default=0)
    tokens = sum(_number(rank.get(b"kv_cache_size_tokens")) or _tokens_of_blocks(rank, block) for rank in ranks)
    sequences = sum(_number(rank.get(b"kv_cache_max_concurrency")) or 0.0 for rank in ranks)
    if not 0 < tokens <= MAX_KV_TOKENS or not 0 < block <= tokens:
        return None
    return CacheFigures(int(tokens), block, sequences or None)


def _tokens_of_blocks(rank: Mapping[bytes, bytes], block_tokens: int) -> float:
    return (_number(rank.get(b"num_gpu_blocks")) or 0.0) * block_tokens


_Samples = Mapping[bytes, Sequence[tuple[bytes, float]]]


def _sum(found: _Samples, name: bytes) -> float | None:
    if name not in found:
        return None
    total = sum(value for _, value in found[name])
    return total if isfinite(total) else None


def _samples(page: bytes, names: Collection[bytes]) -> _Samples:
    """By name, the labels and the value of each line whose name is among `names`."""
    found: dict[bytes, list[tuple[bytes, float]]] = {}
    for line in page.split(b"\n", MAX_LINES)[:MAX_LINES]:
        head, _, rest = line.rpartition(b"}")  # a value and a timestamp have no brace
        if head:
            name, _, labels = head.partition(b"{")
        else:
            name, _, rest = line.partition(b" ")
            labels = b""
        if name in names and (value := _number(rest.lstrip().partition(b" ")[0])) is not None:
            found.setdefault(name, []).append((labels, value))
    return found


def _number(text: bytes | None) -> float | None:
    """The finite number >= 0 in `text`; None if there is none."""
    if text is None or len(text) > _MAX_DIGITS:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
