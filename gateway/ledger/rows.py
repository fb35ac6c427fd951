"""What the ledger says of one request: a row, made of the event of its end and of the moment of its grant.

Figures are integers, so that sums are exact: times in microseconds (moments since 1970, UTC), money in billionths of
the currency's unit. Only the cost, in cost units, is a float. A request belongs to the quarter hour of its grant, or of
its end if it was never granted.
"""

from typing import Final, NamedTuple

from gateway.config import EndUsers, Prices
from gateway.events import OpenRequest, RequestFinished

QUARTER_US: Final = 900_000_000
ORPHANED: Final = "orphaned"  # the outcome of a request that was open when its gateway was killed
_HASHED, _PLAIN = EndUsers.HASHED, EndUsers.PLAIN
_US: Final = 1e6
_NANO_PER_MILLIONTH: Final = 1000  # a price per million tokens is so many billionths for each
_NANO_PER_US: Final = 1e3 / 3600  # a price per hour, for each microsecond


class Grant:
    """When a request was granted (seconds since 1970), and the prices of its pool then."""

    __slots__ = ("at", "prices")

    def __init__(self, at: float, prices: Prices | None) -> None:
        self.at = at
        self.prices = prices


class Ended:
    """A request that ended at `at` (seconds since 1970); `grant` is None if it never ran."""

    __slots__ = ("at", "event", "grant")

    def __init__(self, event: RequestFinished, grant: Grant | None, at: float) -> None:
        self.event = event
        self.grant = grant
        self.at = at


class Noted:
    """A request that was open at `at` (seconds since 1970)."""

    __slots__ = ("at", "grant", "request")

    def __init__(self, request: OpenRequest, grant: Grant, at: float) -> None:
        self.request = request
        self.grant = grant
        self.at = at


class Money(NamedTuple):
    """What a request costs, in billionths of the currency's unit.

    The parts are for the prompt's tokens that were not cached, for those that were, and for the answer's. The rest of
    the total is for the time of workers.
    """

    total_nano: int = 0
    prompt_nano: int = 0
    cached_nano: int = 0
    output_nano: int = 0


class Row(NamedTuple):
    """A line of the ledger; the fields are its columns.

    `choices` is how many answers each prompt got: an engine counts a prompt once for each. Lost tokens were generated
    or read and are paid by nobody. `money_nano` and its parts are those of `Money`.
    """

    request_id: str
    quarter: int
    granted_us: int | None
    ended_us: int
    tenant: str
    key: str
    pool: str
    model: str
    worker: str
    outcome: str
    end_user: str
    attempts: int
    choices: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    estimated_tokens: int
    lost_prompt_tokens: int
    lost_output_tokens: int
    cost: float
    worker_us: int
    money_nano: int
    prompt_nano: int
    cached_nano: int
    output_nano: int
    queue_us: int | None
    ttft_us: int | None
    duration_us: int


_FREE: Final = Money()


def row_of(ended: Ended, *, end_users: EndUsers = EndUsers.HASHED) -> Row:
    """The row of a request that ended."""
    event, grant = ended.event, ended.grant
    granted_us = None if grant is None else int(grant.at * _US)
    ended_us = int(ended.at * _US)
    worker_seconds = event.worker_seconds or 0.0
    return Row(
        event.request_id,
        (ended_us if granted_us is None else granted_us) // QUARTER_US,
        granted_us,
        ended_us,
        event.tenant,
        event.key_id,
        event.pool,
        event.model,
        event.worker,
        event.outcome.value,
        _end_user(event, end_users),
        event.attempts,
        event.choices,
        event.prompt_tokens,
        event.cached_tokens,
        event.output_tokens,
        event.estimated_tokens or 0,
        event.lost_prompt_tokens or 0,
        event.lost_output_tokens or 0,
        event.service,
        round(worker_seconds * _US),
        *(_FREE if grant is None else money(grant.prices, event, worker_seconds)),
        _us(event.queue_wait_seconds),
        _us(event.ttft_seconds),
        round(event.duration_seconds * _US),
    )


def orphan_of(noted: Noted, *, end_users: EndUsers = EndUsers.HASHED) -> Row:
    """The row of a request that is open, as it stands if nothing more is heard of it."""
    request, grant = noted.request, noted.grant
    granted_us = int(grant.at * _US)
    return Row(
        request.request_id,
        granted_us // QUARTER_US,
        granted_us,
        int(noted.at * _US),
        request.tenant,
        request.key_id,
        request.pool,
        request.model,
        request.worker,
        ORPHANED,
        _end_user(request, end_users),
        request.attempts,
        request.choices,
        request.prompt_tokens,
        request.cached_tokens,
        request.output_tokens,
        0,
        0,
        0,
        request.service,
        round(request.worker_seconds * _US),
        *money(grant.prices, request, request.worker_seconds),
        _us(request.queue_wait_seconds),
        None,
        round(request.duration_seconds * _US),
    )


def _end_user(request: RequestFinished | OpenRequest, end_users: EndUsers) -> str:
    """What a row says of the end user; half of a surrogate pair, which no file can hold, becomes a question mark."""
    if end_users is _HASHED:
        return request.end_user
    if end_users is _PLAIN:
        return request.end_user_name.encode("utf-8", "replace").decode()
    return ""


def money(prices: Prices | None, used: RequestFinished | OpenRequest, worker_seconds: float) -> Money:
    """What a request costs by `prices`; each part is rounded, and the total is the sum of all."""
    if prices is None:
        return _FREE
    cached_tokens = min(used.cached_tokens, used.prompt_tokens)
    prompt_nano = round((used.prompt_tokens - cached_tokens) * prices.prompt * _NANO_PER_MILLIONTH)
    cached_nano = round(cached_tokens * prices.cached_or_prompt * _NANO_PER_MILLIONTH)
    output_nano = round(used.output_tokens * prices.output * _NANO_PER_MILLIONTH)
    worker_nano = round(worker_seconds * _US * prices.worker_hour * _NANO_PER_US)
    return Money(prompt_nano + cached_nano + output_nano + worker_nano, prompt_nano, cached_nano, output_nano)


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _US)
