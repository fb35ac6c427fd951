"""Do gateways that share an account divide two engines as one gateway does, whichever of them a tenant comes by?

Tenant `skewed` comes by the first of three gateways only, tenant `spread` by the other two; both are always backlogged.
The bench runs the weights 4:1 and 1:1 in three ways: through one gateway, through three that share an account in a
store, and through three strangers, the control. Strangers give each tenant what its gateways' windows come to, and the
engines more than one window. The embedded engines count themselves how much they hold at once; of real vLLM the bench
takes samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from evaluation.bench import judgement
from evaluation.bench.probe import probe_session
from evaluation.bench.settings import SLACK, EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Run, Stage, stage
from evaluation.bench.turns import FAULTS, RunOptions, Turns, Ways, faults_of
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, weights_of
from evaluation.report.delivery import Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

GATEWAYS = 3
ENGINES = 2
SEQUENCES = 16
WINDOW = WindowSettings(SEQUENCES, prefill_tokens=2048)
CASTS: Mapping[str, Sequence[LoadTenant]] = {
    name: (
        LoadTenant("skewed", ClosedLoop(96), Lengths(24, 40), Lengths(16, 48), weight, comes_by=(0,)),
        LoadTenant("spread", ClosedLoop(96), Lengths(24, 40), Lengths(16, 48), comes_by=range(1, GATEWAYS)),
    )
    for name, weight in {"4:1": 4.0, "1:1": 1.0}.items()
}
ONE, FLEET, STRANGERS = "one gateway", "a fleet", "strangers"

# Beyond this a fleet is no account: strangers are off by a factor of two and more.
UNFAIR = 1.5
WITHIN = {EngineKind.EMBEDDED: 1.02, EngineKind.VLLM: 1.05}
THROUGHPUT = 0.98
HELD = Target("sequences that an engine held at once", Comparison.AT_MOST, SEQUENCES + SLACK)
HELD_OF_STRANGERS = Target("the same behind strangers, the control", Comparison.ABOVE, SEQUENCES + SLACK)


@dataclass(frozen=True, slots=True)
class Found:
    """The runs of every way, and the most sequences that an engine held at once."""

    ways: Ways
    held: int


async def measure(options: RunOptions) -> Report:
    """Run every way and judge it."""
    shared = await _ways(options, ONE, FLEET)
    strangers = await _ways(options, STRANGERS)
    return options.report("replicas", verdicts(options, shared, strangers), {**shared.ways, **strangers.ways})


async def _ways(options: RunOptions, *names: str) -> Found:
    """Every cast through the gateways of these names, on engines of their own."""
    engine = EngineChoice(options.engine, options.profile, SEQUENCES)
    async with stage(Progress(), *[engine] * ENGINES) as running:
        turns = Turns(running, options)
        for cast in CASTS:
            for name in names:
                turns.add(way(name, cast), partial(_turn, running, turns, name, cast))
        ways = await turns.run()
        return Found(ways, await _held(options.engine, running, ways))


async def _turn(running: Stage, turns: Turns, name: str, cast: str, number: int) -> Run:
    tenants = [replace(tenant, comes_by=()) for tenant in CASTS[cast]] if name == ONE else CASTS[cast]
    gateways = 1 if name == ONE else GATEWAYS
    store = running.store() if name == FLEET else None
    async with running.fleet(gateways, "vtc", weights_of(tenants), WINDOW, store=store) as fleet:
        return await running.run(turns.part(way(name, cast), tenants, number), fleet)


async def _held(kind: EngineKind, running: Stage, ways: Ways) -> int:
    """The most sequences that one engine has run or had waiting at once."""
    if kind is EngineKind.VLLM:
        samples = judgement.samples_of([run for runs in ways.values() for run in runs])
        return max(engine.running + engine.waiting for sample in samples for engine in sample.engines)
    async with probe_session() as session:
        pages = [await session.get(f"{engine.process.url}/witness") for engine in running.engines]
        return max([int((await page.json())["max_held"]) for page in pages])


def way(name: str, cast: str) -> str:
    """The name of the runs of `cast` through the gateways of `name`."""
    return f"{name}, {cast}"


def verdicts(options: RunOptions, shared: Found, strangers: Found) -> list[Verdict]:
    """The verdicts on the runs, one per target."""
    judged = [verdict for cast in CASTS for verdict in _of_cast(options, cast, {**shared.ways, **strangers.ways})]
    return [
        *judged,
        HELD.judge(shared.held),
        HELD_OF_STRANGERS.judge(strangers.held),
        FAULTS.judge(len(faults_of(shared.ways)) + len(faults_of(strangers.ways))),
    ]


def _of_cast(options: RunOptions, cast: str, ways: Ways) -> list[Verdict]:
    fleet, strangers, one = (ways[way(name, cast)] for name in (FLEET, STRANGERS, ONE))
    fair = Target(f"{cast}: service per weight, larger over smaller", Comparison.AT_MOST, WITHIN[options.engine], " x")
    unfair = Target(f"{cast}: the same of strangers, the control", Comparison.AT_LEAST, UNFAIR, " x")
    rate = Target(f"{cast}: output tokens per second, of one gateway", Comparison.AT_LEAST, THROUGHPUT)
    return [
        judgement.service(fair, fleet, CASTS[cast]),
        judgement.service(unfair, strangers, CASTS[cast]),
        judgement.throughput(rate, judgement.mean_rate(fleet), judgement.mean_rate(one)),
    ]
