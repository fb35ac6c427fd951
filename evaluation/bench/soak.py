"""Does anything stay behind? Many minutes of ordinary trouble, and what it leaves of memory and of charges.

Engines with scripted faults, a configuration that changes, callers at 70 % of what they can get. The footprint is read
from the gateway's own metrics. An answer that ended by itself is charged exactly what its engine generated. A client
that left a stream, before its first byte or behind it, is charged what its engine had generated when the gateway saw it
leave: the engine may be up to two steps on.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import linear_regression
from typing import Any, NamedTuple

import aiohttp

from evaluation.bench.callers import Callers
from evaluation.bench.probe import figures_of
from evaluation.bench.settings import EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, Stage, finished_requests, stage
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target

ENGINES = 2
SEQUENCES = 16
WEIGHTS = {"alice": 1.0, "bob": 2.0, "carol": 1.0, "dave": 0.5}
LOAD = 0.7  # of what the callers get where they ask without a pause
MEASURED_SECONDS = 10.0
SETTLING_SECONDS = 180.0  # memory is still being taken up for caches and pools; left out of the fit
SECONDS_BETWEEN_RELOADS = 10.0
SECONDS_BETWEEN_SAMPLES = 1.0
QUIET_SECONDS = 5.0
STEPS_AFTER_LEAVING = 2  # the step that runs while the connection closes, and the one before it is seen
FAULTS = Path(__file__).with_name("faults.json")
_LEFT = frozenset({"client_gone_streaming", "client_gone_waiting"})
_MIB = 1024 * 1024
_FIGURES = (
    "vtc_gateway_requests_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "vtc_gateway_tasks",
)

MEMORY = Target("memory that 100,000 requests leave behind", Comparison.AT_MOST, 2.0, " MiB")
DESCRIPTORS = Target("descriptors, last third over first third less 1", Comparison.AT_MOST, 0.05)
TASKS = Target("tasks, last third over first third less 1", Comparison.AT_MOST, 0.05)
CHARGES = Target("answers charged other than their engine counted", Comparison.AT_MOST, 0)
LEAVINGS = Target("clients that left charged more than two steps off", Comparison.AT_MOST, 0)
INTERNAL = Target("requests that ended by a fault of the gateway", Comparison.AT_MOST, 0)
HUNG = Target("calls that hung", Comparison.AT_MOST, 0)
COMPARED = Target("answers compared with their engine", Comparison.AT_LEAST, 1)


@dataclass(frozen=True, slots=True)
class SoakOptions(Delivery):
    """How long, and drawn from which seed."""

    minutes: float = 15.0
    seed: int = 1


class Footprint(NamedTuple):
    """One moment: seconds since the load began, requests ended so far, and what the process holds."""

    at: float
    requests: float
    rss_mib: float
    descriptors: float
    tasks: float

    @classmethod
    def parse(cls, at: float, page: str) -> "Footprint":
        """Read a metrics page."""
        requests, memory, descriptors, tasks = figures_of(page, _FIGURES, math.nan)
        return cls(at, requests, memory / _MIB, descriptors, tasks)


@dataclass(slots=True)
class Books:
    """How many requests were compared, and those whose figures differ: id, tokens charged, tokens generated."""

    ended: int = 0
    left: int = 0
    internal: int = 0
    unlike: list[tuple[str, int, int]] = field(default_factory=list)
    left_unlike: list[tuple[str, int, int]] = field(default_factory=list)


async def measure(options: SoakOptions) -> Report:
    """Let the callers loose on engines that fail and a configuration that changes; judge what is left."""
    more = ["--max-num-queued-reqs", str(4 * SEQUENCES), "--faults", str(FAULTS)]
    engine = EngineChoice(EngineKind.EMBEDDED, sequences=SEQUENCES, more=more)
    engines = [replace(engine, more=[*more, "--seed", str(number)]) for number in range(1, ENGINES + 1)]
    timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
    async with (
        stage(Progress(), *engines) as running,
        running.gateway("vtc", WEIGHTS, WindowSettings(SEQUENCES)) as gateway,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
    ):
        return await _soak(options, running, gateway, session)


async def _soak(options: SoakOptions, running: Stage, gateway: Gateway, session: aiohttp.ClientSession) -> Report:
    callers, seconds = Callers(session, gateway.endpoint, options.seed), 60 * options.minutes
    running.progress.step("measuring what the engines give", MEASURED_SECONDS)
    per_second = LOAD * await callers.measure(2 * ENGINES * SEQUENCES, MEASURED_SECONDS)
    running.progress.step(f"{per_second:.0f} requests a second", seconds)
    samples: list[Footprint] = []
    async with _beside(_sample(session, gateway.process.url, samples, running.progress), _reload(gateway)):
        await callers.call(per_second, seconds)
    await asyncio.sleep(QUIET_SECONDS)
    witnesses = {}
    for number, engine in enumerate(running.engines, 1):
        async with session.get(f"{engine.process.url}/witness") as answer:
            witnesses[f"engine-{number}"] = await answer.json()
    await gateway.process.end()
    books = compare(finished_requests(gateway.process.log), witnesses)
    settled = [each for each in samples if each.at >= min(SETTLING_SECONDS, seconds / 3)]
    last = settled[-1] if settled else Footprint(*[0.0] * 5)
    return Report(
        title="soak",
        setting={"minutes": options.minutes, "requests a second": round(per_second, 1), "seed": options.seed},
        verdicts=[
            MEMORY.judge(
                growth_per_100_000(settled), f"{last.requests:.0f} requests, {last.rss_mib:.0f} MiB at the end"
            ),
            DESCRIPTORS.judge(rise([each.descriptors for each in settled])),
            TASKS.judge(rise([each.tasks for each in settled])),
            CHARGES.judge(len(books.unlike), f"of {books.ended}; {books.unlike[:3]}"),
            LEAVINGS.judge(len(books.left_unlike), f"of {books.left}; {books.left_unlike[:3]}"),
            INTERNAL.judge(books.internal),
            HUNG.judge(callers.ended["hung"]),
            COMPARED.judge(books.ended),
        ],
        measurements={"ended": dict(callers.ended), "footprints": [list(each) for each in samples]},
    )


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


async def _sample(session: aiohttp.ClientSession, url: str, into: list[Footprint], progress: Progress) -> None:
    """Add a footprint each second until cancelled; a page that cannot be had is a second without one."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{url}/metrics") as answer:
                into.append(Footprint.parse(loop.time() - began_at, await answer.text()))
        await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)
        progress.advance(SECONDS_BETWEEN_SAMPLES)


async def _reload(gateway: Gateway) -> None:
    """Change a weight again and again; every third file is one that must be rejected."""
    for number in count(1):
        await asyncio.sleep(SECONDS_BETWEEN_RELOADS)
        if number % 3 == 0:
            gateway.file.write_text("pools: [broken\n", "utf-8")
        else:
            replace(gateway.settings, weights={**WEIGHTS, "alice": 1.0 + number % 2}).write(gateway.file)


def growth_per_100_000(samples: Sequence[Footprint]) -> float:
    """MiB of memory that 100,000 requests leave behind: the slope of a line fitted by least squares."""
    requests = [each.requests for each in samples]
    if len(set(requests)) < 2:
        return math.nan
    return 100_000 * linear_regression(requests, [each.rss_mib for each in samples]).slope


def rise(values: Sequence[float]) -> float:
    """How much the median of the last third lies above that of the first, as a part of the first."""
    third = len(values) // 3
    return median(values[-third:]) / median(values[:third]) - 1 if third else math.nan


def compare(finished: Iterable[Mapping[str, Any]], witnesses: Mapping[str, Mapping[str, Any]]) -> Books:
    """Go through a gateway's finished requests; `witnesses` are the engines' counts by the ids that they were sent."""
    counts = {
        (worker, request_id.partition("-")[2] or request_id): count
        for worker, witness in witnesses.items()
        for request_id, count in witness["requests"].items()
    }
    books = Books()
    for line in finished:
        outcome, request_id = line["outcome"], line["request_id"]
        books.internal += outcome == "internal"
        count = counts.get((line.get("worker", "").rpartition("/")[2], request_id))
        if count is None:
            continue
        charged, generated = line.get("output_tokens", 0), count["output_tokens"]
        if outcome == "completed":
            books.ended += 1
            if charged != generated:
                books.unlike.append((request_id, charged, generated))
        elif outcome in _LEFT and line.get("streamed"):
            books.left += 1
            if abs(charged - generated) > STEPS_AFTER_LEAVING * count["sequences"]:
                books.left_unlike.append((request_id, charged, generated))
    return books
