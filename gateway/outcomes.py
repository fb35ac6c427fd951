"""The closed list of how a request can end.

Every request that reaches the HTTP server ends with exactly one `Outcome`. The outcome gives the metric's label, the
log line's field, the HTTP status and the error type in both API dialects. No other module defines an ending. The error
types come from the error pages of the OpenAI and the Anthropic API.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

LONGEST_RETRY_SECONDS: Final = 60.0  # of `Retry-After`: an SDK sleeps for as long as it is told


@dataclass(frozen=True, slots=True)
class WireForm:
    """What an outcome means on the wire: HTTP status, OpenAI `type` and `code`, Anthropic `type`."""

    status: int
    openai_type: str
    openai_code: str | None
    anthropic_type: str


_INVALID = "invalid_request_error"


class Outcome(Enum):
    """One ending of a request; the value is its metric label."""

    COMPLETED = "completed"
    REJECTED_BY_ENGINE = "rejected_by_engine"

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PATH = "unknown_path"
    WRONG_METHOD = "wrong_method"
    BODY_TIMEOUT = "body_timeout"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    QUARANTINED = "quarantined"

    RATE_LIMITED = "rate_limited"
    BUDGET_USED_UP = "budget_used_up"
    TENANT_QUEUE_FULL = "tenant_queue_full"
    PUSHED_OUT = "pushed_out"
    BODY_PUSHED_OUT = "body_pushed_out"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_WORKER = "no_worker"
    DRAINING = "draining"
    NO_ROOM = "no_room"
    GATEWAY_EXHAUSTED = "gateway_exhausted"
    NO_STORE = "no_store"
    NO_LEDGER = "no_ledger"

    CLIENT_GONE_QUEUED = "client_gone_queued"
    CLIENT_GONE_WAITING = "client_gone_waiting"
    CLIENT_GONE_STREAMING = "client_gone_streaming"
    CLIENT_STALLED = "client_stalled"

    WORKER_FAILED = "worker_failed"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    WORKER_LOST_STREAMING = "worker_lost_streaming"
    WORKER_STALLED = "worker_stalled"
    CUT_BY_SHUTDOWN = "cut_by_shutdown"
    INTERNAL = "internal"

    # Each request looks up tables by outcome, and Enum's own hash is a slow Python function.
    __hash__ = object.__hash__

    @property
    def wire_form(self) -> WireForm:
        """Status and error types of this outcome."""
        return _WIRE_FORMS[self]

    @property
    def is_refusal(self) -> bool:
        """True if the gateway itself turned the request away; a worker may have seen an earlier attempt."""
        return self in _REFUSALS


_WIRE_FORMS: Final = {
    Outcome.COMPLETED: WireForm(200, "", None, ""),
    Outcome.REJECTED_BY_ENGINE: WireForm(400, _INVALID, None, _INVALID),
    Outcome.BAD_REQUEST: WireForm(400, _INVALID, None, _INVALID),
    Outcome.UNAUTHENTICATED: WireForm(401, _INVALID, "invalid_api_key", "authentication_error"),
    Outcome.FORBIDDEN: WireForm(403, _INVALID, "permission_denied", "permission_error"),
    Outcome.UNKNOWN_MODEL: WireForm(404, _INVALID, "model_not_found", "not_found_error"),
    Outcome.UNKNOWN_PATH: WireForm(404, _INVALID, "unknown_url", "not_found_error"),
    Outcome.WRONG_METHOD: WireForm(405, _INVALID, "method_not_allowed", _INVALID),
    Outcome.BODY_TIMEOUT: WireForm(408, _INVALID, "request_timeout", _INVALID),
    Outcome.BODY_TOO_LARGE: WireForm(413, _INVALID, "request_too_large", "request_too_large"),
    Outcome.UNSUPPORTED_MEDIA: WireForm(415, _INVALID, "unsupported_media_type", _INVALID),
    Outcome.QUARANTINED: WireForm(422, _INVALID, "request_quarantined", _INVALID),
    Outcome.RATE_LIMITED: WireForm(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
    Outcome.BUDGET_USED_UP: WireForm(429, "insufficient_quota", "insufficient_quota", "rate_limit_error"),
    Outcome.TENANT_QUEUE_FULL: WireForm(429, "rate_limit_error", "queue_full", "rate_limit_error"),
    Outcome.PUSHED_OUT: WireForm(429, "rate_limit_error", "queue_full", "rate_limit_error"),
    Outcome.BODY_PUSHED_OUT: WireForm(429, "rate_limit_error", "bodies_full", "rate_limit_error"),
    Outcome.QUEUE_TIMEOUT: WireForm(429, "rate_limit_error", "queue_timeout", "rate_limit_error"),
    Outcome.NO_WORKER: WireForm(503, "server_error", "no_worker", "overloaded_error"),
    Outcome.DRAINING: WireForm(503, "server_error", "draining", "overloaded_error"),
    Outcome.NO_ROOM: WireForm(503, "server_error", "no_room", "overloaded_error"),
    Outcome.GATEWAY_EXHAUSTED: WireForm(503, "server_error", "gateway_exhausted", "overloaded_error"),
    Outcome.NO_LEDGER: WireForm(503, "server_error", "no_ledger", "overloaded_error"),
    Outcome.NO_STORE: WireForm(503, "server_error", "no_store", "overloaded_error"),
    # 499 is nginx's status for a client that closed first: only logs and metrics read it.
    Outcome.CLIENT_GONE_QUEUED: WireForm(499, _INVALID, "client_closed_request", _INVALID),
    Outcome.CLIENT_GONE_WAITING: WireForm(499, _INVALID, "client_closed_request", _INVALID),
    Outcome.CLIENT_GONE_STREAMING: WireForm(499, _INVALID, "client_closed_request", _INVALID),
    Outcome.CLIENT_STALLED: WireForm(499, _INVALID, "client_stalled", _INVALID),
    Outcome.WORKER_FAILED: WireForm(502, "server_error", "worker_failed", "api_error"),
    Outcome.FIRST_BYTE_TIMEOUT: WireForm(504, "server_error", "first_byte_timeout", "timeout_error"),
    Outcome.WORKER_LOST_STREAMING: WireForm(502, "server_error", "worker_lost", "api_error"),
    Outcome.WORKER_STALLED: WireForm(504, "server_error", "worker_stalled", "timeout_error"),
    Outcome.CUT_BY_SHUTDOWN: WireForm(503, "server_error", "shutting_down", "overloaded_error"),
    Outcome.INTERNAL: WireForm(500, "server_error", "internal_error", "api_error"),
}

_REFUSALS: Final = frozenset(
    {
        Outcome.BAD_REQUEST,
        Outcome.UNAUTHENTICATED,
        Outcome.FORBIDDEN,
        Outcome.UNKNOWN_MODEL,
        Outcome.UNKNOWN_PATH,
        Outcome.WRONG_METHOD,
        Outcome.BODY_TIMEOUT,
        Outcome.BODY_TOO_LARGE,
        Outcome.UNSUPPORTED_MEDIA,
        Outcome.RATE_LIMITED,
        Outcome.BUDGET_USED_UP,
        Outcome.TENANT_QUEUE_FULL,
        Outcome.PUSHED_OUT,
        Outcome.BODY_PUSHED_OUT,
        Outcome.QUEUE_TIMEOUT,
        Outcome.NO_WORKER,
        Outcome.DRAINING,
        Outcome.GATEWAY_EXHAUSTED,
        Outcome.NO_STORE,
        Outcome.NO_LEDGER,
    }
)
