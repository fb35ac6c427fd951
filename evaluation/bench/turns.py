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
from evaluation.report.verdicts import Verdict, at_most

FAULTS = at_most("requests refused or broken", 0)

Turn = Callable[[int], Awaitable[Run]]
Tenants = Sequence[LoadTenant] | Callable[[int], Sequence[LoadTenant]]
"""The tenants of a way, or what makes them for each round."""
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

    @property
    def warmup_seconds(self) -> float:
        """How long a turn warms up, unless its bench says otherwise: as long as its window, 8 s at most."""
        return min(8.0, self.round_seconds)

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


class Turns:
    """The ways that a bench compares on `stage`. `changes` say what of the usual `Part` is otherwise."""

    def __init__(self, stage: Stage, options: RunOptions) -> None:
        self._stage = stage
        self._options = options
        self._ways: dict[str, Turn] = {}

    def add(self, name: str, turn: Turn) -> None:
        """A way of its own kind."""
        self._ways[name] = turn

    def on(self, name: str, tenants: Sequence[LoadTenant], target: Server, **changes: Any) -> None:
        """A way on what runs already: an engine, or a gateway that lives for all turns."""
        self.add(name, lambda number: self._stage.run(self.part(name, tenants, number, **changes), target))

    def through(
        self, name: str, tenants: Tenants, window: WindowSettings, *, policy: str = "", quantum: int = 0, **changes: Any
    ) -> None:
        """A way through a gateway of its own, which knows of the engine what it learns in this turn."""

        async def turn(number: int) -> Run:
            part = self.part(name, tenants(number) if callable(tenants) else tenants, number, **changes)
            chosen, weights = policy or self._options.policy, weights_of(part.tenants)
            async with self._stage.gateway(chosen, weights, window, locality_quantum=quantum) as gateway:
                return await self._stage.run(part, gateway)

        self.add(name, turn)

    def part(self, name: str, tenants: Sequence[LoadTenant], number: int, **changes: Any) -> Part:
        """The turn of one way in round `number`, counted from 0."""
        options = self._options
        part = Part(
            name=f"round {number + 1} of {options.rounds}: {name}",
            tenants=tenants,
            seed=options.seed + number,
            warmup_seconds=options.warmup_seconds,
            seconds=options.round_seconds,
        )
        return replace(part, **changes)

    async def run(self) -> dict[str, list[Run]]:
        """Let every way have its turn in every round."""
        runs: dict[str, list[Run]] = {name: [] for name in self._ways}
        for number in range(self._options.rounds):
            for name in self._ways if number % 2 == 0 else reversed(list(self._ways)):
                runs[name].append(await self._ways[name](number))
        return runs


def faults_of(ways: Ways) -> list[str]:
    """Every request that failed by itself."""
    return [fault for runs in ways.values() for run in runs for fault in run.faults]
