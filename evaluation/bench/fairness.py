"""Does everybody get their share, and what does it cost? Both tenants of each scenario are always backlogged.

Scenarios under the policy that is tested: many requests outstanding against few, weights 1:3, short outputs
against long ones. The control is the first scenario under `fcfs`, which must be unfair, or the scenario
shows nothing. Throughput is compared with the engine alone in rounds that alternate, so that a drift of the
machine's speed meets both. Random output lengths keep requests from ending in convoys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.bench import judgement
from evaluation.bench.engines import EngineChoice
from evaluation.bench.measures import share_within
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Engine, Gateway, Part, Run, RunOptions, Stage, stage
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant
from evaluation.metrics import mean, median
from evaluation.report.delivery import Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

# Half of the few requests of the smallest tenant: it stays backlogged even where all of its running requests
# end in one step.
SEQUENCES = 8

PROMPT = Lengths(24, 40)

MANY_AND_FEW = (
    LoadTenant("many", ClosedLoop(64), PROMPT, Lengths(32, 96)),
    LoadTenant("few", ClosedLoop(16), PROMPT, Lengths(32, 96)),
)
WEIGHTED = (
    LoadTenant("one", ClosedLoop(48), PROMPT, Lengths(32, 96), weight=1),
    LoadTenant("three", ClosedLoop(48), PROMPT, Lengths(32, 96), weight=3),
)
SHORT_AND_LONG = (
    LoadTenant("short", ClosedLoop(48), PROMPT, Lengths(8, 24)),
    LoadTenant("long", ClosedLoop(48), PROMPT, Lengths(128, 224)),
)

EQUAL = Target("64 outstanding against 16: service of the larger over the smaller", Comparison.AT_MOST, 1.05, " x")
UNEQUAL = Target("the same under fcfs, the control", Comparison.ABOVE, 2.0, " x")
BY_WEIGHT = Target("weights 1:3: service per weight, larger over smaller", Comparison.AT_MOST, 1.07, " x")
BY_LENGTH = Target("short against long outputs: larger over smaller", Comparison.AT_MOST, 1.07, " x")
THROUGHPUT = Target("output tokens per second, of the engine alone", Comparison.AT_LEAST, 0.97)
SPREAD = Target("largest observed spread of counters, of the computed bound", Comparison.AT_MOST, 1.0)
ENGINE_QUEUE = Target(f"samples with at most {SLACK} waiting in the engine", Comparison.AT_LEAST, 0.99)
BACKLOGGED = Target("samples with every tenant backlogged", Comparison.AT_LEAST, 0.99)
FAULTS = Target("requests refused or broken", Comparison.AT_MOST, 0)


@dataclass(frozen=True, slots=True)
class FairnessOptions(RunOptions):
    """What to run: `seconds` of measured window per scenario, and as much again over all `rounds` for each of
    the engine alone and the gateway."""

    rounds: int = 8

    @property
    def warmup_seconds(self) -> float:
        """Time for the first requests, all sent at once, to spread out, and for the predictor to learn lengths."""
        return min(15.0, self.seconds / 4)

    @property
    def round_seconds(self) -> float:
        """The window of one round of the comparison of throughput."""
        return self.seconds / self.rounds


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of the comparison of throughput, by what served them."""

    through: Sequence[Run]
    alone: Sequence[Run]

    @property
    def gateway(self) -> list[float]:
        """Output tokens per second of each round through the gateway."""
        return [run.tokens_per_second for run in self.through]

    @property
    def direct(self) -> list[float]:
        """Output tokens per second of each round on the engine alone."""
        return [run.tokens_per_second for run in self.alone]

    @property
    def ratio(self) -> float:
        """Median through the gateway over median of the engine alone."""
        return median(self.gateway) / median(self.direct)


@dataclass(frozen=True, slots=True)
class Findings:
    """Every run of the bench."""

    equal: Run
    weighted: Run
    lengths: Run
    control: Run
    rounds: Rounds

    @property
    def tested(self) -> list[Run]:
        """The runs under the policy that is tested."""
        return [self.equal, self.weighted, self.lengths]

    @property
    def faults(self) -> list[str]:
        """Every request that failed anywhere."""
        runs = [*self.tested, self.control, *self.rounds.through, *self.rounds.alone]
        return [fault for run in runs for fault in run.faults]


def run(options: FairnessOptions) -> int:
    """Run the bench and return its exit status."""
    return conduct(measure(options), options.delivery)


async def measure(options: FairnessOptions) -> Report:
    """Run every scenario and judge it."""
    choice = EngineChoice(options.engine, options.profile, SEQUENCES)
    async with stage(Progress(), choice) as running:
        async with running.gateway(options.policy, MANY_AND_FEW, WindowSettings(SEQUENCES)) as gateway:
            equal = await running.run(_part("many and few", MANY_AND_FEW, options), gateway)
            rounds = await _rounds(running, gateway, options)
        findings = Findings(
            equal=equal,
            weighted=await _scenario(running, "weights", WEIGHTED, options.policy, options),
            lengths=await _scenario(running, "short and long", SHORT_AND_LONG, options.policy, options),
            control=await _scenario(running, "many and few, fcfs", MANY_AND_FEW, "fcfs", options),
            rounds=rounds,
        )
    return _report(findings, options)


async def _scenario(
    running: Stage, name: str, tenants: Sequence[LoadTenant], policy: str, options: FairnessOptions
) -> Run:
    async with running.gateway(policy, tenants, WindowSettings(SEQUENCES)) as gateway:
        return await running.run(_part(name, tenants, options), gateway)


async def _rounds(running: Stage, gateway: Gateway, options: FairnessOptions) -> Rounds:
    """Alternate between the gateway and the engine alone, each first in every other round."""
    through: list[Run] = []
    alone: list[Run] = []
    for number in range(options.rounds):
        pair: list[tuple[Gateway | Engine, list[Run]]] = [(gateway, through), (running.engine, alone)]
        for target, runs in pair if number % 2 == 0 else reversed(pair):
            part = Part(
                name=f"round {number + 1} of {options.rounds}: {'gateway' if target is gateway else 'engine alone'}",
                tenants=MANY_AND_FEW,
                seed=options.seed + number,
                warmup_seconds=min(3.0, options.warmup_seconds),
                seconds=options.round_seconds,
                is_sampled=False,
            )
            runs.append(await running.run(part, target))
    return Rounds(through, alone)


def _part(name: str, tenants: Sequence[LoadTenant], options: FairnessOptions) -> Part:
    return Part(name, tenants, options.seed, options.warmup_seconds, options.seconds)


def _report(findings: Findings, options: FairnessOptions) -> Report:
    return Report(
        title="fairness",
        setting=options.setting,
        verdicts=verdicts(findings),
        measurements=_measurements(findings),
        warnings=sorted(set(findings.faults)),
    )


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    return [
        judgement.service(EQUAL, [findings.equal], MANY_AND_FEW),
        judgement.service(UNEQUAL, [findings.control], MANY_AND_FEW),
        judgement.service(BY_WEIGHT, [findings.weighted], WEIGHTED),
        judgement.service(BY_LENGTH, [findings.lengths], SHORT_AND_LONG),
        THROUGHPUT.judge(findings.rounds.ratio, _rounds_note(findings.rounds)),
        judgement.spread(SPREAD, findings.tested),
        judgement.engine_queue(ENGINE_QUEUE, [*findings.tested, findings.control], SLACK),
        judgement.backlogged(BACKLOGGED, findings.tested),
        FAULTS.judge(len(findings.faults)),
    ]


def _rounds_note(rounds: Rounds) -> str:
    return f"{median(rounds.gateway):,.0f}/s against {median(rounds.direct):,.0f}/s, {len(rounds.direct)} rounds"


def _measurements(findings: Findings) -> dict[str, object]:
    runs = {
        "many_and_few": findings.equal,
        "weights": findings.weighted,
        "short_and_long": findings.lengths,
        "many_and_few_fcfs": findings.control,
    }
    return {
        "scenarios": {name: _run_document(run) for name, run in runs.items()},
        "rounds": {
            "gateway_tokens_per_second": list(findings.rounds.gateway),
            "direct_tokens_per_second": list(findings.rounds.direct),
        },
    }


def _run_document(run: Run) -> dict[str, object]:
    return {
        "seconds": run.window.seconds,
        "service": run.services,
        "output_tokens_per_second": run.tokens_per_second,
        "spread_max": max((sample.gateway.spread for sample in run.samples), default=None),
        "spread_bound": max((sample.gateway.spread_bound for sample in run.samples), default=None),
        "engine_waiting_max": max((sample.waiting for sample in run.samples), default=None),
        "engine_running_mean": mean([sample.running for sample in run.samples]),
        "backlogged": 1 - share_within(run.shortest_queues, 0),
        "samples": len(run.samples),
    }
