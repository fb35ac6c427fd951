"""The gateway's metrics: events are counted as they come, and the present state is read at each scrape.

Counters and histograms change only in `observe`, and gauges exist only while a scrape is written, so metrics cost an
idle gateway nothing. Both run on the event loop. An event costs a few microseconds. A scrape is written in steps of a
few milliseconds. Its cost is bounded by the label cap and not by the number of tenants; the others are summed under
`_other`. With up to 500 labels what the scheduler knows of a pool is of one moment. The families are in
`catalogue.py`, the cap in `labels.py`. The metrics of process, collector and platform come from prometheus-client, in a
registry of our own.
"""

import platform
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import chain, islice
from time import time
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from gateway.compilation import IS_COMPILED
from gateway.config import Pool, Prices
from gateway.events import (
    ConfigReloaded,
    Event,
    ObserverFailed,
    RequestDispatched,
    RequestFinished,
    RequestQueued,
    UsageCapped,
    WorkerChanged,
)
from gateway.fairness import PoolSnapshot, TenantSnapshot
from gateway.ledger.rows import money
from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import (
    EventFamilies,
    FollowerFamilies,
    LedgerFamilies,
    ReplicaFamilies,
    StateFamilies,
    WebhookFamilies,
)
from gateway.telemetry.families import LINES_AT_ONCE, Distribution, Family, Gauge, Sum
from gateway.telemetry.keeping import show_follower, show_ledger, show_webhook
from gateway.telemetry.labels import NONE, OTHER, TenantLabels
from gateway.telemetry.sharing import show_replicas
from gateway.telemetry.source import StateSource
from gateway.telemetry.spending import BudgetFamilies, show_budgets
from gateway.workers import WorkerSnapshot

_TENANTS_AT_ONCE: Final = 500  # of which one step shows the gauges
_BODIES_AT_ONCE: Final = 5000


class _Share:
    """The series of one tenant's requests in one pool, kept for its next request; each begins with its first value."""

    __slots__ = ("_duration", "_ends", "_families", "_labels", "_queue_wait", "_service", "_tokens", "_ttft")

    def __init__(self, families: EventFamilies, pool: str, tenant: str) -> None:
        self._families = families
        self._labels = (pool, tenant)
        self._duration = families.duration.series((pool,))
        self._ends: dict[Outcome, tuple[Sum, ...]] = {}
        self._tokens: tuple[Sum, Sum, Sum] | None = None
        self._service: Sum | None = None
        self._queue_wait: Distribution | None = None
        self._ttft: Distribution | None = None

    def count(self, event: RequestFinished) -> None:
        """Count a request that ended."""
        for counter in self._ends.get(event.outcome) or self._begin_end(event.outcome):
            counter.value += 1
        if event.prompt_tokens or event.output_tokens:
            prompt, cached, output = self._tokens or self._begin_tokens()
            prompt.value += event.prompt_tokens
            cached.value += event.cached_tokens
            output.value += event.output_tokens
        if event.estimated_tokens:
            self._families.uncounted.add(self._labels, event.estimated_tokens)
        if event.worker_seconds:
            self._families.worker_seconds.add(self._labels, event.worker_seconds)
        if event.lost_prompt_tokens or event.lost_output_tokens:
            self._families.lost.add((self._labels[0], "prompt"), event.lost_prompt_tokens or 0)
            self._families.lost.add((self._labels[0], "output"), event.lost_output_tokens or 0)
        if event.service:
            if self._service is None:
                self._service = self._families.service.series(self._labels)
            self._service.value += event.service
        self._observe_times(event)

    def _observe_times(self, event: RequestFinished) -> None:
        families = self._families
        self._duration.observe(event.duration_seconds)
        if event.queue_wait_seconds is not None:
            if self._queue_wait is None:
                self._queue_wait = families.queue_wait.series(self._labels)
            self._queue_wait.observe(event.queue_wait_seconds)
        if event.ttft_seconds is not None:
            if self._ttft is None:
                self._ttft = families.ttft.series(self._labels)
            self._ttft.observe(event.ttft_seconds)
            families.ttft_wait.add(self._labels[:1], event.queue_wait_seconds or 0.0)
        if event.inter_token_seconds is not None:
            families.inter_token.observe(self._labels[:1], event.inter_token_seconds)
        if event.gateway_seconds is not None:
            families.overhead.observe((), event.gateway_seconds)

    def _begin_end(self, outcome: Outcome) -> tuple[Sum, ...]:
        """The counters for a request that ended with `outcome`."""
        counters = [self._families.requests.series((*self._labels, outcome.value))]
        if outcome.is_refusal:
            counters.append(self._families.refusals.series((outcome.value,)))
        ends = self._ends[outcome] = tuple(counters)
        return ends

    def _begin_tokens(self) -> tuple[Sum, Sum, Sum]:
        family, labels = self._families.tokens, self._labels
        prompt, cached, output = (family.series((*labels, kind)) for kind in ("prompt", "cached", "output"))
        self._tokens = (prompt, cached, output)
        for kind in ("prompt", "output"):
            self._families.lost.series((labels[0], kind))
        return self._tokens


class Metrics:
    """Counts events, and writes the text of a scrape."""

    def __init__(
        self, source: StateSource, *, tenant_labels: int, version: str, wall_clock: Callable[[], float] = time
    ) -> None:
        self._source = source
        self._version = version
        self._wall_clock = wall_clock
        self._tenants = TenantLabels(tenant_labels)
        self._events = EventFamilies()
        self._shares: dict[tuple[str, str], _Share] = {}
        self._prices: dict[str, Prices] = {}  # by pool
        self._state = StateFamilies()
        self._replicas: ReplicaFamilies | None = None
        self._ledger: LedgerFamilies | None = None
        self._follower: FollowerFamilies | None = None
        self._webhook: WebhookFamilies | None = None
        self._budgets: BudgetFamilies | None = None
        self._loaded_at = wall_clock()
        self._last_reload_succeeded = True
        self._pending_changes = 0
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)
        for result in ("success", "failure"):
            self._events.reloads.add((result,), 0)
        for outcome in Outcome:
            if outcome.is_refusal:
                self._events.refusals.add((outcome.value,), 0)

    def configure(self, pools: Iterable[Pool]) -> None:
        """Take over the prices of `pools`: by them the requests are counted that end from now on."""
        self._prices = {pool.model: pool.prices for pool in pools if pool.prices is not None}

    def families(self) -> tuple[Family, ...]:
        """All families of the gateway's own metrics, in the order of a scrape."""
        families = (self._replicas, self._ledger, self._follower, self._budgets, self._webhook)
        optional = [each.all() for each in families if each is not None]
        return (*self._events.all(), *self._state.all(), *chain.from_iterable(optional))

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RequestFinished():
                self._count_finished(event)
            case RequestQueued():
                self._tenants.label(event.tenant)  # from now on its waiting requests show under its own name
            case RequestDispatched():
                self._events.dispatches.add((event.pool, event.worker))
            case WorkerChanged():
                self._events.worker_changes.add((event.pool, event.worker, event.state))
            case UsageCapped():
                self._events.capped.add((event.pool, event.worker))
            case ConfigReloaded():
                self._count_reload(event)
            case ObserverFailed():
                self._events.observer_failures.add((event.observer,))
            case _:
                pass

    def note_lag(self, seconds: float) -> None:
        """Count by how much the event loop was late with something that was due."""
        self._events.loop_lag.observe((), seconds)

    def _count_finished(self, event: RequestFinished) -> None:
        names = (event.pool or NONE, self._tenants.label(event.tenant))
        share = self._shares.get(names)
        if share is None:
            share = self._shares[names] = _Share(self._events, *names)
        share.count(event)
        prices = self._prices.get(event.pool)
        if prices is not None:
            self._events.money.add(names, money(prices, event, event.worker_seconds or 0.0).total_nano / 1e9)
        if event.retries:
            self._events.retries.add((names[0],), event.retries)
        if event.asked_pool:
            self._events.fallbacks.add((event.asked_pool, names[0]))

    def _count_reload(self, event: ConfigReloaded) -> None:
        self._last_reload_succeeded = event.succeeded
        self._events.reloads.add(("success" if event.succeeded else "failure",))
        if event.succeeded:
            self._loaded_at = self._wall_clock()
            self._pending_changes = len(event.needs_restart)

    def write(self) -> Generator[None, None, list[bytes]]:
        """Write a scrape in steps; returns its text in pieces. A scrape is either written to its end or begun anew."""
        for family in self.families():
            if isinstance(family, Gauge):
                family.clear()
        own = self._tenants.own()
        pools = self._source.pools(own)
        yield
        for pool in pools:
            yield from self._show_pool(pool, own)
        for worker in self._source.workers():
            self._show_worker(worker)
        yield from self._show_bodies(own)
        self._show_replicas(own)
        self._show_ledger()
        self._show_budgets(own)
        self._show_webhook()
        self._show_gateway()
        pieces: list[bytes] = []
        yield from self._write_families(pieces)
        pieces.append(generate_latest(self._process))
        return pieces

    def _write_families(self, pieces: list[bytes]) -> Generator[None, None, None]:
        """Add the text of every family to `pieces`; small ones share a step and a piece."""
        gathered: list[str] = []
        for family in self.families():
            gathered.append(family.head())
            for lines in family.slices():
                gathered += lines
                if len(gathered) >= LINES_AT_ONCE:
                    pieces.append("".join(gathered).encode())
                    gathered = []
                    yield
        pieces.append("".join(gathered).encode())

    def _show_pool(self, pool: PoolSnapshot, own: Collection[str]) -> Generator[None, None, None]:
        state = self._state
        labels = (pool.pool,)
        state.spread.show(labels, pool.spread)
        state.spread_bound.show(labels, pool.spread_bound)
        state.jain_index.show(labels, pool.jain_index)
        state.drain_rate.show(labels, pool.drain_rate_per_second)
        state.estimated.show(labels, pool.estimated_tokens)
        limits = self._source.queue_limits()
        state.queue_max.show(labels, limits.max_queued)
        state.queue_timeout.show(labels, limits.queue_timeout_seconds)
        queued = in_flight = 0
        for number, tenant in enumerate(pool.tenants, 1):
            if tenant.tenant in own:
                self._show_tenant((pool.pool, tenant.tenant), tenant)
                queued += tenant.queued
                in_flight += tenant.in_flight
            if number % _TENANTS_AT_ONCE == 0:
                yield
        # What adds up is shown for the others too; many counters, weights or waits have no meaning as one number. The
        # pool was looked at before its tenants: after several steps they may have more than it had.
        others = (pool.pool, OTHER)
        state.queue_depth.show(others, max(0, pool.queued - queued))
        state.in_flight.show(others, max(0, pool.in_flight - in_flight))

    def _show_tenant(self, labels: tuple[str, str], tenant: TenantSnapshot) -> None:
        state = self._state
        state.virtual_tokens.show(labels, tenant.counter)
        state.weight.show(labels, tenant.weight)
        state.queue_depth.show(labels, tenant.queued)
        state.oldest_wait.show(labels, tenant.oldest_wait_seconds)
        state.held.show(labels, int(tenant.is_held_back))
        state.in_flight.show(labels, tenant.in_flight)

    def _show_worker(self, worker: WorkerSnapshot) -> None:
        state = self._state
        labels = (worker.pool, worker.worker)
        state.worker_up.show((*labels, worker.state), int(worker.is_up))
        state.worker_sequences.show(labels, worker.sequences_in_flight)
        state.worker_window_sequences.show(labels, worker.window_sequences)
        state.worker_prefill.show(labels, worker.prefill_tokens_in_flight)
        state.worker_window_prefill.show(labels, worker.window_prefill_tokens)
        state.worker_kv_demand.show(labels, worker.kv_demand_tokens)
        state.worker_limit.show((*labels, worker.limited_by.value), 1)
        state.worker_degraded.show(labels, int(bool(worker.degraded)))
        if worker.kv_capacity_tokens:
            state.worker_kv_capacity.show(labels, worker.kv_capacity_tokens)
        self._show_engine(labels, worker)

    def _show_engine(self, labels: tuple[str, str], worker: WorkerSnapshot) -> None:
        """Show what the engine says itself if it was read lately; no figure is better than an old one."""
        state = self._state
        if worker.engine_running is not None:
            state.worker_engine_running.show(labels, worker.engine_running)
        if worker.engine_waiting is not None:
            state.worker_engine_waiting.show(labels, worker.engine_waiting)
        if worker.unmetered_share is not None:
            state.worker_unmetered.show(labels, worker.unmetered_share)

    def _show_bodies(self, own: Collection[str]) -> Generator[None, None, None]:
        sums: dict[tuple[str, str], int] = {(NONE, OTHER): 0}  # so that there is a series where there are no bodies
        bodies = iter(list(self._source.held_bodies()))
        while some := list(islice(bodies, _BODIES_AT_ONCE)):
            for body in some:
                tenant = body.tenant if body.tenant in own else OTHER if body.tenant else NONE
                labels = (body.pool or NONE, tenant)
                sums[labels] = sums.get(labels, 0) + body.size_bytes
            if len(some) == _BODIES_AT_ONCE:
                yield
        for labels, size_bytes in sums.items():
            self._state.bodies.show(labels, size_bytes)
        self._state.bodies_max.show((), self._source.most_held_bytes())

    def _show_replicas(self, own: Collection[str]) -> None:
        replicas = self._source.replicas(own)
        if replicas is None:
            return
        if self._replicas is None:
            self._replicas = ReplicaFamilies(replicas.calls.bounds_seconds)
        show_replicas(self._replicas, replicas)

    def _show_ledger(self) -> None:
        ledger = self._source.ledger()
        if ledger is None:
            return
        if self._ledger is None:
            self._ledger = LedgerFamilies()
        show_ledger(self._ledger, ledger)
        if ledger.postgres is not None:
            if self._follower is None:
                self._follower = FollowerFamilies()
            show_follower(self._follower, ledger.postgres)

    def _show_budgets(self, own: Collection[str]) -> None:
        budgets = self._source.budgets(own)
        if budgets is None:
            return
        if self._budgets is None:
            self._budgets = BudgetFamilies()
        show_budgets(self._budgets, budgets)

    def _show_webhook(self) -> None:
        webhook = self._source.webhook()
        if webhook is None:
            return
        if self._webhook is None:
            self._webhook = WebhookFamilies()
        show_webhook(self._webhook, webhook)

    def _show_gateway(self) -> None:
        state = self._state
        state.reload_successful.show((), int(self._last_reload_succeeded))
        state.restart_pending.show((), self._pending_changes)
        state.reload_timestamp.show((), self._loaded_at)
        state.tasks.show((), self._source.tasks())
        state.build_info.show((self._version, platform.python_version(), str(IS_COMPILED).lower()), 1)
