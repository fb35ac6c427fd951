"""What a gateway's process holds: memory, descriptors, tasks, read from its own metrics, and whether it grows."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from evaluation.metrics import median

SECONDS_BETWEEN_SAMPLES = 1.0
_MIB = 1024 * 1024
_RSS = re.compile(r"^process_resident_memory_bytes (\S+)$", re.MULTILINE)
_DESCRIPTORS = re.compile(r"^process_open_fds (\S+)$", re.MULTILINE)
_TASKS = re.compile(r"^vtc_gateway_tasks (\S+)$", re.MULTILINE)
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
        return cls(at, requests, _figure(_RSS, page) / _MIB, _figure(_DESCRIPTORS, page), _figure(_TASKS, page))


def _figure(name: re.Pattern[str], page: str) -> float:
    found = name.search(page)
    return float(found[1]) if found else float("nan")


async def sample(session: aiohttp.ClientSession, url: str, into: list[Footprint]) -> None:
    """Add a footprint each second until cancelled; a page that cannot be had is a second without one."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        try:
            async with session.get(f"{url}/metrics") as answer:
                into.append(Footprint.parse(loop.time() - began_at, await answer.text()))
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)


def growth_per_100_000(samples: Sequence[Footprint]) -> float:
    """MiB of memory that 100,000 requests leave behind: the slope of a line fitted by least squares."""
    if len(samples) < 2:
        return float("nan")
    mean_requests = sum(each.requests for each in samples) / len(samples)
    mean_rss = sum(each.rss_mib for each in samples) / len(samples)
    spread = sum((each.requests - mean_requests) ** 2 for each in samples)
    if spread == 0:
        return float("nan")
    joint = sum((each.requests - mean_requests) * (each.rss_mib - mean_rss) for each in samples)
    return 100_000 * joint / spread


def rise(values: Sequence[float]) -> float:
    """How much the median of the last third lies above that of the first, as a part of the first."""
    third = len(values) // 3
    if third == 0:
        return float("nan")
    return median(values[-third:]) / median(values[:third]) - 1
