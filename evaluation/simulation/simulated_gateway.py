"""The gateway's side of a run: the production scheduler, and the requests of its tickets.

Tokens are not charged one by one, but always before it matters: the next tenant's before it is granted room, those of
all tenants before a flow is lifted and before the spread is noted, and those of a request at its end.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from backend.engine.core import Sequence as Generation
from evaluation.requests import Ending, Request, Served
from evaluation.simulation.result import Dispatch, Spread, Timeline
from evaluation.simulation.settings import Settings
from gateway.fairness import Admission, Capacity, Decision, Grant, PoolSpec, Refuse, TenantLimits, Ticket
from gateway.fairness.cost import to_cost
from gateway.fairness.queues import TenantQueue
from gateway.usage import Usage

POOL = "pool"
BY_ARRIVAL = ("fcfs", "rpm")  # policies whose order no charge changes
Size = tuple[int, int]
"""Prompt and output of a request, in tokens."""


class Job:
    """A request between its arrival and its end, with the times of its tokens.

    `tokens` is what it takes of the engine in all: its true length, or less where its client leaves before.
    """

    __slots__ = ("charged_tokens", "request", "sequence", "served", "ticket", "token_times", "tokens")

    def __init__(self, served: Served, ticket: Ticket) -> None:
        """A request that has just arrived; its ticket states the length that its client stated."""
        request = served.request
        self.request: Request = request
        self.served = served
        self.token_times: list[float] = []
        self.charged_tokens = 0
        self.sequence: Generation | None = None  # of the engine that it is with
        self.tokens = request.output_tokens
        if request.leaves_after_tokens is not None:
            self.tokens = min(self.tokens, max(1, request.leaves_after_tokens))
        stated = request.output_tokens if request.max_output_tokens is None else request.max_output_tokens
        self.ticket = ticket.sized(
            sequences=1, prompt_tokens=request.prompt_tokens, max_output_tokens=stated, reports_at_end=False
        )

    @property
    def stays(self) -> bool:
        """True where the client takes the whole answer."""
        return self.tokens == self.request.output_tokens

    @property
    def is_complete(self) -> bool:
        """True where it has all the tokens that it takes."""
        return len(self.token_times) == self.tokens

    @property
    def usage(self) -> Usage:
        """What the engine reports of it now."""
        return Usage(self.request.prompt_tokens, 0, len(self.token_times))


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


class SimulatedGateway:
    """Submits, charges and releases; carries out what the scheduler decides.

    `send` is told of each job that was granted room: the job, its worker, and the time. `running` lists all that have
    tokens.
    """

    def __init__(
        self,
        settings: Settings,
        capacity: Capacity,
        send: Callable[[Job, str, float], None],
        running: Callable[[], Sequence[Job]],
    ) -> None:
        self.admission = Admission(settings.rules(), capacity)
        self.admission.configure_pool(PoolSpec(POOL, settings.cost, settings.queue_timeout_seconds))
        self.spread = Spread()
        self.timeline = Timeline(settings.cost)
        self._settings = settings
        self._send = send
        self._running = running
        self._jobs: dict[Ticket, Job] = {}
        self._queue = self.admission.pools[POOL].queue
        self._is_by_arrival = self._queue.group.policy.name in BY_ARRIVAL
        self._heads: list[Size] | None = None
        self._behind: str | None = None
        self._abreast: set[str] = set()

    def job(self, ticket: Ticket) -> Job:
        """What is behind `ticket`."""
        return self._jobs[ticket]

    def submit(self, served: Served, number: int, now: float) -> None:
        """A request arrives."""
        request = served.request
        tenant, key = (request.tenant, request.key) if self._settings.keys_share else (_identity(request), "")
        if tenant not in self._queue.tenants:
            weight = self._settings.weights.get(request.tenant, 1.0)
            self.admission.configure_tenant(tenant, weight, TenantLimits())
        ticket = Ticket(f"r{number}", tenant, key, POOL)
        self._jobs[ticket] = Job(served, ticket)
        self._heads = None
        if self._begins_to_wait(ticket):
            self.charge()
        self._carry_out(self.admission.submit(ticket, now), now)

    def started(self, job: Job, now: float) -> None:
        """Its first token came."""
        job.served.first_token_at = now
        self._carry_out(self.admission.started(job.ticket, now), now)

    def release(self, job: Job, now: float) -> None:
        """It has ended, with what it has."""
        self.stop(job)
        del self._jobs[job.ticket]
        completed = job.is_complete and job.stays
        self._carry_out(self.admission.release(job.ticket, job.usage, now, completed=completed), now)

    def lose(self, job: Job, worker: str, now: float) -> None:
        """Its worker died: it ends with what it has, or waits again where it has nothing yet."""
        if job.token_times:
            self.release(job, now)
        else:
            self._carry_out(self.admission.requeue(job.ticket, now, failed_worker=worker), now)

    def stop(self, job: Job) -> None:
        """Write down what it got; short of all that it would take it is unfinished."""
        served, times = job.served, job.token_times
        served.output_tokens, served.last_token_at = len(times), times[-1] if times else None
        if job.is_complete:
            served.ending = Ending.COMPLETED if job.stays else Ending.CLIENT_LEFT
        self.timeline.record(job.request.tenant, job.request.prompt_tokens, times)

    # -- the scheduler

    def charge(self, tenant: str | None = None) -> None:
        """Charge what has been generated so far, by one tenant or by all."""
        for job in self._running():
            if len(job.token_times) != job.charged_tokens and tenant in (None, job.ticket.tenant):
                job.charged_tokens = len(job.token_times)
                self.admission.pools[POOL].charge(job.ticket, job.usage)

    def dispatch(self, now: float) -> None:
        """Room has appeared; all charges are paid."""
        self._carry_out(self.admission.dispatch(POOL, now), now)

    def open_round(self, now: float) -> None:
        """A round is open: tenants are charged one by one, until the one that goes next is (`is_behind`).

        A charge can only put a tenant further back, so who is next with every charge paid goes before all the others.
        """
        self._abreast.clear()
        decisions: list[Decision] = []
        while True:
            self._behind = None
            decisions += self.admission.dispatch(POOL, now)
            if self._behind is None:
                break
            self._abreast.add(self._behind)
            self.charge(self._behind)
        self._carry_out(decisions, now)

    def is_behind(self, ticket: Ticket) -> bool:
        """True where the ticket's tenant is not charged up to this round, and that matters to who goes next."""
        if self._is_by_arrival or ticket.tenant in self._abreast:
            return False
        self._behind = ticket.tenant
        return True

    def heads(self) -> list[Size]:
        """The size of every request that may be next, but for those that are in no way smaller than another."""
        if self._heads is None:
            self._heads = []
            for prompt, output in sorted(self._all_heads()):
                if not self._heads or output < self._heads[-1][1]:
                    self._heads.append((prompt, output))
        return self._heads

    def advance(self, now: float) -> None:
        """A deadline of the scheduler has come."""
        self._carry_out(self.admission.advance(now), now)

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
                    self._send(job, worker, now)
                    has_granted = True
                case Refuse(ticket):
                    self._jobs.pop(ticket).served.ending = Ending.REFUSED
                case _:
                    assert_never(decision)
        if has_granted:
            self.charge()
            units, bound = self._queue.spread_units(), self._queue.group.policy.bound.units
            self.spread.dispatches.append(Dispatch(now, to_cost(units), to_cost(bound)))

    def _all_heads(self) -> list[Size]:
        if self._is_by_arrival:
            first = self._queue.next_tenant()
            tickets = [] if first is None else [first.oldest()]
        else:
            tenants = [each for each in self._queue.group.policy.waiting if isinstance(each, TenantQueue)]
            tickets = [key.oldest() for tenant in tenants for key in tenant.keys if key.queued]
        requests = [self._jobs[ticket].request for ticket in tickets]
        return [(request.prompt_tokens, request.output_tokens) for request in requests]

    def _begins_to_wait(self, ticket: Ticket) -> bool:
        tenant = self._queue.tenants.get(ticket.tenant)
        return tenant is None or not tenant.key(ticket.key).queued


def _identity(request: Request) -> str:
    return f"{request.tenant}/{request.key}" if request.key else request.tenant
