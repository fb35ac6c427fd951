"""A KV cache too small for what the engine may run at once: how many sequences are right is nobody's constant.

A tenant with short prompts and long answers beside one with long prompts and short answers; nobody knows an answer's
length before its end. Fixed windows are swept; then the best of them and `auto` take turns, because the best of several
noisy figures is too good to be held against. The largest is the control: with it the engine's own queue fills with what
it preempts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.bench import judgement
from evaluation.bench.engines import EngineChoice, KvCache
from evaluation.bench.measures import share_within
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Run, Stage, stage
from evaluation.bench.window.part import Outcome, Turn, WindowOptions, faults_of, in_turns, is_vllm, mean_running, rate
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import RUNNING_USAGE, ClosedLoop, LoadTenant
from evaluation.metrics import mean
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

SEQUENCES = 16
FIXED = (6, 8, 10, 12, 16)
PREFILL_TOKENS = 2048
AUTO = "auto"
# What to hold back for answers to grow is learned from what had to wait for memory: that needs some of it to happen.
LEARNING_SECONDS = 8.0
TIMES_SWEEP = 2  # how much longer a window of the comparison is than one of the sweep

TENANTS = (
    LoadTenant("chats", ClosedLoop(48), Lengths(16, 64), Lengths(320, 320)),
    LoadTenant("documents", ClosedLoop(32), Lengths(200, 400), Lengths(96, 96)),
)
# The random model ends an answer with probability 1/259 after each token, and as often with each of these letters.
UNKNOWN_LENGTH = RUNNING_USAGE | {"stop": ["q", "z"]}

THROUGHPUT = Target("memory: output tokens per second, of the best fixed window", Comparison.AT_LEAST, 0.97)
WAITING = Target(f"memory: samples with at most {SLACK} waiting in the engine", Comparison.AT_LEAST, 0.99)
CONTROL = Target(f"memory: the same with a window of {max(FIXED)}, the control", Comparison.BELOW, 0.99)
EQUAL = Target("memory: service of the larger tenant over the smaller", Comparison.AT_MOST, 1.05, " x")
SPREAD = Target("memory: largest observed spread, of the computed bound", Comparison.AT_MOST, 1.0)
BACKLOGGED = Target("memory: samples with every tenant backlogged", Comparison.AT_LEAST, 0.99)


@dataclass(frozen=True, slots=True)
class Findings:
    """The sweep's turns by the window's size, and the turns of the comparison: the best of them and `auto`."""

    fixed: Mapping[int, Sequence[Run]]
    best: Sequence[Run]
    auto: Sequence[Run]

    @property
    def best_size(self) -> int:
        """The fixed window with the highest throughput."""
        return best_size(self.fixed)

    @property
    def ways(self) -> dict[str, Sequence[Run]]:
        """Every way by its name."""
        sweep = {str(size): runs for size, runs in self.fixed.items()}
        return {**sweep, f"{self.best_size} again": self.best, AUTO: self.auto}


def best_size(fixed: Mapping[int, Sequence[Run]]) -> int:
    """The window of a sweep with the highest throughput."""
    return max(fixed, key=lambda size: rate(fixed[size]))


async def measure(options: WindowOptions, progress: Progress) -> Findings:
    """Sweep the fixed windows, then let the best of them and `auto` take turns."""
    async with stage(progress, _engine(options)) as running:
        swept = await in_turns({str(size): _turn(running, options, _fixed(size)) for size in FIXED}, options.rounds)
        fixed = {size: swept[str(size)] for size in FIXED}
        longer = replace(options, seconds=TIMES_SWEEP * options.seconds)
        best = _turn(running, longer, _fixed(best_size(fixed)), learning_seconds=LEARNING_SECONDS)
        auto = _turn(running, longer, WindowSettings(None), learning_seconds=LEARNING_SECONDS)
        compared = await in_turns({"best": best, AUTO: auto}, options.rounds)
    return Findings(fixed, compared["best"], compared[AUTO])


def _fixed(size: int) -> WindowSettings:
    return WindowSettings(size, prefill_tokens=PREFILL_TOKENS)


def _engine(options: WindowOptions) -> EngineChoice:
    """vLLM insists on room for one sequence of its full length, 2,048 tokens, and keeps a block for itself."""
    return EngineChoice(options.engine, options.profile, SEQUENCES, kv=KvCache(blocks=72, block_tokens=32))


def _turn(running: Stage, options: WindowOptions, window: WindowSettings, *, learning_seconds: float = 0.0) -> Turn:
    name = f"window {AUTO if window.sequences is None else window.sequences}"
    fields = UNKNOWN_LENGTH if is_vllm(options) else RUNNING_USAGE

    async def turn(number: int) -> Run:
        part = options.part(name, number, TENANTS)
        learning = min(learning_seconds, part.warmup_seconds)
        part = replace(part, fields=fields, warmup_seconds=part.warmup_seconds + learning)
        async with running.gateway(options.policy, TENANTS, window) as gateway:
            return await running.run(part, gateway)

    return turn


def outcome(findings: Findings) -> Outcome:
    """The part's verdicts and figures."""
    return Outcome(verdicts(findings), measurements(findings), faults_of(findings.ways))


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    auto, best = judgement.mean_rate(findings.auto), judgement.mean_rate(findings.best)
    batch = f"{mean_running(findings.auto):.2f} against {mean_running(findings.best):.2f} running"
    note = f"{auto:,.0f}/s against {best:,.0f}/s with a window of {findings.best_size}, {batch}"
    return [
        THROUGHPUT.judge(auto / best, note),
        judgement.engine_queue(WAITING, findings.auto, SLACK),
        judgement.engine_queue(CONTROL, findings.fixed[max(findings.fixed)], SLACK),
        judgement.service(EQUAL, findings.auto, TENANTS),
        judgement.spread(SPREAD, findings.auto),
        judgement.backlogged(BACKLOGGED, findings.auto),
    ]


def preemptions(runs: Sequence[Run]) -> int:
    """Preemptions between the first and the last sample of each window."""
    return sum(run.samples[-1].preemptions - run.samples[0].preemptions for run in runs if run.samples)


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of every way."""
    return {name: figures(runs) for name, runs in findings.ways.items()}


def figures(runs: Sequence[Run]) -> dict[str, object]:
    """What one way did."""
    samples = [sample for run in runs for sample in run.samples]
    return {
        "output_tokens_per_second": [run.tokens_per_second for run in runs],
        "service": [run.services for run in runs],
        "running_mean": mean_running(runs),
        "window_mean": mean([worker.window for sample in samples for worker in sample.gateway.workers]),
        "waiting_within_slack": share_within([sample.waiting for sample in samples], SLACK),
        "waiting_max": max((sample.waiting for sample in samples), default=None),
        "preemptions": preemptions(runs),
    }
