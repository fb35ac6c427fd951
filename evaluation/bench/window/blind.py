"""The engine's metrics are dead, slow, stale or lies: does traffic go on, how much of it, and does the gateway say so?

Nobody told the gateway the window. Every way begins with honest metrics; they go bad in the middle of the warm-up,
under full load. One way has dead metrics from the start: then there is nothing to fall back on but a guess.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.bench.engines import EngineChoice
from evaluation.bench.settings import WindowSettings
from evaluation.bench.stage import Run, Stage, stage
from evaluation.bench.window.distortion import DistortingProxy, Distortion, distorting
from evaluation.bench.window.part import TENANTS, Outcome, Turn, WindowOptions, in_turns, rate
from evaluation.metrics import mean
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

SEQUENCES = 8
HONEST, NEVER = Distortion.HONEST.value, "dead from the start"
HONEST_SECONDS = 8.0
NOTICED_SECONDS = 10.0

THROUGHPUT = Target("blind: output tokens per second in the worst case, of honest metrics", Comparison.AT_LEAST, 0.90)
MARKED = Target("blind: samples in which the worker is marked degraded, in the worst case", Comparison.AT_LEAST, 1.0)
UNMARKED = Target("blind: the same with honest metrics", Comparison.AT_MOST, 0)
ANSWERED = Target("blind: requests refused or broken", Comparison.AT_MOST, 0)


@dataclass(frozen=True, slots=True)
class Findings:
    """The turns by what became of the metrics; `HONEST` is the reference."""

    runs: Mapping[str, Sequence[Run]]

    @property
    def bad(self) -> dict[str, Sequence[Run]]:
        """The ways whose metrics cannot be believed."""
        return {name: runs for name, runs in self.runs.items() if name != HONEST}


async def measure(options: WindowOptions, progress: Progress) -> Findings:
    """Run every kind of distortion in turns."""
    choice = EngineChoice(options.engine, options.profile, SEQUENCES)
    async with stage(progress, choice) as running, distorting(running.engine.url) as (proxy, url):
        ways = {kind.value: _turn(running, options, proxy, url, kind) for kind in Distortion}
        ways[NEVER] = _turn(running, options, proxy, url, Distortion.DEAD, from_start=True)
        runs = await in_turns(ways, options.rounds)
    return Findings(runs)


def _turn(
    running: Stage,
    options: WindowOptions,
    proxy: DistortingProxy,
    url: str,
    kind: Distortion,
    *,
    from_start: bool = False,
) -> Turn:
    name = f"metrics {NEVER if from_start else kind.value}"

    async def turn(number: int) -> Run:
        honest = min(HONEST_SECONDS, options.round_seconds)
        noticed = min(NOTICED_SECONDS, 2 * options.round_seconds)
        part = replace(options.part(name, number), warmup_seconds=honest + noticed)
        proxy.distort(kind if from_start else Distortion.HONEST)
        async with running.gateway(options.policy, TENANTS, WindowSettings(None), urls=[url]) as gateway:
            change = asyncio.get_running_loop().call_later(honest, proxy.distort, kind)
            try:
                return await running.run(part, gateway)
            finally:
                change.cancel()

    return turn


def outcome(findings: Findings) -> Outcome:
    """The part's verdicts and figures."""
    return Outcome(verdicts(findings), measurements(findings), _faults(findings))


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    good = rate(findings.runs[HONEST])
    shares = {name: rate(runs) / good for name, runs in findings.bad.items()}
    marks = {name: degraded(runs) for name, runs in findings.bad.items()}
    return [
        THROUGHPUT.judge(min(shares.values()), f"of {good:,.0f}/s: {_listed(shares)}"),
        MARKED.judge(min(marks.values()), _listed(marks)),
        UNMARKED.judge(degraded(findings.runs[HONEST])),
        ANSWERED.judge(len(_faults(findings))),
    ]


def degraded(runs: Sequence[Run]) -> float:
    """The share of samples in which the worker is marked as run without metrics."""
    return mean([any(worker.degraded for worker in sample.gateway.workers) for run in runs for sample in run.samples])


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items())


def _faults(findings: Findings) -> list[str]:
    return [fault for runs in findings.runs.values() for run in runs for fault in run.faults]


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of every way."""
    return {
        name: {
            "output_tokens_per_second": [run.tokens_per_second for run in runs],
            "degraded": degraded(runs),
            "window": [worker.window for run in runs for sample in run.samples for worker in sample.gateway.workers],
            "engine_waiting_max": max((sample.waiting for run in runs for sample in run.samples), default=None),
        }
        for name, runs in findings.runs.items()
    }
