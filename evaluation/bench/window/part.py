"""What every part of the bench shares: its options, the load, the turns of its ways, what it hands to the report."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from evaluation.bench.engines import EngineKind
from evaluation.bench.probe import WorkerState
from evaluation.bench.settings import WindowSettings
from evaluation.bench.stage import Part, Run, RunOptions, Stage
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant
from evaluation.metrics import mean, median
from evaluation.report.verdicts import Verdict

WARMUP_SECONDS = 8.0

# Two tenants that are always backlogged, of many and of few requests, each of the same cost.
PROMPT = Lengths(24, 40)
TENANTS = (
    LoadTenant("many", ClosedLoop(64), PROMPT, Lengths(32, 96)),
    LoadTenant("few", ClosedLoop(32), PROMPT, Lengths(32, 96)),
)


class Subject(Enum):
    """The parts of the bench; the values are the names to choose them by."""

    MEMORY = "memory"
    SPEEDS = "speeds"
    BLIND = "blind"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class WindowOptions(RunOptions):
    """What to run: `seconds` of measured window for each way, in `rounds` parts; no `subjects` means all."""

    seconds: float = 24.0
    rounds: int = 3
    subjects: Sequence[Subject] = ()
    plot: Path | None = None

    @property
    def round_seconds(self) -> float:
        """The window of one way's turn."""
        return self.seconds / self.rounds

    @property
    def warmup_seconds(self) -> float:
        """Time for the gateway to learn the engine and for the first requests, sent together, to spread out."""
        return min(WARMUP_SECONDS, self.round_seconds)

    def part(self, name: str, number: int, tenants: Sequence[LoadTenant] = TENANTS) -> Part:
        """The turn of one way in round `number`."""
        return Part(
            name=f"round {number + 1} of {self.rounds}: {name}",
            tenants=tenants,
            seed=self.seed + number,
            warmup_seconds=self.warmup_seconds,
            seconds=self.round_seconds,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one part found."""

    verdicts: Sequence[Verdict]
    measurements: Mapping[str, object]
    faults: Sequence[str]


Turn = Callable[[int], Awaitable[Run]]


async def in_turns(ways: Mapping[str, Turn], rounds: int) -> dict[str, list[Run]]:
    """Let every way have its turn in every round, the order turned about from round to round."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in ways if number % 2 == 0 else reversed(list(ways)):
            runs[name].append(await ways[name](number))
    return runs


def through_gateway(
    stage: Stage, options: WindowOptions, window: WindowSettings, name: str, *, urls: Sequence[str] = ()
) -> Turn:
    """A way: the usual load on a gateway of its own with `window`."""

    async def turn(number: int) -> Run:
        async with stage.gateway(options.policy, TENANTS, window, urls=urls) as gateway:
            return await stage.run(options.part(name, number), gateway)

    return turn


def rate(runs: Sequence[Run]) -> float:
    """Output tokens per second: the median of the rounds."""
    return median([run.tokens_per_second for run in runs])


def mean_running(runs: Sequence[Run]) -> float:
    """What all engines ran at once on average: unlike a rate it does not depend on the machine's speed that day."""
    return mean([sample.running for run in runs for sample in run.samples])


def windows(runs: Sequence[Run]) -> list[str]:
    """Of each worker the windows that it had, and the reasons why it was degraded, in words."""
    states = [sample.gateway.workers for run in runs for sample in run.samples]
    return [_window_story(workers) for workers in zip(*states, strict=True)]


def _window_story(states: Sequence[WorkerState]) -> str:
    sizes = [state.window for state in states]
    size = f"a window of {min(sizes)}" if min(sizes) == max(sizes) else f"windows of {min(sizes)} to {max(sizes)}"
    reasons = Counter(state.degraded for state in states if state.degraded)
    degraded = (f"degraded in {count} of {len(states)} samples ({reason})" for reason, count in reasons.items())
    return ", ".join((size, *degraded))


def faults_of(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Every request that failed by itself."""
    return [fault for way in runs.values() for run in way for fault in run.faults]


def is_vllm(options: WindowOptions) -> bool:
    """Whether real vLLM runs."""
    return options.engine is EngineKind.VLLM
