"""Two engines of which one is three times slower, behind one gateway that was told nothing about either.

What they can do together is measured without the gateway. The embedded engines hardly use a processor: each alone,
one after the other, and the sum of both. Two real vLLM on one small machine take processor time from each other:
there the reference is both at once, each with a load of its own and without a gateway, and each alone is only told.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.bench import judgement
from evaluation.bench.engines import VLLM_MODEL, EngineChoice
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Run, Stage, stage
from evaluation.bench.window.part import (
    TENANTS,
    Outcome,
    Turn,
    WindowOptions,
    faults_of,
    in_turns,
    is_vllm,
    rate,
    through_gateway,
    windows,
)
from evaluation.metrics import mean, median
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

SEQUENCES = 8
SLOW_PROFILE = "cpu-tiny-slow"
SLOW_MODEL = {**VLLM_MODEL, "num_hidden_layers": 3 * VLLM_MODEL["num_hidden_layers"]}

FAST, SLOW, BESIDE_FAST, BESIDE_SLOW, GATEWAY = "fast alone", "slow alone", "fast beside", "slow beside", "gateway"

THROUGHPUT = Target("speeds: output tokens per second, of both engines without the gateway", Comparison.AT_LEAST, 0.95)
EQUAL = Target("speeds: service of the larger tenant over the smaller", Comparison.AT_MOST, 1.05, " x")
SPREAD = Target("speeds: largest observed spread, of the computed bound", Comparison.AT_MOST, 1.0)
BUSY = Target("speeds: mean running sequences of the less busy engine", Comparison.AT_LEAST, 0.95 * SEQUENCES)
ENGINE_QUEUE = Target(f"speeds: samples with at most {SLACK} waiting in either engine", Comparison.AT_LEAST, 0.99)
BACKLOGGED = Target("speeds: samples with every tenant backlogged", Comparison.AT_LEAST, 0.99)


@dataclass(frozen=True, slots=True)
class Findings:
    """The turns of each engine alone, of both at once without a gateway, and of both behind it."""

    runs: Mapping[str, Sequence[Run]]
    is_shared: bool
    """Whether the engines take processor time from each other."""

    @property
    def reference(self) -> float:
        """What both engines do together without a gateway, output tokens per second."""
        ways = (BESIDE_FAST, BESIDE_SLOW) if self.is_shared else (FAST, SLOW)
        return sum(rate(self.runs[way]) for way in ways)


async def measure(options: WindowOptions, progress: Progress) -> Findings:
    """Let each engine work alone, both beside each other and both behind the gateway, in turns."""
    fast = EngineChoice(options.engine, options.profile, SEQUENCES)
    slow = replace(fast, profile=SLOW_PROFILE, model=SLOW_MODEL)
    async with stage(progress, fast, slow) as running:
        beside = _Beside(running, options)
        ways: dict[str, Turn] = {
            FAST: _alone(running, options, 0, FAST),
            SLOW: _alone(running, options, 1, SLOW),
            BESIDE_FAST: beside.turn,
            GATEWAY: through_gateway(running, options, WindowSettings(None), GATEWAY),
        }
        runs = await in_turns(ways, options.rounds)
    return Findings({**runs, BESIDE_SLOW: beside.slow}, is_vllm(options))


def _alone(running: Stage, options: WindowOptions, engine: int, name: str) -> Turn:
    async def turn(number: int) -> Run:
        return await running.run(options.part(name, number), running.engines[engine])

    return turn


class _Beside:
    """Both engines at once, each with a load of its own: the turn gives the fast one's run and keeps the slow one's."""

    def __init__(self, running: Stage, options: WindowOptions) -> None:
        self.slow: list[Run] = []
        self._running = running
        self._options = options

    async def turn(self, number: int) -> Run:
        """Run both."""
        fast, slow = await asyncio.gather(
            *(
                self._running.run(self._options.part(name, number), engine)
                for name, engine in zip((BESIDE_FAST, BESIDE_SLOW), self._running.engines, strict=True)
            )
        )
        self.slow.append(slow)
        return fast


def outcome(findings: Findings) -> Outcome:
    """The part's verdicts and figures."""
    return Outcome(verdicts(findings), measurements(findings), faults_of(findings.runs))


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    runs, through = findings.runs[GATEWAY], rate(findings.runs[GATEWAY])
    kind = "both at once" if findings.is_shared else "the sum of each alone"
    solos = f"fast {rate(findings.runs[FAST]):,.0f}/s and slow {rate(findings.runs[SLOW]):,.0f}/s alone"
    busy, stories = running_means(runs), windows(runs)
    return [
        THROUGHPUT.judge(
            through / findings.reference, f"{through:,.0f}/s against {findings.reference:,.0f}/s, {kind}; {solos}"
        ),
        BUSY.judge(min(busy), "; ".join(f"{each:.2f} in {used}" for each, used in zip(busy, stories, strict=True))),
        judgement.engine_queue(ENGINE_QUEUE, runs, SLACK),
        judgement.service(EQUAL, runs, TENANTS),
        judgement.spread(SPREAD, runs),
        judgement.backlogged(BACKLOGGED, runs),
    ]


def running_means(runs: Sequence[Run]) -> list[float]:
    """What each engine ran at once, on average over the samples."""
    samples = [sample.engines for run in runs for sample in run.samples]
    return [mean([engine.running for engine in engines]) for engines in zip(*samples, strict=True)]


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of every way."""
    rates = {way: [run.tokens_per_second for run in runs] for way, runs in findings.runs.items()}
    return {
        "output_tokens_per_second": rates,
        "reference": findings.reference,
        "gateway": median(rates[GATEWAY]),
        "running": running_means(findings.runs[GATEWAY]),
        "windows": windows(findings.runs[GATEWAY]),
    }
