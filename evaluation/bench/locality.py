"""What the locality quantum gives where tenants' prompts begin alike, and what it costs in fairness.

Eight tenants lead conversations, each on long instructions of its own, with short answers: reading prompts is most of
the work. The workers' caches hold the instructions of some tenants, not of all. The control is a quantum of 0, exact
VTC, which sends every tenant everywhere. Both ways run in turns, each turn with instructions that no cache has seen.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.bench import judgement
from evaluation.bench.engines import EngineChoice, EngineKind, KvCache
from evaluation.bench.settings import WindowSettings
from evaluation.bench.stage import Part, Run, RunOptions, Stage, stage
from evaluation.load.prompts import Chats, Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, Surface
from evaluation.metrics import median
from evaluation.report.delivery import Report, conduct
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict

TENANTS = 8
INSTRUCTIONS = Lengths(1500, 1500)
TURNS = 4
QUESTION = Lengths(24, 48)
ANSWER = Lengths(8, 24)
OUTSTANDING = 8

# Two workers' caches hold the instructions of the eight tenants once; with more workers there is more room to spare.
EMBEDDED = EngineChoice(EngineKind.EMBEDDED, "a10g-llama2-7b", 8, kv=KvCache(625, 16))
VLLM = EngineChoice(EngineKind.VLLM, sequences=4, kv=KvCache(288, 32))

THROUGHPUT = Target("output tokens per second with the quantum, of those without", Comparison.AT_LEAST, 1.5, " x")
SPREAD = Target("largest observed spread with the quantum, of the bound it is in", Comparison.AT_MOST, 1.0)
SPREAD_WITHOUT = Target("the same without a quantum", Comparison.AT_MOST, 1.0)
BACKLOGGED = Target("samples with every tenant backlogged", Comparison.AT_LEAST, 0.99)
FAULTS = Target("requests refused or broken", Comparison.AT_MOST, 0)


@dataclass(frozen=True, slots=True)
class LocalityOptions(RunOptions):
    """What to run: the two ways, each for `seconds` of measured window in `rounds` parts."""

    seconds: float = 60.0
    rounds: int = 3
    workers: int = 2
    quantum: int = 4000

    @property
    def engine_choice(self) -> EngineChoice:
        """Each of the workers."""
        return VLLM if self.engine is EngineKind.VLLM else EMBEDDED


@dataclass(frozen=True, slots=True)
class Findings:
    """The turns with the quantum and those without."""

    local: Sequence[Run]
    exact: Sequence[Run]

    @property
    def ways(self) -> dict[str, Sequence[Run]]:
        """Both ways by name."""
        return {"quantum": self.local, "without": self.exact}

    @property
    def faults(self) -> list[str]:
        """Every request that failed by itself."""
        return [fault for runs in self.ways.values() for run in runs for fault in run.faults]


def run(options: LocalityOptions) -> int:
    """Run the bench and return its exit status."""
    return conduct(measure(options), options.delivery)


async def measure(options: LocalityOptions) -> Report:
    """Run both ways in turns and judge."""
    choices = [options.engine_choice] * options.workers
    async with stage(Progress(), *choices) as running:
        findings = await _rounds(running, options)
    return Report(
        title="locality",
        setting={**options.setting, "workers": options.workers, "quantum": options.quantum},
        verdicts=verdicts(findings),
        measurements=measurements(findings),
        warnings=sorted(set(findings.faults)),
        sheets=[by_tenant(findings)],
    )


async def _rounds(running: Stage, options: LocalityOptions) -> Findings:
    local: list[Run] = []
    exact: list[Run] = []
    for number in range(options.rounds):
        pair = [(options.quantum, local), (0, exact)]
        for quantum, runs in pair if number % 2 == 0 else reversed(pair):
            runs.append(await _turn(running, options, number, quantum))
    return Findings(local, exact)


async def _turn(running: Stage, options: LocalityOptions, number: int, quantum: int) -> Run:
    tenants = cast(f"{number}/{quantum}")
    part = Part(
        name=f"round {number + 1} of {options.rounds}: quantum {quantum}",
        tenants=tenants,
        seed=options.seed + number,
        warmup_seconds=min(12.0, options.seconds / options.rounds),
        seconds=options.seconds / options.rounds,
        surface=Surface.CHAT,
    )
    window = WindowSettings(options.engine_choice.sequences)
    async with running.gateway(options.policy, tenants, window, locality_quantum=quantum) as gateway:
        return await running.run(part, gateway)


def cast(turn: str) -> tuple[LoadTenant, ...]:
    """The tenants of one turn, whose instructions no other turn knows."""
    names = [f"tenant-{number}" for number in range(1, TENANTS + 1)]
    chats = {name: INSTRUCTIONS.text(random.Random(f"{turn}/{name}")) for name in names}
    return tuple(
        LoadTenant(name, ClosedLoop(OUTSTANDING), Chats(text, TURNS, QUESTION, ANSWER), ANSWER)
        for name, text in chats.items()
    )


def verdicts(findings: Findings) -> list[Verdict]:
    """What the runs are worth, one verdict per target."""
    local, exact = _rate(findings.local), _rate(findings.exact)
    hits = {way: _share(hit_rates(runs).values()) for way, runs in findings.ways.items()}
    note = (
        f"{local:,.0f}/s against {exact:,.0f}/s; cached {hits['quantum']:.0%} against {hits['without']:.0%} of prompts"
    )
    return [
        THROUGHPUT.judge(local / exact, note),
        judgement.spread(SPREAD, findings.local),
        judgement.spread(SPREAD_WITHOUT, findings.exact),
        judgement.backlogged(BACKLOGGED, [*findings.local, *findings.exact]),
        FAULTS.judge(len(findings.faults)),
    ]


def hit_rates(runs: Sequence[Run]) -> dict[str, tuple[int, int]]:
    """Of each tenant's requests that were sent and answered within the windows: tokens found cached, prompt tokens."""
    found: dict[str, tuple[int, int]] = {}
    for name in runs[0].tallies:
        records = [record for run in runs for record in run.sent(name) if record.is_complete]
        found[name] = (sum(record.cached_tokens for record in records), sum(record.prompt_tokens for record in records))
    return found


def _share(counts: Iterable[tuple[int, int]]) -> float:
    cached, prompts = (sum(column) for column in zip(*counts, strict=True))
    return cached / prompts if prompts else 0.0


def _rate(runs: Sequence[Run]) -> float:
    return median([run.tokens_per_second for run in runs])


def by_tenant(findings: Findings) -> Sheet:
    """What each tenant found cached and received, with the quantum and without."""
    rows = [
        SheetRow((name, *(cell for runs in findings.ways.values() for cell in _cells(runs, name))))
        for name in findings.local[0].tallies
    ]
    columns = ("tenant", "cached", "service/s", "cached without", "service/s without")
    return Sheet("by tenant, with the quantum and without", columns, rows)


def _cells(runs: Sequence[Run], name: str) -> tuple[str, str]:
    seconds = sum(run.window.seconds for run in runs)
    return f"{_share([hit_rates(runs)[name]]):.0%}", f"{judgement.served(runs)[name] / seconds:,.0f}"


def measurements(findings: Findings) -> dict[str, object]:
    """The figures of both ways."""
    return {
        way: {
            "output_tokens_per_second": [run.tokens_per_second for run in runs],
            "hit_rate": {name: _share([counts]) for name, counts in hit_rates(runs).items()},
            "service": judgement.served(runs),
            "spread": max((sample.gateway.spread for run in runs for sample in run.samples), default=None),
            "spread_bound": max((sample.gateway.spread_bound for run in runs for sample in run.samples), default=None),
        }
        for way, runs in findings.ways.items()
    }
