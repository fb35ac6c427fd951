"""Does the gateway leak? The bench makes many minutes of ordinary trouble and then looks at memory and charges.

Engines fail by a script, the configuration changes, and callers come at 70 % of the rate that they can get. Most
callers wait for their answer; some leave, read slowly or ask for nonsense. The gateway's own metrics give its
footprint. An answer that ended by itself must be charged exactly what its engine generated. A client that left a
stream, before or after its first byte, must be charged what its engine had generated when the gateway saw it leave; the
engine may be up to two steps further.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import linear_regression
from types import MappingProxyType
from typing import Any, NamedTuple

import aiohttp

from evaluation.bench.probe import figures_of, probe_session, repeated
from evaluation.bench.settings import EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, Stage, finished_requests, stage
from evaluation.load.client import KNOWN_LENGTH, Endpoint, Surface
from evaluation.load.connection import ExchangeRecord
from evaluation.load.prompts import Chats, Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant, OpenLoop
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_least, at_most

ENGINES = 2
SEQUENCES = 16
WEIGHTS = {"alice": 1.0, "bob": 2.0, "carol": 1.0, "dave": 0.5}
LOAD = 0.7  # of what the callers get where they ask without a pause
SHORT, LONG = Lengths(4, 40), Lengths(100, 200)
PROMPT = Chats("x" * 400, 1, Lengths(1, 20), SHORT)  # all begin alike: the engines find most of it cached
LONGEST_SECONDS = 120.0  # no answer of this load takes so long
MEASURED_SECONDS = 10.0
SETTLING_SECONDS = 180.0  # memory is still being taken up for caches and pools; left out of the fit
SECONDS_BETWEEN_RELOADS = 10.0
SECONDS_BETWEEN_SAMPLES = 1.0
QUIET_SECONDS = 5.0
STEPS_AFTER_LEAVING = 2  # the step that runs while the connection closes, and the one before it is seen
LONG_PAGE = aiohttp.ClientTimeout(total=60.0)
FAULTS = Path(__file__).with_name("faults.json")
_LEFT = frozenset({"client_gone_streaming", "client_gone_waiting"})
_MIB = 1024 * 1024
_FIGURES = (
    "vtc_gateway_requests_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "vtc_gateway_tasks",
)

MOST_MIB_PER_100_000 = 2.0
MOST_RISE = 0.05


class Kind(NamedTuple):
    """A kind of caller: its share of the calls, when it leaves, and what of its `Endpoint` is not as usual."""

    share: float
    output: Lengths = SHORT
    leaves: bool = False
    patience_seconds: float | None = None
    endpoint: Mapping[str, object] = MappingProxyType({})


KINDS = (
    Kind(0.55),
    Kind(0.15, endpoint={"fields": KNOWN_LENGTH | {"stream": False}}),
    Kind(0.14, LONG, leaves=True),
    # Gives up before the answer can have come: while it waits, is sent, or has just begun.
    Kind(0.06, patience_seconds=0.05),
    Kind(0.04, LONG, endpoint={"rests_seconds": 0.5}),
    Kind(0.06, endpoint={"model": "none"}),
)


@dataclass(frozen=True, slots=True)
class SoakOptions(Delivery):
    """How long, and drawn from which seed."""

    minutes: float = 15.0
    seed: int = 1


class Footprint(NamedTuple):
    """One moment: loop time, requests ended so far, and what the process holds."""

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
    async with (
        stage(Progress(), *engines) as running,
        running.gateway("vtc", WEIGHTS, WindowSettings(SEQUENCES)) as gateway,
        probe_session() as session,
    ):
        return await _soak(options, running, gateway, session)


async def _soak(options: SoakOptions, running: Stage, gateway: Gateway, session: aiohttp.ClientSession) -> Report:
    per_second, seconds = LOAD * await _most(running, gateway), 60 * options.minutes
    footprints: list[Footprint] = []
    look, reload = partial(_take, session, gateway.process.url, footprints), partial(_reload, gateway, count(1))
    async with AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(_load(gateway, kind, per_second, 100 * options.seed + number))
            for number, kind in enumerate(KINDS)
        ]
        async with repeated(look, SECONDS_BETWEEN_SAMPLES), repeated(reload, SECONDS_BETWEEN_RELOADS):
            await running.watch(f"{per_second:.0f} requests a second", seconds, gateway, *loads)
        records = [record for load in loads for tally in load.tallies.values() for record in tally.records]
        await loads[0].settled(records, LONGEST_SECONDS)
    endings = Counter(map(_ending, records))
    await asyncio.sleep(QUIET_SECONDS)
    witnesses = {}
    for number, engine in enumerate(running.engines, 1):
        async with session.get(f"{engine.process.url}/witness", timeout=LONG_PAGE) as answer:
            witnesses[f"engine-{number}"] = await answer.json()
    await gateway.process.end()
    books = compare(finished_requests(gateway.process.log), witnesses)
    settled = [each for each in footprints if each.at - footprints[0].at >= min(SETTLING_SECONDS, seconds / 3)]
    return Report(
        title="soak",
        setting={"minutes": options.minutes, "requests a second": round(per_second, 1), "seed": options.seed},
        verdicts=[*_held(settled), *_charged(books), at_most("calls that hung", 0).judge(endings["hung"])],
        measurements={"ended": dict(endings), "footprints": [list(each) for each in footprints]},
    )


def _held(settled: Sequence[Footprint]) -> Iterator[Verdict]:
    """The verdicts on what the process holds."""
    note = f"{settled[-1].requests:.0f} requests, {settled[-1].rss_mib:.0f} MiB at the end" if settled else ""
    memory = at_most("memory that 100,000 requests leave behind", MOST_MIB_PER_100_000, " MiB")
    yield memory.judge(growth_per_100_000(settled), note)
    for name in ("descriptors", "tasks"):
        target = at_most(f"{name}, last third over first third less 1", MOST_RISE)
        yield target.judge(rise([getattr(each, name) for each in settled]))


def _charged(books: Books) -> Iterator[Verdict]:
    """The verdicts on what the requests were charged."""
    ended, left = f"of {books.ended}; {books.unlike[:3]}", f"of {books.left}; {books.left_unlike[:3]}"
    yield at_most("answers charged other than their engine counted", 0).judge(len(books.unlike), ended)
    yield at_most("clients that left charged more than two steps off", 0).judge(len(books.left_unlike), left)
    yield at_most("requests that ended by a fault of the gateway", 0).judge(books.internal)
    yield at_least("answers compared with their engine", 1).judge(books.ended)


async def _most(running: Stage, gateway: Gateway) -> float:
    """Whole answers a second where callers ask again as soon as they have one."""
    at_once = ClosedLoop(2 * ENGINES * SEQUENCES // len(WEIGHTS))
    tenants = [LoadTenant(name, at_once, PROMPT, SHORT) for name in WEIGHTS]
    async with Load(_endpoint(gateway), tenants, 0) as load:
        await running.watch("measuring what the engines give", MEASURED_SECONDS, gateway, load)
        records = [record for tally in load.tallies.values() for record in tally.records]
        return sum(record.is_complete for record in records) / MEASURED_SECONDS


def _endpoint(gateway: Gateway, **changes: Any) -> Endpoint:
    return replace(gateway.endpoint, surface=Surface.CHAT, **{"fields": KNOWN_LENGTH, "guesses": True, **changes})


def _load(gateway: Gateway, kind: Kind, per_second: float, seed: int) -> Load:
    """The callers of one kind, equally many of every tenant. Those who leave do so later from tenant to tenant."""
    arrivals = OpenLoop(kind.share * per_second / len(WEIGHTS))
    tenants = [
        LoadTenant(
            name,
            arrivals,
            PROMPT,
            kind.output,
            leaves_after_tokens=5 * number if kind.leaves else None,
            patience_seconds=kind.patience_seconds,
        )
        for number, name in enumerate(WEIGHTS, 1)
    ]
    return Load(_endpoint(gateway, **kind.endpoint), tenants, seed)


def _ending(record: ExchangeRecord) -> str:
    """How a call ended, by the caller's own sight."""
    if record.has_left:
        return "left"
    if record.ended_at is None or record.ended_at - record.sent_at > LONGEST_SECONDS:
        return "hung"
    if record.is_refused:
        return f"refused with {record.status}"
    return "whole" if record.is_complete and not record.error else "broken"


async def _take(session: aiohttp.ClientSession, url: str, footprints: list[Footprint]) -> None:
    """Add the footprint of this moment."""
    async with session.get(f"{url}/metrics") as answer:
        footprints.append(Footprint.parse(asyncio.get_running_loop().time(), await answer.text()))


async def _reload(gateway: Gateway, numbers: Iterator[int]) -> None:
    """Change a weight; every third time write a file that must be rejected."""
    number = next(numbers)
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
