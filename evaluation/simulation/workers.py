"""The engines of a run, whatever their kind: steps that end, tokens that are charged, room that is given again.

An engine computes one step at a time. What a step frees is dispatched when it ends, and is in the next one.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from backend.engine.core import Sequence as Generation
from backend.engine.core import Step
from evaluation.simulation.gauges import GaugeReading
from evaluation.simulation.result import EngineTally
from evaluation.simulation.settings import Settings
from evaluation.simulation.simulated_gateway import Job, SimulatedGateway
from gateway.fairness import Capacity

NEVER = float("inf")


class Steps(Protocol):
    """What each step of an engine computes, as the embedded engine's `Scheduler` says it."""

    def submit(self, sequence: Generation, /) -> None:
        """Queue a sequence."""
        ...

    def begin(self, now: float) -> Step | None:
        """The next step, None if there is nothing to compute."""
        ...

    def complete(self, step: Step, now: float) -> list[Generation]:
        """The sequences that end with `step`."""
        ...

    def abort(self, sequence: Generation, /) -> None:
        """Drop a sequence."""
        ...


S = TypeVar("S", bound=Steps)


class Engine(Generic[S]):
    """One worker: `due` is when its step ends, which takes `slowness` times what the scheduler of its steps says."""

    def __init__(self, make: Callable[[], S], slowness: float) -> None:
        self.due = NEVER
        self.tally = EngineTally()
        self.scheduler = make()
        self.jobs: dict[Generation, Job] = {}
        self._make = make
        self._slowness = slowness
        self._step: Step | None = None

    @property
    def is_open(self) -> bool:
        """True while a step is computed."""
        return self._step is not None

    def accept(self, job: Job, now: float) -> None:
        """A request comes in; it is in the next step."""
        request = job.request
        sequence = Generation(job.ticket.request_id, request.prompt_tokens, request.output_tokens, now)
        self.jobs[sequence] = job
        job.sequence = sequence
        self.scheduler.submit(sequence)
        self.tally.prompt_tokens += request.prompt_tokens

    def begin(self, now: float) -> None:
        """Begin a step if there is something to compute."""
        self._step = self.scheduler.begin(now)
        self.due = NEVER if self._step is None else now + self._slowness * self._step.seconds

    def complete(self, now: float) -> list[Job]:
        """End the open step; returns the jobs that got a token."""
        assert self._step is not None
        sequences = self._step.batch.decode_sequences
        self.tally.steps += sequences > 0
        self.tally.sequence_steps += sequences
        self.tally.busy_seconds += self._slowness * self._step.seconds
        generated = self.scheduler.complete(self._step, now)
        self._step = None
        self.tally.output_tokens += len(generated)
        jobs = [self.jobs[sequence] for sequence in generated]
        for job in jobs:
            job.token_times.append(now)
        return jobs

    def stop(self) -> list[Job]:
        """Forget all that is here; returns what it was."""
        left = list(self.jobs.values())
        for job in left:
            self.forget(job)
        return left

    def crash(self) -> list[Job]:
        """Everything is gone; returns what was here."""
        lost = self.stop()
        self.scheduler, self._step, self.due = self._make(), None, NEVER
        return lost

    def forget(self, job: Job) -> None:
        """It has ended here, or its client left."""
        sequence = job.sequence
        assert sequence is not None
        self.scheduler.abort(sequence)
        del self.jobs[sequence]
        job.served.preemptions = sequence.preemptions
        self.tally.preemptions += sequence.preemptions


class Workers(Generic[S]):
    """All engines of one kind, and the gateway in front of them."""

    readings: Sequence[GaugeReading] = ()
    """What was read of the engines."""

    def __init__(self, settings: Settings, capacity: Capacity, make: Callable[[], S]) -> None:
        self.gateway = SimulatedGateway(settings, capacity, self.send)
        self.engines = {f"w{number}": Engine(make, slowness) for number, slowness in enumerate(settings.slowness)}

    @property
    def due(self) -> float:
        """When something happens next."""
        return min(engine.due for engine in self.engines.values())

    def send(self, job: Job, worker: str, now: float) -> None:
        """`job` was granted room at `worker`."""
        self.engines[worker].accept(job, now)

    def proceed(self, now: float) -> None:
        """What is due happens: steps end, the next ones begin."""
        self.end_steps(now)
        self.begin(now)

    def end_steps(self, now: float) -> None:
        """The steps that are due end."""
        for engine in self.engines.values():
            if engine.due == now:
                self._end_step(engine, now)

    def begin(self, now: float) -> None:
        """Engines without a step begin one, with what has been granted."""
        for name, engine in self.engines.items():
            if not engine.is_open:
                self.offer(name, now)
                engine.begin(now)

    def offer(self, worker: str, now: float) -> None:
        """A step of `worker` may begin."""

    def finish(self) -> list[EngineTally]:
        """The run is over: stop what runs, sum up."""
        for engine in self.engines.values():
            for job in engine.stop():
                self.gateway.stop(job)
        return [engine.tally for engine in self.engines.values()]

    def _end_step(self, engine: Engine[S], now: float) -> None:
        jobs = engine.complete(now)
        self.gateway.charge(jobs)
        starting = [job for job in jobs if len(job.token_times) == 1]
        ending = [job for job in jobs if job.is_complete]
        for job in starting:
            self.gateway.started(job, now)
        for job in ending:
            engine.forget(job)
            self.gateway.release(job, now)
