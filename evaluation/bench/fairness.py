"""Does everybody get their share, and what does it cost? Both tenants of each scenario are always backlogged.

The scenarios under the tested policy are: many requests outstanding against few, weights 1:3, short outputs against
long ones. The control is the first scenario under `fcfs`. It must be unfair; otherwise the scenario shows nothing.
The bench compares throughput with the engine alone, in rounds that alternate. Output lengths are random, so that
requests do not all end together.
"""

from dataclasses import replace

from evaluation.bench import judgement
from evaluation.bench.settings import SLACK, EngineChoice, WindowSettings
from evaluation.bench.stage import stage
from evaluation.bench.turns import FAULTS, RunOptions, Turns, Ways, faults_of
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, weights_of
from evaluation.report.delivery import Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict, at_least, at_most

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

EQUAL = at_most("64 outstanding against 16: service of the larger over the smaller", 1.05, " x")
UNEQUAL = Target("the same under fcfs, the control", Comparison.ABOVE, 2.0, " x")
BY_WEIGHT = at_most("weights 1:3: service per weight, larger over smaller", 1.07, " x")
BY_LENGTH = at_most("short against long outputs: larger over smaller", 1.07, " x")
THROUGHPUT = at_least("output tokens per second, of the engine alone", 0.97)
SPREAD = at_most("largest observed spread of counters, of the computed bound", 1.0)
ENGINE_QUEUE = at_least(f"samples with at most {SLACK} waiting in the engine", 0.99)
BACKLOGGED = at_least("samples with every tenant backlogged", 0.99)


async def measure(options: RunOptions) -> Report:
    """Run every scenario for the whole window, the comparison in rounds as long in all, and judge them."""
    # Time for the first requests, all sent at once, to spread out, and for the predictor to learn lengths.
    warmup = min(15.0, options.seconds / 4)
    async with stage(Progress(), EngineChoice(options.engine, options.profile, SEQUENCES)) as running:
        async with running.gateway(options.policy, weights_of(MANY_AND_FEW), WINDOW) as gateway:
            rounds = Turns(running, options)
            for name, target in ((GATEWAY, gateway), (ALONE, running.engine)):
                rounds.on(name, MANY_AND_FEW, target, warmup_seconds=min(3.0, warmup), is_sampled=False)
            compared = await rounds.run()
        scenarios = Turns(running, replace(options, rounds=1))
        for name, tenants in SCENARIOS.items():
            scenarios.through(name, tenants, WINDOW, warmup_seconds=warmup)
        scenarios.through(CONTROL, MANY_AND_FEW, WINDOW, policy="fcfs", warmup_seconds=warmup)
        ways = {**await scenarios.run(), **compared}
    return options.report("fairness", verdicts(ways), ways)


def verdicts(ways: Ways) -> list[Verdict]:
    """The verdicts on the runs, one per target."""
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
