"""Engines that batch as vLLM does, behind the gateway's own window: lengths unknown, prompts in chunks, preemption.

The window (`gateway.workers.Fleet`) decides what is with an engine; the engine's own queue is as short as the slack.
Each step runs through the embedded engine's scheduler (`backend.engine.core`). Usage is charged before what a step
frees is dispatched again, so every decision sees the counters as they are.
"""

from collections.abc import Sequence

from backend.engine.core import Scheduler, Step
from backend.engine.core import Sequence as Generation
from evaluation.simulation.front import POOL, Front, Job
from evaluation.simulation.gauges import GaugeReading, Gauges, Poller
from evaluation.simulation.result import EngineTally
from evaluation.simulation.rounds import NEVER
from evaluation.simulation.settings import Settings
from gateway.workers import Fleet, Signal, WorkerSpec


class BatchingEngine:
    """One worker: `due` is when its step ends."""

    def __init__(self, settings: Settings, slowness: float) -> None:
        """An idle engine whose steps take `slowness` times what the settings say."""
        self.due = NEVER
        self.tally = EngineTally()
        self.gauges = Gauges()
        self.scheduler = Scheduler(settings.batching, settings.step_cost)
        self._settings = settings
        self._slowness = slowness
        self.jobs: dict[Generation, Job] = {}
        self.token_times: dict[Job, list[float]] = {}
        self._step: Step | None = None

    def accept(self, job: Job, now: float) -> None:
        """A request comes in."""
        request = job.request
        sequence = Generation(job.ticket.request_id, request.prompt_tokens, request.output_tokens, now)
        self.jobs[sequence] = job
        self.token_times[job] = []
        self.scheduler.submit(sequence)
        self.tally.prompt_tokens += request.prompt_tokens

    def begin(self, now: float) -> None:
        """Begin a step if none is open and there is something to compute."""
        if self._step is None:
            self._step = self.scheduler.begin(now)
            self.gauges.began(self.scheduler)
            self.due = NEVER if self._step is None else now + self._slowness * self._step.seconds

    def complete(self, now: float) -> list[Job]:
        """End the open step; returns the jobs that got a token."""
        assert self._step is not None
        self.tally.steps += 1
        self.tally.busy_seconds += self._slowness * self._step.seconds
        self.tally.sequence_steps += self._step.batch.decode_sequences
        generated = self.scheduler.complete(self._step, now)
        self._step = None
        self.tally.output_tokens += len(generated)
        jobs = [self.jobs[sequence] for sequence in generated]
        for job in jobs:
            self.token_times[job].append(now)
        for sequence, job in zip(generated, jobs, strict=True):
            if len(self.token_times[job]) == job.tokens:
                self._forget(sequence, job)
        self.gauges.ended(self.scheduler, generated)
        return jobs

    def stop(self) -> None:
        """The run is over: forget what is still here."""
        for sequence, job in list(self.jobs.items()):
            self._forget(sequence, job)

    def crash(self) -> dict[Job, list[float]]:
        """Everything is gone; returns what was here and the times of its tokens."""
        self.stop()
        lost, self.token_times = self.token_times, {}
        self.scheduler = Scheduler(self._settings.batching, self._settings.step_cost)
        self.gauges, self._step, self.due = Gauges(), None, NEVER
        return lost

    def _forget(self, sequence: Generation, job: Job) -> None:
        self.scheduler.abort(sequence)  # a client that left; one that stays is finished already
        job.served.preemptions = sequence.preemptions
        self.tally.preemptions += sequence.preemptions
        del self.jobs[sequence]


class Batching:
    """All workers of this kind, each behind its window."""

    def __init__(self, settings: Settings) -> None:
        """Idle engines with open windows."""
        self._is_eager = settings.is_eager
        self._fleet = Fleet()
        slowness = settings.slowness or (1.0,) * settings.workers
        self._engines = {f"w{number}": BatchingEngine(settings, each) for number, each in enumerate(slowness)}
        for name in self._engines:
            self._fleet.configure(WorkerSpec(name, POOL, "", settings.window))
            self._fleet.signal(name, Signal.PROBE_OK)
        self.take, self.prefilled, self.give = self._fleet.take, self._fleet.prefilled, self._fleet.give
        self.take_express, self.has_express = self._fleet.take_express, self._fleet.has_express
        self.serves, self.awaits, self.affinity = self._fleet.serves, self._fleet.awaits, self._fleet.affinity
        self._outage = settings.outage
        self._turning_points = [] if self._outage is None else [self._outage.at + self._outage.seconds, self._outage.at]
        self._poller = None if settings.polling is None else Poller(settings.polling, self._fleet, self._engines)
        self._front: Front

    def attach(self, front: Front) -> None:
        """Serve `front` from now on."""
        self._front = front

    def send(self, job: Job, worker: str, now: float) -> None:
        """A request goes to its worker; it is in the engine's next step."""
        self._engines[worker].accept(job, now)

    def progress(self, now: float) -> list[tuple[Job, int]]:
        """Every job that has tokens, and their number."""
        pairs = [(job, len(times)) for engine in self._engines.values() for job, times in engine.token_times.items()]
        return [(job, tokens) for job, tokens in pairs if tokens]

    @property
    def due(self) -> float:
        """When the next step ends, or the engines that work are to be read."""
        due = min(engine.due for engine in self._engines.values())
        due = due if self._poller is None or due == NEVER else min(due, self._poller.due)
        return min(due, self._turning_points[-1]) if self._turning_points else due

    @property
    def readings(self) -> Sequence[GaugeReading]:
        """What was read of the engines."""
        return () if self._poller is None else self._poller.readings

    def arrived(self, now: float) -> None:
        """What was granted may begin."""
        for engine in self._engines.values():
            engine.begin(now)

    def proceed(self, now: float) -> None:
        """The steps that are due end; what they free is dispatched; the next ones begin."""
        for engine in self._engines.values():
            if engine.due == now:
                self._book(engine, engine.complete(now), now)
        if self._turning_points and self._turning_points[-1] == now:
            self._turn(now)
        if self._poller is not None and self._poller.due <= now:
            self._front.charge(now)
            if self._poller.read(now):
                self._front.room_appeared(now)
        self.arrived(now)

    def finish(self, now: float) -> list[EngineTally]:
        """The run is over: stop what runs, sum up."""
        for engine in self._engines.values():
            engine.stop()
            for job, times in engine.token_times.items():
                self._front.stop(job, times)
        return [engine.tally for engine in self._engines.values()]

    def _turn(self, now: float) -> None:
        """The first worker dies, or is there again and has answered its trial."""
        self._turning_points.pop()
        name, engine = next(iter(self._engines.items()))
        if self._turning_points:
            self._front.charge(now)
            self._fleet.signal(name, Signal.GONE)
            for job, token_times in engine.crash().items():
                self._front.lose(job, name, token_times, now)
        else:
            self._fleet.signal(name, Signal.PROBE_OK)
            self._fleet.signal(name, Signal.ANSWERED)
            self._front.room_appeared(now)

    def _book(self, engine: BatchingEngine, jobs: list[Job], now: float) -> None:
        starting = [job for job in jobs if len(engine.token_times[job]) == 1]
        ending = [job for job in jobs if len(engine.token_times[job]) == job.tokens]
        if starting or ending or self._is_eager:
            self._front.charge(now)
        for job in starting:
            self._front.started(job, now)
        for job in ending:
            self._front.release(job, engine.token_times.pop(job))
