"""The paper's engine: requests are admitted in rounds, decode together and never give way.

Rules, as the public artifact runs them: a round is tried when nothing runs and, from `steps_between` decode steps after
the last admission on, before every step until one admits; a round takes prompts up to a cap and prefills them at once;
a request is admitted if the KV pool will hold everything with its true length; nothing is preempted. Where nothing can
happen in between, the engine goes many steps at once.
Left to others: who goes next, which the scheduler decides while a round is open.
"""

from bisect import bisect_left, bisect_right
from collections import Counter

from backend.engine.core import Batch, StepCost
from evaluation.simulation.forecast import Forecast
from evaluation.simulation.front import Front, Job, PlainCapacity
from evaluation.simulation.result import EngineTally
from evaluation.simulation.settings import RoundsSize, Settings
from gateway.fairness import Ticket

NEVER = float("inf")


class RoundsEngine:
    """One worker: `due` is when something happens in it next.

    A job that started at decode step s gets its first token at the end of its prefill, its k-th with step s + k - 1.
    """

    def __init__(self, name: str, size: RoundsSize, cost: StepCost) -> None:
        """An idle engine with an empty pool."""
        self.name = name
        self.due = NEVER
        self.tally = EngineTally()
        self.running: list[Job] = []
        self.admitted: list[Job] = []  # of the round that is open or in prefill
        self._step_ends: list[float] = []  # of every decode step, those under way included
        self._size = size
        self._cost = cost
        self._forecast = Forecast()
        self._tenants: Counter[str] = Counter()
        self._round_tokens = 0
        self._next_round = 0  # decode step before which no round is tried
        self._grown = 0  # sum of prompt - start over what runs: with batch x step it gives the KV tokens

    def admit(self, job: Job) -> bool:
        """Take `job` into the open round where it fits."""
        request = job.request
        tokens = self._round_tokens + request.prompt_tokens
        if tokens > self._size.prompt_tokens_per_round:
            return False
        if len(self.running) + len(self.admitted) >= self._size.max_running:
            return False
        if not self._fits(request.prompt_tokens, request.output_tokens, job.ticket.tenant):
            return False
        job.start = len(self._step_ends)
        self._forecast.add(job.start, request.prompt_tokens, request.output_tokens)
        self._tenants[job.ticket.tenant] += 1
        self.admitted.append(job)
        self._round_tokens = tokens
        return True

    def progress(self, now: float) -> list[tuple[Job, int]]:
        """Every running job and the tokens it has by `now`."""
        step = bisect_right(self._step_ends, now) + 1
        return [(job, step - job.start) for job in self.running]

    def token_times(self, job: Job, tokens: int) -> list[float]:
        """When the first `tokens` tokens of a job came."""
        first = job.served.first_token_at
        return [] if first is None else [first, *self._step_ends[job.start : job.start + tokens - 1]]

    def might_admit(self, front: Front) -> bool:
        """False where none of the requests that may be next fits, whichever is."""
        return any(self._fits(prompt, output) for prompt, output in front.heads())

    def hurry(self, now: float) -> None:
        """A request has arrived: the steps under way end where the next round may be tried."""
        if self.admitted:
            return
        ends = self._step_ends
        kept = max(bisect_left(ends, now) + 1, self._next_round)
        if kept < len(ends):
            del ends[kept:]
            self.due = ends[-1]

    def start(self, now: float, front: Front) -> None:
        """The prefill is over: every job of the round has its first token."""
        started, self.admitted, self._round_tokens = self.admitted, [], 0
        self._next_round = len(self._step_ends) + self._size.steps_between
        self.running += started
        for job in started:
            self._grown += job.request.prompt_tokens - job.start
            front.started(job, now)

    def end_finished(self, front: Front) -> None:
        """Release every job that has all its tokens."""
        step = len(self._step_ends) + 1
        finished = [job for job in self.running if step - job.start == job.tokens]
        if not finished:
            return
        self.running = [job for job in self.running if step - job.start != job.tokens]
        for job in finished:
            self._leave(job)
            front.release(job, self.token_times(job, job.tokens))

    @property
    def may_open(self) -> bool:
        """True where a round may be tried now."""
        return not self.running or len(self._step_ends) >= self._next_round

    def prefill(self, now: float) -> None:
        """The round is closed: its prompts are read at once."""
        self.tally.prompt_tokens += self._round_tokens
        self.due = now + self._cost.seconds(Batch(self._round_tokens, 0, 0))

    def decode(self, now: float, front: Front, *, is_eager: bool) -> None:
        """Go on to the step after which a job ends or a round may admit; `is_eager`: one step."""
        self.due = NEVER
        if not self.running:
            return
        batch, ends, cost = len(self.running), self._step_ends, self._cost
        step, last = len(ends), min(job.start + job.tokens for job in self.running) - 1
        fixed = cost.step_seconds + batch * cost.decode_sequence_seconds + self._grown * cost.context_token_seconds
        growth = batch * cost.context_token_seconds
        while True:
            now += fixed + step * growth
            ends.append(now)
            step += 1
            if is_eager or step == last or (step >= self._next_round and self.might_admit(front)):
                break
        self.due = now

    def count_steps(self, now: float) -> None:
        """The run is over: sum up the decode steps."""
        self.tally.steps = bisect_right(self._step_ends, now)
        for _, tokens in self.progress(now):
            self.tally.output_tokens += tokens
            self.tally.sequence_steps += tokens - 1

    def _fits(self, prompt_tokens: int, output_tokens: int, tenant: str | None = None) -> bool:
        """Whether the pool will hold one more; without its tenant's name the answer is at worst too hopeful."""
        tenants = len(self._tenants) + (tenant is not None and tenant not in self._tenants)
        room = self._size.pool_tokens - tenants * self._size.tenant_tokens
        return self._forecast.peak_with(len(self._step_ends), prompt_tokens, output_tokens) < room

    def _leave(self, job: Job) -> None:
        request, tenant = job.request, job.ticket.tenant
        self._grown -= request.prompt_tokens - job.start
        self._forecast.remove(job.start, request.prompt_tokens, request.output_tokens)
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]
        self.tally.output_tokens += job.tokens
        self.tally.sequence_steps += job.tokens - 1


class Rounds(PlainCapacity):
    """All workers of the paper's kind: to the scheduler there is room in the one whose round is open, nowhere else."""

    def __init__(self, settings: Settings) -> None:
        """Idle engines."""
        names = (f"w{number}" for number in range(settings.workers))
        self._engines = [RoundsEngine(name, settings.rounds, settings.step_cost) for name in names]
        self._is_eager = settings.is_eager
        self._open: RoundsEngine | None = None
        self._front: Front

    def attach(self, front: Front) -> None:
        """Serve `front` from now on."""
        self._front = front

    # -- the scheduler's port

    def take(self, ticket: Ticket, /) -> str | None:
        """Admit to the open round, but nobody whose charges are behind: that must not decide."""
        if self._open is None or self._front.is_behind(ticket) or not self._open.admit(self._front.job(ticket)):
            return None
        return self._open.name

    # -- the run's port

    def send(self, job: Job, worker: str, now: float) -> None:
        """`take` has admitted it."""

    def progress(self, now: float) -> list[tuple[Job, int]]:
        """Every running job and the tokens it has by `now`."""
        return [entry for engine in self._engines for entry in engine.progress(now)]

    readings = ()
    """Nothing is read of these engines."""

    @property
    def due(self) -> float:
        """When something happens next."""
        return min(engine.due for engine in self._engines)

    def arrived(self, now: float) -> None:
        """Requests have arrived: an idle engine takes them at once, a busy one when it may."""
        for engine in self._engines:
            if engine.due == NEVER:
                self._go_on(engine, now)
            else:
                engine.hurry(now)

    def proceed(self, now: float) -> None:
        """What is due happens: a prefill is over, or some decode steps."""
        for engine in self._engines:
            if engine.due == now:
                if engine.admitted:
                    engine.start(now, self._front)
                if self._is_eager:
                    self._front.charge(now)
                engine.end_finished(self._front)
                self._go_on(engine, now)

    def finish(self, now: float) -> list[EngineTally]:
        """The run is over: stop what runs, sum up."""
        for engine in self._engines:
            for job, tokens in [*engine.progress(now), *((job, 0) for job in engine.admitted)]:
                self._front.stop(job, engine.token_times(job, tokens))
            engine.count_steps(now)
        return [engine.tally for engine in self._engines]

    def _go_on(self, engine: RoundsEngine, now: float) -> None:
        if engine.may_open and engine.might_admit(self._front):
            self._open = engine
            self._front.dispatch(now)
            self._open = None
        if engine.admitted:
            engine.prefill(now)
        else:
            engine.decode(now, self._front, is_eager=self._is_eager)
