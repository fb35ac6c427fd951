"""What does a modest tenant feel of a flood beside it?

The flooding tenant keeps 64 requests outstanding. The modest tenant sends about one short request per second, at random
moments that do not fall together: it should wait for the flood, not for itself. The flood's output lengths are random.
With equal lengths whole windows would end together, and most intervals between ends would be almost zero; they would
not show how long one waits for the next end. The same load runs under the tested policy, under `fcfs` and on the engine
alone, in rounds that alternate. The gateway's log gives the wait, the client measures the TTFT.

The bench compares the wait with the interval between releases of room, which the log gives too. Each request is one
sequence, and all prompts of a full window fit the prefill cap together. So every end of a request at the worker is a
release that the modest request fits. Several ends in one engine step are one release.

Then the bench measures the express lane, on an engine that runs as many sequences as window, slack and lane together.
The modest tenant runs in three ways: alone and without a gateway; with the flood through a gateway without a lane; and
the same with a lane. Both gateways keep the same number of the flood's requests in flight, so the lane makes the
difference. An arrival waits for the running step and then shares one with the whole batch. So a lane can give twice the
time alone if a step of the whole batch takes hardly longer than a step of one. That holds on an accelerator, and the
embedded engine has the speed of one here. With a lane, two prompts of others go in at a time. The bench counts the cost
of that as the lane's, because the gateway without a lane sizes the prompts in flight by itself.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from evaluation.bench import judgement
from evaluation.bench.judgement import intervals, release_moments, releases_seen, share_within
from evaluation.bench.settings import SLACK, EngineChoice, WindowSettings
from evaluation.bench.stage import Run, stage
from evaluation.bench.turns import RunOptions, Turns, Ways
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, Spaced, weights_of
from evaluation.metrics.statistics import percentile
from evaluation.report.delivery import Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Target, Verdict, at_least, at_most

SEQUENCES = 8
FLOOD = "flood"
MODEST = "modest"
MODEST_ALONE = (LoadTenant(MODEST, Spaced(0.7, 1.3), Lengths(24, 40), Lengths(24, 40)),)
TENANTS = (LoadTenant(FLOOD, ClosedLoop(64), Lengths(24, 40), Lengths(8, 56)), *MODEST_ALONE)
WINDOW = WindowSettings(SEQUENCES, prefill_tokens=2048)
TESTED, FCFS, DIRECT = "tested", "fcfs", "direct"

EXPRESS = 2
EXPRESS_PROFILE = "h100-llama3-8b"
# Two of the flood's prompts at a time; the lane may go beyond the cap by as much again.
EXPRESS_WINDOW = WindowSettings(SEQUENCES, prefill_tokens=80, express=EXPRESS)
ALONE, WITHOUT, LANE = "express lane, alone", "express lane, without", "express lane, lane"

GRACE_SECONDS = 30.0
ALLOWANCE_SECONDS = 0.020
# The ends of one engine step reach the gateway within this time of each other; a step takes about twice as long.
SAME_STEP_SECONDS = 0.004
PERCENTS = (50, 95, 99, 100)

REFUSED = at_most("modest requests refused, broken or unanswered", 0)
AGAINST_ENGINE = at_least("modest TTFT p95: engine alone over gateway", 5.0, " x")
AGAINST_FCFS = at_least("modest TTFT p95: fcfs over the tested policy", 5.0, " x")
BACKLOGGED = at_least("samples with the flood backlogged at the gateway", 0.99)
LANE_TTFT = at_most("express lane: modest TTFT p95 over its p95 alone", 2.0, " x")
LANE_RATE = at_least("express lane: output tokens per second, of those without the lane", 0.98)
LANE_REFUSED = at_most("express lane: modest requests refused, broken or unanswered", 0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the modest requests of some runs waited for, in seconds."""

    waits: Sequence[float]
    intervals: Sequence[float]
    releases: Sequence[int]

    @property
    def limit_seconds(self) -> float:
        """The largest p95 of the waits that passes."""
        return percentile(self.intervals, 95) + ALLOWANCE_SECONDS


async def measure(options: RunOptions) -> Report:
    """Run the load in all ways and judge it."""
    progress = Progress()
    ordinary = EngineChoice(options.engine, options.profile, SEQUENCES)
    gateways = {TESTED: (options.policy, WINDOW), FCFS: ("fcfs", WINDOW)}
    ways = await _ways(options, progress, ordinary, gateways, {DIRECT: TENANTS})
    roomier = EngineChoice(options.engine, EXPRESS_PROFILE, SEQUENCES + SLACK + EXPRESS)
    lanes = {WITHOUT: (options.policy, WindowSettings(SEQUENCES)), LANE: (options.policy, EXPRESS_WINDOW)}
    ways |= await _ways(options, progress, roomier, lanes, {ALONE: MODEST_ALONE})
    found = {"ttft_seconds": {way: _by_percent(ttfts(runs)) for way, runs in ways.items()}}
    return options.report("isolation", [*verdicts(ways), *express_verdicts(ways)], ways, measurements=found)


async def _ways(
    options: RunOptions,
    progress: Progress,
    engine: EngineChoice,
    gateways: Mapping[str, tuple[str, WindowSettings]],
    alone: Mapping[str, Sequence[LoadTenant]],
) -> dict[str, list[Run]]:
    """The load through each of `gateways`, which live for all rounds, and loads on the engine `alone`.

    The stragglers of a window are awaited.
    """
    changes = {"warmup_seconds": min(8.0, options.round_seconds / 2), "grace_seconds": GRACE_SECONDS}
    async with stage(progress, engine) as running, AsyncExitStack() as stack:
        turns = Turns(running, options)
        for name, (policy, window) in gateways.items():
            gateway = await stack.enter_async_context(running.gateway(policy, weights_of(TENANTS), window))
            turns.on(name, TENANTS, gateway, **changes)
        for name, tenants in alone.items():
            turns.on(name, tenants, running.engine, **changes)
        return await turns.run()


def verdicts(ways: Ways) -> list[Verdict]:
    """The verdicts on the runs beside the flood, one per target."""
    waiting, own = waiting_of(ways[TESTED]), percentile(ttfts(ways[TESTED]), 95)
    queued = [sample.gateway.queued_of(FLOOD) for sample in judgement.samples_of(ways[TESTED])]
    return [
        _wait(waiting),
        REFUSED.judge(unanswered(ways[TESTED]), f"{len(ttfts(ways[TESTED]))} sent"),
        _ratio(AGAINST_ENGINE, ttfts(ways[DIRECT]), own),
        _ratio(AGAINST_FCFS, ttfts(ways[FCFS]), own),
        BACKLOGGED.judge(1 - share_within(queued, 0), f"{len(queued)} samples"),
    ]


def express_verdicts(ways: Ways) -> list[Verdict]:
    """The verdicts on the lane."""
    p95 = {way: percentile(ttfts(ways[way]), 95) for way in (ALONE, WITHOUT, LANE)}
    note = ", ".join(f"{way.partition(', ')[2]} {seconds * 1000:,.1f} ms" for way, seconds in p95.items())
    return [
        LANE_TTFT.judge(p95[LANE] / p95[ALONE], note),
        judgement.throughput(LANE_RATE, judgement.mean_rate(ways[LANE]), judgement.mean_rate(ways[WITHOUT])),
        LANE_REFUSED.judge(unanswered(ways[LANE]), f"{len(ttfts(ways[LANE]))} sent"),
    ]


def _wait(waiting: Waiting) -> Verdict:
    name, limit = "modest wait p95: p95 of the interval between releases + 20 ms", waiting.limit_seconds * 1000
    first = share_within(waiting.releases, 1)
    note = f"{len(waiting.waits)} waits, {len(waiting.intervals)} intervals, {first:.0%} within one release"
    return at_most(name, limit, " ms").judge(percentile(waiting.waits, 95) * 1000, note)


def _ratio(target: Target, others: Sequence[float], own: float) -> Verdict:
    other = percentile(others, 95)
    return target.judge(other / own, f"{other * 1000:,.0f} ms over {own * 1000:,.0f} ms")


def ttfts(runs: Sequence[Run]) -> list[float]:
    """TTFT of every modest request of the windows; one without a token counts as long as it was watched.

    That is less than its real TTFT, so it never favours a comparison with something slower.
    """
    return [
        run.observed_until - record.sent_at if record.ttft_seconds is None else record.ttft_seconds
        for run in runs
        for record in run.sent(MODEST)
    ]


def unanswered(runs: Sequence[Run]) -> int:
    """Modest requests of the windows that did not get their whole answer."""
    return sum(not record.is_complete for run in runs for record in run.sent(MODEST))


def waiting_of(runs: Sequence[Run]) -> Waiting:
    """Waits of the modest requests that arrived within the windows, and the releases of room there.

    The gateway stamps a request's line at its end, when its room had just been given back.
    """
    waits: list[float] = []
    between: list[float] = []
    releases: list[int] = []
    for run in runs:
        window = run.wall_window
        ends = [(datetime.fromisoformat(line["timestamp"]).timestamp(), line) for line in run.finished]
        moments = release_moments([at for at, line in ends if line.get("worker")], SAME_STEP_SECONDS)
        between.extend(intervals([at for at in moments if window.start <= at < window.end]))
        for at, line in ends:
            arrived_at, wait = at - line["duration_seconds"], line.get("queue_wait_seconds")
            is_within = window.start <= arrived_at < window.end
            if line.get("tenant") == MODEST and is_within and line.get("worker") and wait is not None:
                waits.append(wait)
                releases.append(releases_seen(moments, arrived_at, arrived_at + wait))
    return Waiting(waits, between, releases)


def _by_percent(values: Sequence[float]) -> dict[str, float]:
    return {"count": len(values), **{f"p{percent}": percentile(values, percent) for percent in PERCENTS}}
