"""Frozen records of what happened, and the `Observer` protocol that receives them.

The proxy and the dispatcher emit these; telemetry subscribes. No event is emitted per streamed chunk: the
streaming path keeps plain numbers and reports them once, in `RequestFinished`. Times are seconds; `*_at` values are
loop time (monotonic), durations end in `_seconds`. Service and counters are in cost units (floats, for people). Events
are named tuples because three are made for each request, in less than half the time of frozen dataclasses.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.outcomes import Outcome


class RequestQueued(NamedTuple):
    """A request passed every check and waits for room in its pool."""

    request_id: str
    tenant: str
    pool: str


class RequestDispatched(NamedTuple):
    """A request was granted room at a worker and is about to be sent."""

    request_id: str
    tenant: str
    pool: str
    worker: str
    queue_wait_seconds: float


class RequestFinished(NamedTuple):
    """The one record of a request's end; emitted exactly once for each request that reached the listener.

    `tenant`, `pool`, `worker` are empty where the request ended before they were known. `gateway_seconds` is the
    time from the full request body to the bytes handed to the worker less the queue wait: the gateway's own share.
    `client_request_id` is what the client calls the request, empty where it says nothing; `client_address` is where
    its connection comes from; `end_user` stands for whom the client acts for, who cannot be read from it.
    `estimated_tokens` are those of the output that its engine did not count, None where it counted all.
    `attempts` are grants of a worker, `retries` those of them that came after one that failed, None for none.
    `asked_pool` is empty unless the request was for another pool, whose fallback `pool` is.
    `inter_token_seconds` is the mean time between tokens, None for fewer than two tokens or an answer not streamed.
    """

    request_id: str
    endpoint: str
    tenant: str
    key_id: str
    pool: str
    model: str
    worker: str
    outcome: Outcome
    status: int
    streamed: bool
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    service: float
    queue_wait_seconds: float | None
    ttft_seconds: float | None
    inter_token_seconds: float | None
    longest_gap_seconds: float | None
    gateway_seconds: float | None
    duration_seconds: float
    detail: str = ""
    asked_pool: str = ""
    client_request_id: str = ""
    estimated_tokens: int | None = None
    retries: int | None = None
    client_address: str = ""
    end_user: str = ""


class WorkerChanged(NamedTuple):
    """A worker changed its state; `reason` says why in words."""

    pool: str
    worker: str
    state: str
    reason: str


class WorkerRemarked(NamedTuple):
    """What the operator should know of a worker: why it does not serve (again and again), what is configured wrong."""

    pool: str
    worker: str
    remark: str


class WorkerStalled(NamedTuple):
    """A worker stands still with requests in it (`is_stalled`), or makes progress again, or has none left."""

    pool: str
    worker: str
    is_stalled: bool
    reason: str


class WindowDegraded(NamedTuple):
    """A worker's window is a fixed one, for the `reason` that its metrics cannot be used, or (empty) is tuned again."""

    pool: str
    worker: str
    reason: str


class TokensUnmetered(NamedTuple):
    """A worker has generated notably more or fewer tokens than the gateway has metered there, or (`share` 0) no more.

    `share` is of the engine's tokens, negative where the gateway metered more than the engine says.
    """

    pool: str
    worker: str
    share: float


class UsageCapped(NamedTuple):
    """A worker said of a request that it took more tokens than it can have; no more than possible was charged.

    `prompt_tokens` and `output_tokens` are those it said.
    """

    request_id: str
    pool: str
    worker: str
    prompt_tokens: int
    output_tokens: int


class WorkerWrote(NamedTuple):
    """A worker that the gateway started wrote a line of its own log."""

    worker: str
    line: str


class ObserverFailed(NamedTuple):
    """An observer raised `error` (a type's name) at an event of the type `event`; the others heard that event."""

    observer: str
    event: str
    error: str


class LifeChanged(NamedTuple):
    """The gateway itself is in another `phase` of its life; `facts` say more, `is_well` whether nothing was lost."""

    phase: str
    facts: Mapping[str, object]
    is_well: bool = True


class ConfigReloaded(NamedTuple):
    """A changed configuration was applied (`faults` empty) or rejected, the last good one staying in force.

    `warnings` are of what is in it and hardly meant so.
    """

    path: str
    faults: Sequence[str]
    changes: Sequence[str]
    needs_restart: Sequence[str]
    warnings: Sequence[str] = ()

    @property
    def succeeded(self) -> bool:
        """True where the file was valid and its difference applied."""
        return not self.faults


Event = (
    RequestQueued
    | RequestDispatched
    | RequestFinished
    | WorkerChanged
    | WorkerRemarked
    | WorkerStalled
    | WindowDegraded
    | TokensUnmetered
    | UsageCapped
    | WorkerWrote
    | ObserverFailed
    | LifeChanged
    | ConfigReloaded
)


class Observer(Protocol):
    """Receives every event, synchronously and in order; must not block. One that raises is told of, to the others."""

    def observe(self, event: Event) -> None:
        """Take note of `event`."""
        ...
