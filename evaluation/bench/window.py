"""Does the gateway find out by itself how much each engine can take? The bench uses live engines and their own metrics.

The bench has two parts, each with a question of its own. In both the configuration of the tested gateway says nothing
about the engines. Tests in virtual time show the rest: engines of other sizes, and metrics that are dead, slow, stale
or wrong.

- `memory`: the KV cache is too small for what the engine may run at once, so that no constant is right. One tenant has
  short prompts and long answers, the other long prompts and short answers; nobody knows the lengths. The bench sweeps
  fixed windows. Then the best of them and `auto` take turns, because the best of several noisy figures is too good for
  a comparison. The largest window is the control: with it the engine's own queue fills with what the engine preempts.
- `speeds`: two engines, one of them three times slower, stand behind one gateway. The bench measures without the
  gateway what they can do together. Embedded engines hardly use a processor, so each runs alone and the bench adds
  both. Two real vLLM on one small machine take processor time from each other, so both run at once, each with a load of
  its own.

Every way has a gateway of its own, started for its turn. It learns what it knows of the engine from its own requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.bench import judgement
from evaluation.bench.judgement import mean_rate, mean_running, rate, samples_of
from evaluation.bench.settings import SLACK, VLLM_MODEL, EngineChoice, EngineKind, KvCache, WindowSettings
from evaluation.bench.stage import Run, stage
from evaluation.bench.turns import FAULTS, RunOptions, Turns, Ways, faults_of
from evaluation.load.client import RUNNING_USAGE
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant
from evaluation.metrics.statistics import mean
from evaluation.report.delivery import Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict, at_least, at_most

# Two tenants that are always backlogged, of many and of few requests, each of the same cost.
TENANTS = (
    LoadTenant("many", ClosedLoop(64), Lengths(24, 40), Lengths(32, 96)),
    LoadTenant("few", ClosedLoop(32), Lengths(24, 40), Lengths(32, 96)),
)
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class WindowOptions(RunOptions):
    """What to run: `seconds` of measured window for each way, in `rounds` parts; no `subjects` means all `PARTS`."""

    seconds: float = 24.0
    rounds: int = 3
    subjects: Sequence[str] = ()

    @property
    def is_vllm(self) -> bool:
        """Whether real vLLM runs."""
        return self.engine is EngineKind.VLLM


def _shared_verdicts(part: str, runs: Sequence[Run], tenants: Sequence[LoadTenant]) -> list[Verdict]:
    """The verdicts that two parts share."""
    equal = at_most(f"{part}: service of the larger tenant over the smaller", 1.05, " x")
    spread = at_most(f"{part}: largest observed spread, of the computed bound", 1.0)
    backlogged = at_least(f"{part}: samples with every tenant backlogged", 0.99)
    return [
        judgement.service(equal, runs, tenants),
        judgement.spread(spread, runs),
        judgement.backlogged(backlogged, runs),
    ]


async def measure(options: WindowOptions) -> Report:
    """Run every part that is wanted and judge it."""
    progress = Progress()
    verdicts: list[Verdict] = []
    ways: dict[str, Sequence[Run]] = {}
    for subject in options.subjects or tuple(PARTS):
        measured, judge = PARTS[subject]
        found = await measured(options, progress)
        verdicts += judge(options, found)
        ways |= {f"{subject}, {name}": runs for name, runs in found.items()}
    verdicts.append(FAULTS.judge(len(faults_of(ways))))
    return options.report("window", verdicts, ways)


# -- memory

SEQUENCES = 16
FIXED = (6, 8, 10, 12, 16)
AGAIN = " again"
# What to hold back for answers to grow is learned from what had to wait for memory: that needs some of it to happen.
LEARNING_SECONDS = 8.0
TIMES_SWEEP = 2  # how much longer a window of the comparison is than one of the sweep
MIXED = (
    LoadTenant("chats", ClosedLoop(48), Lengths(16, 64), Lengths(320, 320)),
    LoadTenant("documents", ClosedLoop(32), Lengths(200, 400), Lengths(96, 96)),
)
# The random model ends an answer with probability 1/259 after each token, and as often with each of these letters.
UNKNOWN_LENGTH = RUNNING_USAGE | {"stop": ["q", "z"]}

MEMORY_RATE = at_least("memory: output tokens per second, of the best fixed window", 0.97)
WAITING = at_least(f"memory: samples with at most {SLACK} waiting in the engine", 0.99)
CONTROL = Target(f"memory: the same with a window of {max(FIXED)}, the control", Comparison.BELOW, 0.99)


async def measure_memory(options: WindowOptions, progress: Progress) -> dict[str, list[Run]]:
    """Sweep the fixed windows, then let the best of them and `auto` take turns."""
    # vLLM insists on room for one sequence of its full length, 2,048 tokens, and keeps a block for itself.
    engine = EngineChoice(options.engine, options.profile, SEQUENCES, kv=KvCache(blocks=72, block_tokens=32))
    fields = UNKNOWN_LENGTH if options.is_vllm else RUNNING_USAGE
    async with stage(progress, engine) as running:
        sweep = Turns(running, options)
        for size in FIXED:
            sweep.through(str(size), MIXED, WindowSettings(size, prefill_tokens=2048), fields=fields)
        swept = await sweep.run()
        longer, best = replace(options, seconds=TIMES_SWEEP * options.seconds), best_size(swept)
        warmup = longer.warmup_seconds + min(LEARNING_SECONDS, longer.warmup_seconds)
        compared = Turns(running, longer)
        for name, window in (
            (best + AGAIN, WindowSettings(int(best), prefill_tokens=2048)),
            (AUTO, WindowSettings(None)),
        ):
            compared.through(name, MIXED, window, fields=fields, warmup_seconds=warmup)
        return {**swept, **await compared.run()}


def best_size(ways: Ways) -> str:
    """The fixed window of the sweep with the highest throughput."""
    return max(map(str, FIXED), key=lambda size: rate(ways[size]))


def memory_verdicts(options: WindowOptions, ways: Ways) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    best, auto = ways[best_size(ways) + AGAIN], ways[AUTO]
    note = f" with a window of {best_size(ways)}, {mean_running(auto):.2f} against {mean_running(best):.2f} running"
    return [
        judgement.throughput(MEMORY_RATE, mean_rate(auto), mean_rate(best), note),
        judgement.engine_queue(WAITING, auto, SLACK),
        judgement.engine_queue(CONTROL, ways[str(max(FIXED))], SLACK),
        *_shared_verdicts("memory", auto, MIXED),
    ]


# -- speeds

PAIR_SEQUENCES = 8
SLOW_PROFILE = "cpu-tiny-slow"
SLOW_MODEL = {**VLLM_MODEL, "num_hidden_layers": 3 * VLLM_MODEL["num_hidden_layers"]}
FAST, SLOW, BESIDE_FAST, BESIDE_SLOW, GATEWAY = "fast alone", "slow alone", "fast beside", "slow beside", "gateway"

PAIR_RATE = at_least("speeds: output tokens per second, of both engines without the gateway", 0.95)
BUSY = at_least("speeds: mean running sequences of the less busy engine", 0.95 * PAIR_SEQUENCES)
PAIR_QUEUE = at_least(f"speeds: samples with at most {SLACK} waiting in either engine", 0.99)


async def measure_speeds(options: WindowOptions, progress: Progress) -> dict[str, list[Run]]:
    """Let each engine work alone, both beside each other and both behind the gateway, in turns."""
    fast = EngineChoice(options.engine, options.profile, PAIR_SEQUENCES)
    slow = replace(fast, profile=SLOW_PROFILE, model=SLOW_MODEL)
    async with stage(progress, fast, slow) as running:
        turns, beside = Turns(running, options), list[Run]()

        async def both(number: int) -> Run:
            """Both engines at once, each with a load of its own; the slow one's run is kept beside."""
            parts = (turns.part(name, TENANTS, number) for name in (BESIDE_FAST, BESIDE_SLOW))
            runs = await asyncio.gather(*map(running.run, parts, running.engines))
            beside.append(runs[1])
            return runs[0]

        turns.on(FAST, TENANTS, running.engines[0])
        turns.on(SLOW, TENANTS, running.engines[1])
        turns.add(BESIDE_FAST, both)
        turns.through(GATEWAY, TENANTS, WindowSettings(None))
        return {**await turns.run(), BESIDE_SLOW: beside}


def reference(options: WindowOptions, ways: Ways) -> float:
    """What both engines do together without a gateway, output tokens per second."""
    # Real engines take processor time from each other.
    return sum(rate(ways[way]) for way in ((BESIDE_FAST, BESIDE_SLOW) if options.is_vllm else (FAST, SLOW)))


def speeds_verdicts(options: WindowOptions, ways: Ways) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    runs = ways[GATEWAY]
    kind = "both at once" if options.is_vllm else "the sum of each alone"
    note = f", {kind}; fast {rate(ways[FAST]):,.0f}/s and slow {rate(ways[SLOW]):,.0f}/s alone"
    engines = zip(*(sample.engines for sample in samples_of(runs)), strict=True)
    busy = [mean([engine.running for engine in each]) for each in engines]
    running = "; ".join(f"{each:.2f}" for each in busy)
    return [
        judgement.throughput(PAIR_RATE, rate(runs), reference(options, ways), note),
        BUSY.judge(min(busy), running),
        judgement.engine_queue(PAIR_QUEUE, runs, SLACK),
        *_shared_verdicts("speeds", runs, TENANTS),
    ]


Measured = Callable[[WindowOptions, Progress], Awaitable[dict[str, list[Run]]]]
Judged = Callable[[WindowOptions, Ways], list[Verdict]]
PARTS: Mapping[str, tuple[Measured, Judged]] = {
    "memory": (measure_memory, memory_verdicts),
    "speeds": (measure_speeds, speeds_verdicts),
}
