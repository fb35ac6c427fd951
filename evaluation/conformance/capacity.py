"""A short ramp of load finds how much load backlogs an endpoint, and how large the scenarios must be.

The ramp keeps 1 request per tenant outstanding, then 2, 4, ... until the endpoint lets requests wait or refuses some.
Answers are short, so that a level takes little time. The first requests of a level do not count, because all of them
are sent at once. Little's law (L = lambda W) holds for the waiting and for the running requests. So the share of its
time that a request waits is the share of the outstanding requests that wait. This gives what runs at once, without
knowledge of the engine. A request's wait is the time by which its first token comes later than on the unloaded
endpoint.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from evaluation.conformance.greeting import PATIENCE_SECONDS, Unserved
from evaluation.conformance.tenants import Cast
from evaluation.load.client import Endpoint
from evaluation.load.connection import ExchangeRecord
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant
from evaluation.metrics.statistics import mean
from evaluation.report.terminal import Progress

# If a third of the requests waits, there is a queue: that many do not wait by accident.
QUEUED_SHARE = 0.35
REFUSED_SHARE = 0.05
MAX_OUTSTANDING = 256

# Doubling the load must add this much throughput, or the endpoint is at its end.
KNEE = 0.9

SHORTEST_REQUEST_SECONDS = 0.001  # where every request was refused nothing was timed
SHORTEST_ANSWER_TOKENS = 8
LONGEST_ANSWER_TOKENS = 256
# A window holds so many answers of the usual length one after another; a warm-up holds half as many, a flood's queue.
ANSWERS_PER_WINDOW = 20


@dataclass(frozen=True, slots=True)
class Level:
    """One step of the ramp: means over its completed requests."""

    outstanding: int
    completed: int
    refused: int
    ttft_seconds: float
    duration_seconds: float
    token_seconds: float
    tokens_per_second: float

    @property
    def refused_share(self) -> float:
        """The part of the answers that were refusals."""
        answers = self.completed + self.refused
        return self.refused / answers if answers else 0.0


class Limit(Enum):
    """What the endpoint does with more than it can run; the value says so in words."""

    QUEUES = "lets requests wait"
    REFUSES = "refuses requests"
    UNSEEN = f"neither refused nor queued {MAX_OUTSTANDING} requests"


@dataclass(frozen=True, slots=True)
class EndpointCapacity:
    """What the ramp found: how many requests run at once, and what comes beyond.

    A request that does not wait takes `start_seconds` and `token_seconds` for each token.
    """

    outstanding: int
    limit: Limit
    start_seconds: float
    token_seconds: float


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of every scenario. `outstanding` backlogs the endpoint; an answer of `answer_tokens` is usual."""

    outstanding: int
    answer_tokens: int
    answer_seconds: float
    window_seconds: float

    @property
    def warmup_seconds(self) -> float:
        """Longer than a request waits behind a flood."""
        return self.window_seconds / 2


def waiting_share(levels: Sequence[Level]) -> float:
    """The share of its time that a request of the last level waits."""
    first, last = levels[0], levels[-1]
    if not last.duration_seconds > 0:
        return 0.0
    return min(1.0, max(0.0, last.ttft_seconds - first.ttft_seconds) / last.duration_seconds)


def is_enough(levels: Sequence[Level]) -> bool:
    """True where the ramp need not go on."""
    last = levels[-1]
    return (
        waiting_share(levels) >= QUEUED_SHARE
        or last.refused_share > REFUSED_SHARE
        or last.outstanding >= MAX_OUTSTANDING
    )


def capacity_of(levels: Sequence[Level], answer_tokens: int) -> EndpointCapacity:
    """The result of a finished ramp of answers of `answer_tokens`."""
    first, last = levels[0], levels[-1]
    share = waiting_share(levels)
    if last.refused_share > REFUSED_SHARE:
        limit, running = Limit.REFUSES, _last_without_refusals(levels)
    elif share >= QUEUED_SHARE:
        limit, running = Limit.QUEUES, math.ceil(last.outstanding * (1 - share))
    else:
        limit, running = Limit.UNSEEN, _knee(levels)
    # Under load no request takes less time than without load.
    served_seconds = max(last.duration_seconds * (1 - share), first.duration_seconds, SHORTEST_REQUEST_SECONDS)
    # If answers come in one piece, the time of the tokens cannot be separated from the rest.
    token_seconds = min(last.token_seconds or math.inf, served_seconds / answer_tokens)
    start_seconds = served_seconds - answer_tokens * token_seconds
    return EndpointCapacity(max(running, first.outstanding), limit, start_seconds, token_seconds)


def scale_of(capacity: EndpointCapacity, seconds: float) -> Scale:
    """Sizes for windows of `seconds`. Windows are longer if they would hold too few answers.

    An answer runs at least as long as it takes to start. Otherwise the suite would measure the way to the engine.
    """
    running_seconds = max(seconds / ANSWERS_PER_WINDOW - capacity.start_seconds, capacity.start_seconds)
    fitting = running_seconds / capacity.token_seconds if capacity.token_seconds else math.inf
    tokens = int(min(max(fitting, SHORTEST_ANSWER_TOKENS), LONGEST_ANSWER_TOKENS))
    answer_seconds = tokens * capacity.token_seconds + capacity.start_seconds
    return Scale(capacity.outstanding, tokens, answer_seconds, max(seconds, ANSWERS_PER_WINDOW * answer_seconds))


def _last_without_refusals(levels: Sequence[Level]) -> int:
    return max((level.outstanding for level in levels if level.refused_share <= REFUSED_SHARE), default=0)


def _knee(levels: Sequence[Level]) -> int:
    most = max(level.tokens_per_second for level in levels)
    return next(level.outstanding for level in levels if level.tokens_per_second >= KNEE * most)


PROMPT_TOKENS = 32
ANSWER = Lengths(12, 20)
ANSWERS_PER_SLOT = 3  # the first is left out


async def find_capacity(endpoint: Endpoint, cast: Cast, seconds: float, progress: Progress) -> EndpointCapacity:
    """Ramp up, with `seconds` per level, or longer until answers come; raises Unserved if a level gives none."""
    levels: list[Level] = []
    each = 1
    while not levels or not is_enough(levels):
        progress.step(f"finding what backlogs the endpoint: {each * len(cast.tenants)} requests at once")
        levels.append(await _level(endpoint, cast, each, seconds))
        each *= 2
    return capacity_of(levels, round(ANSWER.mean))


async def _level(endpoint: Endpoint, cast: Cast, each: int, seconds: float) -> Level:
    prompt = round(PROMPT_TOKENS * endpoint.bytes_per_token)
    tenants = [LoadTenant(tenant.name, ClosedLoop(each), Lengths(prompt, prompt), ANSWER) for tenant in cast.tenants]
    outstanding = each * len(tenants)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with Load(endpoint, tenants, seed=each) as load:
        if not await load.until(lambda: _answered(load) >= ANSWERS_PER_SLOT * outstanding, seconds):
            await load.until(lambda: _answered(load) > 0, max(0.0, PATIENCE_SECONDS - seconds))
        elapsed, ended = loop.time() - start, _ended(load)
    if not any(record.is_complete or record.is_refused for record in ended):
        first = next((record.error for record in ended if record.error), "nothing came back")
        raise Unserved(f"no answer to {outstanding} requests at once within {elapsed:.0f} s: {first}")
    return _measured(ended, outstanding, elapsed)


def _answered(load: Load) -> int:
    return sum(record.is_complete or record.is_refused for record in _ended(load))


def _ended(load: Load) -> list[ExchangeRecord]:
    records = [record for tally in load.tallies.values() for record in tally.records if record.ended_at is not None]
    return sorted(records, key=lambda record: record.sent_at)


def _measured(ended: Sequence[ExchangeRecord], outstanding: int, elapsed: float) -> Level:
    later = ended[outstanding:]
    used = [record for record in later if record.is_complete] or [record for record in ended if record.is_complete]
    return Level(
        outstanding=outstanding,
        completed=len(used),
        refused=sum(record.is_refused for record in ended),
        ttft_seconds=_mean([record.ttft_seconds or 0.0 for record in used]),
        duration_seconds=_mean([(record.ended_at or record.sent_at) - record.sent_at for record in used]),
        token_seconds=_mean([record.run_seconds / max(1, record.output_tokens - 1) for record in used]),
        tokens_per_second=sum(record.output_tokens for record in ended) / elapsed,
    )


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else 0.0
