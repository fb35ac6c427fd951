"""The composition root: every object of a gateway is built here, once, and started and stopped in one order.

Start: the scheduler and the fleet, the supervisor of launched workers, the first probes, then the HTTP server. Launched
workers begin to serve when their models are loaded. Stop: `/ready` says "draining"; running requests get their grace
time; what is left is cut with an error of its own; then the server, the probes, the connections and the workers end. A
reload replaces what may change while requests run (tenants, keys, limits, windows, workers, pools) and touches no
counter.
"""

import asyncio
import socket
import time
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import asdict
from itertools import chain

from gateway import __version__
from gateway.accounts import BudgetsSnapshot
from gateway.books import Books
from gateway.clients.custody import Custody
from gateway.clients.downstream import Outbox
from gateway.config import Config, ConfigError, Loaded, Pool, Replicas, Scheduler, Tenant, Worker
from gateway.endpoints.roster import Roster
from gateway.endpoints.workers import WorkerEndpoints, worker_name
from gateway.entrance import Entrance
from gateway.events import Event, Observer
from gateway.fairness import Admission, Capacity, Holding, Holdings, PoolSnapshot, TicketSnapshot
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.outcomes import Outcome
from gateway.processes.member import ParentLink
from gateway.processes.pages import LonePages, OwnPages, SharedPages
from gateway.proxy.control import Availability, Control, Pages
from gateway.proxy.delivery import Delivery
from gateway.proxy.directory import Directory
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.remainders import Remainders
from gateway.proxy.retired import RetiredAccounts
from gateway.proxy.router import DRAIN_RETRY_SECONDS, Router, RouterLimits
from gateway.proxy.services import Services
from gateway.replicas.snapshot import ReplicasSnapshot
from gateway.store.client import StoreClient
from gateway.store.sharing import Connect, Sharing
from gateway.telemetry import life
from gateway.telemetry.hits import CacheHits
from gateway.telemetry.logs import Log
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import LogObserver, Observers
from gateway.telemetry.state import MAX_REQUESTS, GatewayIdentity, state_dump
from gateway.terms import (
    cost_function,
    pool_spec,
    rules,
    salt_secret,
    settings_digest,
    tenant_limits,
    window_size,
    wire_shift,
)
from gateway.turnover import Turnover, turnover
from gateway.watch.death_guard import DeathGuard
from gateway.watch.health import Health
from gateway.watch.launched import LaunchContext, LaunchedWorkers
from gateway.watch.outages import Outages, Readiness
from gateway.watch.poller import MetricsPoller
from gateway.watch.reconciliation import Reconciliation
from gateway.watch.supervisor import SupervisorProcess
from gateway.watch.watchdog import Watchdog
from gateway.webhook import WebhookSnapshot
from gateway.workers import Fleet, Signal, WorkerSnapshot, WorkerSpec


class Gateway:
    """One running gateway."""

    def __init__(
        self,
        loaded: Loaded,
        log: Log,
        observers: Sequence[Observer] = (),
        parent: ParentLink | None = None,
        connect: Connect = StoreClient,
    ) -> None:
        """Build everything for `loaded`; `observers` get every event, as metrics and log do.

        `parent` is the parent of this process, if it is one of several. `connect` makes the way to the store of an
        account that several gateways share.
        """
        config = self.config = loaded.config
        self._path = loaded.path
        self._wall_started_at = time.time()
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        replicas = config.replicas if parent is None else parent.member.replicas(config)
        self._sharing = None if replicas is None else self._share(replicas, connect)
        self._fleet = Fleet() if self._sharing is None else self._sharing.fleet
        self._endpoints = WorkerEndpoints()
        self._roster = Roster(self._fleet, self._endpoints)
        self._outages = Outages(self._fleet)
        self._launched = LaunchedWorkers(
            LaunchContext(
                self._fleet,
                lambda worker: self._endpoints.visits[worker] > 0,
                self._enlist,
                self._outages.renew,
                self._emit,
            ),
            SupervisorProcess if parent is None else parent.supervise,
        )
        self._holdings: Holdings[Custody] = Holdings(config.listen.max_bodies_bytes)
        self._metrics = Metrics(self, tenant_labels=config.metrics.tenant_labels, version=__version__)
        room: Capacity = self._fleet if self._sharing is None else self._sharing.room
        self._admission = Admission(rules(config), room)
        self._retired = RetiredAccounts(self._admission, self._unshare)
        self._reconciliation = Reconciliation(self._emit, lambda: self._admission.in_flight(self._loop.time()))
        self._hits = CacheHits()
        self._books = Books(
            config,
            parent,
            (self._admission.running, self._fleet, self._reconciliation),
            lambda request_id: self._router.open_request(request_id),  # noqa: PLW0108 - the router is built below
            self._emit,
            None if self._sharing is None else self._sharing.budgets,
        )
        self._observer = Observers(
            (
                self._metrics,
                LogObserver(log.logger),
                self._hits,
                *self._books.observers,
                *observers,
                self._outages,
                self._launched,
                self._reconciliation,
                self._retired,
            ),
            of_steps=(self._metrics, *self._books.observers, *observers),
        )
        self._dispatcher = Dispatcher(
            self._admission, self._fleet, self._observer, self._outages, self._sharing, self._books.budgets
        )
        if self._sharing is not None:
            self._sharing.attach(self._admission, self._reconciliation, self._dispatcher.dispatch, self._books.review)
        self._health = Health(self._fleet, self._endpoints, self._observer, self._dispatcher.dispatch)
        self._poller = MetricsPoller(
            self._fleet, self._endpoints, self._observer, self._dispatcher, self._reconciliation
        )
        self._watchdog = Watchdog(
            self._fleet, self._endpoints, self._poller, self._health, self._observer, self._metrics.note_lag
        )
        self._guard = DeathGuard(self._endpoints, self._health, self._launched.is_being_ended, self._dispatcher.vouch)
        self._remainders = Remainders(self._fleet, self._poller, self._holdings)
        services = Services(
            self._dispatcher,
            self._endpoints,
            self._health,
            self._guard,
            self._holdings,
            self._remainders,
            Delivery(Outbox(), config.listen.write_stall_seconds),
            self._books.budgets,
        )
        listen = config.listen
        limits = RouterLimits(listen.max_body_bytes, listen.body_timeout_seconds, listen.allowed_origins)
        own = OwnPages(self.write_metrics, self.state, self._availability)
        self._pages = LonePages(own) if parent is None else SharedPages(own, parent.member)
        control = Control(
            Pages(
                self._pages.metrics,
                self._pages.state,
                self._pages.availability,
                int(self._wall_started_at),
                self._endpoints.max_model_len,
            )
        )
        own_salt = None if parent is None else parent.member.salt_secret
        self._router = Router(
            Directory(config, salt_secret(config.replicas) or own_salt), services, control, limits, self._observer
        )
        self._entrance = Entrance(self._router, services.delivery, None if parent is None else parent.member)
        self._is_ready = False

    def _share(self, replicas: Replicas, connect: Connect) -> Sharing:
        """The account that this gateway shares with others."""
        name = replicas.name or f"{socket.gethostname()}:{self.config.listen.port}"
        sharing = Sharing(replicas, name, connect, lambda why: self._emit(life.store(why)))
        sharing.owner.report_settings = lambda others: self._emit(life.settings(others))
        return sharing

    def _unshare(self, pool: str) -> None:
        """Share `pool` no longer, which the scheduler has forgotten."""
        if self._sharing is not None:
            self._sharing.remove(pool)

    # -- life

    async def start(self) -> str:
        """Start the server and the workers; returns the URL for clients.

        It returns once every launched worker serves or has failed once.
        """
        self._emit(life.starting(self.config, self._path, __version__))
        self._configure(self.config, self.config.tenants)
        self._books.start()
        await self._health.probe_all()
        self._health.start()
        self._watchdog.start()
        self._remainders.start()
        if self._sharing is not None:
            await self._sharing.start()
        await self._pages.start()
        await self._entrance.open(self.config.listen)
        await self._launched.started()
        self._is_ready = True
        url = self._entrance.url
        self._emit(life.ready(url, self._loop.time() - self._started_at))
        return url

    async def retire(self) -> None:
        """Stop accepting, because others accept in its place, and answer for the grace time what comes all the same."""
        self._emit(life.draining(len(self._router.exchanges), self.config.listen.drain_seconds))
        await self._entrance.retire(self.config.listen.drain_seconds)

    async def stop(self) -> None:
        """Drain for the configured grace time, then end everything."""
        self._router.is_draining = True
        drain_seconds = self.config.listen.drain_seconds
        if self._is_ready and not self._entrance.is_retiring:
            self._emit(life.draining(len(self._router.exchanges), drain_seconds))
        await self._router.ended(self._loop.time() + drain_seconds)
        left = self._router.exchanges
        refused = self._dispatcher.refuse_waiting(Outcome.DRAINING, DRAIN_RETRY_SECONDS)
        for exchange in left:
            exchange.cut()
        await self._guard.close()
        await self._entrance.close()
        if self._sharing is not None:
            await self._sharing.stop()
        await self._poller.stop()
        await self._watchdog.stop()
        await self._remainders.stop()
        await self._health.stop()
        self._dispatcher.close()
        self._outages.close()
        self._endpoints.close()
        await self._launched.stop()
        await self._pages.stop()
        await self._books.stop()
        if self._is_ready:  # else the last log line must stay the reason why the gateway could not start
            self._emit(life.stopped(refused, len(left) - refused))

    def reload(self, loaded: Loaded | ConfigError) -> None:
        """Take over what changed in a configuration that was read again; keep the last good one if it is faulty."""
        self.take_over(self.prepare(loaded))

    def prepare(self, loaded: Loaded | ConfigError) -> Turnover:
        """Compare a configuration that was read again with the present one; changes nothing, so a thread may do it."""
        return turnover(self.config, loaded, self._path, self._router.directory)

    def take_over(self, turnover: Turnover) -> None:
        """Carry out what `prepare` worked out."""
        if turnover.notice.succeeded:
            self.config = turnover.config
            self._configure(turnover.config, turnover.changed_tenants)
            self._forget_removed(turnover)
            self._router.directory = turnover.directory
            self._dispatcher.dispatch(pool.model for pool in turnover.config.pools)
        self._observer.observe(turnover.notice)

    def _forget_removed(self, turnover: Turnover) -> None:
        """Forget the tenants and workers that only earlier configurations had, once they have no request left."""
        for worker in self._roster.sweep():
            self._guard.forget_worker(worker)
        present = {tenant.name for tenant in turnover.changed_tenants}
        self._retired.retire_tenants(turnover.removed_tenants, present)

    # -- configuration

    def _configure(self, config: Config, tenants: Sequence[Tenant]) -> None:
        self._admission.configure_queue(config.scheduler.max_queued)
        wanted: set[str] = set()
        for pool in config.pools:
            self._admission.configure_pool(pool_spec(pool, config))
            self._fleet.set_locality(pool.model, pool.locality_quantum)
            for worker in pool.workers:
                wanted.add(self._enroll(pool, worker))
        self._books.configure(config, tenants)
        for tenant in tenants:
            self._admission.configure_tenant(tenant.name, tenant.weight, tenant_limits(tenant))
        for spec in self._fleet.specs():
            if spec.name not in wanted:
                self._fleet.drain(spec.name)
        self._metrics.configure(config.pools)
        self._launched.configure(config.pools)
        self._outages.configure(config.pools)
        if self._sharing is not None:
            shifts = {pool.model: wire_shift(cost_function(pool.cost)) for pool in config.pools}
            self._sharing.configure(shifts, settings_digest(config))
        present = [pool.model for pool in config.pools]
        self._dispatcher.keep_pools(present)
        self._retired.keep_pools(present)

    def _enroll(self, pool: Pool, worker: Worker) -> str:
        """Let a worker with a `url` serve; returns its name, also for a worker that is to be launched."""
        if worker.url is None:
            return worker_name(pool, worker)
        name = self._roster.name(pool, worker, worker.url)
        is_new = name not in self._fleet
        self._configure_worker(name, pool, worker, worker.url)
        if is_new and self._entrance.is_open:
            self._health.probe_soon(name)
        return name

    def _configure_worker(self, name: str, pool: Pool, worker: Worker, url: str) -> None:
        self._endpoints.configure(name, url, pool, worker)
        self._fleet.configure(WorkerSpec(name, pool.model, url, window_size(worker)))
        self._admission.running.time_of(name, self._loop.time())  # which counts from now on
        self._poller.watch(name)

    def _enlist(self, pool: Pool, worker: Worker) -> None:
        """Let a launched worker serve, which is ready at the URL of `worker`."""
        assert worker.url is not None
        name = worker_name(pool, worker)
        self._configure_worker(name, pool, worker, worker.url)
        self._health.report(name, Signal.PROBE_OK, "its process serves")

    def _emit(self, event: Event) -> None:
        self._observer.observe(event)

    # -- views (telemetry's StateSource)

    def pools(self, tenants: Collection[str] | None = None) -> Sequence[PoolSnapshot]:
        """Every pool at this moment, with the accounts of `tenants` (None: of all)."""
        return self._admission.snapshot(self._loop.time(), tenants)

    def workers(self) -> Sequence[WorkerSnapshot]:
        """Every worker at this moment."""
        return self._launched.amended(self._endpoints.amended(self._poller.amended(self._fleet.snapshot())))

    def tasks(self) -> int:
        """How many tasks the event loop has."""
        return len(asyncio.all_tasks())

    def replicas(self, tenants: Collection[str] | None = None) -> ReplicasSnapshot | None:
        """This gateway among those that share its account, with the limits of `tenants` (None: of all)."""
        return None if self._sharing is None else self._sharing.snapshot(tenants)

    def ledger(self) -> LedgerSnapshot | None:
        """How the ledger fares."""
        return self._books.snapshot()

    def budgets(self, tenants: Collection[str] | None = None) -> BudgetsSnapshot | None:
        """What is used of the budgets of `tenants` (None: of all); None if nobody has any."""
        return None if self._books.budgets is None else self._books.budgets.snapshot(tenants)

    def webhook(self) -> WebhookSnapshot | None:
        """How the webhook fares."""
        return self._books.webhook()

    def queue_limits(self) -> Scheduler:
        """The bounds on the queue of every pool."""
        return self.config.scheduler

    def held_bodies(self) -> Iterable[Holding]:
        """What every request holds in memory."""
        return self._holdings

    def most_held_bytes(self) -> int:
        """The most bytes that all requests may hold together."""
        return self._holdings.max_bytes

    def write_metrics(self) -> Generator[None, None, list[bytes]] | None:
        """The metrics in pieces, made in steps; None if they are off."""
        return self._metrics.write() if self.config.metrics.enabled else None

    def requests(self) -> Iterable[TicketSnapshot]:
        """Every live request: those that wait in the order of their arrival, then those at workers."""
        return chain(self._dispatcher.queued(), self._admission.in_flight(self._loop.time()))

    def identity(self) -> GatewayIdentity:
        """Which gateway this is, and for how long it has run."""
        uptime_seconds = self._loop.time() - self._started_at
        return GatewayIdentity(__version__, self._wall_started_at, uptime_seconds, self._router.is_draining)

    def add_observer(self, observer: Observer) -> None:
        """Let `observer` hear from now on what happens, besides the steps of requests."""
        self._observer.add(observer)

    def state(self) -> Generator[None, None, dict[str, object]]:
        """Everything that `GET /debug/state` shows, in steps."""
        return (yield from state_dump(self, list(self.requests()), self.config, self.identity())) | {
            "launched": [asdict(status) for status in self._launched.statuses()],
            "prefix_cache": self._hits.dump(),
            "quarantine": [asdict(suspect) for suspect in self._guard.snapshots()[:MAX_REQUESTS]],
        }

    def _availability(self) -> Availability:
        pools = {pool.model: self._outages.readiness(pool.model) for pool in self.config.pools}
        if self._sharing is not None and self._sharing.refuses:
            pools = dict.fromkeys(pools, Readiness.NO_STORE)
        return Availability(pools, is_draining=self._router.is_draining or self._entrance.is_retiring)
