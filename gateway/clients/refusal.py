"""What a client gets when its request does not run: a status, a body in its own API's format, `Retry-After`.

The words are the gateway's own. A message may repeat names from a JSON body that was read, and one bounded line of what
an engine said of the request. It never repeats raw bytes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.clients.budget_headers import LIMITED_BY
from gateway.clients.downstream import WholeAnswer
from gateway.clients.origins import reading_headers
from gateway.clients.rate_headers import rate_headers
from gateway.clients.request import ClientRequest, Headers
from gateway.fairness import Rates
from gateway.outcomes import LONGEST_RETRY_SECONDS, Outcome
from gateway.wire.errors import RequestFault, error_body
from gateway.wire.surface import ENDPOINTS, Dialect
from gateway.wire.target import path_of, spoken_at

SERVER: Final = "vtc-gateway"
JSON_TYPE: Final = ("Content-Type", "application/json")
NO_RETRY: Final = ("x-should-retry", "false")  # OpenAI's and Anthropic's SDKs then raise the error at once
_ROUNDING_SECONDS: Final = 1e-6  # a minute is no minute and a second
_ANTHROPIC_VERSION: Final = "anthropic-version"  # a header that Anthropic's API demands and no other API has

_MESSAGES: Final = {
    Outcome.BAD_REQUEST: "What this request could cost is too large to be counted. Ask for a shorter answer.",
    Outcome.QUARANTINED: "Two workers died while they ran this request, so it is not sent again for some minutes. "
    "Change it: another prompt, other parameters.",
    Outcome.UNKNOWN_MODEL: "This model was taken out of the configuration while the request was under way.",
    Outcome.RATE_LIMITED: "This key's tenant has reached its rate limit. Retry after {seconds} s.",
    Outcome.TENANT_QUEUE_FULL: "This key's tenant has too many requests waiting. Retry after {seconds} s, "
    "or send fewer at once.",
    Outcome.PUSHED_OUT: "The queue is full and this key's tenant has the longest part of it. Retry after {seconds} s.",
    Outcome.BODY_PUSHED_OUT: "The memory for requests is full and this key's tenant has the largest part of it. "
    "Retry after {seconds} s; send smaller requests, or fewer at once.",
    Outcome.QUEUE_TIMEOUT: "The request waited too long: for room beside other tenants' requests, for a place within "
    "its tenant's limit, or for a part of a budget. Retry after {seconds} s.",
    Outcome.NO_WORKER: "No worker that serves this model is available now. Retry after {seconds} s.",
    Outcome.DRAINING: "The gateway is shutting down. Retry after {seconds} s; another instance will answer.",
    Outcome.NO_ROOM: "The workers had no room for this request each time it was sent. Retry after {seconds} s.",
    Outcome.GATEWAY_EXHAUSTED: "The gateway is short of connections. Retry after {seconds} s.",
    Outcome.NO_STORE: "The gateways cannot reach the store that they share. Retry after {seconds} s.",
    Outcome.NO_LEDGER: "The gateway cannot tell what is left of this key's budget now. Retry after {seconds} s.",
    Outcome.WORKER_FAILED: "The worker failed before it answered. Retry.",
    Outcome.FIRST_BYTE_TIMEOUT: "The worker did not begin to answer in time. Retry, or ask for a shorter answer.",
    Outcome.WORKER_LOST_STREAMING: "The worker was lost while it answered; the answer is not complete.",
    Outcome.WORKER_STALLED: "The worker fell silent while it answered; the answer is not complete.",
    Outcome.CUT_BY_SHUTDOWN: "The gateway shut down while the worker answered; the answer is not complete.",
    Outcome.INTERNAL: "The gateway failed. The operator finds the cause under this request's id.",
}


def message(outcome: Outcome, retry_after_seconds: float = 0.0) -> str:
    """The sentence for the client where the gateway itself ends the request; other faults bring their own message."""
    return _MESSAGES[outcome].format(seconds=_whole_seconds(retry_after_seconds))


class Refusal(RequestFault):
    """A request that is refused in the gateway's own words, with the time after which to retry."""

    def __init__(self, outcome: Outcome, retry_after_seconds: float | None = None, worker_message: str = "") -> None:
        """Refuse with `outcome`; without `retry_after_seconds` there is no `Retry-After`.

        If that is more than a minute, the client's SDK is told not to try again by itself.
        `worker_message` is the worker's answer in words, empty if it had none.
        """
        words = message(outcome, retry_after_seconds or 0.0)
        super().__init__(outcome, f"{words} It said: {worker_message}." if worker_message else words)
        self.retry_after_seconds = retry_after_seconds


class BudgetRefusal(RequestFault):
    """A request for which too little is left of a budget; `limited_by` names that as a header does.

    An SDK sleeps for as long as it is told: a period that ends much later is told in the message only.
    """

    def __init__(self, message: str, limited_by: str, starts_again_seconds: float) -> None:
        super().__init__(Outcome.BUDGET_USED_UP, message)
        self.limited_by = limited_by
        self.starts_again_seconds = starts_again_seconds


class WrongMethod(RequestFault):
    """A path was called with a method that it does not have; `allow` lists the methods that it has."""

    def __init__(self, path: str, allow: str) -> None:
        """`path` is one of the gateway's own paths, not text of the client."""
        super().__init__(Outcome.WRONG_METHOD, f"{path} is called with {allow.partition(',')[0]}.")
        self.allow = allow


class OverlongHead(RequestFault):
    """A request line or a header is longer than the gateway reads: `status` is 414 or 431."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(Outcome.BAD_REQUEST, message)
        self.status = status


def dialect_of(target: str, headers: Headers) -> Dialect:
    """The API that a client of `target` speaks, by the path, or by the headers if the path does not tell."""
    path = path_of(target) or ""
    if path not in ENDPOINTS and _ANTHROPIC_VERSION in headers:
        return Dialect.ANTHROPIC
    return spoken_at(path)


def identifying_headers(request_id: str) -> Sequence[tuple[str, str]]:
    """The `Server` header, and those by which OpenAI's and Anthropic's SDKs report a request."""
    return (("Server", SERVER), ("x-request-id", request_id), ("request-id", request_id))


def own_headers(request: ClientRequest, request_id: str) -> Sequence[tuple[str, str]]:
    """The gateway's own headers in every answer to `request`."""
    return (*identifying_headers(request_id), *reading_headers(request))


def refusal_answer(
    request: ClientRequest, fault: RequestFault, request_id: str, rates: Rates | None, *, is_last: bool
) -> WholeAnswer:
    """The answer to a `request` that ends with `fault`; after the last one the connection closes.

    `rates` is what is left of the tenant's rates.
    """
    dialect = dialect_of(request.target, request.headers)
    status = fault.status if isinstance(fault, OverlongHead) else fault.outcome.wire_form.status
    body = error_body(dialect, fault.outcome, fault.message, fault.param, request_id)
    # So the next request of a client that was refused because of the shutdown reaches another instance.
    is_last = is_last or fault.outcome is Outcome.DRAINING
    return WholeAnswer(status, body, [JSON_TYPE, *_remedies(fault), *rate_headers(dialect, rates)], is_last)


def too_many_connections(request_id: str) -> bytes:
    """The complete answer to a connection beyond the bound; nothing of its request is read."""
    body = error_body(Dialect.OPENAI, Outcome.DRAINING, "The gateway has too many connections. Retry after 1 s.")
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Connection: close",
        *(f"{name}: {value}" for name, value in identifying_headers(request_id)),
    ]
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body


def _remedies(fault: RequestFault) -> Iterator[tuple[str, str]]:
    """The headers that say what the client can do."""
    if isinstance(fault, Refusal) and fault.retry_after_seconds is not None:
        yield _retry(fault.retry_after_seconds)
    if isinstance(fault, BudgetRefusal):
        yield LIMITED_BY, fault.limited_by
        yield _retry(fault.starts_again_seconds)
    if isinstance(fault, WrongMethod):
        yield "Allow", fault.allow
    if fault.outcome is Outcome.UNAUTHENTICATED:
        yield "WWW-Authenticate", "Bearer"


def _retry(seconds: float) -> tuple[str, str]:
    """The header that says after how many seconds to retry, or not to."""
    whole = _whole_seconds(seconds)
    return ("Retry-After", str(whole)) if whole <= LONGEST_RETRY_SECONDS else NO_RETRY


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds - _ROUNDING_SECONDS))
