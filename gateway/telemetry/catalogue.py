"""Every metric of the gateway: name, type, labels, buckets, meaning.

Base units (seconds, tokens), prefix `vtc_gateway_`, lint-clean for promtool. `pool` is the pool's
configured model name, whatever alias a client used; `tenant` is subject to the label cap. Per-tenant
histograms are two, the wait and the first token, because each costs a dozen series per tenant and pool; the
others are per pool. Updating is left to `Metrics`.
"""

from gateway.telemetry.families import Counter, Family, Gauge, Histogram, Labels

PREFIX = "vtc_gateway_"

_POOL: Labels = ("pool",)
_SHARE: Labels = ("pool", "tenant")
_WORKER: Labels = ("pool", "worker")

# From "room was free" (under a millisecond) over one release of room (tens of milliseconds to seconds) to the
# queue's time-out, 60 s by default; beyond it there is nothing to tell apart.
WAIT_BOUNDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# 0.1 to 1 s decides whether a chat feels alive; the tail reaches the worker's first-byte limit (120 s).
TTFT_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
# A small model on a good GPU needs 3 ms a token, a large one under load 100 ms; readers notice 200 ms.
INTER_TOKEN_BOUNDS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
# Roughly doubling: an embedding takes tens of milliseconds, a long reasoning answer ten minutes.
DURATION_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# The gateway's own share is some hundred microseconds; 50 ms is the promise never to block longer.
OVERHEAD_BOUNDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


def _counter(name: str, help_text: str, labels: Labels = ()) -> Counter:
    return Counter(PREFIX + name, help_text, labels)


def _gauge(name: str, help_text: str, labels: Labels = ()) -> Gauge:
    return Gauge(PREFIX + name, help_text, labels)


def _histogram(name: str, help_text: str, labels: Labels, bounds: tuple[float, ...]) -> Histogram:
    return Histogram(PREFIX + name, help_text, labels, bounds=bounds)


class EventFamilies:
    """Counters and histograms, fed by events."""

    def __init__(self) -> None:
        self.requests = _counter(
            "requests_total", "Requests that ended, by how they ended.", ("pool", "tenant", "outcome")
        )
        self.refusals = _counter(
            "refusals_total", "Requests turned away before any worker saw them, by reason.", ("reason",)
        )
        self.tokens = _counter(
            "tokens_total",
            "Tokens of ended requests; cached tokens are part of the prompt tokens.",
            ("pool", "tenant", "kind"),
        )
        self.service = _counter(
            "service_total", "Service given to ended requests, in cost units, not divided by weight.", _SHARE
        )
        self.uncounted = _counter(
            "uncounted_tokens_total",
            "Output tokens of ended requests charged by estimate: not counted by an engine.",
            _SHARE,
        )
        self.queue_wait = _histogram(
            "queue_wait_seconds",
            "Time in the gateway's queue, whether the wait ended in a worker or in a refusal.",
            _SHARE,
            WAIT_BOUNDS,
        )
        self.ttft = _histogram(
            "ttft_seconds",
            "Time from a request's arrival to its first generated token, queue included.",
            _SHARE,
            TTFT_BOUNDS,
        )
        self.ttft_wait = _counter(
            "ttft_wait_seconds_total",
            "The part of the times to first token that was spent in the queue.",
            _POOL,
        )
        self.inter_token = _histogram(
            "inter_token_seconds",
            "Mean time between tokens of each streamed answer.",
            _POOL,
            INTER_TOKEN_BOUNDS,
        )
        self.duration = _histogram(
            "request_duration_seconds",
            "Time from a request's arrival to its end, however it ended.",
            _POOL,
            DURATION_BOUNDS,
        )
        self.overhead = _histogram(
            "gateway_overhead_seconds",
            "The gateway's own share: from the body received to the bytes handed to a worker, less the wait.",
            (),
            OVERHEAD_BOUNDS,
        )
        self.dispatches = _counter(
            "worker_dispatches_total", "Requests handed to a worker, further attempts included.", _WORKER
        )
        self.retries = _counter("retries_total", "Further attempts after a worker failed before its first byte.", _POOL)
        self.capped = _counter(
            "usage_capped_total", "Answers of which a worker said more tokens than the request can have taken.", _WORKER
        )
        self.fallbacks = _counter(
            "fallbacks_total",
            "Requests taken to another pool because no worker of the one they asked for served.",
            ("pool", "fallback"),
        )
        self.worker_changes = _counter(
            "worker_state_changes_total",
            "Changes of a worker's health, by the state it changed to.",
            ("pool", "worker", "state"),
        )
        self.reloads = _counter(
            "config_reloads_total",
            "Changed configurations, applied (success) or rejected (failure).",
            ("result",),
        )

        self.observer_failures = _counter(
            "observer_failures_total",
            "Events at which a part of the gateway that only looks on failed; requests go on.",
            ("observer",),
        )

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


class StateFamilies:
    """Gauges, read from snapshots at each scrape."""

    def __init__(self) -> None:
        self.virtual_tokens = _gauge(
            "virtual_tokens",
            "Virtual token counter: charged service divided by weight, lifts and reservations included.",
            _SHARE,
        )
        self.weight = _gauge("tenant_weight", "Configured weight of a tenant.", _SHARE)
        self.queue_depth = _gauge("queue_depth", "Requests waiting in the gateway's queue.", _SHARE)
        self.oldest_wait = _gauge(
            "queue_oldest_wait_seconds", "How long the oldest waiting request has waited so far.", _SHARE
        )
        self.queue_max = _gauge(
            "queue_max_requests", "Most requests that may wait in the pool: scheduler.max_queued.", _POOL
        )
        self.queue_timeout = _gauge(
            "queue_timeout_seconds", "How long a request may wait: scheduler.queue_timeout_seconds.", _POOL
        )
        self.held = _gauge("tenant_held", "1 where a tenant waits for its own limits, not for the others.", _SHARE)
        self.in_flight = _gauge("in_flight", "Requests handed to workers that have not ended.", _SHARE)
        self.bodies = _gauge(
            "body_bytes",
            "Bodies in memory: of requests not answered yet (pool _none: still read), of whole answers not taken yet.",
            _SHARE,
        )
        self.bodies_max = _gauge("body_max_bytes", "Most that bodies may take together: listen.max_bodies_mib.")
        self.spread = _gauge(
            "spread",
            "Largest difference between the virtual counters of waiting tenants, in cost units.",
            _POOL,
        )
        self.spread_bound = _gauge(
            "spread_bound", "What the spread may be at most while the scheduler keeps its promise.", _POOL
        )
        self.jain_index = _gauge(
            "jain_index",
            "Jain's index of waiting tenants' recent service by weight; 1 is equal, 1/n is one takes all.",
            _POOL,
        )
        self.estimated = _gauge(
            "estimated_tokens",
            "Output tokens of streams in flight charged by estimate: not counted by their engines.",
            _POOL,
        )
        self.drain_rate = _gauge(
            "drain_rate_requests_per_second",
            "Requests leaving the queue for a worker; Retry-After rests on it.",
            _POOL,
        )
        self.worker_up = _gauge(
            "worker_up",
            "1 where a worker may be given requests; state says more.",
            ("pool", "worker", "state"),
        )
        self.worker_sequences = _gauge("worker_in_flight_sequences", "Sequences a worker holds.", _WORKER)
        self.worker_window_sequences = _gauge("worker_window_sequences", "Sequences a worker may hold.", _WORKER)
        self.worker_prefill = _gauge(
            "worker_prefill_tokens", "Prompt tokens at a worker that are not prefilled yet.", _WORKER
        )
        self.worker_window_prefill = _gauge(
            "worker_window_prefill_tokens", "Prompt tokens not yet prefilled that a worker may hold.", _WORKER
        )
        self.worker_kv_demand = _gauge(
            "worker_kv_demand_tokens", "KV cache that the requests at a worker are expected to take.", _WORKER
        )
        self.worker_kv_capacity = _gauge(
            "worker_kv_capacity_tokens", "KV cache of a worker, as its engine states it.", _WORKER
        )
        self.worker_limit = _gauge(
            "worker_limit",
            "1 for what held back the next request when the worker was last asked for room.",
            ("pool", "worker", "limit"),
        )
        self.worker_degraded = _gauge(
            "worker_degraded", "1 where a worker's metrics cannot be used and its window is a fixed one.", _WORKER
        )
        self.worker_engine_running = _gauge(
            "worker_engine_running", "Sequences that a worker's engine says it runs, as last read.", _WORKER
        )
        self.worker_engine_waiting = _gauge(
            "worker_engine_waiting", "Sequences that wait inside a worker's engine, as last read.", _WORKER
        )
        self.worker_unmetered = _gauge(
            "worker_unmetered_ratio",
            "Part of the tokens that a worker generated which the gateway has not metered.",
            _WORKER,
        )
        self.reload_successful = _gauge(
            "config_last_reload_successful",
            "1 where the last changed configuration was applied, 0 where rejected.",
        )
        self.restart_pending = _gauge(
            "config_restart_pending_changes",
            "Changes of the last valid configuration that wait for a start of the gateway.",
        )
        self.reload_timestamp = _gauge(
            "config_last_reload_timestamp_seconds", "When the configuration in force was loaded, Unix time."
        )
        self.tasks = _gauge("tasks", "Tasks of the gateway's event loop.")
        self.build_info = _gauge(
            "build_info",
            "1, with the versions of the gateway and of Python and whether what requests pass is compiled.",
            ("version", "python", "compiled"),
        )

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())
