"""What a client is told when its request does not run: status, body in its own API's format, `Retry-After`."""

import math
from collections.abc import Sequence

from aiohttp import web

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault, error_body
from gateway.wire.surface import Dialect

_MESSAGES = {
    Outcome.RATE_LIMITED: "This key's tenant has reached its rate limit. Retry after {seconds} s.",
    Outcome.TENANT_QUEUE_FULL: "This key's tenant has too many requests waiting. Retry after {seconds} s, "
    "or send fewer at once.",
    Outcome.PUSHED_OUT: "The queue is full and this key's tenant has the longest part of it. Retry after {seconds} s.",
    Outcome.QUEUE_TIMEOUT: "The request waited too long for room beside other tenants' requests. "
    "Retry after {seconds} s.",
    Outcome.NO_WORKER: "No worker that serves this model is available now. Retry after {seconds} s.",
    Outcome.DRAINING: "The gateway is shutting down. Retry after {seconds} s; another instance will answer.",
    Outcome.WORKER_FAILED: "The worker failed before it answered, and so did another attempt. Retry.",
    Outcome.FIRST_BYTE_TIMEOUT: "The worker did not begin to answer in time. Retry, or ask for a shorter answer.",
    Outcome.WORKER_LOST_STREAMING: "The worker was lost while it answered; the answer is not complete.",
    Outcome.WORKER_STALLED: "The worker fell silent while it answered; the answer is not complete.",
    Outcome.CUT_BY_SHUTDOWN: "The gateway shut down while the worker answered; the answer is not complete.",
    Outcome.INTERNAL: "The gateway failed. The operator finds the cause under this request's id.",
}


def message(outcome: Outcome, retry_after_seconds: float = 0.0) -> str:
    """The sentence for the client; outcomes that a fault words itself are not here."""
    return _MESSAGES[outcome].format(seconds=_whole_seconds(retry_after_seconds))


class Refusal(RequestFault):
    """A request that is refused with the gateway's own words, and when to come again."""

    def __init__(self, outcome: Outcome, retry_after_seconds: float | None = None) -> None:
        """Refuse with `outcome`; None says nothing of coming again."""
        super().__init__(outcome, message(outcome, retry_after_seconds or 0.0))
        self.retry_after_seconds = retry_after_seconds


def identifying_headers(request_id: str) -> Sequence[tuple[str, str]]:
    """The headers by which OpenAI's and Anthropic's SDKs report a request."""
    return (("x-request-id", request_id), ("request-id", request_id))


def refusal_response(dialect: Dialect, fault: RequestFault, request_id: str) -> web.Response:
    """The whole answer to a request that ends with `fault`."""
    response = web.Response(
        status=fault.outcome.ending.status,
        body=error_body(dialect, fault.outcome, fault.message, fault.param, request_id),
        content_type="application/json",
    )
    for name, value in identifying_headers(request_id):
        response.headers[name] = value
    retry_after = fault.retry_after_seconds if isinstance(fault, Refusal) else None
    if retry_after is not None:
        response.headers["Retry-After"] = str(_whole_seconds(retry_after))
    if fault.outcome is Outcome.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
