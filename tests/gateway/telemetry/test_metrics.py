"""Events and snapshots in, a scrape out; read back with prometheus-client's parser and checked by promtool."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.accounts import BudgetSnapshot, BudgetsSnapshot
from gateway.compilation import IS_COMPILED
from gateway.events import (
    ConfigReloaded,
    ObserverFailed,
    RequestDispatched,
    RequestFinished,
    RequestQueued,
    WorkerChanged,
)
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.long_work import at_once
from gateway.outcomes import Outcome
from gateway.telemetry.metrics import Metrics
from gateway.webhook import WebhookSnapshot
from gateway.workers import Fleet, WorkerSpec
from gateway.workers.circuit import CircuitState, Signal
from gateway.workers.snapshot import Limit
from gateway.workers.window import WindowSize

Finished = Callable[..., RequestFinished]


def written(metrics: Metrics) -> bytes:
    """The text of a scrape."""
    return b"".join(at_once(metrics.write()))


class Scrape:
    """The samples of one scrape, by name and labels."""

    def __init__(self, metrics: Metrics) -> None:
        self.text = written(metrics).decode()
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} appears twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples["vtc_gateway_" + name, frozenset(labels.items())]

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(key)[label] for full, key in self.samples if full == "vtc_gateway_" + name}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(state, clock) -> Metrics:
    return Metrics(state, tenant_labels=200, version="1.2.3", wall_clock=clock)


def test_a_request_is_counted_once_in_everything_it_tells(metrics: Metrics, finished: Finished) -> None:
    """Outcome, tokens, service and every time of a finished request appear with their values."""
    metrics.observe(RequestQueued("r1", "alice", "tiny"))
    metrics.observe(RequestDispatched("r1", "alice", "tiny", "w0", 0.25))
    metrics.observe(finished())
    metrics.observe(finished(prompt_tokens=10, cached_tokens=0, output_tokens=5, service=20.0, ttft_seconds=3.0))
    scrape = Scrape(metrics)
    share = {"pool": "tiny", "tenant": "alice"}
    assert scrape("requests_total", **share, outcome="completed") == 2
    assert scrape("tokens_total", **share, kind="prompt") == 110
    assert scrape("tokens_total", **share, kind="cached") == 40
    assert scrape("tokens_total", **share, kind="output") == 30
    assert scrape("service_total", **share) == 170.0
    assert scrape("queue_wait_seconds_bucket", **share, le="0.1") == 0
    assert scrape("queue_wait_seconds_bucket", **share, le="0.25") == 2
    assert scrape("ttft_seconds_bucket", **share, le="0.5") == 1
    assert scrape("ttft_seconds_sum", **share) == 3.4
    assert scrape("inter_token_seconds_count", pool="tiny") == 2
    assert scrape("request_duration_seconds_sum", pool="tiny") == 1.8
    assert scrape("gateway_overhead_seconds_bucket", le="0.0005") == 2
    assert scrape("worker_dispatches_total", pool="tiny", worker="w0") == 1


def test_what_is_not_known_is_not_counted(metrics: Metrics, refused: Finished) -> None:
    """A request without a tenant counts under `_none`, and its missing times enter no histogram."""
    metrics.observe(refused())
    scrape = Scrape(metrics)
    assert scrape("requests_total", pool="_none", tenant="_none", outcome="unauthenticated") == 1
    assert scrape("refusals_total", reason="unauthenticated") == 1
    assert scrape("request_duration_seconds_count", pool="_none") == 1
    assert scrape("gateway_overhead_seconds_count") == 0
    for name in ("tokens_total", "service_total", "queue_wait_seconds_count", "ttft_seconds_count"):
        assert scrape.labels(name, "tenant") == set()


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_a_label_and_refusals_are_those_of_the_list(
    metrics: Metrics, finished: Finished, outcome: Outcome
) -> None:
    """Each ending is counted under its value; exactly the refusals are counted as refusals."""
    metrics.observe(finished(outcome=outcome))
    scrape = Scrape(metrics)
    assert scrape("requests_total", pool="tiny", tenant="alice", outcome=outcome.value) == 1
    reasons = scrape.labels("refusals_total", "reason")
    assert reasons == {other.value for other in Outcome if other.is_refusal}
    assert sum(scrape("refusals_total", reason=reason) for reason in reasons) == int(outcome.is_refusal)


def test_retries_are_what_came_after_a_failure(metrics: Metrics, finished: Finished) -> None:
    """An attempt that found no room at a worker does not count as a retry."""
    for attempts, retries in ((0, 0), (1, 0), (9, 0), (3, 2)):
        metrics.observe(finished(attempts=attempts, retries=retries))
    assert Scrape(metrics)("retries_total", pool="tiny") == 2


def test_the_wait_for_first_tokens_is_of_those_that_had_one(metrics: Metrics, finished: Finished) -> None:
    """The metric leaves out refusals that waited: it is a part of the times to first token and never more."""
    metrics.observe(finished(queue_wait_seconds=0.5, ttft_seconds=2.0))
    for _ in range(10):
        metrics.observe(finished(queue_wait_seconds=60.0, ttft_seconds=None, outcome=Outcome.QUEUE_TIMEOUT))
    scrape = Scrape(metrics)
    assert scrape("ttft_wait_seconds_total", pool="tiny") == 0.5
    assert scrape("ttft_seconds_sum", pool="tiny", tenant="alice") == 2.0


def test_gauges_show_the_present_state(metrics: Metrics, finished: Finished, state, pool, tenant, worker) -> None:
    """Queues, counters, windows and the fairness of a pool are those of the snapshot, not of a past one."""
    metrics.observe(finished(tenant="alice"))
    alice = tenant("alice", 2.0, 77.5, queued=3, in_flight=2, oldest_wait_seconds=1.5, is_held_back=True)
    fairness = {"spread": 12.0, "spread_bound": 64.0, "jain_index": 0.97, "drain_rate_per_second": 4.5}
    state.pool_views = [pool("tiny", queued=3, in_flight=2, tenants=(alice,), **fairness)]
    state.worker_views = [
        worker(sequences_in_flight=2, prefill_tokens_in_flight=120),
        worker(worker="w1", state="down"),
    ]
    scrape = Scrape(metrics)
    share = {"pool": "tiny", "tenant": "alice"}
    assert scrape("virtual_tokens", **share) == 77.5
    assert scrape("tenant_weight", **share) == 2.0
    assert scrape("queue_depth", **share) == 3
    assert scrape("in_flight", **share) == 2
    assert scrape("queue_oldest_wait_seconds", **share) == 1.5
    assert scrape("tenant_held", **share) == 1
    assert scrape("spread", pool="tiny") == 12.0
    assert scrape("spread_bound", pool="tiny") == 64.0
    assert scrape("jain_index", pool="tiny") == 0.97
    assert scrape("drain_rate_requests_per_second", pool="tiny") == 4.5
    assert scrape("queue_max_requests", pool="tiny") == 500
    assert scrape("queue_timeout_seconds", pool="tiny") == 30
    assert scrape("worker_up", pool="tiny", worker="w0", state="serving") == 1
    assert scrape("worker_up", pool="tiny", worker="w1", state="down") == 0
    assert scrape("worker_in_flight_sequences", pool="tiny", worker="w0") == 2
    assert scrape("worker_window_sequences", pool="tiny", worker="w0") == 17
    assert scrape("worker_prefill_tokens", pool="tiny", worker="w0") == 120
    assert scrape("worker_window_prefill_tokens", pool="tiny", worker="w0") == 2048
    assert scrape("worker_kv_demand_tokens", pool="tiny", worker="w0") == 300
    assert scrape("worker_kv_capacity_tokens", pool="tiny", worker="w0") == 4096
    assert scrape("worker_limit", pool="tiny", worker="w0", limit="nothing") == 1
    assert scrape("worker_degraded", pool="tiny", worker="w0") == 0
    assert scrape("worker_engine_running", pool="tiny", worker="w0") == 3
    assert scrape("worker_engine_waiting", pool="tiny", worker="w0") == 1
    assert scrape("worker_unmetered_ratio", pool="tiny", worker="w0") == 0.25

    state.pool_views = [pool(tenants=(tenant("alice"),))]
    state.worker_views = [worker()]
    scrape = Scrape(metrics)
    assert scrape("queue_depth", **share) == 0
    assert scrape.labels("worker_up", "worker") == {"w0"}


def test_what_an_engine_does_not_say_has_no_series(state, worker, metrics: Metrics) -> None:
    """There is no figure if none was read lately, and a reason if the metrics cannot be used at all."""
    unseen = {"engine_running": None, "engine_waiting": None, "unmetered_share": None, "kv_capacity_tokens": 0}
    state.worker_views = [worker(degraded="no answer", limited_by=Limit.MEMORY, **unseen)]
    scrape = Scrape(metrics)
    assert scrape("worker_degraded", pool="tiny", worker="w0") == 1
    assert scrape.labels("worker_limit", "limit") == {"memory"}
    for name in ("engine_running", "engine_waiting", "unmetered_ratio", "kv_capacity_tokens"):
        assert scrape.labels(f"worker_{name}", "worker") == set()


def test_bodies_in_memory_are_summed_by_pool_and_tenant(state, body, finished: Finished) -> None:
    """A body that is being read has no pool yet, a tenant without a label is among the others, and 0 is shown too."""
    metrics = Metrics(state, tenant_labels=1, version="1")
    assert Scrape(metrics)("body_bytes", pool="_none", tenant="_other") == 0
    metrics.observe(finished(tenant="alice"))
    state.bodies = [body("tiny", "alice", 5), body("", "alice", 7), body("tiny", "bob", 11), body("tiny", "alice", 13)]
    scrape = Scrape(metrics)
    assert scrape("body_bytes", pool="tiny", tenant="alice") == 18
    assert scrape("body_bytes", pool="_none", tenant="alice") == 7
    assert scrape("body_bytes", pool="tiny", tenant="_other") == 11
    assert scrape("body_max_bytes") == 1000


def test_tenants_beyond_the_cap_are_summed(state, pool, tenant, finished: Finished) -> None:
    """Counters and queues of tenants without a label add up under `_other`; what has no sum is left out."""
    metrics = Metrics(state, tenant_labels=1, version="1")
    for name in ("alice", "bob", "carol", "alice", "bob"):
        metrics.observe(finished(tenant=name, service=10.0))
    state.pool_views = [
        pool(
            queued=7,
            in_flight=9,
            tenants=(
                tenant("alice", queued=1, in_flight=1, oldest_wait_seconds=9.0),
                tenant("bob", queued=2, in_flight=3, oldest_wait_seconds=1.0),
                tenant("carol", queued=4, in_flight=5, oldest_wait_seconds=2.0),
            ),
        )
    ]
    scrape = Scrape(metrics)
    others = {"pool": "tiny", "tenant": "_other"}
    assert scrape("service_total", pool="tiny", tenant="alice") == 20.0
    assert scrape("service_total", **others) == 30.0
    assert scrape("queue_depth", **others) == 6
    assert scrape("in_flight", **others) == 8
    assert scrape("queue_depth", pool="tiny", tenant="alice") == 1
    assert scrape.labels("requests_total", "tenant") == {"alice", "_other"}
    for name in ("virtual_tokens", "tenant_weight", "tenant_held", "queue_oldest_wait_seconds"):
        assert scrape.labels(name, "tenant") == {"alice"}


def test_a_tenant_shows_under_its_name_while_its_first_request_waits(state, pool, tenant) -> None:
    """A tenant gets its label at arrival, so one that has waited for a minute is not among the others."""
    metrics = Metrics(state, tenant_labels=200, version="1")
    metrics.observe(RequestQueued("r1", "alice", "tiny"))
    state.pool_views = [pool(queued=59, tenants=(tenant("alice", queued=59, oldest_wait_seconds=70.0),))]
    scrape = Scrape(metrics)
    assert scrape("queue_depth", pool="tiny", tenant="alice") == 59
    assert scrape("queue_oldest_wait_seconds", pool="tiny", tenant="alice") == 70.0
    assert scrape("queue_depth", pool="tiny", tenant="_other") == 0


def test_failures_of_observers_are_counted(state) -> None:
    """Failures are counted by the observer that failed."""
    metrics = Metrics(state, tenant_labels=1, version="1")
    metrics.observe(ObserverFailed("LogObserver", "RequestFinished", "TypeError"))
    assert Scrape(metrics)("observer_failures_total", observer="LogObserver") == 1


def test_a_scrape_does_not_grow_with_the_tenants(state, pool, tenant, finished: Finished) -> None:
    """Ten thousand tenants write exactly as many samples as the two hundred that have a label, and the others' sum."""
    sizes = []
    for count in (201, 10_000):
        metrics = Metrics(state, tenant_labels=200, version="1")
        for number in range(count):
            metrics.observe(finished(tenant=f"t{number}"))
        state.pool_views = [pool(queued=count, tenants=tuple(tenant(f"t{n}", queued=1) for n in range(count)))]
        scrape = Scrape(metrics)
        sizes.append(sum(name.startswith("vtc_gateway_") for name, _ in scrape.samples))
        assert scrape("queue_depth", pool="tiny", tenant="_other") == count - 200
        assert state.asked[-1] == {f"t{number}" for number in range(200)}
    assert sizes[0] == sizes[1] < 10_000


def test_a_name_that_needs_escaping_is_read_back(metrics: Metrics, finished: Finished) -> None:
    """Model names are the operator's and may hold quotes and slashes."""
    metrics.observe(finished(pool='org/"model"\\v1'))
    assert Scrape(metrics)("requests_total", pool='org/"model"\\v1', tenant="alice", outcome="completed") == 1


def test_reloads_are_counted_and_the_last_one_is_shown(metrics: Metrics, clock: Clock) -> None:
    """A rejected configuration turns the gauge to 0 and leaves the time of the one in force."""
    scrape = Scrape(metrics)
    assert scrape("config_last_reload_successful") == 1
    assert scrape("config_last_reload_timestamp_seconds") == 1000.0
    assert scrape("config_reloads_total", result="failure") == 0
    clock.now = 2000.0
    metrics.observe(ConfigReloaded("config.yaml", ("config.yaml:3: weight: not a number",), (), ()))
    scrape = Scrape(metrics)
    assert scrape("config_last_reload_successful") == 0
    assert scrape("config_last_reload_timestamp_seconds") == 1000.0
    assert scrape("config_reloads_total", result="failure") == 1
    clock.now = 3000.0
    metrics.observe(ConfigReloaded("config.yaml", (), ("tenants.alice.weight: 1 -> 2",), ()))
    scrape = Scrape(metrics)
    assert scrape("config_last_reload_successful") == 1
    assert scrape("config_last_reload_timestamp_seconds") == 3000.0
    assert scrape("config_reloads_total", result="success") == 1


def test_up_means_what_the_fleet_means(metrics: Metrics, state) -> None:
    """In every state of a real worker `worker_up` is 1 exactly where the fleet gives it requests."""
    fleet = Fleet()
    fleet.configure(WorkerSpec("w0", "tiny", "http://127.0.0.1:8101", WindowSize(16, 2048)))
    shown = {}
    for signal in (None, Signal.PROBE_OK, Signal.GONE, Signal.PROBE_OK, Signal.FAULT):
        if signal is not None:
            fleet.signal("w0", signal)
        (view,) = state.worker_views = list(fleet.snapshot())
        shown[view.state] = Scrape(metrics)("worker_up", pool="tiny", worker="w0", state=view.state)
        assert shown[view.state] == int(fleet.least_loaded("tiny") is not None)
    assert shown == {"starting": 0, "serving": 1, "down": 0, "on_trial": 1, "doubted": 1}
    assert set(shown) == {circuit.value for circuit in CircuitState}


def test_changes_of_a_worker_are_counted_by_state(metrics: Metrics) -> None:
    """A worker that fell twice and came back once shows as two and one."""
    for changed in ("down", "on_trial", "down"):
        metrics.observe(WorkerChanged("tiny", "w0", changed, "connect refused"))
    scrape = Scrape(metrics)
    assert scrape("worker_state_changes_total", pool="tiny", worker="w0", state="down") == 2
    assert scrape("worker_state_changes_total", pool="tiny", worker="w0", state="on_trial") == 1


def test_the_process_tells_about_itself(metrics: Metrics) -> None:
    """Memory and descriptors of the process are in the same scrape, and so is the version."""
    scrape = Scrape(metrics)
    assert scrape.samples["process_resident_memory_bytes", frozenset()] > 1e6
    assert scrape.samples["process_open_fds", frozenset()] > 0
    assert scrape.labels("build_info", "version") == {"1.2.3"}
    assert scrape.labels("build_info", "compiled") == {str(IS_COMPILED).lower()}


def test_a_gateway_alone_shows_nothing_of_an_account_that_is_shared(metrics: Metrics) -> None:
    """Without replicas there is no metric of them, not even a name."""
    assert "store_" not in Scrape(metrics).text and "replica" not in Scrape(metrics).text


def test_a_shared_account_is_shown(metrics: Metrics, state, replicas) -> None:
    """Each figure of the snapshot has its series, and the calls are a histogram of their times."""
    state.sharing = replicas()
    scrape = Scrape(metrics)
    assert (scrape("store_reachable"), scrape("store_age_seconds"), scrape("replicas_expected")) == (1, 0.5, 3)
    assert scrape("store_calls_total", result="answered") == 7
    assert scrape("store_calls_total", result="failed") == 2
    assert [scrape("store_call_seconds_bucket", le=le) for le in ("0.001", "0.05", "+Inf")] == [4, 7, 9]
    assert (scrape("store_call_seconds_sum"), scrape("store_call_seconds_count")) == (0.25, 9)
    assert scrape("replicas_living", pool="tiny") == 3
    assert scrape("replicas_with_other_settings", pool="tiny") == 0
    assert scrape("replica_rank", pool="tiny") == 1
    assert (scrape("shared_spread", pool="tiny"), scrape("shared_spread_bound", pool="tiny")) == (4, 9)
    assert scrape("replica_room_held_sequences", pool="tiny", worker="w0") == 5
    assert scrape("replica_room_idle_sequences", pool="tiny", worker="w0") == 2


def test_shared_limits_are_shown_of_tenants_with_a_label(state, replicas, shared_limit, finished: Finished) -> None:
    """What is held here, what all have taken and whether it refuses, of each limit; the labels are as few as ever."""
    metrics = Metrics(state, tenant_labels=1, version="1")
    metrics.observe(finished(tenant="alice"))
    metrics.observe(finished(tenant="bob"))
    places = shared_limit(limit="max_in_flight", most=8, held=3, taken=8, is_refusing=True)
    state.sharing = replicas(limits=(shared_limit(), places, shared_limit("bob")))
    scrape = Scrape(metrics)
    names = [f"tenant_limit{what}" for what in ("", "_held", "_taken", "_refusing")]
    assert [scrape(name, tenant="alice", limit="tokens_per_minute") for name in names] == [600, 40, 250, 0]
    assert [scrape(name, tenant="alice", limit="max_in_flight") for name in names] == [8, 3, 8, 1]
    assert {tenant for name in names for tenant in scrape.labels(name, "tenant")} == {"alice"}


def test_a_store_that_fails_is_shown(metrics: Metrics, state, replicas) -> None:
    """The next scrape shows what has changed."""
    state.sharing = replicas()
    written(metrics)
    calls = replace(state.sharing.calls, failed=5, seconds=0.4, counts=(4, 3, 5))
    state.sharing = replicas(failure="it closed the connection", age_seconds=7.0, calls=calls)
    scrape = Scrape(metrics)
    assert (scrape("store_reachable"), scrape("store_age_seconds")) == (0, 7)
    assert scrape("store_calls_total", result="failed") == 5
    assert (scrape("store_call_seconds_bucket", le="+Inf"), scrape("store_call_seconds_sum")) == (12, 0.4)


def test_a_gateway_without_a_ledger_shows_nothing_of_one(metrics: Metrics) -> None:
    """There is no metric of it, not even a name."""
    assert "vtc_gateway_ledger" not in Scrape(metrics).text


def test_the_ledger_is_shown(metrics: Metrics, state) -> None:
    """Each figure has its series, and the next scrape shows what has changed."""
    state.keeping = LedgerSnapshot("", 10, 2, 3, 4, 1)
    scrape = Scrape(metrics)
    names = ("works", "rows_total", "waiting_rows", "dropped_rows_total", "orphans_total", "damaged_files_total")
    assert [scrape(f"ledger_{name}") for name in names] == [1, 10, 2, 3, 4, 1]
    state.keeping = LedgerSnapshot("the disk is full", 11, 5, 3, 4, 1)
    scrape = Scrape(metrics)
    assert [scrape(f"ledger_{name}") for name in names] == [0, 11, 5, 3, 4, 1]


def test_budgets_are_shown(metrics: Metrics, state) -> None:
    """What is used and reserved as parts of the amount; a gateway without budgets has not even a name of them."""
    assert "vtc_gateway_budget" not in Scrape(metrics).text
    names = ("alice", "tenant", "tokens", "month", "", "")
    month = BudgetSnapshot(*names, 1000.0, 850.0, 50.0, "2026-12-01T00:00:00+00:00")
    state.spending = BudgetsSnapshot((month,), is_read=True, excesses=2)
    scrape = Scrape(metrics)
    labels = {"tenant": "alice", "per": "tenant", "unit": "tokens", "period": "month"}
    assert (scrape("budget_used_ratio", **labels), scrape("budget_reserved_ratio", **labels)) == (0.85, 0.05)
    assert (scrape("budgets_known"), scrape("budget_excesses_total")) == (1, 2)
    state.spending = BudgetsSnapshot((), is_read=False, excesses=2)
    assert Scrape(metrics)("budgets_known") == 0


def test_the_webhook_is_shown(metrics: Metrics, state) -> None:
    """Each figure has its series; a gateway without one has not even a name."""
    assert "webhook" not in Scrape(metrics).text
    state.telling = WebhookSnapshot("", 1, 2, 3, 4)
    scrape = Scrape(metrics)
    names = ("works", "waiting_events", "delivered_events_total", "failed_attempts_total", "dropped_events_total")
    assert [scrape(f"webhook_{name}") for name in names] == [1, 1, 2, 3, 4]
    state.telling = WebhookSnapshot("nobody listens", 5, 2, 9, 4)
    scrape = Scrape(metrics)
    assert [scrape(f"webhook_{name}") for name in names] == [0, 5, 2, 9, 4]


def test_two_gateways_in_one_process_do_not_share_metrics(state, finished: Finished) -> None:
    """Nothing is kept in a global registry."""
    first, second = (Metrics(state, tenant_labels=10, version="1") for _ in range(2))
    first.observe(finished())
    assert Scrape(first)("service_total", pool="tiny", tenant="alice") == 150.0
    assert Scrape(second).labels("service_total", "tenant") == set()


@pytest.fixture
def promtool() -> Iterator[str]:
    path = shutil.which("promtool")
    assert path is not None, "promtool is missing: run scripts/install-system (Debian package prometheus)"
    yield path


def test_promtool_finds_nothing_to_complain_about(
    promtool: str,
    metrics: Metrics,
    finished: Finished,
    refused: Finished,
    state,
    pool,
    tenant,
    worker,
    replicas,
    shared_limit,
) -> None:
    """The scrape of a busy gateway passes `promtool check metrics`, format and naming rules."""
    metrics.observe(finished(attempts=2))
    metrics.observe(refused())
    metrics.observe(RequestDispatched("r1", "alice", "tiny", "w0", 0.25))
    metrics.observe(WorkerChanged("tiny", "w0", "down", "connect refused"))
    state.pool_views = [pool(tenants=(tenant("alice"), tenant("bob")))]
    state.worker_views = [worker()]
    state.sharing = replicas(limits=(shared_limit(),))
    state.keeping = LedgerSnapshot("", 10, 2, 3, 4, 1)
    state.telling = WebhookSnapshot("", 1, 2, 3, 4)
    content = written(metrics)
    assert {line.split()[2] for line in content.decode().splitlines() if line.startswith("# TYPE vtc_")} == {
        family.name for family in metrics.families()
    }
    result = subprocess.run([promtool, "check", "metrics"], input=content, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_each_delay_of_the_loop_is_counted(metrics: Metrics) -> None:
    """By its length, from the first one on."""
    assert Scrape(metrics)("loop_lag_seconds_count") == 0
    metrics.note_lag(0.0004)
    metrics.note_lag(0.3)
    seen = Scrape(metrics)
    assert seen("loop_lag_seconds_count") == 2
    assert seen("loop_lag_seconds_bucket", le="0.001") == seen("loop_lag_seconds_bucket", le="0.2") == 1
    assert seen("loop_lag_seconds_bucket", le="0.5") == 2
    assert seen("loop_lag_seconds_sum") == pytest.approx(0.3004)
