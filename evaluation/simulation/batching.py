"""Engines that batch as vLLM does, behind the gateway's own window: lengths unknown, prompts in chunks, preemption.

The window (`gateway.workers.Fleet`) decides what is with an engine; the engine's own queue is as short as the slack.
Each step runs through the embedded engine's scheduler (`backend.engine.core`). Usage is charged before what a step
frees is dispatched again, so every decision sees the counters as they are.
"""

from backend.engine.core import Scheduler, Sequence, Step
from evaluation.simulation.front import POOL, Front
from evaluation.simulation.job import Job
from evaluation.simulation.result import EngineTally
from evaluation.simulation.rounds import NEVER
from evaluation.simulation.settings import Settings
from gateway.workers import Fleet, Signal, WorkerSpec


class BatchingEngine:
    """One worker: `due` is when its step ends."""

    def __init__(self, settings: Settings) -> None:
        """An idle engine."""
        self.due = NEVER
        self.tally = EngineTally()
        self.scheduler = Scheduler(settings.batching, settings.step_cost)
        self.jobs: dict[Sequence, Job] = {}
        self.token_times: dict[Job, list[float]] = {}
        self._step: Step | None = None

    def accept(self, job: Job, now: float) -> None:
        """A request comes in."""
        request = job.request
        sequence = Sequence(job.ticket.request_id, request.prompt_tokens, request.output_tokens, now)
        self.jobs[sequence] = job
        self.token_times[job] = []
        self.scheduler.submit(sequence)
        self.tally.prompt_tokens += request.prompt_tokens

    def begin(self, now: float) -> None:
        """Begin a step if none is open and there is something to compute."""
        if self._step is None:
            self._step = self.scheduler.begin(now)
            self.due = NEVER if self._step is None else now + self._step.seconds

    def complete(self, now: float) -> list[Job]:
        """End the open step; returns the jobs that got a token."""
        assert self._step is not None
        self.tally.steps += 1
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
        return jobs

    def stop(self) -> None:
        """The run is over: forget what is still here."""
        for sequence, job in list(self.jobs.items()):
            self._forget(sequence, job)

    def _forget(self, sequence: Sequence, job: Job) -> None:
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
        self._engines = {f"w{number}": BatchingEngine(settings) for number in range(settings.workers)}
        for name in self._engines:
            self._fleet.configure(WorkerSpec(name, POOL, "", settings.window))
            self._fleet.signal(name, Signal.PROBE_OK)
        self.take, self.prefilled, self.give = self._fleet.take, self._fleet.prefilled, self._fleet.give
        self.take_express, self.has_express = self._fleet.take_express, self._fleet.has_express
        self.serves, self.affinity = self._fleet.serves, self._fleet.affinity
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
        """When the next step ends."""
        return min(engine.due for engine in self._engines.values())

    def arrived(self, now: float) -> None:
        """What was granted may begin."""
        for engine in self._engines.values():
            engine.begin(now)

    def proceed(self, now: float) -> None:
        """The steps that are due end; what they free is dispatched; the next ones begin."""
        for engine in self._engines.values():
            if engine.due == now:
                self._book(engine, engine.complete(now), now)
        self.arrived(now)

    def finish(self, now: float) -> list[EngineTally]:
        """The run is over: stop what runs, sum up."""
        for engine in self._engines.values():
            engine.stop()
            for job, times in engine.token_times.items():
                self._front.stop(job, times)
        return [engine.tally for engine in self._engines.values()]

    def _book(self, engine: BatchingEngine, jobs: list[Job], now: float) -> None:
        starting = [job for job in jobs if len(engine.token_times[job]) == 1]
        ending = [job for job in jobs if len(engine.token_times[job]) == job.tokens]
        if starting or ending or self._is_eager:
            self._front.charge(now)
        for job in starting:
            self._front.started(job, now)
        for job in ending:
            self._front.release(job, engine.token_times.pop(job))
