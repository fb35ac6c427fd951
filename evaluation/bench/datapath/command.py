"""The bench itself: rounds in which every proxy has its turn under every load, then tables, verdicts and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY, Contender, installed
from evaluation.bench.datapath.field import Field, Running, field
from evaluation.bench.datapath.findings import CLEAN_SECONDS, Findings, picture, sheets, verdicts
from evaluation.bench.datapath.loads import LOADS, MANY, Load, Observation, Part
from evaluation.pictures.drawing import draw, require_matplotlib
from evaluation.report.delivery import Delivery, Report, conduct
from evaluation.report.terminal import Progress
from gateway.compilation import IS_COMPILED

CAPACITY_GROWTH = 1.25
MOST_CAPACITY = 9000  # streams: two descriptors each in a proxy that may have 20,000


@dataclass(frozen=True, slots=True)
class DatapathOptions:
    """What to run: `parts` and `peers` none means all; `seconds` None is each load's own window."""

    parts: Sequence[Part] = ()
    peers: Sequence[str] = ()
    rounds: int = 5
    seconds: float | None = None
    json_file: Path | None = None
    plot: Path | None = None
    check: bool = False


def run(options: DatapathOptions) -> int:
    """Run the bench and return its exit status."""
    if options.plot is not None:
        require_matplotlib()
    return conduct(measure(options), Delivery(options.json_file, options.check))


async def measure(options: DatapathOptions) -> Report:
    """Measure every part that is wanted, print its figures and judge them."""
    wanted = () if not options.peers else (GATEWAY, *(name for name in options.peers if name != GATEWAY))
    contenders, missing = installed(wanted)
    parts = options.parts or tuple(Part)
    with TemporaryDirectory(prefix="vtc-bench-") as folder:
        async with field(Path(folder), Progress()) as running:
            findings = await _Bench(running, contenders, options).run(parts)
            failures = running.failures
    costs = picture(findings)
    if options.plot is not None and costs.panels:
        draw(costs, options.plot)
    return Report(
        title="datapath",
        setting={
            "rounds": options.rounds,
            "compiled": IS_COMPILED,
            "proxies": " ".join(contender.name for contender in contenders),
        },
        verdicts=verdicts(findings),
        measurements=findings.document(),
        sheets=list(sheets(findings)),
        warnings=[
            *(f"{name} is not installed (scripts/install-bench --all): not compared" for name in missing),
            *(f"{name} does not serve here: not compared. {reason}" for name, reason in failures.items()),
        ],
    )


class _Bench:
    def __init__(self, running: Field, contenders: Sequence[Contender], options: DatapathOptions) -> None:
        self._field = running
        self._contenders = contenders
        self._options = options
        self._findings = Findings()

    async def run(self, parts: Sequence[Part]) -> Findings:
        shared = [load for part in parts for load in LOADS[part] if not load.fresh]
        if shared:
            async with self._field.proxies(self._contenders) as proxies:
                for _ in range(self._options.rounds):
                    for load in shared:
                        await self._turns(load, proxies)
        for load in (load for part in parts for load in LOADS[part] if load.fresh):
            for _ in range(self._options.rounds):
                await self._fresh_turns(load)
        if Part.CAPACITY in parts:
            await self._capacities()
        return self._findings

    async def _turns(self, load: Load, proxies: Mapping[str, Running]) -> None:
        self._findings.add(load, DIRECT, await self._measure(load, self._field.direct))
        for contender in self._able(load):
            if contender.name in proxies:
                self._findings.add(load, contender.name, await self._measure(load, proxies[contender.name]))

    async def _fresh_turns(self, load: Load) -> None:
        self._findings.add(load, DIRECT, await self._measure(load, self._field.direct))
        for contender in self._able(load):
            async with self._field.proxies([contender]) as proxies:
                for name, proxy in proxies.items():
                    self._findings.add(load, name, await self._measure(load, proxy))

    async def _measure(self, load: Load, proxy: Running) -> Observation:
        return await self._field.measure(load, proxy, self._options.seconds or load.seconds)

    def _able(self, load: Load) -> list[Contender]:
        return [contender for contender in self._contenders if load.count <= contender.most_streams]

    async def _capacities(self) -> None:
        self._findings.most_streams[DIRECT] = await self._capacity(self._field.direct)
        for contender in self._able(MANY):
            async with self._field.proxies([contender]) as proxies:
                for name, proxy in proxies.items():
                    self._findings.most_streams[name] = await self._capacity(proxy)

    async def _capacity(self, proxy: Running) -> int:
        """The largest number of streams, in steps of a quarter, of which every token came on time."""
        clean, count = 0, MANY.count
        while count <= MOST_CAPACITY:
            seen = await self._measure(replace(MANY, name=f"{count} streams", count=count), proxy)
            if seen.faults or not seen.late_max <= CLEAN_SECONDS:
                break
            clean, count = count, round(count * CAPACITY_GROWTH)
        return clean
