"""What does a modest tenant feel of a flood beside it?

The same load runs under the policy that is tested, under `fcfs` and on the engine alone, in rounds that alternate;
then with an express lane, which is judged in `express`. Wait: at the gateway, from its log. TTFT: at the client.

The wait is held against the interval between releases of room, also from the log. Each request is one
sequence and all prompts of a full window fit the prefill cap together, so every end of a request at the
worker is a release that the modest request fits. Ends of one engine step are one release.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.bench import express
from evaluation.bench.engines import EngineChoice
from evaluation.bench.flood import FLOOD, MODEST, SEQUENCES, TENANTS, part, ttfts, unanswered
from evaluation.bench.measures import (
    intervals,
    release_moments,
    releases_seen,
    share_within,
)
from evaluation.bench.settings import WindowSettings
from evaluation.bench.stage import Engine, Gateway, Run, RunOptions, Stage, stage
from evaluation.metrics import median, percentile
from evaluation.report.delivery import Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

WINDOW = WindowSettings(SEQUENCES, prefill_tokens=2048)

ALLOWANCE_SECONDS = 0.020
# The ends of one engine step reach the gateway within this time of each other; a step takes about twice as long.
SAME_STEP_SECONDS = 0.004

REFUSED = Target("modest requests refused, broken or unanswered", Comparison.AT_MOST, 0)
AGAINST_ENGINE = Target("modest TTFT p95: engine alone over gateway", Comparison.AT_LEAST, 5.0, " x")
AGAINST_FCFS = Target("modest TTFT p95: fcfs over the tested policy", Comparison.AT_LEAST, 5.0, " x")
BACKLOGGED = Target("samples with the flood backlogged at the gateway", Comparison.AT_LEAST, 0.99)


@dataclass(frozen=True, slots=True)
class IsolationOptions(RunOptions):
    """What to run: `seconds` of measured window in `rounds` parts for each of the three ways."""

    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Findings:
    """Every run, by what decided the order."""

    tested: Sequence[Run]
    fcfs: Sequence[Run]
    direct: Sequence[Run]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the modest requests of some runs waited for, in seconds."""

    waits: Sequence[float]
    intervals: Sequence[float]
    releases: Sequence[int]

    @property
    def limit_seconds(self) -> float:
        """What the p95 of the waits may be."""
        return percentile(self.intervals, 95) + ALLOWANCE_SECONDS


def run(options: IsolationOptions) -> int:
    """Run the bench and return its exit status."""
    return conduct(measure(options), options.delivery)


async def measure(options: IsolationOptions) -> Report:
    """Run the load in all three ways and judge it."""
    progress = Progress()
    choice = EngineChoice(options.engine, options.profile, SEQUENCES)
    async with (
        stage(progress, choice) as running,
        running.gateway(options.policy, TENANTS, WINDOW) as tested,
        running.gateway("fcfs", TENANTS, WINDOW) as fcfs,
    ):
        findings = await _rounds(running, tested, fcfs, options)
    lane = await express.measure(options, progress)
    faults = {fault for run in [*findings.tested, *findings.fcfs, *lane.without, *lane.lane] for fault in run.faults}
    return Report(
        title="isolation",
        setting=options.setting,
        verdicts=[*verdicts(findings), *express.verdicts(lane)],
        measurements={**_measurements(findings), "express_lane": express.measurements(lane)},
        warnings=sorted(faults),
    )


async def _rounds(running: Stage, tested: Gateway, fcfs: Gateway, options: IsolationOptions) -> Findings:
    findings: dict[str, list[Run]] = {"tested": [], "fcfs": [], "direct": []}
    ways: dict[str, Gateway | Engine] = {"tested": tested, "fcfs": fcfs, "direct": running.engine}
    for number in range(options.rounds):
        for way, target in ways.items():
            name = options.policy if way == "tested" else way
            findings[way].append(await running.run(part(options, number, name), target))
    return Findings(**findings)


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    waiting = waiting_of(findings.tested)
    own = percentile(ttfts(findings.tested), 95)
    return [
        _wait(waiting),
        REFUSED.judge(unanswered(findings.tested), f"{len(ttfts(findings.tested))} sent"),
        _ratio(AGAINST_ENGINE, ttfts(findings.direct), own),
        _ratio(AGAINST_FCFS, ttfts(findings.fcfs), own),
        _backlogged(findings.tested),
    ]


def _wait(waiting: Waiting) -> Verdict:
    target = Target(
        "modest wait p95: p95 of the interval between releases + 20 ms",
        Comparison.AT_MOST,
        waiting.limit_seconds * 1000,
        " ms",
    )
    first = share_within(waiting.releases, 1)
    note = f"{len(waiting.waits)} waits, {len(waiting.intervals)} intervals, {first:.0%} within one release"
    return target.judge(percentile(waiting.waits, 95) * 1000, note)


def _ratio(target: Target, others: Sequence[float], own: float) -> Verdict:
    other = percentile(others, 95)
    return target.judge(other / own, f"{other * 1000:,.0f} ms over {own * 1000:,.0f} ms")


def _backlogged(runs: Sequence[Run]) -> Verdict:
    queued = [sample.gateway.queued_of(FLOOD) for run in runs for sample in run.samples]
    return BACKLOGGED.judge(1 - share_within(queued, 0), f"{len(queued)} samples")


def waiting_of(runs: Sequence[Run]) -> Waiting:
    """Waits of the modest requests that arrived within the windows, and the releases of room there."""
    waits: list[float] = []
    between: list[float] = []
    releases: list[int] = []
    for run in runs:
        window = run.wall_window
        ends = [request.finished_at for request in run.finished if request.worker]
        moments = release_moments(ends, SAME_STEP_SECONDS)
        between.extend(intervals([at for at in moments if window.start <= at < window.end]))
        for request in run.finished:
            if (
                request.tenant == MODEST
                and request.granted_at is not None
                and window.start <= request.arrived_at < window.end
            ):
                waits.append(request.granted_at - request.arrived_at)
                releases.append(releases_seen(moments, request.arrived_at, request.granted_at))
    return Waiting(waits, between, releases)


def _measurements(findings: Findings) -> dict[str, object]:
    waiting = waiting_of(findings.tested)
    ways = {"tested": findings.tested, "fcfs": findings.fcfs, "direct": findings.direct}
    return {
        "wait_seconds": _spread(waiting.waits),
        "release_interval_seconds": _spread(waiting.intervals),
        "granted_within_one_release": share_within(waiting.releases, 1),
        "ttft_seconds": {way: _spread(ttfts(runs)) for way, runs in ways.items()},
        "output_tokens_per_second": {way: [run.tokens_per_second for run in runs] for way, runs in ways.items()},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "count": len(values),
        "p50": median(values),
        "p95": percentile(values, 95),
        "p99": percentile(values, 99),
        "max": max(values, default=float("nan")),
    }
