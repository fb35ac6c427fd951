"""The gateway's side of a run: the production scheduler, and the requests behind its tickets.

Rule: what has been generated is charged before it can matter: to the tenant that goes next before it is granted room,
to all before a flow that begins to wait is lifted and where the spread is noted, and at every end; not once per token.
The decisions are those of a scheduler that is told of each token.
"""

from collections.abc import Sequence
from typing import Protocol, assert_never

from evaluation.requests import Ending, Request, Served
from evaluation.simulation.result import Dispatch, Spread, Timeline
from evaluation.simulation.settings import Settings
from gateway.fairness import Admission, Capacity, Decision, Grant, PoolSpec, Refuse, TenantLimits, Ticket
from gateway.fairness.cost import to_cost
from gateway.fairness.queues import TenantQueue
from gateway.usage import Usage


class Job:
    """A request between its arrival and its end.

    `tokens` is what it takes of the engine in all: its true length, or less where its client leaves before.
    """

    __slots__ = ("charged_tokens", "request", "served", "start", "ticket", "tokens")

    def __init__(self, served: Served, ticket: Ticket) -> None:
        """A request that has just arrived; its ticket states the length that its client stated."""
        request = served.request
        self.request: Request = request
        self.served = served
        self.tokens = request.output_tokens
        if request.leaves_after_tokens is not None:
            self.tokens = min(self.tokens, max(1, request.leaves_after_tokens))
        self.start = 0  # the engine's count of decode steps at its admission
        self.charged_tokens = 0
        stated = request.output_tokens if request.max_output_tokens is None else request.max_output_tokens
        self.ticket = ticket.sized(
            sequences=1, prompt_tokens=request.prompt_tokens, max_output_tokens=stated, reports_at_end=False
        )

    @property
    def stays(self) -> bool:
        """True where the client takes the whole answer."""
        return self.tokens == self.request.output_tokens

    def usage(self, output_tokens: int) -> Usage:
        """What the engine reports after `output_tokens`."""
        return Usage(self.request.prompt_tokens, 0, output_tokens)

    def end(self, output_tokens: int, last_token_at: float | None) -> None:
        """Write down what it got; short of all that it would take it is unfinished."""
        served = self.served
        served.output_tokens, served.last_token_at = output_tokens, last_token_at
        if output_tokens == self.tokens:
            served.ending = Ending.COMPLETED if self.stays else Ending.CLIENT_LEFT


POOL = "pool"
BY_ARRIVAL = ("fcfs", "rpm")  # policies whose order no charge changes


class PlainCapacity:
    """The part of a capacity that says no: no lane, no cache, no window of prompts, nobody unwell."""

    def has_express(self, pool: str) -> bool:
        """There is no room beyond the usual."""
        return False

    def take_express(self, ticket: Ticket) -> None:
        """There is no lane."""

    def affinity(self, ticket: Ticket) -> int:
        """Nothing is cached."""
        return 0

    def prefilled(self, ticket: Ticket, /) -> None:
        """Prompts take no room of their own."""

    def give(self, ticket: Ticket, /) -> None:
        """Whoever counts the room sees by itself when it is free again."""

    def serves(self, pool: str) -> bool:
        """Always."""
        return True

    def awaits(self, pool: str) -> bool:
        """Never."""
        return False


class Engines(Capacity, Protocol):
    """The workers, as the gateway sees them."""

    def send(self, job: Job, worker: str, now: float) -> None:
        """`job` was granted room at `worker`."""
        ...

    def progress(self, now: float) -> Sequence[tuple[Job, int]]:
        """Every job that has tokens and has not ended, with their number."""
        ...


class Front:
    """Submits, charges and releases; carries out what the scheduler decides."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        """Nobody has arrived."""
        self.admission = Admission(settings.rules(), engines)
        self.admission.configure_pool(PoolSpec(POOL, settings.cost, settings.queue_timeout_seconds))
        self.spread = Spread()
        self.timeline = Timeline(settings.cost)
        self._settings = settings
        self._engines = engines
        self._jobs: dict[Ticket, Job] = {}
        self._heads: list[tuple[int, int]] | None = None
        self._behind: str | None = None
        self._abreast: set[str] = set()
        self._queue = self.admission.pools[POOL].queue
        self._is_by_arrival = self._queue.group.policy.name in BY_ARRIVAL

    # -- a request's way

    def submit(self, served: Served, number: int, now: float) -> None:
        """A request arrives."""
        request = served.request
        tenant, key = (request.tenant, request.key) if self._settings.keys_share else (_identity(served), "")
        if tenant not in self._queue.tenants:
            weight = self._settings.weights.get(request.tenant, 1.0)
            self.admission.configure_tenant(tenant, weight, TenantLimits())
        ticket = Ticket(f"r{number}", tenant, key, POOL)
        self._jobs[ticket] = Job(served, ticket)
        self._heads = None
        if self._begins_to_wait(ticket):
            self.charge(now)
        self._carry_out(self.admission.submit(ticket, now), now)

    def started(self, job: Job, now: float) -> None:
        """Its first token came."""
        job.served.first_token_at = now
        self._carry_out(self.admission.started(job.ticket, now), now)

    def release(self, job: Job, token_times: Sequence[float]) -> None:
        """Its last token came, the last of `token_times`."""
        now = token_times[-1]
        job.end(len(token_times), now)
        self.timeline.record(job.request.tenant, job.request.prompt_tokens, token_times)
        del self._jobs[job.ticket]
        usage = job.usage(len(token_times))
        self._carry_out(self.admission.release(job.ticket, usage, now, completed=job.stays), now)

    def lose(self, job: Job, worker: str, token_times: Sequence[float], now: float) -> None:
        """Its worker died: it ends with what it has, or waits again where it has nothing yet."""
        if not token_times:
            self._carry_out(self.admission.requeue(job.ticket, now, failed_worker=worker), now)
            return
        self.stop(job, token_times)
        del self._jobs[job.ticket]
        self._carry_out(self.admission.release(job.ticket, job.usage(len(token_times)), now), now)

    def stop(self, job: Job, token_times: Sequence[float]) -> None:
        """The run is over before the request is."""
        job.end(len(token_times), token_times[-1] if token_times else None)
        self.timeline.record(job.request.tenant, job.request.prompt_tokens, token_times)

    # -- the scheduler

    def charge(self, now: float) -> None:
        """Charge what has been generated by `now`."""
        for job, tokens in self._engines.progress(now):
            self._charge(job, tokens)

    def dispatch(self, now: float) -> None:
        """Room may have appeared: tenants are charged one by one, until the one that goes next is (`is_behind`).

        A charge can only put a tenant further back, so who is next with every charge paid goes before all the others.
        """
        self._abreast.clear()
        progress: dict[str, list[tuple[Job, int]]] = {}
        for job, tokens in self._engines.progress(now):
            progress.setdefault(job.ticket.tenant, []).append((job, tokens))
        decisions: list[Decision] = []
        while True:
            self._behind = None
            decisions += self.admission.dispatch(POOL, now)
            if self._behind is None:
                break
            self._abreast.add(self._behind)
            for job, tokens in progress.get(self._behind, ()):
                self._charge(job, tokens)
        self._carry_out(decisions, now)

    def room_appeared(self, now: float) -> None:
        """A window has grown; all charges are paid."""
        self._carry_out(self.admission.dispatch(POOL, now), now)

    def is_behind(self, ticket: Ticket) -> bool:
        """True where the ticket's tenant is not charged up to this dispatch, and that matters to who goes next."""
        if self._is_by_arrival or ticket.tenant in self._abreast:
            return False
        self._behind = ticket.tenant
        return True

    def advance(self, now: float) -> None:
        """A deadline of the scheduler has come."""
        self._carry_out(self.admission.advance(now), now)

    def job(self, ticket: Ticket) -> Job:
        """What is behind `ticket`."""
        return self._jobs[ticket]

    def heads(self) -> list[tuple[int, int]]:
        """(prompt, output) of every request that may be next, but for those that are in no way smaller than another."""
        if self._heads is None:
            self._heads = _smallest(self._all_heads())
        return self._heads

    def _charge(self, job: Job, tokens: int) -> None:
        if tokens != job.charged_tokens:
            job.charged_tokens = tokens
            self.admission.pools[job.ticket.pool].charge(job.ticket, job.usage(tokens))

    def _carry_out(self, decisions: list[Decision], now: float) -> None:
        if not decisions:
            return
        self._heads = None
        has_granted = False
        for decision in decisions:
            match decision:
                case Grant(ticket, worker):
                    job = self._jobs[ticket]
                    job.served.dispatched_at = now
                    self._engines.send(job, worker, now)
                    has_granted = True
                case Refuse(ticket):
                    self._jobs.pop(ticket).served.ending = Ending.REFUSED
                case _:
                    assert_never(decision)
        if has_granted:
            self.charge(now)
            units, bound = self._queue.spread_units(), self._queue.group.policy.bound.units
            self.spread.note(Dispatch(now, to_cost(units), to_cost(bound)))

    def _all_heads(self) -> list[tuple[int, int]]:
        if self._is_by_arrival:
            return self._next_head()
        heads = []
        for tenant in self._queue.group.policy.waiting:
            assert isinstance(tenant, TenantQueue)
            for key in tenant.keys:
                if key.queued:
                    request = self._jobs[key.oldest()].request
                    heads.append((request.prompt_tokens, request.output_tokens))
        return heads

    def _next_head(self) -> list[tuple[int, int]]:
        tenant = self._queue.next_tenant()
        if tenant is None:
            return []
        request = self._jobs[tenant.oldest()].request
        return [(request.prompt_tokens, request.output_tokens)]

    def _begins_to_wait(self, ticket: Ticket) -> bool:
        tenant = self._queue.tenants.get(ticket.tenant)
        return tenant is None or not tenant.key(ticket.key).queued


def _identity(served: Served) -> str:
    request = served.request
    return f"{request.tenant}/{request.key}" if request.key else request.tenant


def _smallest(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    smallest: list[tuple[int, int]] = []
    for prompt, output in sorted(sizes):
        if not smallest or output < smallest[-1][1]:
            smallest.append((prompt, output))
    return smallest
