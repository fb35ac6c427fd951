"""The gateway's side of a run: the production scheduler, and the requests of its tickets.

Tokens are charged as the gateway's relay charges them: all those of a step at its end, before the scheduler decides
anything about that step.
"""

from collections.abc import Callable, Iterable
from typing import assert_never

from backend.engine.core import Sequence as Generation
from evaluation.requests import Ending, Request, Served
from evaluation.simulation.result import Dispatch, Spread, Timeline
from evaluation.simulation.settings import Settings
from gateway.fairness import Admission, Capacity, Decision, Grant, PoolSpec, Refuse, TenantLimits, Ticket
from gateway.fairness.cost import to_cost
from gateway.usage import Usage

POOL = "pool"


class Job:
    """A request between its arrival and its end, with the times of its tokens.

    `tokens` is what it takes of the engine in all: its true length, or less where its client leaves before.
    """

    __slots__ = ("request", "sequence", "served", "ticket", "token_times", "tokens")

    def __init__(self, served: Served, ticket: Ticket) -> None:
        """A request that has just arrived; its ticket states the length that its client stated."""
        request = served.request
        self.request: Request = request
        self.served = served
        self.token_times: list[float] = []
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

    `send` is told of each job that was granted room: the job, its worker, and the time.
    """

    def __init__(self, settings: Settings, capacity: Capacity, send: Callable[[Job, str, float], None]) -> None:
        self.admission = Admission(settings.rules(), capacity)
        self.admission.configure_pool(PoolSpec(POOL, settings.cost, settings.queue_timeout_seconds))
        self.spread = Spread()
        self.timeline = Timeline(settings.cost)
        self._settings = settings
        self._send = send
        self._jobs: dict[Ticket, Job] = {}
        self._account = self.admission.pools[POOL]

    def job(self, ticket: Ticket) -> Job:
        """What is behind `ticket`."""
        return self._jobs[ticket]

    def submit(self, served: Served, number: int, now: float) -> None:
        """A request arrives."""
        request = served.request
        tenant, key = (request.tenant, request.key) if self._settings.keys_share else (_identity(request), "")
        if tenant not in self._account.queue.tenants:
            weight = self._settings.weights.get(request.tenant, 1.0)
            self.admission.configure_tenant(tenant, weight, TenantLimits())
        ticket = Ticket(f"r{number}", tenant, key, POOL)
        self._jobs[ticket] = Job(served, ticket)
        self._carry_out(self.admission.submit(ticket, now), now)

    def charge(self, jobs: Iterable[Job]) -> None:
        """Charge the token that each of `jobs` has just got."""
        account = self._account
        for job in jobs:
            tokens = len(job.token_times)
            if tokens == 1:
                account.charge(job.ticket, job.usage)
            else:
                account.charge_output(job.ticket, tokens)

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

    def dispatch(self, now: float) -> None:
        """Room has appeared."""
        self._carry_out(self.admission.dispatch(POOL, now), now)

    def advance(self, now: float) -> None:
        """A deadline of the scheduler has come."""
        self._carry_out(self.admission.advance(now), now)

    def _carry_out(self, decisions: list[Decision], now: float) -> None:
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
            queue = self._account.queue
            units, bound = queue.spread_units(), queue.group.policy.bound.units
            self.spread.dispatches.append(Dispatch(now, to_cost(units), to_cost(bound)))


def _identity(request: Request) -> str:
    return f"{request.tenant}/{request.key}" if request.key else request.tenant
