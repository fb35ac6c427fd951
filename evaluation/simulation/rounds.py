"""The paper's engine: requests are admitted in rounds, decode together and never give way.

Rules, as the public artifact runs them: a round is tried when nothing runs and, from `steps_between` decode steps after
the last admission on, before every step until one admits; a round takes prompts up to a cap and prefills them at once;
a request is admitted if the KV pool will hold everything with its true length; nothing is preempted.
Left to others: who goes next, which the scheduler decides while a round is open.
"""

from functools import partial

from backend.engine.core import Batch, Step, StepCost
from backend.engine.core import Sequence as Generation
from evaluation.simulation.settings import RoundsSize, Settings
from evaluation.simulation.simulated_gateway import Job, PlainCapacity
from evaluation.simulation.workers import Workers
from gateway.fairness import Ticket


class RoundsScheduler:
    """Chooses what each step computes: the prompts of a round, or one token for each that runs."""

    def __init__(self, size: RoundsSize, cost: StepCost) -> None:
        self._size = size
        self._cost = cost
        self._admitted: list[Generation] = []  # of the round that is open or in prefill
        self._running: dict[Generation, int] = {}  # and the decode step at which each started
        self._steps = 0  # decode steps so far
        self._next_round = 0  # decode step before which no round is tried

    @property
    def may_open(self) -> bool:
        """True where a round may be tried now."""
        return not self._running or self._steps >= self._next_round

    def has_room(self, prompt_tokens: int, output_tokens: int, tenants: int) -> bool:
        """Whether the open round takes one more, with which so many tenants have something in the pool."""
        prompts = sum(sequence.prompt_tokens for sequence in self._admitted) + prompt_tokens
        if prompts > self._size.prompt_tokens_per_round:
            return False
        if len(self._running) + len(self._admitted) >= self._size.max_running:
            return False
        peak = self._peak_with(prompt_tokens, output_tokens)
        return peak < self._size.pool_tokens - tenants * self._size.tenant_tokens

    def submit(self, sequence: Generation) -> None:
        """Take one that `has_room` let in into the open round."""
        self._admitted.append(sequence)

    def abort(self, sequence: Generation) -> None:
        """It has ended, or its client left."""
        if self._running.pop(sequence, None) is None:
            self._admitted.remove(sequence)

    def begin(self, now: float) -> Step | None:
        """The prefill of a round, else a decode step; None where nothing runs."""
        if self._admitted:
            batch = Batch(sum(sequence.prompt_tokens for sequence in self._admitted), 0, 0)
            return Step(dict.fromkeys(self._admitted, 0), batch, self._cost.seconds(batch))
        if not self._running:
            return None
        cost, count = self._cost, len(self._running)
        grown = sum(sequence.prompt_tokens - start for sequence, start in self._running.items())
        fixed = cost.step_seconds + count * cost.decode_sequence_seconds + grown * cost.context_token_seconds
        seconds = fixed + self._steps * (count * cost.context_token_seconds)
        return Step(dict.fromkeys(self._running, 1), Batch(0, count, grown + count * self._steps), seconds)

    def complete(self, step: Step, now: float) -> list[Generation]:
        """A step has ended; returns what got a token."""
        if step.batch.decode_sequences:
            self._steps += 1
        else:
            self._next_round = self._steps + self._size.steps_between
            self._running |= dict.fromkeys(self._admitted, self._steps)
            self._admitted = []
        return list(step.tokens)

    def _peak_with(self, prompt_tokens: int, output_tokens: int) -> int:
        """Most tokens that the pool will hold where such a request is admitted now.

        Sequences grow by one token each decode step and give back all they hold at their end, so the pool is fullest
        just before one of them ends. Before the end of the i-th, counted from the last end, those i are still there.
        Source of the rule: `_can_add_new_req` in the paper's artifact (which counts one token more for a candidate).
        """
        ends = [(output_tokens, prompt_tokens)]  # steps until its end, tokens that it holds now
        ends += [(sequence.output_limit, sequence.prompt_tokens) for sequence in self._admitted]
        for sequence, start in self._running.items():
            done = self._steps - start
            ends.append((sequence.output_limit - done, sequence.prompt_tokens + done))
        held = peak = 0
        for number, (left, holds) in enumerate(sorted(ends, reverse=True), 1):
            held += holds
            peak = max(peak, held + number * left)
        return peak


class Rounds(Workers[RoundsScheduler], PlainCapacity):
    """All workers of the paper's kind: to the scheduler there is room in the one whose round is open, nowhere else."""

    def __init__(self, settings: Settings) -> None:
        self._open: tuple[str, float] | None = None  # the worker whose round is open, and since when
        super().__init__(settings, self, partial(RoundsScheduler, settings.rounds, settings.step_cost))

    def take(self, ticket: Ticket, /) -> str | None:
        """Admit to the open round."""
        if self._open is None:
            return None
        name, now = self._open
        engine, job = self.engines[name], self.gateway.job(ticket)
        tenants = len(self._tenants(name) | {ticket.tenant})
        if not engine.scheduler.has_room(job.request.prompt_tokens, job.request.output_tokens, tenants):
            return None
        engine.accept(job, now)
        return name

    def send(self, job: Job, worker: str, now: float) -> None:
        """`take` has admitted it."""

    def offer(self, worker: str, now: float) -> None:
        """Try a round where it is time."""
        if self.engines[worker].scheduler.may_open:
            self._open = worker, now
            self.gateway.dispatch(now)
            self._open = None

    def _tenants(self, worker: str) -> set[str]:
        return {job.ticket.tenant for job in self.engines[worker].jobs.values()}
