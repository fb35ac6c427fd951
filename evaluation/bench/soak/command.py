"""The soak: engines with scripted faults, a configuration that changes, callers at 70 % of what they can get."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from evaluation.bench.settings import GatewaySettings, WindowSettings, draw_keys
from evaluation.bench.soak.clients import Callers
from evaluation.bench.soak.evidence import Books, Footprint, compare, growth_per_100_000, rise, sample
from evaluation.load.processes import child
from evaluation.report.delivery import Delivery, Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target

ENGINES = ("engine-1", "engine-2")
SEQUENCES = 16
WEIGHTS = {"alice": 1.0, "bob": 2.0, "carol": 1.0, "dave": 0.5}
LOAD = 0.7  # of what the callers get where they ask without a pause
MEASURED_SECONDS = 10.0
SETTLING_SECONDS = 180.0  # memory is still being taken up for caches and pools; left out of the fit
SECONDS_BETWEEN_RELOADS = 10.0
READY_SECONDS = 60.0
QUIET_SECONDS = 5.0
FAULTS = Path(__file__).with_name("faults.json")

MEMORY = Target("memory that 100,000 requests leave behind", Comparison.AT_MOST, 2.0, " MiB")
DESCRIPTORS = Target("descriptors, last third over first third less 1", Comparison.AT_MOST, 0.05)
TASKS = Target("tasks, last third over first third less 1", Comparison.AT_MOST, 0.05)
CHARGES = Target("answers charged other than their engine counted", Comparison.AT_MOST, 0)
LEAVINGS = Target("clients that left charged more than two steps off", Comparison.AT_MOST, 0)
INTERNAL = Target("requests that ended by a fault of the gateway", Comparison.AT_MOST, 0)
HUNG = Target("calls that hung", Comparison.AT_MOST, 0)
COMPARED = Target("answers compared with their engine", Comparison.AT_LEAST, 1)


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """How long, drawn from which seed, and where the report goes."""

    minutes: float = 15.0
    seed: int = 1
    json_file: Path | None = None
    check: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What was seen over the soak."""

    per_second: float
    samples: Sequence[Footprint]
    ended: Mapping[str, int]
    books: Books
    reloads: int


def run(options: SoakOptions) -> int:
    """Carry the command out; the exit status."""
    return conduct(_soak(options), Delivery(options.json_file, options.check))


async def _soak(options: SoakOptions) -> Report:
    progress = Progress()
    with TemporaryDirectory(prefix="vtc-soak-") as name:
        findings = await _observe(options, Path(name), progress)
    progress.clear()
    return _judge(options, findings)


async def _observe(options: SoakOptions, folder: Path, progress: Progress) -> Findings:
    async with AsyncExitStack() as stack:
        progress.step("starting engines and gateway")
        urls = {}
        for number, name in enumerate(ENGINES, 1):
            sizes = [
                "--max-num-seqs",
                str(SEQUENCES),
                "--max-num-queued-reqs",
                str(4 * SEQUENCES),
                "--seed",
                str(number),
            ]
            start = ["-m", "backend", "embedded", "--end-with-parent", "--faults", str(FAULTS), *sizes]
            urls[name] = (await stack.enter_async_context(child(name, start, folder, READY_SECONDS))).url
        file, keys = folder / "gateway.yaml", draw_keys(list(WEIGHTS))
        settings = GatewaySettings("vtc", [*urls.values()], "tiny", WEIGHTS, WindowSettings(SEQUENCES), keys=keys)
        settings.write(file)
        serve = ["-m", "gateway", "serve", str(file), "--announce"]
        gateway = await stack.enter_async_context(child("gateway", serve, folder, READY_SECONDS))
        timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        callers = Callers(session, gateway.url, keys, options.seed)
        progress.step("measuring what the engines give", MEASURED_SECONDS)
        per_second = LOAD * await callers.measure(2 * len(ENGINES) * SEQUENCES, MEASURED_SECONDS)
        samples: list[Footprint] = []
        written: list[int] = []
        progress.step(f"{per_second:.0f} requests a second", 60 * options.minutes)
        async with _beside(
            sample(session, gateway.url, samples), _reload(settings, file, written), _show_time(progress)
        ):
            await callers.call(per_second, 60 * options.minutes)
        await asyncio.sleep(QUIET_SECONDS)
        witnesses = {}
        for name, url in urls.items():
            async with session.get(f"{url}/witness") as answer:
                witnesses[name] = await answer.json()
        await gateway.end()
        with gateway.log.open("rb") as log:
            return Findings(per_second, samples, callers.ended, compare(log, witnesses), len(written))


@asynccontextmanager
async def _beside(*trouble: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What goes on while the context is open."""
    tasks = [asyncio.create_task(each, name="soak") for each in trouble]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _reload(settings: GatewaySettings, file: Path, written: list[int]) -> None:
    """Change a weight again and again; every third file is one that must be rejected."""
    for number in count(1):
        await asyncio.sleep(SECONDS_BETWEEN_RELOADS)
        if number % 3 == 0:
            _break(file)
        else:
            replace(settings, weights={**WEIGHTS, "alice": 1.0 + number % 2}).write(file)
        written.append(number)


def _break(file: Path) -> None:
    file.write_text("pools: [broken\n", "utf-8")


async def _show_time(progress: Progress) -> None:
    while True:
        await asyncio.sleep(1.0)
        progress.advance(1.0)


def _judge(options: SoakOptions, findings: Findings) -> Report:
    settled = [each for each in findings.samples if each.at >= min(SETTLING_SECONDS, 60 * options.minutes / 3)]
    books, last = findings.books, settled[-1] if settled else Footprint(*[0.0] * 5)
    verdicts = [
        MEMORY.judge(growth_per_100_000(settled), f"{last.requests:.0f} requests, {last.rss_mib:.0f} MiB at the end"),
        DESCRIPTORS.judge(rise([each.descriptors for each in settled])),
        TASKS.judge(rise([each.tasks for each in settled])),
        CHARGES.judge(len(books.unlike), f"of {books.ended}; {books.unlike[:3]}"),
        LEAVINGS.judge(len(books.left_unlike), f"of {books.left}; {books.left_unlike[:3]}"),
        INTERNAL.judge(books.internal),
        HUNG.judge(findings.ended.get("hung", 0)),
        COMPARED.judge(books.ended),
    ]
    setting = {"minutes": options.minutes, "requests a second": round(findings.per_second, 1), "seed": options.seed}
    measurements = {
        "ended": dict(findings.ended),
        "configurations written": findings.reloads,
        "footprints": [astuple(each) for each in findings.samples],
    }
    return Report("soak", setting, verdicts, measurements)
