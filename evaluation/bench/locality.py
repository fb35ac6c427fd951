"""What the locality quantum gains if a tenant's prompts begin alike, and what it costs in fairness.

Eight tenants lead conversations. Each has long instructions of its own and short answers, so most of the work is to
read prompts. The workers' caches hold the instructions of some tenants, not of all. The control is a quantum of 0:
exact VTC, which sends every tenant everywhere. Both ways run in turns, each turn with instructions that no cache has
seen.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from evaluation.bench import judgement
from evaluation.bench.settings import EngineChoice, EngineKind, KvCache, WindowSettings
from evaluation.bench.stage import Run, stage
from evaluation.bench.turns import FAULTS, RunOptions, Turns, Ways, faults_of
from evaluation.load.client import Surface
from evaluation.load.prompts import Chats, Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant
from evaluation.report.delivery import Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_least, at_most

TENANTS = tuple(f"tenant-{number}" for number in range(1, 9))
INSTRUCTIONS = Lengths(1500, 1500)
TURNS = 4
QUESTION = Lengths(24, 48)
ANSWER = Lengths(8, 24)
OUTSTANDING = 8
QUANTUM, WITHOUT = "quantum", "without"

# Two workers' caches hold the instructions of the eight tenants once; with more workers there is more room to spare.
ENGINES = {
    EngineKind.EMBEDDED: EngineChoice(EngineKind.EMBEDDED, "a10g-llama2-7b", 8, kv=KvCache(625, 16)),
    EngineKind.VLLM: EngineChoice(EngineKind.VLLM, sequences=4, kv=KvCache(288, 32)),
}

THROUGHPUT = at_least("output tokens per second with the quantum, of those without", 1.5, " x")
SPREAD = at_most("largest observed spread with the quantum, of the bound it is in", 1.0)
SPREAD_WITHOUT = at_most("the same without a quantum", 1.0)
BACKLOGGED = at_least("samples with every tenant backlogged", 0.99)


@dataclass(frozen=True, slots=True)
class LocalityOptions(RunOptions):
    """What to run: the two ways, each for `seconds` of measured window in `rounds` parts."""

    rounds: int = 3
    workers: int = 2
    quantum: int = 4000


async def measure(options: LocalityOptions) -> Report:
    """Run both ways in turns and judge them."""
    engine = ENGINES[options.engine]
    window = WindowSettings(engine.sequences)
    async with stage(Progress(), *[engine] * options.workers) as running:
        turns, warmup = Turns(running, options), min(12.0, options.round_seconds)
        for name, quantum in ((QUANTUM, options.quantum), (WITHOUT, 0)):
            turns.through(
                name, partial(cast, name), window, quantum=quantum, warmup_seconds=warmup, surface=Surface.CHAT
            )
        ways = await turns.run()
    setting = {"workers": options.workers, "quantum": options.quantum}
    return options.report("locality", verdicts(ways), ways, setting=setting, sheets=[by_tenant(ways)])


def cast(way: str, number: int) -> tuple[LoadTenant, ...]:
    """The tenants of one turn of a way, whose instructions no other turn knows."""
    chats = {name: INSTRUCTIONS.text(random.Random(f"{number}/{way}/{name}")) for name in TENANTS}
    return tuple(
        LoadTenant(name, ClosedLoop(OUTSTANDING), Chats(text, TURNS, QUESTION, ANSWER), ANSWER)
        for name, text in chats.items()
    )


def verdicts(ways: Ways) -> list[Verdict]:
    """The verdicts on the runs, one per target."""
    note = f"; cached {hit_rate(ways[QUANTUM]):.0%} against {hit_rate(ways[WITHOUT]):.0%} of prompts"
    return [
        judgement.throughput(THROUGHPUT, judgement.rate(ways[QUANTUM]), judgement.rate(ways[WITHOUT]), note),
        judgement.spread(SPREAD, ways[QUANTUM]),
        judgement.spread(SPREAD_WITHOUT, ways[WITHOUT]),
        judgement.backlogged(BACKLOGGED, [*ways[QUANTUM], *ways[WITHOUT]]),
        FAULTS.judge(len(faults_of(ways))),
    ]


def hit_rate(runs: Sequence[Run], tenant: str = "") -> float:
    """The cached part of the prompt tokens of the windows' answered requests: of one tenant's requests, or of all."""
    names = [tenant] if tenant else runs[0].tallies
    records = [record for run in runs for name in names for record in run.sent(name) if record.is_complete]
    prompts = sum(record.prompt_tokens for record in records)
    return sum(record.cached_tokens for record in records) / prompts if prompts else 0.0


def by_tenant(ways: Ways) -> Sheet:
    """What each tenant found cached and received, with the quantum and without."""
    cells: dict[str, list[str]] = {name: [name] for name in ways[QUANTUM][0].tallies}
    for runs in (ways[QUANTUM], ways[WITHOUT]):
        seconds = sum(run.window.seconds for run in runs)
        for name, service in judgement.served(runs).items():
            cells[name] += [f"{hit_rate(runs, name):.0%}", f"{service / seconds:,.0f}"]
    columns = ("tenant", "cached", "service/s", "cached without", "service/s without")
    return Sheet("by tenant, with the quantum and without", columns, list(map(SheetRow, cells.values())))
