"""What stays behind of a soak: memory, descriptors and tasks over time, and charges that no engine can confirm.

The footprint is read from the gateway's own metrics. An answer that ended by itself is charged exactly what its engine
generated. A client that left a stream, before its first byte or behind it, is charged what its engine had generated
when the gateway saw it leave: the engine may be up to two steps on.
"""

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Any

import aiohttp
import orjson

from evaluation.metrics.statistics import median

SECONDS_BETWEEN_SAMPLES = 1.0
_LEFT = frozenset({"client_gone_streaming", "client_gone_waiting"})
STEPS_AFTER_LEAVING = 2  # the step that runs while the connection closes, and the one before it is seen
_MIB = 1024 * 1024
_REQUESTS = re.compile(r"^vtc_gateway_requests_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Footprint:
    """One moment: seconds since the load began, requests ended so far, and what the process holds."""

    at: float
    requests: float
    rss_mib: float
    descriptors: float
    tasks: float

    @classmethod
    def parse(cls, at: float, page: str) -> "Footprint":
        """Read a metrics page."""
        requests = sum(float(value) for value in _REQUESTS.findall(page))
        memory, descriptors, tasks = (
            _figure(name, page) for name in ("process_resident_memory_bytes", "process_open_fds", "vtc_gateway_tasks")
        )
        return cls(at, requests, memory / _MIB, descriptors, tasks)


def _figure(name: str, page: str) -> float:
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else math.nan


async def sample(session: aiohttp.ClientSession, url: str, into: list[Footprint]) -> None:
    """Add a footprint each second until cancelled; a page that cannot be had is a second without one."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{url}/metrics") as answer:
                into.append(Footprint.parse(loop.time() - began_at, await answer.text()))
        await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)


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


@dataclass(slots=True)
class Books:
    """How many requests were compared, and those whose figures differ: id, tokens charged, tokens generated."""

    ended: int = 0
    left: int = 0
    internal: int = 0
    unlike: list[tuple[str, int, int]] = field(default_factory=list)
    left_unlike: list[tuple[str, int, int]] = field(default_factory=list)


def compare(log: Iterable[bytes], witnesses: Mapping[str, Mapping[str, Any]]) -> Books:
    """Go through a gateway's log; `witnesses` are the engines' counts by worker, each by the id that it was sent."""
    counts = {
        (worker, request_id.partition("-")[2] or request_id): count
        for worker, witness in witnesses.items()
        for request_id, count in witness["requests"].items()
    }
    books = Books()
    for line in log:
        if b'"event":"request"' in line:
            _enter(books, orjson.loads(line), counts)
    return books


def _enter(books: Books, line: Mapping[str, Any], counts: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    outcome, request_id = line["outcome"], line["request_id"]
    books.internal += outcome == "internal"
    count = counts.get((line.get("worker", "").rpartition("/")[2], request_id))
    if count is None:
        return
    charged, generated = line.get("output_tokens", 0), count["output_tokens"]
    if outcome == "completed":
        books.ended += 1
        if charged != generated:
            books.unlike.append((request_id, charged, generated))
    elif outcome in _LEFT and line.get("streamed"):
        books.left += 1
        if abs(charged - generated) > STEPS_AFTER_LEAVING * count["sequences"]:
            books.left_unlike.append((request_id, charged, generated))
