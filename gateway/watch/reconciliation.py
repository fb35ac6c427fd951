"""Compares the tokens that a worker generates with those that the gateway meters there.

Tokens that a worker generates for others are outside the fair shares. Minute by minute, the engine's own count of
generated tokens is compared with the tokens that requests were settled at and those of requests in flight. In one
minute a few requests whose clients left may explain a difference. Two minutes in a row with more than 5 % are reported
once: either traffic bypasses the gateway, or the gateway reads an answer's tokens wrongly.

With replicas, what all of them metered counts. What the others metered is known with a delay, so up to as many tokens
may be missing as the engine generated in that time. They count as metered as far as that explains a difference.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.events import Event, RequestFinished, TokensUnmetered
from gateway.fairness import TicketSnapshot
from gateway.workers import EngineSample

PERIOD_SECONDS = 60.0
MIN_TOKENS = 2000  # generated in a period; below this the difference is chance
TOLERATED_SHARE = 0.05
COUNT_SECONDS: Final = 0.5  # between two counts for the other replicas
DELAY_SECONDS: Final = 2.0  # their count and their call, our call: 0.5 s each, and as much again for slow ones
_PERIODS_TO_TELL = 2


@dataclass(slots=True)
class _Account:
    began_at: float
    engine_tokens: float
    metered_tokens: int
    unknown_tokens: float  # that the other replicas may have metered by then, besides
    share: float = 0.0
    broken_periods: int = 0
    is_told: bool = False
    is_void: bool = False  # what the other replicas metered is not known any more


class Growth:
    """By how much a counter of each engine has grown since its first reading; a total rises until it is forgotten."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()  # by worker
        self._last: dict[str, float] = {}

    def take(self, worker: str, count: float | None) -> None:
        """Take in what the counter shows now; None if the engine has no such counter."""
        if count is None:
            return
        before = self._last.get(worker, count)
        self._last[worker] = count
        # An engine that counts fewer than before has started again.
        self.totals[worker] += round(count - before if count >= before else count)

    def forget(self, worker: str) -> None:
        """Let the next reading of a worker be its first, and keep the total."""
        self._last.pop(worker, None)

    def forget_total(self, worker: str) -> None:
        """Let the total of a worker that is gone begin anew."""
        self.totals.pop(worker, None)


class _Others:
    """What the other replicas metered at one worker, and the engine's counts while that may be out of date."""

    def __init__(self) -> None:
        self.total = 0
        self.heard_at = 0.0
        self._counts: deque[tuple[float, float]] = deque()  # time, tokens; the first is old enough, if any is

    def unknown_tokens(self, engine_tokens: float, now: float) -> float | None:
        """How many of the engine's tokens the others may have metered unheard; None if that cannot be said yet."""
        counts = self._counts
        if counts and engine_tokens < counts[-1][1]:
            counts.clear()  # another engine
        counts.append((now, engine_tokens))
        while len(counts) > 1 and counts[1][0] <= now - DELAY_SECONDS:
            counts.popleft()
        is_known = counts[0][0] <= now - DELAY_SECONDS <= self.heard_at
        return engine_tokens - counts[0][1] if is_known else None


class Reconciliation:
    """The tokens of every worker, by its own count and by the gateway's; it observes the requests that end."""

    def __init__(self, emit: Callable[[Event], None], in_flight: Callable[[], Iterable[TicketSnapshot]]) -> None:
        """Start with nothing counted; `in_flight` returns the requests in flight."""
        self._emit = emit
        self._in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        self._settled: Counter[str] = Counter()
        self._accounts: dict[str, _Account] = {}
        self._others: dict[str, _Others] = {}
        self._totals: dict[str, int] = {}
        self.generated = Growth()
        self.read = Growth()  # tokens of prompts, each prompt once for each choice
        self._counted_at = float("-inf")

    def observe(self, event: Event) -> None:
        """Count the output tokens that a request was settled at."""
        if isinstance(event, RequestFinished) and event.worker:
            self._settled[event.worker] += event.output_tokens

    def forget(self, worker: str) -> None:
        """Forget a worker that left, but not what was metered there: that total does not fall (`forget_total`)."""
        self._accounts.pop(worker, None)
        self._others.pop(worker, None)
        self.generated.forget(worker)
        self.read.forget(worker)

    def forget_total(self, worker: str) -> None:
        """Let the total of a worker that is gone begin anew, should it come back: nobody adds it to the old one."""
        self._settled.pop(worker, None)
        self._totals.pop(worker, None)

    def forget_growth(self, worker: str) -> None:
        """Let what its engine counted begin anew, if a worker that is gone comes back."""
        self.generated.forget_total(worker)
        self.read.forget_total(worker)

    def share(self, worker: str) -> float | None:
        """The share of the engine's tokens that was not metered in the last period; None if nothing is compared yet."""
        account = self._accounts.get(worker)
        return None if account is None or account.is_void else account.share

    def take(self, pool: str, worker: str, sample: EngineSample) -> None:
        """Take in a reading of `worker`."""
        now, engine_tokens = self._loop.time(), sample.output_tokens
        self.generated.take(worker, engine_tokens)
        self.read.take(worker, sample.prompt_tokens)
        if engine_tokens is None:
            return
        account, unknown_tokens = self._accounts.get(worker), self._unknown_tokens(worker, engine_tokens, now)
        if unknown_tokens is None:
            self._void(worker)
        elif account is None or account.is_void or engine_tokens < account.engine_tokens:
            is_told = account is not None and account.is_void and account.is_told
            metered = self._metered(worker)
            self._accounts[worker] = _Account(now, engine_tokens, metered, unknown_tokens, is_told=is_told)
        elif now - account.began_at >= PERIOD_SECONDS and engine_tokens - account.engine_tokens >= MIN_TOKENS:
            self._close(pool, worker, account, _Account(now, engine_tokens, self._metered(worker), unknown_tokens))

    def _metered(self, worker: str) -> int:
        others = self._others.get(worker)
        own = self._settled[worker] + sum(each.output_tokens for each in self._in_flight() if each.worker == worker)
        return own if others is None else own + others.total

    def _close(self, pool: str, worker: str, before: _Account, after: _Account) -> None:
        """End a period and begin the next."""
        metered = after.metered_tokens - before.metered_tokens
        generated = after.engine_tokens - before.engine_tokens
        most = 1 - (metered - before.unknown_tokens) / generated
        least = 1 - (metered + after.unknown_tokens) / generated
        after.share = min(most, max(least, 0.0))
        after.broken_periods = before.broken_periods + 1 if abs(after.share) > TOLERATED_SHARE else 0
        after.is_told = after.broken_periods >= _PERIODS_TO_TELL
        self._accounts[worker] = after
        if after.is_told is not before.is_told:
            self._emit(TokensUnmetered(pool, worker, after.share if after.is_told else 0.0))

    # -- several replicas

    def _unknown_tokens(self, worker: str, engine_tokens: float, now: float) -> float | None:
        others = self._others.get(worker)
        return 0.0 if others is None else others.unknown_tokens(engine_tokens, now)

    def others_metered(self, worker: str, total: int) -> None:
        """Take in how many output tokens all other replicas have metered at a worker so far.

        While this is not called for `DELAY_SECONDS`, nothing is compared. If the total falls, a new comparison begins.
        """
        others = self._others.get(worker)
        is_comparable = others is not None and total >= others.total
        if others is None:
            others = self._others[worker] = _Others()
        others.total, others.heard_at = total, self._loop.time()
        if not is_comparable:
            self._void(worker)

    def _void(self, worker: str) -> None:
        account = self._accounts.get(worker)
        if account is not None:
            account.is_void = True

    def totals(self) -> Mapping[str, int]:
        """How many output tokens were metered here so far, by worker, for the other replicas.

        No number falls before it is forgotten. They are counted anew every `COUNT_SECONDS`.
        """
        now = self._loop.time()
        if now >= self._counted_at + COUNT_SECONDS:
            self._counted_at = now
            totals = Counter(self._settled)
            for each in self._in_flight():
                totals[each.worker] += each.output_tokens
            for worker, total in totals.items():
                self._totals[worker] = max(total, self._totals.get(worker, 0))
        return self._totals
