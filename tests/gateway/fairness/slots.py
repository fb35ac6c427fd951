"""An engine with a fixed number of slots behind the production scheduler: what it runs, what it leaves idle, and why.

It runs the sequences that it was sent first come, first served, one token of each per step, so those of one request
start and end one by one. Every `READING_STEPS` the fleet reads how many run and wait there.
"""

from gateway.fairness import Ticket
from gateway.workers import EngineSample, WindowSize

from .bench import STEP_SECONDS, Bench, CachingFleet, Job

SLOTS, SLACK = 16, 1
READING_STEPS = 10  # of 50 ms: the gateway reads every half second


class DrainingFleet(CachingFleet):
    """Control: a request goes when all its sequences have a place, one wider than the window when it is empty."""

    def take(self, ticket: Ticket, /) -> str | None:
        """As the fleet, where the whole request fits."""
        (worker,) = self.snapshot()
        free = worker.window_sequences - worker.sequences_in_flight
        if worker.sequences_in_flight and ticket.sequences > free:
            return None
        taken: str | None = self._fleet.take(ticket)
        return taken


class Slots(Bench):
    """A bench of one worker with `SLOTS` slots."""

    def __init__(self, policy: str = "vtc", predictor: str = "none", fleet: CachingFleet | None = None) -> None:
        super().__init__(policy, predictor, window=WindowSize(SLOTS, SLACK, 10**9), fleet=fleet)
        self.left: dict[Ticket, list[int]] = {}  # tokens to go of every sequence
        self.steps = self.ran = self.idle = 0  # slots times steps: `idle` while somebody waits who may run
        self.most_in_flight = 0
        self.queued = 0  # sequences times steps that wait at the engine

    def send(self, tenant: str, *lengths: int, prompt: int = 1, reports_at_end: bool = False) -> Job:
        """A request with a sequence of each of `lengths`."""
        job = self.submit(
            tenant,
            prompt=prompt * len(lengths),
            length=sum(lengths),
            most=max(lengths) * len(lengths),
            sequences=len(lengths),
            reports_at_end=reports_at_end,
        )
        self.left[job.ticket] = list(lengths)
        return job

    def _step(self) -> None:
        is_wanted = bool(self.waiting)
        self.wait(STEP_SECONDS)
        free = SLOTS
        for job in list(self.running.values()):
            if job.ticket in self.running:
                free -= self._run(job, free)
        self.steps += 1
        self.ran += SLOTS - free
        self.idle += free if is_wanted else 0
        self.queued += sum(len(self.left[ticket]) for ticket in self.running) - (SLOTS - free)
        if self.steps % READING_STEPS == 0:
            self._read()
        (worker,) = self.fleet.snapshot()
        self.most_in_flight = max(self.most_in_flight, worker.sequences_in_flight)

    def _run(self, job: Job, free: int) -> int:
        left = [length - 1 for length in self.left[job.ticket][:free]]
        self.left[job.ticket] = [length for length in left if length] + self.left[job.ticket][free:]
        if left:
            self._report(job, len(left))
        return len(left)

    def _report(self, job: Job, grown: int) -> None:
        is_first = job.output_tokens == 0
        job.output_tokens += grown
        self.books.service[job.ticket.tenant] += self._served(job, grown)
        if not job.ticket.reports_at_end:
            if is_first:
                self.carry_out(self.admission.started(job.ticket, self.now), job.ticket.pool)
            self.admission.pools[job.ticket.pool].charge(job.ticket, job.usage)
        if job.output_tokens >= job.length:
            del self.left[job.ticket]
            self.release(job, job.usage, completed=True)

    def _read(self) -> None:
        there = sum(len(self.left[ticket]) for ticket in self.running)
        running = min(SLOTS, there)
        if self.fleet.observe("p0w0", EngineSample(self.now, running, there - running), self.now):
            self.carry_out(self.admission.dispatch("p0", self.now), "p0")
