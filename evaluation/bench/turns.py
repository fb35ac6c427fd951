"""What the benches on a stage share: their options, the turns of the ways that are compared, and their report.

Every way has its turn in every round. The order is reversed from round to round, so that a drift of the machine's speed
affects all ways alike. A turn is one run: on a gateway that lives for the turn, on one that lives longer, or on an
engine alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.bench.judgement import figures
from evaluation.bench.settings import EngineKind, WindowSettings
from evaluation.bench.stage import Part, Run, Server, Stage
from evaluation.load.tenants import LoadTenant, weights_of
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet
from evaluation.report.verdicts import Comparison, Target, Verdict

FAULTS = Target("requests refused or broken", Comparison.AT_MOST, 0)

Turn = Callable[[int], Awaitable[Run]]
Ways = Mapping[str, Sequence[Run]]
"""The runs of every way by its name."""


@dataclass(frozen=True, slots=True)
class RunOptions(Delivery):
    """The options of a bench: the engine, the tested policy, `seconds` of measured window in `rounds` parts."""

    engine: EngineKind = EngineKind.VLLM
    profile: str = "cpu-tiny"
    policy: str = "vtc"
    seconds: float = 60.0
    rounds: int = 1
    seed: int = 1

    @property
    def round_seconds(self) -> float:
        """The window of one way's turn."""
        return self.seconds / self.rounds

    def part(self, name: str, tenants: Sequence[LoadTenant], number: int, **changes: Any) -> Part:
        """The turn of one way in round `number`; its warm-up is as long as its window, 8 s at most."""
        part = Part(
            name=f"round {number + 1} of {self.rounds}: {name}",
            tenants=tenants,
            seed=self.seed + number,
            warmup_seconds=min(8.0, self.round_seconds),
            seconds=self.round_seconds,
        )
        return replace(part, **changes)

    def report(
        self,
        title: str,
        verdicts: Sequence[Verdict],
        ways: Ways,
        *,
        setting: Mapping[str, object] | None = None,
        measurements: Mapping[str, object] | None = None,
        sheets: Sequence[Sheet] = (),
    ) -> Report:
        """The report on `ways`: the figures of each, what else was measured, and every request that failed."""
        usual = {"engine": self.engine.value, "policy": self.policy, "seconds": self.seconds, "rounds": self.rounds}
        document = {"ways": {name: figures(runs) for name, runs in ways.items()}, **(measurements or {})}
        faults = sorted(set(faults_of(ways)))
        return Report(title, {**usual, **(setting or {})}, verdicts, document, faults, sheets)


async def in_turns(ways: Mapping[str, Turn], rounds: int) -> dict[str, list[Run]]:
    """Let every way have its turn in every round."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in ways if number % 2 == 0 else reversed(list(ways)):
            runs[name].append(await ways[name](number))
    return runs


def on(stage: Stage, target: Server, part: Callable[[int], Part]) -> Turn:
    """A way: `part` of each round on what runs already."""
    return lambda number: stage.run(part(number), target)


def through(stage: Stage, policy: str, window: WindowSettings, part: Callable[[int], Part], **more: Any) -> Turn:
    """A way: `part` of each round on a gateway of its own, which knows of the engine what it learns in this turn."""

    async def turn(number: int) -> Run:
        todo = part(number)
        async with stage.gateway(policy, weights_of(todo.tenants), window, **more) as gateway:
            return await stage.run(todo, gateway)

    return turn


def faults_of(ways: Ways) -> list[str]:
    """Every request that failed by itself."""
    return [fault for runs in ways.values() for run in runs for fault in run.faults]
