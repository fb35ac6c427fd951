"""One turn of the bench of the ledger: a loop on which requests end at a steady rate, with a ledger or without one.

Of the first half of a turn counts what the loop's thread and the writer's thread have taken of the processor. Of the
second half counts by how much the loop's timers were late: the timers that find this out would take more of the
processor than the ledger does. The floor is a thread that does nothing but put the same rows into a table, as many at
a time and as durable as the ledger does it.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import apsw
import uvloop

from evaluation.metrics.statistics import percentile
from gateway.config import Ledger
from gateway.events import OpenRequest, RequestDispatched, RequestFinished
from gateway.ledger import schema
from gateway.ledger.recorder import FLUSH_SECONDS, Recorder
from gateway.ledger.rows import Ended, Grant, Row, row_of
from gateway.ledger.writer import LedgerWriter
from gateway.outcomes import Outcome

TICK_SECONDS: Final = 0.01
LAG_SECONDS: Final = 0.005
TENANTS: Final = 50
GC_ALLOCATIONS: Final = 20_000  # what `gateway.cli.serve` sets


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests end in a second, and for how long each runs."""

    rate: int
    seconds: float

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"{self.rate:,}/s, {self.seconds:g} s each"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn took: seconds of the processor by thread, how late the loop's timers were, how many rows."""

    rows: int
    loop_seconds: float
    writer_seconds: float
    lag_p99_seconds: float


class _NoLedger:
    """In the place of the recorder: takes events and does nothing."""

    def observe(self, event: object) -> None:
        """Nothing."""


class Requests:
    """Requests that are granted and end, as their events say it."""

    def __init__(self, observer: "Recorder | _NoLedger", load: Load) -> None:
        """Tell `observer` of requests as `load` says."""
        self._observer = observer
        self._load = load
        self._granted = self._ended = 0
        self._pool = "model-0"

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self._ended

    def advance(self, seconds: float) -> None:
        """Grant and end what is due `seconds` after the beginning."""
        granted = int(seconds * self._load.rate)
        for number in range(self._granted, granted):
            self._observer.observe(RequestDispatched(f"{number:032x}", tenant_of(number), self._pool, "w0", 0.01))
        self._granted = granted
        ended = max(0, int((seconds - self._load.seconds) * self._load.rate))
        for number in range(self._ended, ended):
            self._observer.observe(finished(number, self._load.seconds))
        self._ended = ended


def tenant_of(number: int) -> str:
    """Whose request it is."""
    return f"tenant-{number % TENANTS}"


def finished(number: int, seconds: float = 2.0) -> RequestFinished:
    """The end of a request."""
    return RequestFinished(
        f"{number:032x}", "/v1/chat/completions", tenant_of(number), "key-0", "model-0", "model-0", f"w{number % 8}",
        Outcome.COMPLETED, 200, True, 1, 200 + number % 1000, 0, 50 + number % 400, 400.0, 0.01, 0.2, 0.01, 0.02,
        0.0003, seconds, end_user=f"{number % 20_000:016x}", worker_seconds=seconds / 8,
    )  # fmt: skip


def _open(request_id: str) -> OpenRequest:
    return OpenRequest(
        request_id, "tenant-0", "key-0", f"{0:016x}", "model-0", "model-0", "w0", 1, 300, 0, 70, 370.0, 0.01, 0.5, 0.1
    )


def run_turn(load: Load, seconds: float, folder: str | None) -> Turn:
    """A turn of so many seconds, with a ledger in a new folder in `folder`; None: without one."""
    gc.set_threshold(GC_ALLOCATIONS)
    with TemporaryDirectory(dir=folder) as place, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_turn(load, seconds, None if folder is None else Path(place)))


async def _turn(load: Load, seconds: float, folder: Path | None) -> Turn:
    loop = asyncio.get_running_loop()
    recorder: Recorder | None = None
    if folder is not None:
        writer = LedgerWriter(folder / "1.sqlite", Ledger(folder=folder), _complain, lambda place, _: _complain(place))
        recorder = Recorder(writer, _open, lambda: ())
        recorder.start()
    requests = Requests(recorder or _NoLedger(), load)
    began, steady = loop.time(), load.seconds + 1.0
    await _until(requests, began, steady)  # as many are open as there will be
    before = (requests.ended, time.thread_time(), _writer_time())
    await _until(requests, began, steady + seconds / 2)
    after = (requests.ended, time.thread_time(), _writer_time())
    lags: list[float] = []
    lagging = asyncio.create_task(_watch(lags))
    await _until(requests, began, steady + seconds)
    lagging.cancel()
    lag = percentile(lags, 99)
    if recorder is not None and await recorder.stop():
        _complain("rows were lost")
    rows, own, writers = (later - earlier for earlier, later in zip(before, after, strict=True))
    return Turn(int(rows), own, writers, lag)


async def _until(requests: Requests, began: float, seconds: float) -> None:
    """Let requests come and end until so many seconds after `began`."""
    loop = asyncio.get_running_loop()
    while (passed := loop.time() - began) < seconds:
        requests.advance(passed)
        await asyncio.sleep(TICK_SECONDS)


async def _watch(lags: list[float]) -> None:
    """Note by how much a timer is late, again and again."""
    while True:
        due = time.perf_counter() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        lags.append(time.perf_counter() - due)


def _writer_time() -> float:
    """The processor's seconds of the writer's thread, if there is one."""
    for thread in threading.enumerate():
        if thread.name == "ledger-writer" and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


def _complain(reason: object) -> None:
    if reason is not None:
        raise OSError(f"the ledger failed: {reason}")


def floor_seconds(rate: int, seconds: float, folder: str) -> float:
    """What a row costs at least: SQLite alone, with the rows of `FLUSH_SECONDS` in each transaction."""
    with TemporaryDirectory(dir=folder) as place:
        connection = apsw.Connection(f"{place}/1.sqlite")
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        for step in schema.STEPS:
            connection.execute(step)
        at_once = max(1, round(rate * FLUSH_SECONDS))
        batches = [_rows(number, at_once) for number in range(0, round(rate * seconds), at_once)]
        began = time.thread_time()
        for batch in batches:
            time.sleep(FLUSH_SECONDS)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(schema.INSERT_REQUEST, batch)
            connection.execute("COMMIT")
        spent = time.thread_time() - began
        connection.close()
    return spent / (len(batches) * at_once)


def _rows(first: int, count: int) -> Sequence[tuple[object, ...]]:
    """The rows of so many requests; each name is a number."""
    now = time.time()
    rows: list[Row] = [row_of(Ended(finished(number), Grant(now, None), now)) for number in range(first, first + count)]
    names = set(schema.NAMED)
    return [
        tuple(1 if name in names else value for name, value in zip(schema.COLUMNS, row, strict=True)) for row in rows
    ]
