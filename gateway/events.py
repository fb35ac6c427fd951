"""Frozen records of what happened, and the `Observer` protocol that receives them.

The proxy, the dispatcher and the watch over the workers emit events; telemetry observes them. No event is emitted per
streamed chunk: the streaming path keeps plain numbers and reports them once, in `RequestFinished`. Durations end in
`_seconds`. Service is in cost units (floats, for people). Events are named tuples because each request makes three of
them, and a named tuple takes less than half the time of a frozen dataclass.
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
    """The one record of a request's end; emitted exactly once for each request that reached the HTTP server.

    `tenant`, `pool` and `worker` are empty if the request ended before they were known. `gateway_seconds` is the time
    from the complete request body to the bytes handed to the worker, without the queue wait: the gateway's own share.
    `client_request_id` is the client's own id for the request, empty if it gave none; `client_address` is where its
    connection comes from. `end_user` is a pseudonym of the end user for whom the client acts: it does not reveal who
    that is. `estimated_tokens` are the output tokens that the engine did not count, None if it counted all.
    `attempts` counts the grants of a worker; `retries` counts the grants that followed a failed attempt, None if none
    did. `asked_pool` is the pool that was asked for, if `pool` served as its fallback; else it is empty.
    `inter_token_seconds` is the mean time between tokens, None for fewer than two tokens or an answer not streamed.
    `lost_prompt_tokens` and `lost_output_tokens` estimate what engines did for attempts that were given up, for which
    nobody pays; None if there was none. `worker_seconds` is its share of the time of its workers, None without one.
    `choices` is how many answers each of its prompts was to get. `end_user_name` is what the client calls the end user:
    no log may show it.
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
    lost_prompt_tokens: int | None = None
    lost_output_tokens: int | None = None
    worker_seconds: float | None = None
    choices: int = 1
    end_user_name: str = ""


class OpenRequest(NamedTuple):
    """A request that was granted and has not ended, with what it has used so far; fields as in `RequestFinished`."""

    request_id: str
    tenant: str
    key_id: str
    end_user: str
    pool: str
    model: str
    worker: str
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    service: float
    queue_wait_seconds: float
    duration_seconds: float
    worker_seconds: float
    choices: int = 1
    end_user_name: str = ""


class WorkerChanged(NamedTuple):
    """A worker changed its state; `reason` says why, in words."""

    pool: str
    worker: str
    state: str
    reason: str


class WorkerRemarked(NamedTuple):
    """A remark on a worker for the operator: why it does not serve (repeated), or what is configured wrong."""

    pool: str
    worker: str
    remark: str


class WorkerStalled(NamedTuple):
    """A worker stands still while it has requests (`is_stalled`), or makes progress again."""

    pool: str
    worker: str
    is_stalled: bool
    reason: str


class WindowDegraded(NamedTuple):
    """A worker's window is fixed, because its metrics cannot be used (`reason`); if `reason` is empty, tuned again."""

    pool: str
    worker: str
    reason: str


class TokensUnmetered(NamedTuple):
    """A worker generates notably more or fewer tokens than the gateway meters there; with `share` 0 this has ended.

    `share` is the unmetered share of the engine's tokens, negative if the gateway metered more than the engine says.
    """

    pool: str
    worker: str
    share: float


class UsageCapped(NamedTuple):
    """A worker reported more tokens for a request than are possible; only the possible ones were charged.

    `prompt_tokens` and `output_tokens` are the worker's figures.
    """

    request_id: str
    pool: str
    worker: str
    prompt_tokens: int
    output_tokens: int


class BudgetThreshold(NamedTuple):
    """A budget has reached `percent` (80, 100) of its amount in the present period, for the first time in it.

    At 100 it is used up, or too little is left for a request. `key` and `end_user` (a pseudonym) are empty if the whole
    tenant shares it. `amount` and `used` are in `unit`: `tokens`, `cost_units`, or `money` in the currency's unit.
    `period` is `hour`, `day`, `week` or `month`; `starts_again` is when the next one begins, in ISO 8601.
    """

    tenant: str
    key: str
    end_user: str
    percent: int
    unit: str
    amount: float
    used: float
    period: str
    starts_again: str


class WorkerWrote(NamedTuple):
    """A worker that the gateway started wrote a line of its own log."""

    worker: str
    line: str


class ObserverFailed(NamedTuple):
    """An observer raised `error` at an `event` (both are names of types); the other observers got that event."""

    observer: str
    event: str
    error: str


class LifeChanged(NamedTuple):
    """The gateway entered another `phase` of its life; `facts` say more; `is_well` is True if no request was lost."""

    phase: str
    facts: Mapping[str, object]
    is_well: bool = True


class ConfigReloaded(NamedTuple):
    """A changed configuration was applied (`faults` is empty), or rejected: then the last good one stays in force.

    `warnings` name what it contains but can hardly mean.
    """

    path: str
    faults: Sequence[str]
    changes: Sequence[str]
    needs_restart: Sequence[str]
    warnings: Sequence[str] = ()

    @property
    def succeeded(self) -> bool:
        """True if the file was valid and its changes were applied."""
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
    | BudgetThreshold
    | WorkerWrote
    | ObserverFailed
    | LifeChanged
    | ConfigReloaded
)


class Observer(Protocol):
    """Receives every event, synchronously and in order; it must not block. If it raises, the others get an event."""

    def observe(self, event: Event) -> None:
        """Take note of `event`."""
        ...
