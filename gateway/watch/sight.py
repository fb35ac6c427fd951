"""What the engines say of themselves: each worker's metrics, read while it has requests, as samples for the fleet.

A reading is one GET of the few samples that count (`/metrics/?name[]=...`, a millisecond of the engine's time); an
engine that answers it with nothing is asked for the whole page, four times as seldom because that costs it 5 to 25 ms.
At most one reading of a worker is under way, none while it is idle, and it is bounded in time and size. Three readings
in a row that brought nothing make the worker blind to the fleet until the next good one; it is then read more seldom.
One that the gateway could not take for want of something of its own says nothing of the worker, and is left out.
What a reading means for the window is `gateway.workers`'s.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol
from zlib import crc32

from gateway.background import Background
from gateway.endpoints.failures import GatewayShort, WorkerUnreachable
from gateway.endpoints.links import Link, Links
from gateway.endpoints.progress import Progress
from gateway.endpoints.upstream import fetch
from gateway.events import Observer, WindowDegraded
from gateway.watch.audit import Audit
from gateway.wire.exposition import CACHE_NAME, FIGURE_NAMES, CacheFigures, EngineFigures, read_cache, read_figures
from gateway.workers import DRAINING, UP_STATES, EngineFacts, EngineSample, Fleet, Phase, WorkerSnapshot

PERIOD_SECONDS = 0.5
GROWING_PERIOD_SECONDS = 0.25  # while the window looks for the engine's size
WHOLE_PAGE_PERIOD_SECONDS = 2.0
BLIND_PERIOD_SECONDS = 2.0
FAILURES_TO_BLIND = 3
READING_SECONDS = 1.0  # after which a reading counts as failed
MAX_PAGE_BYTES = 1 << 20  # vLLM's whole page is 64 KiB for each data-parallel rank

_SPREAD = 0.2  # of the period, so that workers are not all read at once
_WITH_REQUESTS = frozenset({state.value for state in UP_STATES} | {DRAINING})
WHOLE_PAGE = "/metrics"
FILTERED_PAGE = "/metrics/?" + "&".join(f"name[]={name}" for name in (*FIGURE_NAMES, CACHE_NAME))


class Scheduling(Protocol):
    """What is told of the engines' own words."""

    def count_steps(self, worker: str, steps: float | None) -> None:
        """The engine of `worker` has made so many steps ever; None where it does not say, or is no more."""

    def dispatch(self, pools: Iterable[str]) -> None:
        """Room may have appeared in `pools`."""


class NoReading(Exception):
    """A worker's metrics could not be read; the text says why."""


class _Eye:
    """How one worker is read, and what was seen last."""

    def __init__(self, worker: str, url: str) -> None:
        self.worker = worker
        self.url = url
        self.pace = 1 - _SPREAD + 2 * _SPREAD * crc32(worker.encode()) / 0xFFFFFFFF
        self.is_filtered = True
        self.failures = 0
        self.output_at = -2.0  # when the engine's last output before the last reading came; -2: nothing was read yet
        self.sample: EngineSample | None = None
        self.cache: CacheFigures | None = None

    @property
    def is_blind(self) -> bool:
        return self.failures >= FAILURES_TO_BLIND

    def pause_seconds(self, phase: Phase) -> float:
        if self.output_at < -1.0:
            return GROWING_PERIOD_SECONDS * self.pace
        if self.is_blind:
            return BLIND_PERIOD_SECONDS * self.pace
        if not self.is_filtered:
            return WHOLE_PAGE_PERIOD_SECONDS * self.pace
        return (GROWING_PERIOD_SECONDS if phase is Phase.GROWING else PERIOD_SECONDS) * self.pace

    def is_due(self, view: WorkerSnapshot, output_at: float) -> bool:
        """True where something is in flight, or was since the last reading, or nothing was ever read."""
        return view.sequences_in_flight > 0 or (view.state in _WITH_REQUESTS and output_at != self.output_at)


class Sight:
    """Reads every worker of the fleet."""

    def __init__(self, fleet: Fleet, links: Links, observer: Observer, scheduling: Scheduling, audit: Audit) -> None:
        """Read nothing yet; `scheduling` is told of steps, and of the pools in which room may have appeared."""
        self._fleet = fleet
        self._links = links
        self._observer = observer
        self._scheduling = scheduling
        self._audit = audit
        self._loop = asyncio.get_running_loop()
        self._eyes: dict[str, _Eye] = {}
        self._readings: dict[str, Background] = {}

    def watch(self, worker: str) -> None:
        """Read `worker` from now on, until it leaves the fleet; at another address it is another engine."""
        url = self._links[worker].url
        eye = self._eyes.get(worker)
        if eye is not None and eye.url == url:
            return
        if eye is not None:
            self._forget(worker).cancel()
        eye = self._eyes[worker] = _Eye(worker, url)
        readings = Background(f"metrics of {worker}", partial(self._watch, eye), f"the readings of {worker} broke")
        self._readings[worker] = readings
        readings.start()

    async def stop(self) -> None:
        """End every reading."""
        for readings in tuple(self._readings.values()):
            await readings.stop()

    def _forget(self, worker: str) -> Background:
        """Its engine is another one, or no more: keep nothing of what was read; returns the work that read it."""
        del self._eyes[worker]
        self._audit.forget(worker)
        self._scheduling.count_steps(worker, None)
        return self._readings.pop(worker)

    # -- views

    def sample(self, worker: str) -> EngineSample | None:
        """The last reading of a worker that is not blind and was read just now; None otherwise."""
        eye = self._eyes.get(worker)
        if eye is None or eye.sample is None or eye.is_blind:
            return None
        oldest = self._loop.time() - 2 * max(eye.pause_seconds(Phase.SETTLED), READING_SECONDS)
        return eye.sample if eye.sample.asked_at >= oldest else None

    def amended(self, fleet: Sequence[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
        """`fleet` with what the engines say themselves."""
        return tuple(self._amended(snapshot) for snapshot in fleet)

    def _amended(self, snapshot: WorkerSnapshot) -> WorkerSnapshot:
        sample = self.sample(snapshot.worker)
        return replace(
            snapshot,
            engine_running=None if sample is None else sample.running,
            engine_waiting=None if sample is None else sample.waiting,
            unmetered_share=self._audit.share(snapshot.worker),
        )

    # -- readings

    async def _watch(self, eye: _Eye) -> None:
        phase = Phase.SETTLED
        while True:
            await asyncio.sleep(eye.pause_seconds(phase))
            view = self._fleet.look(eye.worker)
            if view is None:
                self._forget(eye.worker)
                return
            phase = view.phase
            link = self._links[eye.worker]
            if eye.is_due(view, link.port.progress.output_at):
                eye.output_at = link.port.progress.output_at
                try:
                    await self._read(eye, link, view)
                except Exception:
                    self._missed(eye, view, "a reading of its metrics broke")
                    raise

    async def _read(self, eye: _Eye, link: Link, before: WorkerSnapshot) -> None:
        """One reading, or the failure of one, as the fleet takes it in."""
        asked_at = self._loop.time()
        try:
            page, figures = await self._page(eye, link)
        except GatewayShort:
            link.port.progress.sees_steps = False  # it may make some all the same
            return
        except NoReading as failure:
            self._missed(eye, before, str(failure))
            return
        self._learn(eye, page)
        self._note_steps(link.port.progress, eye.sample, figures.steps, asked_at)
        self._scheduling.count_steps(eye.worker, figures.steps)
        eye.sample = _sample(figures, asked_at)
        has_room = self._fleet.observe(eye.worker, eye.sample, self._loop.time())
        self._audit.take(before.pool, eye.worker, eye.sample)
        eye.failures = 0
        self._tell(before)
        if has_room:
            self._scheduling.dispatch((before.pool,))

    def _missed(self, eye: _Eye, before: WorkerSnapshot, reason: str) -> None:
        """A reading brought nothing, because of `reason`."""
        eye.failures += 1
        if eye.is_blind:
            eye.is_filtered = True
            self._fleet.blind(eye.worker, reason)
            self._tell(before)
            self._scheduling.dispatch((before.pool,))

    async def _page(self, eye: _Eye, link: Link) -> tuple[bytes, EngineFigures]:
        """A page that says how many run and wait; raises `NoReading`, or `GatewayShort`."""
        if eye.is_filtered:
            page = await _fetched(link, FILTERED_PAGE)
            figures = read_figures(page)
            if figures.running is not None and figures.waiting is not None:
                return page, figures
        page = await _fetched(link, WHOLE_PAGE)
        figures = read_figures(page)
        if figures.running is None or figures.waiting is None:
            link.port.progress.sees_steps = False
            raise NoReading("its metrics do not say how many requests run and wait")
        eye.is_filtered = False
        return page, figures

    def _note_steps(self, progress: Progress, before: EngineSample | None, steps: float | None, now: float) -> None:
        progress.sees_steps = steps is not None
        if before is None or before.steps != steps:
            progress.stepped_at = now

    def _learn(self, eye: _Eye, page: bytes) -> None:
        cache = read_cache(page)
        if cache is not None and cache != eye.cache:
            eye.cache = cache
            facts = EngineFacts(cache.kv_tokens, cache.block_tokens, cache.max_full_length_sequences)
            self._fleet.learn(eye.worker, facts)

    def _tell(self, before: WorkerSnapshot) -> None:
        """Say it where a worker became degraded, or is no more."""
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
    )


async def _fetched(link: Link, path: str) -> bytes:
    """The body of a page; empty where the worker has no such page. Raises `NoReading`, or `GatewayShort`."""
    try:
        answer = await fetch(link.aside, link.page_request(path), seconds=READING_SECONDS, max_bytes=MAX_PAGE_BYTES)
    except GatewayShort:
        raise
    except WorkerUnreachable as error:
        raise NoReading(f"its metrics cannot be read: {error}") from None
    if answer.status >= 500:
        raise NoReading(f"its metrics cannot be read: status {answer.status}")
    return answer.body if answer.status == 200 else b""
