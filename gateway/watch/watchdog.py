"""Notices a worker that stands still while it has requests, whatever its server answers to `/health`.

A worker makes progress when an answer gets output, or when its metrics show that the engine made a step: a slow engine
that reads a long prompt makes steps but no output. Silence counts only while the worker owes something. An answer whose
client reads slowly is not owed, nor is a first output while steps cannot be seen (`first_byte_seconds` is for that).
The patience depends on the steps. If they can be seen, it follows the longest silences that the worker showed while it
worked well. If not, one silent answer says little, so the patience is nearly that of an answer. A worker that exceeds
it is reported at once, and again each time the silence has lasted as long again, until it moves. Its streams end by
their own limit; requests whose answer has not begun go elsewhere if another worker serves. The circuit's table says
what the report changes. Each look also shows by how much the event loop was late to make it: `note_lag` hears that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.background import Background
from gateway.endpoints.connection import Awaited
from gateway.endpoints.workers import WorkerEndpoint, WorkerEndpoints
from gateway.events import Observer, WorkerStalled
from gateway.watch.health import Health
from gateway.watch.poller import MetricsPoller
from gateway.workers import CircuitState, EngineSample, Fleet, Signal, WorkerSnapshot

TICK_SECONDS = 0.5
MIN_PATIENCE_SECONDS = 5.0
GAPS_OF_PATIENCE = 8.0  # the patience is this many times the longest usual silence
_FADING = 0.999  # the longest silence is multiplied by this at each tick with progress: halved in six minutes
_READING_SHARE = 0.5  # while prompts are being read, the patience is at least this share of the pool's stall limit


@dataclass(slots=True)
class Heartbeat:
    """One worker's progress; silence is counted tick by tick, so that a stall of the gateway is not the worker's."""

    output_at: float = -1.0
    steps: float | None = None
    silent_seconds: float = 0.0
    longest_gap_seconds: float = 0.0
    is_stalled: bool = False

    def beat(self, output_at: float, sample: EngineSample | None, *, is_owed: bool, seconds: float) -> bool:
        """Take in what a tick shows; True if the worker made progress."""
        steps = self.steps if sample is None else sample.steps
        has_moved = (output_at, steps) != (self.output_at, self.steps)
        self.output_at, self.steps = output_at, steps
        if has_moved:
            self.longest_gap_seconds = max(self.longest_gap_seconds * _FADING, self.silent_seconds)
        self.silent_seconds = 0.0 if has_moved or not is_owed else self.silent_seconds + seconds
        return has_moved

    def patience_seconds(self, stall_seconds: float, *, is_reading: bool) -> float:
        """How long the worker may be silent."""
        least = max(MIN_PATIENCE_SECONDS, _READING_SHARE * stall_seconds if is_reading else 0.0)
        return min(stall_seconds, max(least, GAPS_OF_PATIENCE * self.longest_gap_seconds))


class Watchdog:
    """Watches the progress of every worker that has requests."""

    def __init__(
        self,
        fleet: Fleet,
        endpoints: WorkerEndpoints,
        poller: MetricsPoller,
        health: Health,
        observer: Observer,
        note_lag: Callable[[float], None],
    ) -> None:
        """Watch nothing before `start`; `note_lag` hears at each look how late it is, in seconds."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._poller = poller
        self._health = health
        self._observer = observer
        self._note_lag = note_lag
        self._loop = asyncio.get_running_loop()
        self._heartbeats: dict[str, Heartbeat] = {}
        # Without this task each request must find out for itself that its worker hangs.
        self._background = Background(
            "progress of the workers", self._watch, "the watch on the workers' progress broke"
        )

    def start(self) -> None:
        """Watch every `TICK_SECONDS` until `stop`."""
        self._background.start()

    async def stop(self) -> None:
        """End the watch."""
        await self._background.stop()

    def is_stalled(self, worker: str) -> bool:
        """True for a worker that was reported to stand still and has not moved since."""
        return worker in self._heartbeats and self._heartbeats[worker].is_stalled

    async def _watch(self) -> None:
        last = self._loop.time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            last, elapsed = self._loop.time(), self._loop.time() - last
            seconds = min(elapsed, 2 * TICK_SECONDS)
            self._note_lag(max(0.0, elapsed - TICK_SECONDS))
            for name in self._heartbeats.keys() - {spec.name for spec in self._fleet.specs()}:
                del self._heartbeats[name]
            for spec in self._fleet.specs():
                endpoint = self._endpoints[spec.name]
                if self._is_at_rest(spec.name, endpoint):
                    continue
                view = self._fleet.look(spec.name)
                if view is not None:
                    self._look(view, endpoint, seconds)

    def _is_at_rest(self, worker: str, endpoint: WorkerEndpoint) -> bool:
        """True if nothing is awaited from a worker and it has not moved: a closer look would change nothing."""
        heartbeat, sample = self._heartbeats.get(worker), self._poller.sample(worker)
        if heartbeat is None or endpoint.data.awaited is not Awaited.NOTHING:
            return False
        heartbeat.silent_seconds = 0.0
        steps = heartbeat.steps if sample is None else sample.steps
        return (endpoint.data.progress.output_at, steps) == (heartbeat.output_at, heartbeat.steps)

    def _look(self, view: WorkerSnapshot, endpoint: WorkerEndpoint, seconds: float) -> None:
        worker, sample = view.worker, self._poller.sample(view.worker)
        heartbeat = self._heartbeats.setdefault(worker, Heartbeat())
        progress, timeouts = endpoint.data.progress, endpoint.pool.timeouts
        owed = endpoint.data.awaited if view.sequences_in_flight else Awaited.NOTHING
        is_owed = owed is Awaited.MORE or (owed is Awaited.FIRST_OUTPUT and progress.sees_steps)
        has_moved = heartbeat.beat(progress.output_at, sample, is_owed=is_owed, seconds=seconds)
        if has_moved and (heartbeat.is_stalled or view.state == CircuitState.ON_TRIAL.value):
            self._health.report(worker, Signal.MOVED, "it makes progress with what runs there")
        # Just before the streams' own limit: that all fell silent says more than that each of them failed.
        patience_seconds = max(timeouts.stall_seconds, timeouts.first_byte_seconds) - 2 * TICK_SECONDS
        if progress.sees_steps:
            is_reading = view.prefill_tokens_in_flight > 0
            patience_seconds = heartbeat.patience_seconds(timeouts.stall_seconds, is_reading=is_reading)
        if has_moved and heartbeat.is_stalled:
            self._emit(view, heartbeat, is_stalled=False, reason="it moves again")
        elif heartbeat.silent_seconds >= patience_seconds:
            reason = (
                f"stalled: {view.sequences_in_flight} sequences and no progress for {heartbeat.silent_seconds:.0f} s"
            )
            heartbeat.silent_seconds = 0.0
            self._health.report(worker, Signal.STALLED, reason)
            if not heartbeat.is_stalled:
                self._emit(view, heartbeat, is_stalled=True, reason=reason)
            if self._fleet.least_loaded(view.pool) not in (None, worker):
                endpoint.data.give_up(reason)

    def _emit(self, view: WorkerSnapshot, heartbeat: Heartbeat, *, is_stalled: bool, reason: str) -> None:
        heartbeat.is_stalled = is_stalled
        self._observer.observe(WorkerStalled(view.pool, view.worker, is_stalled, reason))
