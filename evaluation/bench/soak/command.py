"""The soak: engines with scripted faults, a configuration that changes, callers at 70 % of what they can get."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from evaluation.bench.settings import GatewaySettings, WindowSettings, draw_keys
from evaluation.bench.soak.books import Books, compare
from evaluation.bench.soak.clients import Callers
from evaluation.bench.soak.footprint import Footprint, growth_per_100_000, rise, sample
from evaluation.load.processes import Child, program
from evaluation.report.delivery import Delivery, Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target

ENGINES = 2
SEQUENCES = 16
WEIGHTS = {"alice": 1.0, "bob": 2.0, "carol": 1.0, "dave": 0.5}
LOAD = 0.7  # of what the callers get where they ask without a pause
MEASURED_SECONDS = 10.0
SETTLING_SECONDS = 180.0  # memory is still being taken up for caches and pools; left out of the fit
SECONDS_BETWEEN_RELOADS = 10.0
READY_SECONDS = 60.0
QUIET_SECONDS = 5.0
FAULTS = {
    "seed": 1,
    "faults": [
        {"kind": "refuse", "probability": 0.01, "status": 503},
        {"kind": "refuse", "probability": 0.005, "status": 500},
        {"kind": "refuse", "probability": 0.005, "status": 400},
        {"kind": "cut", "probability": 0.003, "after_tokens": 4},
        {"kind": "cut_event", "probability": 0.003, "after_tokens": 4},
        {"kind": "error_event", "probability": 0.003, "after_tokens": 4},
        {"kind": "stall", "probability": 0.003, "after_tokens": 3, "seconds": 1},
        {"kind": "stall_first_byte", "probability": 0.003, "seconds": 1},
    ],
}

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
        (folder / "faults.json").write_text(json.dumps(FAULTS), "utf-8")
        engines = [await stack.enter_async_context(_engine(number, folder)) for number in range(1, ENGINES + 1)]
        urls = [await engine.ready(READY_SECONDS) for engine in engines]
        keys = draw_keys(list(WEIGHTS))
        settings = GatewaySettings("vtc", urls, "tiny", WEIGHTS, WindowSettings(SEQUENCES), keys=keys)
        settings.write(folder / "gateway.yaml")
        gateway = await stack.enter_async_context(_gateway(folder))
        url = await gateway.ready(READY_SECONDS)
        timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        callers = Callers(session, url, settings.keys, options.seed)
        progress.step("measuring what the engines give", MEASURED_SECONDS)
        per_second = LOAD * await callers.measure(2 * ENGINES * SEQUENCES, MEASURED_SECONDS)
        samples: list[Footprint] = []
        progress.step(f"{per_second:.0f} requests a second", 60 * options.minutes)
        reloads = await _play(options, callers, per_second, samples, _Trouble(session, url, settings, folder, progress))
        await asyncio.sleep(QUIET_SECONDS)
        witnesses = {f"engine-{number}": await _witness(session, each) for number, each in enumerate(urls, 1)}
        await gateway.end()
        with gateway.log.open("rb") as log:
            return Findings(per_second, samples, callers.ended, compare(log, witnesses), reloads)


def _engine(number: int, folder: Path) -> AbstractAsyncContextManager[Child]:
    sizes = ("--max-num-seqs", str(SEQUENCES), "--max-num-queued-reqs", str(4 * SEQUENCES), "--seed", str(number))
    command = (
        sys.executable,
        "-m",
        "backend",
        "embedded",
        "--end-with-parent",
        "--faults",
        str(folder / "faults.json"),
    )
    return program(f"engine-{number}", [*command, *sizes], folder)


def _gateway(folder: Path) -> AbstractAsyncContextManager[Child]:
    return program(
        "gateway", [sys.executable, "-m", "gateway", "serve", str(folder / "gateway.yaml"), "--announce"], folder
    )


async def _witness(session: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    """An engine's own count of every request."""
    async with session.get(f"{url}/witness") as answer:
        counts: Mapping[str, Any] = await answer.json()
        return counts


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What goes on beside the callers."""

    session: aiohttp.ClientSession
    url: str
    settings: GatewaySettings
    folder: Path
    progress: Progress

    async def reload(self, done: list[int]) -> None:
        """Change a weight again and again; every third file is one that must be rejected."""
        for number in count(1):
            await asyncio.sleep(SECONDS_BETWEEN_RELOADS)
            path = self.folder / "gateway.yaml"
            if number % 3 == 0:
                path.write_text("pools: [broken\n", "utf-8")
            else:
                weights = {**WEIGHTS, "alice": 1.0 + number % 2}
                replace(self.settings, weights=weights).write(path)
            done.append(number)

    async def tick(self) -> None:
        """Show that time goes on."""
        while True:
            await asyncio.sleep(1.0)
            self.progress.advance(1.0)


async def _play(
    options: SoakOptions, callers: Callers, per_second: float, samples: list[Footprint], trouble: _Trouble
) -> int:
    """The load, with its trouble; how many times the configuration was written."""
    done: list[int] = []
    beside = [
        asyncio.create_task(sample(trouble.session, trouble.url, samples), name="footprint"),
        asyncio.create_task(trouble.reload(done), name="reloads"),
        asyncio.create_task(trouble.tick(), name="clock"),
    ]
    try:
        await callers.call(per_second, 60 * options.minutes)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
    return len(done)


def _judge(options: SoakOptions, findings: Findings) -> Report:
    settled = [each for each in findings.samples if each.at >= min(SETTLING_SECONDS, 60 * options.minutes / 3)]
    books, requests = findings.books, settled[-1].requests if settled else 0
    verdicts = [
        MEMORY.judge(growth_per_100_000(settled), f"{requests:.0f} requests, {settled[-1].rss_mib:.0f} MiB at the end"),
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
        "footprints": [
            [each.at, each.requests, each.rss_mib, each.descriptors, each.tasks] for each in findings.samples
        ],
    }
    return Report("soak", setting, verdicts, measurements)
