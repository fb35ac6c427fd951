"""The ramp: all tenants together keep 1, 2, 4, ... requests each outstanding until the endpoint lets them wait.

Answers are short, so that a level takes little time. The first requests of a level, all sent at once, are left out.
"""

import asyncio
from collections.abc import Sequence

from evaluation.conformance.capacity import Capacity, Level, capacity_of, is_enough
from evaluation.conformance.greeting import PATIENCE_SECONDS, Unserved
from evaluation.conformance.tenants import Cast
from evaluation.load.client import Endpoint
from evaluation.load.connection import RequestRecord
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant
from evaluation.metrics import mean
from evaluation.report.terminal import Progress

PROMPT_TOKENS = 32
ANSWER = Lengths(12, 20)
ANSWERS_PER_SLOT = 3  # the first is left out


async def find_capacity(endpoint: Endpoint, cast: Cast, seconds: float, progress: Progress) -> Capacity:
    """Ramp up, for `seconds` per level where that gives answers; raises Unserved where one level gives none."""
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


def _ended(load: Load) -> list[RequestRecord]:
    records = [record for tally in load.tallies.values() for record in tally.records if record.ended_at is not None]
    return sorted(records, key=lambda record: record.sent_at)


def _measured(ended: Sequence[RequestRecord], outstanding: int, elapsed: float) -> Level:
    later = ended[outstanding:]
    used = [record for record in later if record.is_complete] or [record for record in ended if record.is_complete]
    return Level(
        outstanding=outstanding,
        completed=len(used),
        refused=sum(record.is_refused for record in ended),
        ttft_seconds=mean([record.ttft_seconds or 0.0 for record in used]) if used else 0.0,
        duration_seconds=mean([_duration(record) for record in used]) if used else 0.0,
        token_seconds=mean([_token_seconds(record) for record in used]) if used else 0.0,
        tokens_per_second=sum(record.output_tokens for record in ended) / elapsed,
    )


def _token_seconds(record: RequestRecord) -> float:
    run = _duration(record) - (record.ttft_seconds or 0.0)
    return run / max(1, record.output_tokens - 1)


def _duration(record: RequestRecord) -> float:
    return 0.0 if record.ended_at is None else record.ended_at - record.sent_at
