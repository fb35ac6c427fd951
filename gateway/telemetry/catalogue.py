"""Every metric of the gateway: name, type, labels, buckets, meaning.

Metrics use base units (seconds, tokens) and the prefix `vtc_gateway_`, and they pass promtool's lint. `pool` is the
pool's configured model name, whatever alias a client used. `tenant` is subject to the label cap. Only two histograms
are per tenant, the wait and the first token, because each costs a dozen series per tenant and pool. Left to `Metrics`:
updating the values.
"""

from gateway.telemetry.families import Counter, Family, Gauge, Histogram, Labels, Together

PREFIX = "vtc_gateway_"

SUM, MAX, MIN, EACH = Together.SUM, Together.MAX, Together.MIN, Together.EACH

_POOL: Labels = ("pool",)
_SHARE: Labels = ("pool", "tenant")
_WORKER: Labels = ("pool", "worker")
_LIMIT: Labels = ("tenant", "limit")

# A request waits under a millisecond if there is room, tens of milliseconds to seconds until room is released, and at
# most the queue's time-out, 60 s by default. Longer waits need no buckets.
WAIT_BOUNDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# 0.1 to 1 s decides whether a chat feels alive; the tail reaches the worker's first-byte limit (120 s).
TTFT_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
# A small model on a good GPU needs 3 ms a token, a large one under load 100 ms; readers notice 200 ms.
INTER_TOKEN_BOUNDS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
# Roughly doubling: an embedding takes tens of milliseconds, a long reasoning answer ten minutes.
DURATION_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# The gateway's own share is some hundred microseconds; 50 ms is the promise never to block longer.
LAG_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
OVERHEAD_BOUNDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


def _counter(name: str, help_text: str, labels: Labels = ()) -> Counter:
    return Counter(PREFIX + name, help_text, labels)


def _gauge(name: str, help_text: str, labels: Labels, together: Together) -> Gauge:
    return Gauge(PREFIX + name, help_text, labels, together)


def _histogram(name: str, help_text: str, labels: Labels, bounds: tuple[float, ...]) -> Histogram:
    return Histogram(PREFIX + name, help_text, labels, bounds=bounds)


class EventFamilies:
    """Counters and histograms, fed by events."""

    def __init__(self) -> None:
        self.requests = _counter(
            "requests_total", "Requests that ended, by their outcome.", ("pool", "tenant", "outcome")
        )
        self.refusals = _counter(
            "refusals_total", "Requests refused by the gateway's own decision, by reason.", ("reason",)
        )
        self.tokens = _counter(
            "tokens_total",
            "Tokens of requests that ended; cached tokens are part of the prompt tokens.",
            ("pool", "tenant", "kind"),
        )
        self.service = _counter(
            "service_total", "Service of requests that ended, in cost units, not divided by weight.", _SHARE
        )
        self.uncounted = _counter(
            "uncounted_tokens_total",
            "Output tokens of requests that ended, charged by estimate because no engine counted them.",
            _SHARE,
        )
        self.lost = _counter(
            "lost_tokens_total",
            "Tokens that engines read (prompt) or generated (output) for attempts that were given up.",
            ("pool", "kind"),
        )
        self.worker_seconds = _counter(
            "worker_seconds_total", "Shares of workers' time that requests had which ended.", _SHARE
        )
        self.money = _counter(
            "money_total",
            "What requests that ended cost by the prices of their pool, in the currency of these.",
            _SHARE,
        )
        self.queue_wait = _histogram(
            "queue_wait_seconds",
            "Time in the gateway's queue, until a worker or a refusal.",
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
            "Time in the queue as part of the times to first token.",
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
        self.loop_lag = _histogram(
            "loop_lag_seconds",
            "How late the event loop is with something that is due twice a second.",
            (),
            LAG_BOUNDS,
        )
        self.overhead = _histogram(
            "gateway_overhead_seconds",
            "The gateway's own time: from the body received to the bytes sent to a worker, without the wait.",
            (),
            OVERHEAD_BOUNDS,
        )
        self.dispatches = _counter(
            "worker_dispatches_total", "Requests sent to a worker, further attempts included.", _WORKER
        )
        self.retries = _counter("retries_total", "Further attempts after a worker failed before its first byte.", _POOL)
        self.capped = _counter(
            "usage_capped_total", "Answers for which a worker reported more tokens than are possible.", _WORKER
        )
        self.fallbacks = _counter(
            "fallbacks_total",
            "Requests sent to another pool because no worker of their own pool served.",
            ("pool", "fallback"),
        )
        self.worker_changes = _counter(
            "worker_state_changes_total",
            "Changes of a worker's state, by the new state.",
            ("pool", "worker", "state"),
        )
        self.reloads = _counter(
            "config_reloads_total",
            "Changed configurations, applied (success) or rejected (failure).",
            ("result",),
        )

        self.observer_failures = _counter(
            "observer_failures_total",
            "Events at which an observer (metrics, logs) failed; requests go on.",
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
            MAX,
        )
        self.weight = _gauge("tenant_weight", "Configured weight of a tenant.", _SHARE, MAX)
        self.queue_depth = _gauge("queue_depth", "Requests waiting in the gateway's queue.", _SHARE, SUM)
        self.oldest_wait = _gauge(
            "queue_oldest_wait_seconds", "How long the oldest waiting request has waited so far.", _SHARE, MAX
        )
        self.queue_max = _gauge(
            "queue_max_requests", "Most requests that may wait in the pool: scheduler.max_queued.", _POOL, SUM
        )
        self.queue_timeout = _gauge(
            "queue_timeout_seconds", "How long a request may wait: scheduler.queue_timeout_seconds.", _POOL, MAX
        )
        self.held = _gauge("tenant_held", "1 if a tenant waits because of its own limits, not for others.", _SHARE, MAX)
        self.in_flight = _gauge("in_flight", "Requests sent to workers that have not ended.", _SHARE, SUM)
        self.bodies = _gauge(
            "body_bytes",
            "Bytes in memory: requests until an answer begins (pool _none: still read), whole answers until taken.",
            _SHARE,
            SUM,
        )
        self.bodies_max = _gauge(
            "body_max_bytes", "Most bytes that all bodies may take: listen.max_bodies_mib.", (), SUM
        )
        self.spread = _gauge(
            "spread", "Largest difference between the virtual counters of waiting tenants, in cost units.", _POOL, MAX
        )
        self.spread_bound = _gauge(
            "spread_bound", "The largest spread that the scheduler's bound allows now, in cost units.", _POOL, MAX
        )
        self.jain_index = _gauge(
            "jain_index",
            "Jain's index of waiting tenants' recent service by weight; 1: equal, 1/n: one tenant gets all.",
            _POOL,
            MIN,
        )
        self.estimated = _gauge(
            "estimated_tokens",
            "Output tokens of streams in flight, charged by estimate because their engines did not count them.",
            _POOL,
            SUM,
        )
        self.drain_rate = _gauge(
            "drain_rate_requests_per_second",
            "Requests that leave the queue for a worker, per second; Retry-After is computed from it.",
            _POOL,
            SUM,
        )
        self.worker_up = _gauge(
            "worker_up", "1 if a worker may get requests; the label state says more.", ("pool", "worker", "state"), MAX
        )
        self.worker_sequences = _gauge("worker_in_flight_sequences", "Sequences in flight at a worker.", _WORKER, SUM)
        self.worker_window_sequences = _gauge(
            "worker_window_sequences", "Sequences that may be in flight at a worker.", _WORKER, MAX
        )
        self.worker_prefill = _gauge(
            "worker_prefill_tokens", "Prompt tokens at a worker that are not prefilled yet.", _WORKER, SUM
        )
        self.worker_window_prefill = _gauge(
            "worker_window_prefill_tokens", "Prompt tokens that may be at a worker and not prefilled yet.", _WORKER, MAX
        )
        self.worker_kv_demand = _gauge(
            "worker_kv_demand_tokens", "KV cache that the requests at a worker are expected to take.", _WORKER, SUM
        )
        self.worker_kv_capacity = _gauge(
            "worker_kv_capacity_tokens", "KV cache of a worker, as its engine states it.", _WORKER, MAX
        )
        self.worker_limit = _gauge(
            "worker_limit",
            "1 for the limit that held back the last request for which the worker was asked for room.",
            ("pool", "worker", "limit"),
            MAX,
        )
        self.worker_degraded = _gauge(
            "worker_degraded", "1 if a worker's metrics cannot be used, so that its window is fixed.", _WORKER, MAX
        )
        self.worker_engine_running = _gauge(
            "worker_engine_running", "Sequences that a worker's engine says it runs, as last read.", _WORKER, MAX
        )
        self.worker_engine_waiting = _gauge(
            "worker_engine_waiting", "Sequences that wait inside a worker's engine, as last read.", _WORKER, MAX
        )
        self.worker_unmetered = _gauge(
            "worker_unmetered_ratio",
            "Share of the tokens generated by a worker that the gateway has not metered.",
            _WORKER,
            MAX,
        )
        self.reload_successful = _gauge(
            "config_last_reload_successful",
            "1 if the last changed configuration was applied, 0 if it was rejected.",
            (),
            MIN,
        )
        self.restart_pending = _gauge(
            "config_restart_pending_changes",
            "Changes of the last valid configuration that wait for a start of the gateway.",
            (),
            MAX,
        )
        self.reload_timestamp = _gauge(
            "config_last_reload_timestamp_seconds", "When the configuration in force was loaded, Unix time.", (), MIN
        )
        self.tasks = _gauge("tasks", "Tasks of the gateway's event loop.", (), SUM)
        self.process_up = _gauge(
            "process_up",
            "1 if a gateway process answers the others, 0 if it does not; only where there are several.",
            ("process",),
            MAX,
        )
        self.build_info = _gauge(
            "build_info",
            "1, with the versions of the gateway and of Python and whether the gateway is compiled.",
            ("version", "python", "compiled"),
            MAX,
        )

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


class ReplicaFamilies:
    """What a gateway shares with others, read from a snapshot at each scrape; a gateway alone shows none of it."""

    def __init__(self, call_bounds: tuple[float, ...]) -> None:
        self.store_reachable = _gauge(
            "store_reachable", "1 if the store answered the last calls and its messages come, else 0.", (), MIN
        )
        self.store_age = _gauge("store_age_seconds", "Time since the store last answered a call.", (), MAX)
        self.store_calls = _counter("store_calls_total", "Calls to the store, by their result.", ("result",))
        self.store_call_seconds = _histogram(
            "store_call_seconds", "Time of a call to the store, answered or not.", (), call_bounds
        )
        self.expected = _gauge(
            "replicas_expected", "Gateways that should share the account: replicas.expected.", (), MAX
        )
        self.living = _gauge(
            "replicas_living", "Gateways that share the pool's account now, this one included.", _POOL, MIN
        )
        self.other_settings = _gauge(
            "replicas_with_other_settings",
            "Gateways that share the account and have another configuration.",
            _POOL,
            MAX,
        )
        self.rank = _gauge(
            "replica_rank",
            "Place of this gateway among the living by name; 0 finds out the windows for all.",
            _POOL,
            EACH,
        )
        self.room_held = _gauge(
            "replica_room_held_sequences", "Sequences of a worker that this gateway may use, used or not.", _WORKER, SUM
        )
        self.room_idle = _gauge(
            "replica_room_idle_sequences", "Sequences of a worker that this gateway may use and does not.", _WORKER, SUM
        )
        self.limit = _gauge("tenant_limit", "A tenant's limit, which all gateways share.", _LIMIT, MAX)
        self.limit_held = _gauge(
            "tenant_limit_held", "What this gateway may use of a tenant's limit without asking the store.", _LIMIT, SUM
        )
        self.limit_taken = _gauge(
            "tenant_limit_taken", "What all gateways hold of a tenant's limit or have spent of it.", _LIMIT, MAX
        )
        self.limit_refusing = _gauge(
            "tenant_limit_refusing",
            "1 if this gateway refused a request within a minute because it held too little of the limit.",
            _LIMIT,
            MAX,
        )
        self.shared_spread = _gauge(
            "shared_spread",
            "Largest difference between the virtual counters of tenants that wait at any gateway, in cost units.",
            _POOL,
            MAX,
        )
        self.shared_spread_bound = _gauge(
            "shared_spread_bound", "The largest shared spread that the bound allows now, in cost units.", _POOL, MAX
        )

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


class WebhookFamilies:
    """How the webhook fares, read from a snapshot at each scrape; a gateway without one shows none of it."""

    def __init__(self) -> None:
        self.works = _gauge("webhook_works", "1 if the last event could be delivered, else 0.", (), MIN)
        self.waiting = _gauge("webhook_waiting_events", "Events that wait to be delivered.", (), SUM)
        self.delivered = _counter("webhook_delivered_events_total", "Events that the webhook's receiver has taken.")
        self.failed = _counter("webhook_failed_attempts_total", "Attempts to deliver an event that failed.")
        self.dropped = _counter("webhook_dropped_events_total", "Events given up, too old or too many.")

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


class LedgerFamilies:
    """How the ledger fares, read from a snapshot at each scrape; a gateway that keeps none shows none of it."""

    def __init__(self) -> None:
        self.works = _gauge("ledger_works", "1 if the ledger could write when it last had to, else 0.", (), MIN)
        self.written = _counter("ledger_rows_total", "Rows that are in the ledger's file.")
        self.waiting = _gauge("ledger_waiting_rows", "Rows that wait in memory for the ledger's file.", (), SUM)
        self.dropped = _counter("ledger_dropped_rows_total", "Rows dropped because too many waited.")
        self.orphans = _counter(
            "ledger_orphans_total", "Requests that were open when the process before was killed, closed at the start."
        )
        self.moved = _counter("ledger_damaged_files_total", "Files of the ledger that were damaged and moved aside.")

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


class FollowerFamilies:
    """How rows get on to the ledger's database; a gateway without one shows none of it."""

    def __init__(self) -> None:
        self.works = _gauge("ledger_postgres_works", "1 if PostgreSQL answered the last time in time, else 0.", (), MIN)
        self.sent = _counter("ledger_postgres_rows_total", "Rows of the ledger that PostgreSQL has confirmed.")
        self.behind = _gauge(
            "ledger_postgres_behind_rows", "Rows in the ledger's file that PostgreSQL has not got yet.", (), SUM
        )
        self.failures = _counter("ledger_postgres_failures_total", "Attempts to send rows to PostgreSQL that failed.")
        self.lost = _counter("ledger_postgres_lost_rows_total", "Rows that became too old before they could be sent.")

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())
