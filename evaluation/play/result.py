"""What a replay found: for each tenant how its requests ended, what it was served and how long it waited.

All waits count from the moment at which the request ought to have left. A request that was cut off before its first
token waited at least until then; that time counts as its wait. A refused or failed request has no wait. Service is
1 x prompt + 2 x output tokens, as the endpoint reported them.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from evaluation.load.client import CUT_OFF
from evaluation.load.tenants import INPUT_WEIGHT, OUTPUT_WEIGHT
from evaluation.metrics.statistics import mean, percentile
from evaluation.play.player import Played

PERCENTS = (50, 95, 99)
# Above this lag the replay measures the player and not the endpoint: a client's own wake-ups take a few ms.
LAG_WARNING_SECONDS = 0.05
LENGTH_TOLERANCE = 0.1


Waits = Mapping[str, float]
"""Seconds by percentile, `p50` and so on; NaN where nothing was measured."""


class Ended(Enum):
    """How a request ended, as its client saw it."""

    COMPLETED = "completed"
    LEFT = "left"
    REFUSED = "refused"
    FAILED = "failed"
    CUT_OFF = "cut off"


def ended(played: Played) -> Ended:
    """How `played` ended."""
    record = played.record
    if record.has_left:
        return Ended.LEFT
    if record.is_refused:
        return Ended.REFUSED
    if record.error == CUT_OFF:
        return Ended.CUT_OFF
    return Ended.FAILED if record.error else Ended.COMPLETED


# -- durations of a request, given when the replay ended; None if it has none


def ttft_seconds(played: Played, end: float) -> float | None:
    """From the intended sending to the first token."""
    if played.record.first_token_at is not None:
        return played.record.first_token_at - played.intended_at
    return end - played.intended_at if ended(played) is Ended.CUT_OFF else None


def per_token_seconds(played: Played, end: float) -> float | None:
    """The mean time between tokens of a completed answer with at least two."""
    record = played.record
    if ended(played) is not Ended.COMPLETED or record.output_tokens < 2:
        return None
    return record.run_seconds / (record.output_tokens - 1)


def whole_seconds(played: Played, end: float) -> float | None:
    """From the intended sending to the end of the answer."""
    if ended(played) is Ended.CUT_OFF:
        return end - played.intended_at
    is_whole = ended(played) is Ended.COMPLETED and played.record.ended_at is not None
    return (played.record.ended_at or 0.0) - played.intended_at if is_whole else None


@dataclass(frozen=True, slots=True)
class TenantResult:
    """One tenant."""

    tenant: str
    sent: int
    endings: Mapping[Ended, int]
    service_per_second: float
    ttft_seconds: Waits
    per_token_seconds: Waits
    whole_seconds: Waits


@dataclass(frozen=True, slots=True)
class Result:
    """The whole replay, which began at `start` and ended at `end` in loop time."""

    start: float
    end: float
    played: Sequence[Played]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start

    @property
    def lag_seconds(self) -> Waits:
        """How late the player was; p100 is the worst."""
        return _by_percent([each.lag_seconds for each in self.played], (*PERCENTS, 100))

    def tenants(self) -> list[TenantResult]:
        """One result for each tenant, by name."""
        names = sorted({each.request.tenant for each in self.played})
        return [self._tenant(name, [each for each in self.played if each.request.tenant == name]) for name in names]

    def _tenant(self, name: str, played: Sequence[Played]) -> TenantResult:
        endings = Counter(map(ended, played))
        records = [each.record for each in played]
        service = sum(INPUT_WEIGHT * each.prompt_tokens + OUTPUT_WEIGHT * each.output_tokens for each in records)
        return TenantResult(
            tenant=name,
            sent=len(played),
            endings={end: endings[end] for end in Ended},
            service_per_second=service / self.seconds if self.seconds else math.nan,
            ttft_seconds=self._waits(played, ttft_seconds),
            per_token_seconds=self._waits(played, per_token_seconds),
            whole_seconds=self._waits(played, whole_seconds),
        )

    def _waits(self, played: Sequence[Played], measure: Callable[[Played, float], float | None]) -> Waits:
        return _by_percent([seconds for each in played if (seconds := measure(each, self.end)) is not None], PERCENTS)

    def warnings(self) -> list[str]:
        """What makes the numbers doubtful."""
        return list(self._doubts())

    def _doubts(self) -> Iterator[str]:
        if (late := self.lag_seconds["p99"]) > LAG_WARNING_SECONDS:
            yield (
                f"the player was late by {late:.3f} s (99th percentile): it could not send as fast as the trace wants; "
                "play more slowly, or on a machine with more to spare"
            )
        if count := sum(ended(each) is Ended.CUT_OFF for each in self.played):
            yield f"{count} requests were cut off; their waits are lower bounds: raise --grace-seconds"
        counted = [each for each in self.played if each.record.usages and each.record.prompt_tokens]
        ratio = mean([each.record.prompt_tokens / each.request.prompt_tokens for each in counted])
        if abs(ratio - 1) > LENGTH_TOLERANCE:
            yield f"prompts came to {ratio:.2f} tokens for each that was wanted: divide --token-bytes by {ratio:.2f}"
        if untold := sum(each.record.output_tokens > 0 and not each.record.usages for each in self.played):
            yield f"{untold} answers came without usage: their events were counted as tokens"


def _by_percent(values: Sequence[float], percents: Sequence[int]) -> Waits:
    return {f"p{percent}": percentile(values, percent) for percent in percents}
