"""A hand-made state of the gateway, and events with meaningful defaults."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from gateway.accounts import BudgetsSnapshot
from gateway.config import Scheduler
from gateway.events import RequestFinished
from gateway.fairness import Holding, PoolSnapshot, TenantSnapshot, TicketSnapshot
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.outcomes import Outcome
from gateway.replicas.snapshot import (
    CallsSnapshot,
    ReplicasSnapshot,
    SharedLimitSnapshot,
    SharedPoolSnapshot,
    SharedWorkerSnapshot,
)
from gateway.webhook import WebhookSnapshot
from gateway.workers import WorkerSnapshot


def _tenant(name: str = "alice", weight: float = 1.0, counter: float = 0.0, **changes: object) -> TenantSnapshot:
    account = TenantSnapshot(name, weight, counter, 0.0, 0, 0, 0.0, is_held_back=False)
    return account._replace(**changes)  # type: ignore[arg-type]


def _pool(name: str = "tiny", **changes: object) -> PoolSnapshot:
    return replace(PoolSnapshot(name, 0, 0, 0.0, 100.0, 1.0, 0.0, 0, ()), **changes)  # type: ignore[arg-type]


def _worker(**changes: object) -> WorkerSnapshot:
    worker = WorkerSnapshot(
        "tiny",
        "w0",
        "http://127.0.0.1:8101",
        "serving",
        sequences_in_flight=0,
        window_sequences=17,
        prefill_tokens_in_flight=0,
        window_prefill_tokens=2048,
        kv_demand_tokens=300,
        kv_capacity_tokens=4096,
        engine_running=3.0,
        engine_waiting=1.0,
        unmetered_share=0.25,
        max_model_len=2048,
    )
    return replace(worker, **changes)  # type: ignore[arg-type]


def _request(name: str = "r1", **changes: object) -> TicketSnapshot:
    return replace(TicketSnapshot(name, "alice", "tiny", "queued", 0.0, "", 0, 0), **changes)  # type: ignore[arg-type]


def _replicas(**changes: object) -> ReplicasSnapshot:
    pool = SharedPoolSnapshot(
        "tiny",
        living=3,
        rank=1,
        with_other_settings=0,
        spread=4.0,
        spread_bound=9.0,
        workers=(SharedWorkerSnapshot("w0", 5, 2, 17, held_by_all=12, idle_of_all=4, ghosts=1),),
    )
    calls = CallsSnapshot(7, 2, 0.25, (0.001, 0.05), (4, 3, 2))
    replicas = ReplicasSnapshot("vtc-gateway", "h:8000", 3, "", 0.5, calls, (pool,))
    return replace(replicas, **changes)  # type: ignore[arg-type]


def _limit(tenant: str = "alice", limit: str = "tokens_per_minute", **changes: object) -> SharedLimitSnapshot:
    shown = SharedLimitSnapshot(tenant, limit, most=600, held=40, taken=250, is_refusing=False)
    return replace(shown, **changes)  # type: ignore[arg-type]


def _body(pool: str, tenant: str, size_bytes: int) -> Holding:
    body = Holding(tenant, 1.0)
    body.pool, body.size_bytes = pool, size_bytes
    return body


@dataclass(slots=True)
class State:
    pool_views: list[PoolSnapshot] = field(default_factory=list)
    worker_views: list[WorkerSnapshot] = field(default_factory=list)
    bodies: list[Holding] = field(default_factory=list)

    sharing: ReplicasSnapshot | None = None
    keeping: LedgerSnapshot | None = None
    telling: WebhookSnapshot | None = None
    spending: BudgetsSnapshot | None = None

    asked: list[Collection[str] | None] = field(default_factory=list)

    def pools(self, tenants: Collection[str] | None = None) -> list[PoolSnapshot]:
        self.asked.append(tenants)
        return self.pool_views

    def workers(self) -> list[WorkerSnapshot]:
        return self.worker_views

    def held_bodies(self) -> list[Holding]:
        return self.bodies

    def most_held_bytes(self) -> int:
        return 1000

    def tasks(self) -> int:
        return 9

    def replicas(self, tenants: Collection[str] | None = None) -> ReplicasSnapshot | None:
        if self.sharing is None or tenants is None:
            return self.sharing
        return replace(self.sharing, limits=tuple(each for each in self.sharing.limits if each.tenant in tenants))

    def ledger(self) -> LedgerSnapshot | None:
        return self.keeping

    def budgets(self, tenants: Collection[str] | None = None) -> BudgetsSnapshot | None:
        return self.spending

    def webhook(self) -> WebhookSnapshot | None:
        return self.telling

    def queue_limits(self) -> Scheduler:
        return Scheduler(max_queued=500, queue_timeout_seconds=30)


def _finished(**changes: object) -> RequestFinished:
    values: dict[str, object] = {
        "request_id": "r1",
        "endpoint": "/v1/chat/completions",
        "tenant": "alice",
        "key_id": "laptop",
        "pool": "tiny",
        "model": "tiny",
        "worker": "w0",
        "outcome": Outcome.COMPLETED,
        "status": 200,
        "streamed": True,
        "attempts": 1,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 25,
        "service": 150.0,
        "queue_wait_seconds": 0.25,
        "ttft_seconds": 0.4,
        "inter_token_seconds": 0.02,
        "longest_gap_seconds": 0.09,
        "gateway_seconds": 0.0004,
        "duration_seconds": 0.9,
    }
    return RequestFinished(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def tenant() -> Callable[..., TenantSnapshot]:
    return _tenant


@pytest.fixture
def pool() -> Callable[..., PoolSnapshot]:
    return _pool


@pytest.fixture
def worker() -> Callable[..., WorkerSnapshot]:
    return _worker


@pytest.fixture
def body() -> Callable[..., Holding]:
    return _body


@pytest.fixture
def replicas() -> Callable[..., ReplicasSnapshot]:
    return _replicas


@pytest.fixture
def shared_limit() -> Callable[..., SharedLimitSnapshot]:
    return _limit


@pytest.fixture
def request_view() -> Callable[..., TicketSnapshot]:
    return _request


@pytest.fixture
def finished() -> Callable[..., RequestFinished]:
    return _finished


@pytest.fixture
def refused() -> Callable[..., RequestFinished]:
    """A request that ended before a tenant, a pool or a worker was known."""
    return partial(
        _finished,
        tenant="",
        key_id="",
        pool="",
        model="",
        worker="",
        outcome=Outcome.UNAUTHENTICATED,
        status=401,
        streamed=False,
        attempts=0,
        prompt_tokens=0,
        cached_tokens=0,
        output_tokens=0,
        service=0.0,
        queue_wait_seconds=None,
        ttft_seconds=None,
        inter_token_seconds=None,
        longest_gap_seconds=None,
        gateway_seconds=None,
        duration_seconds=0.001,
    )
