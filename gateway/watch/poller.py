"""Reads each worker's metrics while it has requests, and gives them to the fleet as samples.

A reading is one GET of the few metrics that count (`/metrics/?name[]=...`), which costs the engine a millisecond. An
engine that answers it with nothing is asked for the whole page, four times less often, because that costs 5 to 25 ms.
At most one reading of a worker runs at a time, and it is bounded in time and size. None is made while the worker is
idle, unless the gateway has lost the store of its account: then nothing but readings allows requests at a worker. After
three readings in a row without a result the worker is blind: the fleet does not tune its window, and readings come
less often, until the next good one. A reading that the gateway could not make, because it lacked something itself,
says nothing about the worker and does not count. `gateway.workers` decides what a reading means for the window.

An idle worker is left alone: its next request ends the wait (`wake`).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol
from zlib import crc32

from gateway.background import Background
from gateway.endpoints.failures import GatewayShort, WorkerUnreachable
from gateway.endpoints.progress import Progress
from gateway.endpoints.upstream import fetch
from gateway.endpoints.workers import WorkerEndpoint, WorkerEndpoints
from gateway.events import Observer, WindowDegraded
from gateway.watch.reconciliation import Reconciliation
from gateway.wire.exposition import CACHE_NAME, FIGURE_NAMES, CacheFigures, EngineFigures, read_cache, read_figures
from gateway.workers import DRAINING, EngineFacts, EngineSample, Fleet, Phase, WorkerSnapshot

PERIOD_SECONDS = 0.5
GROWING_PERIOD_SECONDS = 0.25  # while the window still grows to the engine's size
WHOLE_PAGE_PERIOD_SECONDS = 2.0
BLIND_PERIOD_SECONDS = 2.0
FAILURES_TO_BLIND = 3
REST_SECONDS = 10.0  # an idle worker is looked at so often all the same: it may have left the fleet
READING_SECONDS = 1.0  # after which a reading counts as failed
MAX_PAGE_BYTES = 1 << 20  # vLLM's whole page is 64 KiB for each data-parallel rank

_SPREAD = 0.2  # each worker's period differs by up to this share, so that not all are read at once
WHOLE_PAGE = "/metrics"
FILTERED_PAGE = "/metrics/?" + "&".join(f"name[]={name}" for name in (*FIGURE_NAMES, CACHE_NAME))


class Scheduling(Protocol):
    """What the poller reports to the scheduler."""

    def count_steps(self, worker: str, steps: float | None) -> None:
        """Note that the engine of `worker` has made `steps` steps in all; None if it does not say or is gone."""

    def needs_reading(self, worker: str) -> bool:
        """True if `worker` must be read even when nothing is in flight there."""

    def note_reading(self, worker: str, there: float | None, asked_at: float) -> None:
        """Note that `worker`, asked at `asked_at`, has `there` sequences; None: it does not say."""

    def dispatch(self, pools: Iterable[str]) -> None:
        """Grant what fits in `pools`, where room may have appeared."""

    def tell_of_work(self, hear: Callable[[str], None]) -> None:
        """From now on `hear` is called with the worker of each request that is granted."""

    @property
    def shares_workers(self) -> bool:
        """True if others send requests to the same workers, of which nobody tells here."""
        ...


class NoReading(Exception):
    """A worker's metrics could not be read; the text says why."""


class _Polled:
    """How one worker is read, and what the last reading showed."""

    def __init__(self, worker: str, url: str) -> None:
        self.worker = worker
        self.url = url
        self.pace = 1 - _SPREAD + 2 * _SPREAD * crc32(worker.encode()) / 0xFFFFFFFF
        self.is_filtered = True
        self.failures = 0
        self.work = asyncio.Event()  # a request was granted the worker since the last look
        self.output_at = -2.0  # time of the engine's last output before the last reading; -2: no reading yet
        self.sample: EngineSample | None = None
        self.cache: CacheFigures | None = None

    @property
    def was_read(self) -> bool:
        return self.output_at >= -1.0

    @property
    def is_blind(self) -> bool:
        return self.failures >= FAILURES_TO_BLIND

    def pause_seconds(self, phase: Phase) -> float:
        if not self.was_read:
            return GROWING_PERIOD_SECONDS * self.pace
        if self.is_blind:
            return BLIND_PERIOD_SECONDS * self.pace
        if not self.is_filtered:
            return WHOLE_PAGE_PERIOD_SECONDS * self.pace
        return (GROWING_PERIOD_SECONDS if phase is Phase.GROWING else PERIOD_SECONDS) * self.pace

    def is_due(self, view: WorkerSnapshot, output_at: float) -> bool:
        """True if a request of any replica is there, or may be, or was since the last reading; or none was made yet."""
        has_requests = view.is_up or view.state == DRAINING
        return view.sequences_in_flight + view.others_sequences > 0 or (has_requests and output_at != self.output_at)


class MetricsPoller:
    """Reads every worker of the fleet."""

    def __init__(
        self,
        fleet: Fleet,
        endpoints: WorkerEndpoints,
        observer: Observer,
        scheduling: Scheduling,
        reconciliation: Reconciliation,
    ) -> None:
        """Read nothing yet; `scheduling` hears of steps, and of the pools in which room may have appeared."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._observer = observer
        self._scheduling = scheduling
        self._reconciliation = reconciliation
        self._loop = asyncio.get_running_loop()
        self._polled: dict[str, _Polled] = {}
        self._readings: dict[str, Background] = {}
        scheduling.tell_of_work(self.wake)

    def watch(self, worker: str) -> None:
        """Read `worker` from now on, until it leaves the fleet; a worker at a new address is another engine."""
        url = self._endpoints[worker].url
        polled = self._polled.get(worker)
        if polled is not None and polled.url == url:
            return
        if polled is not None:
            self._forget(worker).cancel()
        polled = self._polled[worker] = _Polled(worker, url)
        readings = Background(f"metrics of {worker}", partial(self._watch, polled), f"the readings of {worker} broke")
        self._readings[worker] = readings
        readings.start()

    async def stop(self) -> None:
        """End every reading."""
        for readings in tuple(self._readings.values()):
            await readings.stop()

    def _forget(self, worker: str) -> Background:
        """Forget what was read of a worker whose engine is gone or another; returns the work that reads it."""
        del self._polled[worker]
        self._reconciliation.forget(worker)
        self._scheduling.count_steps(worker, None)
        return self._readings.pop(worker)

    def wake(self, worker: str) -> None:
        """A request goes to `worker`: read it soon."""
        polled = self._polled.get(worker)
        if polled is not None:
            polled.work.set()

    # -- views

    def sample(self, worker: str) -> EngineSample | None:
        """The last reading of a worker, if it is recent and the worker is not blind; else None."""
        polled = self._polled.get(worker)
        if polled is None or polled.sample is None or polled.is_blind:
            return None
        oldest = self._loop.time() - 2 * max(polled.pause_seconds(Phase.SETTLED), READING_SECONDS)
        return polled.sample if polled.sample.asked_at >= oldest else None

    def amended(self, fleet: Sequence[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
        """`fleet` with the engines' own figures."""
        return tuple(self._amended(snapshot) for snapshot in fleet)

    def _amended(self, snapshot: WorkerSnapshot) -> WorkerSnapshot:
        sample = self.sample(snapshot.worker)
        return replace(
            snapshot,
            engine_running=None if sample is None else sample.running,
            engine_waiting=None if sample is None else sample.waiting,
            unmetered_share=self._reconciliation.share(snapshot.worker),
        )

    # -- readings

    async def _watch(self, polled: _Polled) -> None:
        phase = Phase.SETTLED
        while True:
            polled.work.clear()
            await asyncio.sleep(polled.pause_seconds(phase))
            view = self._fleet.look(polled.worker)
            if view is None:
                self._forget(polled.worker)
                return
            phase = view.phase
            endpoint = self._endpoints[polled.worker]
            is_needed = view.is_up and self._scheduling.needs_reading(polled.worker)
            if is_needed or polled.is_due(view, endpoint.data.progress.output_at):
                polled.output_at = endpoint.data.progress.output_at
                try:
                    await self._read(polled, endpoint, view)
                except Exception:
                    self._missed(polled, endpoint, view, "a reading of its metrics broke")
                    raise
            elif polled.was_read and not self._scheduling.shares_workers:
                await _set_within(polled.work, REST_SECONDS)

    async def _read(self, polled: _Polled, endpoint: WorkerEndpoint, before: WorkerSnapshot) -> None:
        """Make one reading, and report it or its failure to the fleet."""
        asked_at = self._loop.time()
        try:
            page, figures = await self._page(polled, endpoint)
        except GatewayShort:
            endpoint.data.progress.sees_steps = False  # the engine may make steps that nobody sees
            return
        except NoReading as failure:
            self._missed(polled, endpoint, before, str(failure))
            return
        self._learn(polled, page)
        self._note_steps(endpoint.data.progress, polled.sample, figures.steps, asked_at)
        self._scheduling.count_steps(polled.worker, figures.steps)
        polled.sample = _sample(figures, asked_at)
        has_room = self._fleet.observe(polled.worker, polled.sample, self._loop.time())
        there = polled.sample.running + polled.sample.waiting + polled.sample.deferred
        self._scheduling.note_reading(polled.worker, there, asked_at)
        self._reconciliation.take(before.pool, polled.worker, polled.sample)
        polled.failures = 0
        self._emit_change(before)
        if has_room:
            self._scheduling.dispatch((before.pool,))

    def _missed(self, polled: _Polled, endpoint: WorkerEndpoint, before: WorkerSnapshot, reason: str) -> None:
        """Count a reading that brought nothing, because of `reason`; nobody sees the steps of a blind worker."""
        polled.failures += 1
        if polled.is_blind:
            polled.is_filtered = True
            endpoint.data.progress.sees_steps = False
            self._fleet.blind(polled.worker, reason)
            self._scheduling.note_reading(polled.worker, None, self._loop.time())
            self._emit_change(before)
            self._scheduling.dispatch((before.pool,))

    async def _page(self, polled: _Polled, endpoint: WorkerEndpoint) -> tuple[bytes, EngineFigures]:
        """A page that says how many requests run and wait, and its figures; raises `NoReading` or `GatewayShort`."""
        if polled.is_filtered:
            page = await _fetched(endpoint, FILTERED_PAGE)
            figures = read_figures(page)
            if figures.running is not None and figures.waiting is not None:
                return page, figures
        page = await _fetched(endpoint, WHOLE_PAGE)
        figures = read_figures(page)
        if figures.running is None or figures.waiting is None:
            endpoint.data.progress.sees_steps = False
            raise NoReading("its metrics do not say how many requests run and wait")
        polled.is_filtered = False
        return page, figures

    def _note_steps(self, progress: Progress, before: EngineSample | None, steps: float | None, now: float) -> None:
        progress.sees_steps = steps is not None
        if before is None or before.steps != steps:
            progress.stepped_at = now

    def _learn(self, polled: _Polled, page: bytes) -> None:
        cache = read_cache(page)
        if cache is not None and cache != polled.cache:
            polled.cache = cache
            facts = EngineFacts(cache.kv_tokens, cache.block_tokens, cache.max_full_length_sequences)
            self._fleet.learn(polled.worker, facts)

    def _emit_change(self, before: WorkerSnapshot) -> None:
        """Emit an event if the window of a worker became degraded, or no longer is."""
        after = self._fleet.look(before.worker)
        if after is not None and bool(after.degraded) is not bool(before.degraded):
            self._observer.observe(WindowDegraded(after.pool, after.worker, after.degraded))


def _sample(figures: EngineFigures, asked_at: float) -> EngineSample:
    assert figures.running is not None
    assert figures.waiting is not None
    return EngineSample(
        asked_at=asked_at,
        running=figures.running,
        waiting=figures.waiting,
        kv_usage=figures.kv_usage,
        preemptions=figures.preemptions,
        steps=figures.steps,
        step_tokens=figures.step_tokens,
        output_tokens=figures.output_tokens,
        deferred=figures.deferred,
        prompt_tokens=figures.prompt_tokens,
    )


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until `event` is set, but not longer than `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _fetched(endpoint: WorkerEndpoint, path: str) -> bytes:
    """The body of a page, empty if the worker has no such page; raises `NoReading` or `GatewayShort`."""
    try:
        answer = await fetch(
            endpoint.control, endpoint.page_request(path), seconds=READING_SECONDS, max_bytes=MAX_PAGE_BYTES
        )
    except GatewayShort:
        raise
    except WorkerUnreachable as error:
        raise NoReading(f"its metrics cannot be read: {error}") from None
    if answer.status >= 500:
        raise NoReading(f"its metrics cannot be read: status {answer.status}")
    return answer.body if answer.status == 200 else b""
