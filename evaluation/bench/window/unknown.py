"""Nobody told the gateway how many sequences the engine runs at once: does it find out, and what does that cost?

Engines of 8 and of 16 sequences, each with a gateway that was told and with one that was not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.bench import judgement
from evaluation.bench.engines import EngineChoice
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Run, stage
from evaluation.bench.window.part import (
    Outcome,
    WindowOptions,
    faults_of,
    in_turns,
    mean_running,
    rate,
    through_gateway,
)
from evaluation.metrics import percentile
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

SIZES = (8, 16)
KNOWN, AUTO = "told", "auto"
# Windows that differ by less are one: the law feels its way up now and then.
SETTLED_WITHIN = 2

THROUGHPUT = "unknown: an engine of {} sequences, output tokens per second of the known window"
SETTLED = "unknown: an engine of {} sequences, 5th to 95th percentile of the window"
ENGINE_QUEUE = Target(f"unknown: samples with at most {SLACK} waiting in the engine", Comparison.AT_LEAST, 0.99)


@dataclass(frozen=True, slots=True)
class Findings:
    """The turns of both ways, by the engine's size."""

    sizes: Mapping[int, Mapping[str, Sequence[Run]]]


async def measure(options: WindowOptions, progress: Progress) -> Findings:
    """Run both ways in turns on an engine of each size."""
    sizes = {}
    for size in SIZES:
        async with stage(progress, EngineChoice(options.engine, options.profile, size)) as running:
            ways = {
                name: through_gateway(running, options, WindowSettings(sequences), f"{size} sequences, {name}")
                for name, sequences in ((KNOWN, size), (AUTO, None))
            }
            sizes[size] = await in_turns(ways, options.rounds)
    return Findings(sizes)


def outcome(findings: Findings) -> Outcome:
    """The part's verdicts and figures."""
    faults = [fault for runs in findings.sizes.values() for fault in faults_of(runs)]
    return Outcome(verdicts(findings), measurements(findings), faults)


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, two verdicts for each size and one on the engines' queues."""
    each = [
        verdict for size, runs in findings.sizes.items() for verdict in (_throughput(size, runs), _settled(size, runs))
    ]
    auto = [run for runs in findings.sizes.values() for run in runs[AUTO]]
    return [*each, judgement.engine_queue(ENGINE_QUEUE, auto, SLACK)]


def _throughput(size: int, runs: Mapping[str, Sequence[Run]]) -> Verdict:
    target = Target(THROUGHPUT.format(size), Comparison.AT_LEAST, 0.97)
    auto, told = rate(runs[AUTO]), rate(runs[KNOWN])
    batch = f"{mean_running(runs[AUTO]):.2f} against {mean_running(runs[KNOWN]):.2f} running"
    return target.judge(auto / told, f"{auto:,.0f}/s against {told:,.0f}/s, {batch}")


def _settled(size: int, runs: Mapping[str, Sequence[Run]]) -> Verdict:
    target = Target(SETTLED.format(size), Comparison.AT_MOST, SETTLED_WITHIN)
    windows = _windows(runs[AUTO])
    low, high = percentile(windows, 5), percentile(windows, 95)
    return target.judge(high - low, f"{low:.0f} to {high:.0f}, {len(windows)} samples")


def _windows(runs: Sequence[Run]) -> list[float]:
    return [worker.window for run in runs for sample in run.samples for worker in sample.gateway.workers]


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of every way."""
    return {
        f"{size} sequences": {
            way: {
                "output_tokens_per_second": [run.tokens_per_second for run in turns],
                "window": _windows(turns),
            }
            for way, turns in runs.items()
        }
        for size, runs in findings.sizes.items()
    }
