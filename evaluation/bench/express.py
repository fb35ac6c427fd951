"""What the express lane gives the modest tenant, and what it costs.

The engine runs as many sequences as window, slack and lane are together. On it, in turns: the modest tenant alone and
without a gateway; the flood and the modest tenant through a gateway without a lane; the same with one. So both
gateways keep the same number of the flood's requests in flight, and the difference is the lane's.

An arrival waits for the step that runs and then shares one with the whole batch, so twice the time alone is what a
lane can give where a step of the whole batch takes hardly longer than a step of one: on an accelerator. The embedded
engine is given the speed of one here. What is ours to hold small is the part of both steps that goes to the prompts of
others: with a lane two of them are let in at a time. What that costs counts as the lane's: the gateway without one
sizes the prompts in flight by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.bench.engines import EngineChoice
from evaluation.bench.flood import MODEST_ALONE, SEQUENCES, TENANTS, part, ttfts, unanswered
from evaluation.bench.judgement import mean_rate
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Engine, Gateway, Run, RunOptions, Stage, stage
from evaluation.metrics import percentile
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

EXPRESS = 2
PROFILE = "h100-llama3-8b"
# Two of the flood's prompts at a time; the lane may go beyond the cap by as much again.
PREFILL_TOKENS = 80

TTFT = Target("express lane: modest TTFT p95 over its p95 alone", Comparison.AT_MOST, 2.0, " x")
THROUGHPUT = Target("express lane: output tokens per second, of those without the lane", Comparison.AT_LEAST, 0.98)
REFUSED = Target("express lane: modest requests refused, broken or unanswered", Comparison.AT_MOST, 0)


@dataclass(frozen=True, slots=True)
class Findings:
    """The modest tenant alone on the engine, then beside the flood without a lane and with one."""

    alone: Sequence[Run]
    without: Sequence[Run]
    lane: Sequence[Run]

    @property
    def ways(self) -> dict[str, Sequence[Run]]:
        """Every way by its name."""
        return {"alone": self.alone, "without": self.without, "lane": self.lane}


async def measure(options: RunOptions, progress: Progress) -> Findings:
    """Run the three ways in turns."""
    choice = EngineChoice(options.engine, PROFILE, SEQUENCES + SLACK + EXPRESS)
    without = WindowSettings(SEQUENCES)
    lane = WindowSettings(SEQUENCES, prefill_tokens=PREFILL_TOKENS, express=EXPRESS)
    async with (
        stage(progress, choice) as running,
        running.gateway(options.policy, TENANTS, without) as plain,
        running.gateway(options.policy, TENANTS, lane) as express,
    ):
        return await _rounds(running, plain, express, options)


async def _rounds(running: Stage, plain: Gateway, express: Gateway, options: RunOptions) -> Findings:
    runs: dict[str, list[Run]] = {"alone": [], "without": [], "lane": []}
    ways: dict[str, Gateway | Engine] = {"alone": running.engine, "without": plain, "lane": express}
    for number in range(options.rounds):
        for way, target in ways.items():
            tenants = MODEST_ALONE if way == "alone" else TENANTS
            runs[way].append(await running.run(part(options, number, f"express lane, {way}", tenants), target))
    return Findings(**runs)


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    p95 = {way: percentile(ttfts(runs), 95) for way, runs in findings.ways.items()}
    rates = {way: mean_rate(runs) for way, runs in findings.ways.items()}
    note = ", ".join(f"{way} {seconds * 1000:,.1f} ms" for way, seconds in p95.items())
    return [
        TTFT.judge(p95["lane"] / p95["alone"], note),
        THROUGHPUT.judge(rates["lane"] / rates["without"], f"{rates['lane']:,.0f}/s against {rates['without']:,.0f}/s"),
        REFUSED.judge(unanswered(findings.lane), f"{len(ttfts(findings.lane))} sent"),
    ]


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of every way."""
    return {
        way: {
            "ttft_seconds": {f"p{percent}": percentile(ttfts(runs), percent) for percent in (50, 95, 99)},
            "output_tokens_per_second": [run.tokens_per_second for run in runs],
        }
        for way, runs in findings.ways.items()
    }
