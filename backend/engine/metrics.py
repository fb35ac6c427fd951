"""vLLM 0.32's Prometheus metrics of one engine, in a registry of its own.

Names, help texts, labels and buckets are vLLM's (`v1/metrics/loggers.py`). Gauges are set on every step and when a
sequence leaves, counters of tokens on every step, histograms of a request at its end; a disconnect counts nowhere.
Each request is counted once for each of its sequences, as vLLM does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backend.engine.core import Scheduler, Sequence, Step, Tally

_Kind = TypeVar("_Kind", Gauge, Counter)
_LABELS = ("model_name", "engine")

_GAUGES = {
    "num_requests_running": "Number of requests in model execution batches.",
    "num_requests_waiting": "Number of requests waiting to be processed.",
    "kv_cache_usage_perc": "KV-cache usage. 1 means 100 percent usage.",
}
_COUNTERS = {
    "prefix_cache_queries": "Prefix cache queries, in terms of number of queried tokens.",
    "prefix_cache_hits": "Prefix cache hits, in terms of number of cached tokens.",
    "external_prefix_cache_queries": "External prefix cache queries from KV connector "
    "cross-instance cache sharing, in terms of number of queried tokens.",
    "external_prefix_cache_hits": "External prefix cache hits from KV connector "
    "cross-instance cache sharing, in terms of number of cached tokens.",
    "mm_cache_queries": "Multi-modal cache queries, in terms of number of queried items.",
    "mm_cache_hits": "Multi-modal cache hits, in terms of number of cached items.",
    "num_preemptions": "Cumulative number of preemption from the engine.",
    "prompt_tokens": "Number of prefill tokens processed.",
    "prompt_tokens_cached": "Number of cached prompt tokens (local + external).",
    "generation_tokens": "Number of generation tokens processed.",
}
# Metrics with one label more, and the values that vLLM exports from the start.
_WAITING_REASONS = ("capacity", "deferred")
_SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")
_PROMPT_SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
_CACHE_SOURCES = ("device", "host", "p2p", "disk", "external_unspecified")
_FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
_REJECTION_REASONS = ("max_num_queued_reqs", "max_num_queued_tokens")

_LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)
_GAPS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...] | None]] = {
    # None: tokens of a request, whose buckets follow the context length.
    "request_prompt_tokens": ("Number of prefill tokens processed.", None),
    "request_generation_tokens": ("Number of generation tokens processed.", None),
    "iteration_tokens_total": (
        "Histogram of number of tokens per engine_step.",
        (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    ),
    "request_max_num_generation_tokens": ("Histogram of maximum number of requested generation tokens.", None),
    "request_params_n": ("Histogram of the n request parameter.", (1, 2, 5, 10, 20)),
    "request_params_max_tokens": ("Histogram of the max_tokens request parameter.", None),
    "time_to_first_token_seconds": ("Histogram of time to first token in seconds.", _TTFT),
    "inter_token_latency_seconds": ("Histogram of inter-token latency in seconds.", _GAPS),
    "request_time_per_output_token_seconds": (
        "Histogram of time_per_output_token_seconds per request.",
        _GAPS,
    ),
    "e2e_request_latency_seconds": ("Histogram of e2e request latency in seconds.", _LATENCY),
    "request_queue_time_seconds": ("Histogram of time spent in WAITING phase for request.", _LATENCY),
    "request_inference_time_seconds": ("Histogram of time spent in RUNNING phase for request.", _LATENCY),
    "request_prefill_time_seconds": ("Histogram of time spent in PREFILL phase for request.", _LATENCY),
    "request_decode_time_seconds": ("Histogram of time spent in DECODE phase for request.", _LATENCY),
    "request_num_preemptions": (
        "Histogram of the number of times a request was preempted.",
        (1, 2, 3, 4, 5, 10, 20),
    ),
    "request_prefill_kv_computed_tokens": (
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        None,
    ),
}


def _token_buckets(largest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, ... up to `largest`."""
    series = (digit * 10**power for power in range(12) for digit in (1, 2, 5))
    return tuple(float(bound) for bound in series if bound <= largest)


class EngineMetrics:
    """The exported numbers of one engine."""

    def __init__(self, model: str, scheduler: Scheduler) -> None:
        self.registry = CollectorRegistry()
        self._scheduler = scheduler
        self._labels = {"model_name": model, "engine": "0"}
        self._exported = Tally()
        self._gauges = {name: self._gauge(name, text) for name, text in _GAUGES.items()}
        self._counters = {name: self._counter(name, text) for name, text in _COUNTERS.items()}
        buckets = _token_buckets(scheduler.capacity.max_model_len)
        self._histograms = {
            name: Histogram(f"vllm:{name}", text, _LABELS, registry=self.registry, buckets=bounds or buckets).labels(
                **self._labels
            )
            for name, (text, bounds) in _HISTOGRAMS.items()
        }
        self._make_labelled()
        self.observe_queue()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(**self._labels)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(**self._labels)

    def _make_labelled(self) -> None:
        self._waiting = self._split(
            Gauge, "num_requests_waiting_by_reason", "Number of waiting requests by reason.", "reason", _WAITING_REASONS
        )
        sleep = self._split(Gauge, "engine_sleep_state", "Engine sleep state.", "sleep_state", _SLEEP_STATES)
        sleep["awake"].set(1)
        self._prompt_by_source = self._split(
            Counter, "prompt_tokens_by_source", "Number of prompt tokens by source.", "source", _PROMPT_SOURCES
        )
        self._cached_by_source = self._split(
            Counter, "prompt_tokens_cached_by_source", "Prefix-cache hit tokens by tier.", "source", _CACHE_SOURCES
        )
        self._success = self._split(
            Counter,
            "request_success",
            "Count of successfully processed requests.",
            "finished_reason",
            _FINISH_REASONS,
        )
        rejections = Counter(
            "vllm:admission_rejections",
            "Number of admission attempts rejected by a queue limit, by reason.",
            ("model_name", "reason"),
            registry=self.registry,
        )
        self._rejections = {
            reason: rejections.labels(self._labels["model_name"], reason) for reason in _REJECTION_REASONS
        }
        self._cache_config()

    def _split(self, kind: type[_Kind], name: str, text: str, label: str, values: Iterable[str]) -> dict[str, _Kind]:
        metric = kind(f"vllm:{name}", text, (*_LABELS, label), registry=self.registry)
        return {value: metric.labels(**self._labels, **{label: value}) for value in values}

    def _cache_config(self) -> None:
        capacity = self._scheduler.capacity
        tokens = capacity.num_blocks * capacity.block_size
        facts: Mapping[str, str] = {
            "block_size": str(capacity.block_size),
            "num_gpu_blocks": str(capacity.num_blocks),
            "kv_cache_size_tokens": str(tokens),
            "kv_cache_max_concurrency": str(tokens / capacity.max_model_len),
            "enable_prefix_caching": "True",
            "engine": "0",
        }
        Gauge(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig",
            tuple(facts),
            registry=self.registry,
        ).labels(**facts).set(1)

    def observe_queue(self) -> None:
        """Set the gauges from the scheduler."""
        waiting = len(self._scheduler.waiting)
        self._gauges["num_requests_running"].set(len(self._scheduler.running))
        self._gauges["num_requests_waiting"].set(waiting)
        self._gauges["kv_cache_usage_perc"].set(self._scheduler.pool.usage)
        self._waiting["capacity"].set(waiting)

    def observe_step(self, step: Step, output_tokens: int) -> None:
        """Book a completed step."""
        tally, exported = self._scheduler.tally, self._exported
        counters = self._counters
        counters["generation_tokens"].inc(output_tokens)
        if tally.preemptions > exported.preemptions:
            counters["num_preemptions"].inc(tally.preemptions - exported.preemptions)
        if tally.cache_queries > exported.cache_queries:
            counters["prefix_cache_queries"].inc(tally.cache_queries - exported.cache_queries)
        if tally.cache_hits > exported.cache_hits:
            hits = tally.cache_hits - exported.cache_hits
            counters["prefix_cache_hits"].inc(hits)
            self._cached_by_source["device"].inc(hits)
        self._exported = replace(tally)
        self._histograms["iteration_tokens_total"].observe(step.batch.tokens)
        self.observe_queue()

    def observe_first_token(self, sequence: Sequence) -> None:
        """Book a prompt that is now computed."""
        assert sequence.first_token_at is not None
        self._counters["prompt_tokens"].inc(sequence.prompt_tokens)
        self._prompt_by_source["local_compute"].inc(sequence.prompt_tokens - sequence.cached_tokens)
        if sequence.cached_tokens:
            self._counters["prompt_tokens_cached"].inc(sequence.cached_tokens)
            self._prompt_by_source["local_cache_hit"].inc(sequence.cached_tokens)
        self._histograms["time_to_first_token_seconds"].observe(sequence.first_token_at - sequence.arrived_at)

    def observe_gap(self, seconds: float) -> None:
        """Book the time between two tokens of one sequence."""
        self._histograms["inter_token_latency_seconds"].observe(seconds)

    def observe_finished(self, sequence: Sequence, reason: str, choices: int, max_tokens: int | None) -> None:
        """Book a sequence that ended by itself."""
        scheduled, first, last = sequence.scheduled_at, sequence.first_token_at, sequence.last_token_at
        assert scheduled is not None and first is not None and last is not None
        self._success[reason].inc()
        observed = {
            "request_prompt_tokens": sequence.prompt_tokens,
            "request_generation_tokens": sequence.output_tokens,
            "request_max_num_generation_tokens": sequence.output_tokens,
            "request_params_n": choices,
            "e2e_request_latency_seconds": last - sequence.arrived_at,
            "request_queue_time_seconds": scheduled - sequence.arrived_at,
            "request_inference_time_seconds": last - scheduled,
            "request_prefill_time_seconds": first - scheduled,
            "request_decode_time_seconds": last - first,
            "request_num_preemptions": sequence.preemptions,
            "request_prefill_kv_computed_tokens": sequence.prompt_tokens - sequence.cached_tokens,
        }
        if max_tokens is not None:
            observed["request_params_max_tokens"] = max_tokens
        if sequence.output_tokens > 1:
            observed["request_time_per_output_token_seconds"] = (last - first) / (sequence.output_tokens - 1)
        for name, value in observed.items():
            self._histograms[name].observe(value)

    def observe_rejection(self) -> None:
        """Book a request refused because the queue is full."""
        self._rejections["max_num_queued_reqs"].inc()
