"""What does trouble of the store add to the time to first token of requests for which there is room?

Three gateways share an account in front of two engines. Requests come evenly to all, and use a fraction of the room.
The store is well in one turn and in trouble in the next, under the same load: stopped, killed (an empty one starts in
its place at the end of the turn), or emptied. In the warm-up of a turn heals what the last one left behind. The time to
first token is that of the first byte at the client, so the engines' steps and the noise of the machine are in it. What
the rules by themselves add `tests/gateway/replicas/test_whole_waits.py` counts in virtual time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from evaluation.bench.replicas import ENGINES, GATEWAYS, SEQUENCES, WINDOW
from evaluation.bench.settings import EngineChoice
from evaluation.bench.stage import Gateway, Run, Stage, stage
from evaluation.bench.store import Store
from evaluation.bench.turns import FAULTS, RunOptions, Turns, Ways, faults_of
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import LoadTenant, Spaced, weights_of
from evaluation.metrics.statistics import percentile
from evaluation.report.delivery import Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_most

TENANTS = (LoadTenant("even", Spaced(0.01, 0.03), Lengths(8, 8), Lengths(8, 16)),)
WELL = "well"
Act = Callable[[Store], Awaitable[None]]


async def nothing(store: Store) -> None:
    """Leave the store as it is."""


TROUBLE: Mapping[str, tuple[Act, Act]] = {
    WELL: (nothing, nothing),
    "stopped": (Store.freeze, Store.thaw),
    "killed": (Store.kill, Store.start),
    "emptied": (Store.empty, nothing),
}
"""What begins each trouble, and what ends it."""
PERCENTS = (50, 99, 100)
MOST_ADDED_SECONDS = 0.001


async def measure(options: RunOptions) -> Report:
    """Let every way have its turns with one fleet, and judge them."""
    engine = EngineChoice(options.engine, options.profile, SEQUENCES)
    async with (
        stage(Progress(), *[engine] * ENGINES) as running,
        running.store() as store,
        running.fleet(GATEWAYS, "vtc", weights_of(TENANTS), WINDOW, store=nullcontext(store)) as fleet,
    ):
        turns = Turns(running, options)
        for name in TROUBLE:
            turns.add(name, partial(_turn, running, turns, fleet, store, name))
        ways = await turns.run()
    found = {name: by_percent(runs) for name, runs in ways.items()}
    return options.report("replicas, faults of the store", verdicts(ways), ways, measurements={"ttft_seconds": found})


async def _turn(running: Stage, turns: Turns, fleet: Gateway, store: Store, name: str, number: int) -> Run:
    part = turns.part(name, TENANTS, number, is_sampled=False)
    async with _trouble(store, name, part.warmup_seconds):
        return await running.run(part, fleet)


@asynccontextmanager
async def _trouble(store: Store, name: str, after_seconds: float) -> AsyncIterator[None]:
    begin, end = TROUBLE[name]

    async def begins() -> None:
        await asyncio.sleep(after_seconds)
        await begin(store)

    beginning = asyncio.create_task(begins(), name=f"the store is {name}")
    try:
        yield
        await beginning
    finally:
        beginning.cancel()
        await end(store)


def by_percent(runs: Sequence[Run]) -> dict[str, float]:
    """Percentiles of the time from sending to the first byte, in seconds; of one that never came the whole window."""
    sent = [(run, record) for run in runs for tenant in run.tallies for record in run.sent(tenant)]
    times = [(record.first_byte_at or run.window.end) - record.sent_at for run, record in sent]
    return {f"p{percent}": percentile(times, percent) for percent in PERCENTS}


def verdicts(ways: Ways) -> list[Verdict]:
    """The verdicts on the turns, one per fault, and on how requests ended."""
    well = by_percent(ways[WELL])["p99"]
    judged = []
    for name, runs in ways.items():
        if name != WELL:
            found = by_percent(runs)["p99"]
            target = at_most(f"{name}: TTFT p99 added, against the store well", 1000 * MOST_ADDED_SECONDS, " ms")
            judged.append(target.judge(1000 * (found - well), f"p99 {1000 * found:.1f} ms, well {1000 * well:.1f} ms"))
    return [*judged, FAULTS.judge(len(faults_of(ways)))]
