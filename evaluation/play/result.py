"""What a replay found: for each tenant how its requests ended, what it was served and how long it waited.

All waits count from the moment at which the request ought to have left. One that was cut off before its first token
waited at least until then, and counts with that; one that was refused or failed has no wait. Service is 1 x prompt +
2 x output tokens as the endpoint reported them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from evaluation.load.client import CUT_OFF
from evaluation.load.tenants import INPUT_WEIGHT, OUTPUT_WEIGHT
from evaluation.metrics import mean, percentile
from evaluation.play.player import Played

PERCENTS = (50, 95, 99)
# Above this the player, not the endpoint, is what was measured: a client's own wake-ups take a few ms.
LAG_WARNING_SECONDS = 0.05
LENGTH_TOLERANCE = 0.1


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


Measure = Callable[[Played, float], float | None]
"""A duration of a request, given when the replay ended; None where it has none."""


@dataclass(frozen=True, slots=True)
class TenantResult:
    """One tenant; waits in seconds, by percent, NaN where nothing was measured."""

    tenant: str
    endings: Mapping[Ended, int]
    service_per_second: float
    ttft_seconds: Mapping[int, float]
    per_token_seconds: Mapping[int, float]
    whole_seconds: Mapping[int, float]

    @property
    def sent(self) -> int:
        """Every request of the tenant."""
        return sum(self.endings.values())


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
    def lag_seconds(self) -> Mapping[int, float]:
        """How late the player was, by percent; 100 is the worst."""
        return _percentiles([each.lag_seconds for each in self.played], (*PERCENTS, 100))

    def tenants(self) -> list[TenantResult]:
        """One result for each tenant, by name."""
        names = sorted({each.request.tenant for each in self.played})
        return [self._tenant(name, [each for each in self.played if each.request.tenant == name]) for name in names]

    def warnings(self) -> list[str]:
        """What makes the numbers doubtful."""
        return [text for check in (self._late, self._cut_off, self._lengths, self._untold) if (text := check())]

    def _tenant(self, name: str, played: Sequence[Played]) -> TenantResult:
        ends = [ended(each) for each in played]
        service = sum(
            INPUT_WEIGHT * each.record.prompt_tokens + OUTPUT_WEIGHT * each.record.output_tokens for each in played
        )
        return TenantResult(
            tenant=name,
            endings={end: ends.count(end) for end in Ended},
            service_per_second=service / self.seconds if self.seconds else math.nan,
            ttft_seconds=self._waits(played, ttft_seconds),
            per_token_seconds=self._waits(played, per_token_seconds),
            whole_seconds=self._waits(played, whole_seconds),
        )

    def _waits(self, played: Sequence[Played], measure: Measure) -> Mapping[int, float]:
        found = (measure(each, self.end) for each in played)
        return _percentiles([seconds for seconds in found if seconds is not None], PERCENTS)

    def _late(self) -> str | None:
        late = self.lag_seconds[99]
        if math.isnan(late) or late <= LAG_WARNING_SECONDS:
            return None
        return (
            f"the player was late by {late:.3f} s (99th percentile): it could not send as fast as the trace wants; "
            "play more slowly, or on a machine with more to spare"
        )

    def _cut_off(self) -> str | None:
        count = sum(ended(each) is Ended.CUT_OFF for each in self.played)
        if not count:
            return None
        return f"{count} requests were cut off; their waits are lower bounds: raise --grace-seconds"

    def _lengths(self) -> str | None:
        counted = [each for each in self.played if each.record.usages and each.record.prompt_tokens]
        ratio = mean([each.record.prompt_tokens / each.request.prompt_tokens for each in counted])
        if math.isnan(ratio) or abs(ratio - 1) <= LENGTH_TOLERANCE:
            return None
        return f"prompts came to {ratio:.2f} tokens for each that was wanted: divide --token-bytes by {ratio:.2f}"

    def _untold(self) -> str | None:
        untold = sum(each.record.output_tokens > 0 and not each.record.usages for each in self.played)
        return f"{untold} answers came without usage: their events were counted as tokens" if untold else None


def ttft_seconds(played: Played, end: float) -> float | None:
    """From the intended sending to the first token."""
    if played.record.first_token_at is not None:
        return played.record.first_token_at - played.intended_at
    return end - played.intended_at if ended(played) is Ended.CUT_OFF else None


def per_token_seconds(played: Played, end: float) -> float | None:
    """The mean time between tokens of a completed answer with at least two."""
    record = played.record
    if ended(played) is not Ended.COMPLETED or record.first_token_at is None or record.ended_at is None:
        return None
    return (record.ended_at - record.first_token_at) / (record.output_tokens - 1) if record.output_tokens > 1 else None


def whole_seconds(played: Played, end: float) -> float | None:
    """From the intended sending to the end of the answer."""
    match ended(played):
        case Ended.COMPLETED if played.record.ended_at is not None:
            return played.record.ended_at - played.intended_at
        case Ended.CUT_OFF:
            return end - played.intended_at
    return None


def _percentiles(values: Sequence[float], percents: Sequence[int]) -> Mapping[int, float]:
    return {percent: percentile(values, percent) for percent in percents}
