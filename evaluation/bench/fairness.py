"""Does everybody get their share, and what does it cost? Both tenants of each scenario are always backlogged.

Scenarios under the policy that is tested: many requests outstanding against few, weights 1:3, short outputs against
long ones. The control is the first scenario under `fcfs`, which must be unfair, or the scenario shows nothing.
Throughput is compared with the engine alone in rounds that alternate. Random output lengths keep requests from ending
in convoys.
"""

from dataclasses import dataclass
from functools import partial

from evaluation.bench import judgement
from evaluation.bench.engines import EngineChoice
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Engine, Gateway, Part, stage
from evaluation.bench.turns import FAULTS, RunOptions, Ways, faults_of, in_turns, on, through
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant
from evaluation.report.delivery import Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

# Half of the few requests of the smallest tenant: it stays backlogged even where all of its running requests
# end in one step.
SEQUENCES = 8
WINDOW = WindowSettings(SEQUENCES)

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
SCENARIOS = {"many and few": MANY_AND_FEW, "weights": WEIGHTED, "short and long": SHORT_AND_LONG}
CONTROL, GATEWAY, ALONE = "many and few, fcfs", "rounds, gateway", "rounds, engine alone"

EQUAL = Target("64 outstanding against 16: service of the larger over the smaller", Comparison.AT_MOST, 1.05, " x")
UNEQUAL = Target("the same under fcfs, the control", Comparison.ABOVE, 2.0, " x")
BY_WEIGHT = Target("weights 1:3: service per weight, larger over smaller", Comparison.AT_MOST, 1.07, " x")
BY_LENGTH = Target("short against long outputs: larger over smaller", Comparison.AT_MOST, 1.07, " x")
THROUGHPUT = Target("output tokens per second, of the engine alone", Comparison.AT_LEAST, 0.97)
SPREAD = Target("largest observed spread of counters, of the computed bound", Comparison.AT_MOST, 1.0)
ENGINE_QUEUE = Target(f"samples with at most {SLACK} waiting in the engine", Comparison.AT_LEAST, 0.99)
BACKLOGGED = Target("samples with every tenant backlogged", Comparison.AT_LEAST, 0.99)


@dataclass(frozen=True, slots=True)
class FairnessOptions(RunOptions):
    """What to run: `seconds` of measured window per scenario, and as much again over all `rounds` for each of
    the engine alone and the gateway."""

    rounds: int = 8

    @property
    def warmup_seconds(self) -> float:
        """Time for the first requests, all sent at once, to spread out, and for the predictor to learn lengths."""
        return min(15.0, self.seconds / 4)

    def scenario(self, name: str, tenants: tuple[LoadTenant, ...], number: int) -> Part:
        """One scenario, in a single turn."""
        return Part(name, tenants, self.seed + number, self.warmup_seconds, self.seconds)

    def comparison(self, name: str, number: int) -> Part:
        """One turn of the comparison of throughput."""
        warmup = min(3.0, self.warmup_seconds)
        return self.part(name, number, MANY_AND_FEW, warmup_seconds=warmup, is_sampled=False)


def run(options: FairnessOptions) -> int:
    """Run the bench and return its exit status."""
    return conduct(measure(options), options.delivery)


async def measure(options: FairnessOptions) -> Report:
    """Run every scenario and judge it."""
    async with stage(Progress(), EngineChoice(options.engine, options.profile, SEQUENCES)) as running:
        async with running.gateway(options.policy, MANY_AND_FEW, WINDOW) as gateway:
            compared: dict[str, Gateway | Engine] = {GATEWAY: gateway, ALONE: running.engine}
            turns = {name: on(running, target, partial(options.comparison, name)) for name, target in compared.items()}
            ways: Ways = await in_turns(turns, options.rounds)
        policies = {**dict.fromkeys(SCENARIOS, options.policy), CONTROL: "fcfs"}
        loads = {**SCENARIOS, CONTROL: MANY_AND_FEW}
        scenarios = {
            name: through(running, policy, WINDOW, partial(options.scenario, name, loads[name]))
            for name, policy in policies.items()
        }
        ways = {**await in_turns(scenarios, 1), **ways}
    return options.report("fairness", verdicts(ways), ways)


def verdicts(ways: Ways) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    tested = [run for name in SCENARIOS for run in ways[name]]
    rounds = f", {len(ways[ALONE])} rounds"
    return [
        judgement.service(EQUAL, ways["many and few"], MANY_AND_FEW),
        judgement.service(UNEQUAL, ways[CONTROL], MANY_AND_FEW),
        judgement.service(BY_WEIGHT, ways["weights"], WEIGHTED),
        judgement.service(BY_LENGTH, ways["short and long"], SHORT_AND_LONG),
        judgement.throughput(THROUGHPUT, judgement.rate(ways[GATEWAY]), judgement.rate(ways[ALONE]), rounds),
        judgement.spread(SPREAD, tested),
        judgement.engine_queue(ENGINE_QUEUE, [*tested, *ways[CONTROL]], SLACK),
        judgement.backlogged(BACKLOGGED, tested),
        FAULTS.judge(len(faults_of(ways))),
    ]
