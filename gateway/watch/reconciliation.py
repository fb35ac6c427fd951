"""Compares the tokens that a worker generates with those that the gateway meters there.

Tokens that a worker generates for others are outside the fair shares. Minute by minute, the engine's own count of
generated tokens is compared with the tokens that requests were settled at and those of requests in flight. In one
minute a few requests whose clients left may explain a difference. Two minutes in a row with more than 5 % are reported
once: either traffic bypasses the gateway, or the gateway reads an answer's tokens wrongly.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.events import Event, RequestFinished, TokensUnmetered
from gateway.fairness import TicketSnapshot
from gateway.workers import EngineSample

PERIOD_SECONDS = 60.0
MIN_TOKENS = 2000  # generated in a period; below this the difference is chance
TOLERATED_SHARE = 0.05
_PERIODS_TO_REPORT = 2


@dataclass(slots=True)
class _Account:
    began_at: float
    engine_tokens: float
    metered_tokens: int
    share: float = 0.0
    broken_periods: int = 0
    is_reported: bool = False


class Reconciliation:
    """The tokens of every worker, by its own count and by the gateway's; it observes the requests that end."""

    def __init__(self, emit: Callable[[Event], None], in_flight: Callable[[], Iterable[TicketSnapshot]]) -> None:
        """Start with nothing counted; `in_flight` returns the requests in flight."""
        self._emit = emit
        self._in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        self._settled: Counter[str] = Counter()
        self._accounts: dict[str, _Account] = {}

    def observe(self, event: Event) -> None:
        """Count the output tokens that a request was settled at."""
        if isinstance(event, RequestFinished) and event.worker:
            self._settled[event.worker] += event.output_tokens

    def forget(self, worker: str) -> None:
        """Forget a worker that left."""
        self._settled.pop(worker, None)
        self._accounts.pop(worker, None)

    def share(self, worker: str) -> float | None:
        """The share of the engine's tokens that was not metered in the last period; None before any reading."""
        account = self._accounts.get(worker)
        return None if account is None else account.share

    def take(self, pool: str, worker: str, sample: EngineSample) -> None:
        """Take in a reading of `worker`."""
        now, engine_tokens = self._loop.time(), sample.output_tokens
        account = self._accounts.get(worker)
        if engine_tokens is None:
            return
        if account is None or engine_tokens < account.engine_tokens:
            self._accounts[worker] = _Account(now, engine_tokens, self._metered(worker))
        elif now - account.began_at >= PERIOD_SECONDS and engine_tokens - account.engine_tokens >= MIN_TOKENS:
            self._close(pool, worker, account, engine_tokens, now)

    def _metered(self, worker: str) -> int:
        return self._settled[worker] + sum(each.output_tokens for each in self._in_flight() if each.worker == worker)

    def _close(self, pool: str, worker: str, account: _Account, engine_tokens: float, now: float) -> None:
        """End a period and begin the next."""
        metered = self._metered(worker)
        generated = engine_tokens - account.engine_tokens
        account.share = 1 - (metered - account.metered_tokens) / generated
        account.began_at, account.engine_tokens, account.metered_tokens = now, engine_tokens, metered
        account.broken_periods = account.broken_periods + 1 if abs(account.share) > TOLERATED_SHARE else 0
        is_broken = account.broken_periods >= _PERIODS_TO_REPORT
        if is_broken is not account.is_reported:
            account.is_reported = is_broken
            self._emit(TokensUnmetered(pool, worker, account.share if is_broken else 0.0))
