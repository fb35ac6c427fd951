"""A hand-made gateway state and events with telling defaults."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

import pytest

from gateway.config import Scheduler
from gateway.events import RequestFinished
from gateway.outcomes import Outcome
from gateway.workers import Limit, Phase


@dataclass(frozen=True, slots=True)
class Tenant:
    tenant: str = "alice"
    weight: float = 1.0
    counter: float = 0.0
    service: float = 0.0
    queued: int = 0
    in_flight: int = 0
    oldest_wait_seconds: float = 0.0
    is_held_back: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    pool: str = "tiny"
    queued: int = 0
    in_flight: int = 0
    spread: float = 0.0
    spread_bound: float = 100.0
    jain_index: float = 1.0
    drain_rate_per_second: float = 0.0
    tenants: tuple[Tenant, ...] = ()
    estimated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    pool: str = "tiny"
    worker: str = "w0"
    url: str = "http://127.0.0.1:8101"
    state: str = "serving"
    sequences_in_flight: int = 0
    window_sequences: int = 17
    prefill_tokens_in_flight: int = 0
    window_prefill_tokens: int = 2048
    kv_demand_tokens: int = 300
    kv_capacity_tokens: int = 4096
    limited_by: Limit = Limit.NOTHING
    phase: Phase = Phase.SETTLED
    degraded: str = ""
    engine_running: float | None = 3.0
    engine_waiting: float | None = 1.0
    unmetered_share: float | None = 0.25
    max_model_len: int | None = 2048


@dataclass(frozen=True, slots=True)
class Request:
    request_id: str = "r1"
    tenant: str = "alice"
    pool: str = "tiny"
    state: str = "queued"
    worker: str = ""
    age_seconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Body:
    pool: str
    tenant: str
    size_bytes: int


@dataclass(slots=True)
class State:
    pool_views: list[Pool] = field(default_factory=list)
    worker_views: list[Worker] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)

    asked: list[Collection[str] | None] = field(default_factory=list)

    def pools(self, tenants: Collection[str] | None = None) -> list[Pool]:
        self.asked.append(tenants)
        return self.pool_views

    def workers(self) -> list[Worker]:
        return self.worker_views

    def held_bodies(self) -> list[Body]:
        return self.bodies

    def most_held_bytes(self) -> int:
        return 1000

    def tasks(self) -> int:
        return 9

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
def tenant() -> type[Tenant]:
    return Tenant


@pytest.fixture
def pool() -> type[Pool]:
    return Pool


@pytest.fixture
def worker() -> type[Worker]:
    return Worker


@pytest.fixture
def body() -> type[Body]:
    return Body


@pytest.fixture
def request_view() -> type[Request]:
    return Request


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
