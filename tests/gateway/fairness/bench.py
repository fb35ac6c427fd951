"""A simulated engine behind the production scheduler, in virtual time, that checks everything after every step.

Each worker generates one token per sequence and step. The bench plays the proxy: it carries out grants, reports usage,
ends requests in every way there is, and keeps its own books to hold the scheduler's against.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gateway.fairness import POLICIES, PREDICTORS, Admission, Grant, PoolSpec, Rules, TenantLimits, Ticket
from gateway.fairness.cost import CostFunction, Linear, request_cost, to_units
from gateway.fairness.decisions import Decision
from gateway.fairness.flow import Flow
from gateway.fairness.invariants import check_invariants
from gateway.fairness.queues import PoolQueue, TenantQueue
from gateway.outcomes import Outcome
from gateway.usage import Usage
from gateway.workers import Fleet, Signal, WindowSize, WorkerSpec

from .idle_room import IdleRoom

STEP_SECONDS = 0.05
FOUR_SEQUENCES = WindowSize(4, 0, 10_000)


class CachingFleet:
    """A fleet of which each worker has cached as much of a prompt as the first hash of its prefix says."""

    def __init__(self) -> None:
        self._fleet = Fleet()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the fleet's."""
        return getattr(self._fleet, name)

    def affinity(self, ticket: Ticket, /) -> int:
        """That much where the ticket fits a worker now, else nothing."""
        worker = self.take(ticket)
        if worker is None:
            return 0
        ticket.worker = worker
        self.prefilled(ticket)
        self.give(ticket)
        return ticket.prefix[0] if ticket.prefix else 0


@dataclass(slots=True, eq=False)
class Job:
    """One request as the engine knows it: true prompt, true length over all sequences, steps of prefill to go."""

    ticket: Ticket
    prompt_tokens: int
    length: int
    cached_tokens: int = 0
    prefill_steps: int = 1
    prefill_left: int = 1
    output_tokens: int = 0
    weight: float = 1.0
    tells_every: int = 1  # tokens

    @property
    def usage(self) -> Usage:
        """What the engine would report now."""
        return Usage(self.prompt_tokens, self.cached_tokens, self.output_tokens)

    @property
    def is_unread(self) -> bool:
        """True before its first token; nobody but the gateway guesses when the prompt of a silent one was read."""
        return self.ticket.holds_prefill if self.ticket.reports_at_end else self.output_tokens == 0


@dataclass(slots=True)
class Books:
    """The bench's own account: units settled per flow, cost served to and asked for by tenants, endings per request."""

    settled: Counter[tuple[str, ...]] = field(default_factory=Counter)
    service: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    grants: Counter[str] = field(default_factory=Counter)
    requeues: Counter[str] = field(default_factory=Counter)
    submitted: int = 0


class Bench:
    """Scheduler, fleet and engine of one run."""

    def __init__(
        self,
        policy: str = "vtc",
        predictor: str = "none",
        *,
        parameter: float | None = None,
        cost: CostFunction | None = None,
        pools: int = 1,
        workers: int = 1,
        window: WindowSize = FOUR_SEQUENCES,
        max_queued: int = 100_000,
        queue_timeout_seconds: float = 1e9,
        locality_quantum: float = 0.0,
        fleet: CachingFleet | Fleet | None = None,
    ) -> None:
        """A pool `p0`, `p1`, ... each of `workers` workers with `window`."""
        self.now = 0.0
        self.checks = True
        self.fleet: Any = fleet or CachingFleet()
        rules = Rules(lambda: POLICIES[policy](parameter), PREDICTORS[predictor](None), max_queued)
        self.admission = Admission(rules, self.fleet)
        self.cost = cost or Linear()
        self.is_vtc = policy == "vtc"
        for index in range(pools):
            self.admission.configure_pool(PoolSpec(f"p{index}", self.cost, queue_timeout_seconds, locality_quantum))
            for number in range(workers):
                self.fleet.configure(WorkerSpec(f"p{index}w{number}", f"p{index}", "http://engine", window))
                self.fleet.signal(f"p{index}w{number}", Signal.PROBE_OK)
        self.waiting: dict[Ticket, Job] = {}
        self.running: dict[Ticket, Job] = {}
        self.books = Books()
        self.idle_room = IdleRoom(window)
        self.paused: set[str] = set()
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()

    def tenant(self, name: str, weight: float = 1.0, **limits: int | None) -> None:
        """Configure a tenant."""
        self.admission.configure_tenant(name, weight, TenantLimits(**limits))

    def flow(self, tenant: str, pool: str = "p0") -> TenantQueue:
        """The scheduler's account of a tenant."""
        return self.admission.pools[pool].queue.tenants[tenant]

    def pause(self, worker: str) -> None:
        """A worker refuses for lack of room."""
        self.paused.add(worker)
        self.fleet.pause(worker)

    def resume(self, worker: str) -> None:
        """It has room again."""
        self.paused.discard(worker)
        self.fleet.resume(worker)

    # -- the proxy's part

    def submit(
        self,
        tenant: str,
        *,
        key: str = "key",
        pool: str = "p0",
        prompt: int = 1,
        length: int = 4,
        most: int | None = None,
        estimate: int | None = None,
        sequences: int = 1,
        reports_at_end: bool = False,
        tells_every: int = 0,
        cached: int = 0,
        prefill_steps: int = 1,
        affinity: int = 0,
    ) -> Job:
        """Send a request of `prompt` tokens (estimated as `estimate`) that would run for `length` tokens in all.

        `tells_every` makes it a watched stream whose engine counts only once in so many tokens.
        """
        self.books.submitted += 1
        ticket = Ticket(f"r{self.books.submitted}", tenant, key, pool).sized(
            sequences=sequences,
            prompt_tokens=prompt if estimate is None else estimate,
            max_output_tokens=length if most is None else most,
            reports_at_end=reports_at_end,
        )
        ticket.prefix = self.prefix(tenant, prompt, affinity)
        ticket.is_watched = tells_every > 0
        job = Job(ticket, prompt, length, cached, prefill_steps, prefill_steps, tells_every=tells_every or 1)
        self.books.offered[tenant] += request_cost(self.cost, Usage(prompt, cached, length), sequences)
        self.waiting[ticket] = job
        self.claim(ticket)
        self.carry_out(self.admission.submit(ticket, self.now), pool)
        return job

    def claim(self, ticket: Ticket) -> None:
        """Give a request its claim on budgets, of which there are none here."""

    def prefix(self, tenant: str, prompt: int, affinity: int) -> tuple[int, ...]:
        """How the prompt of a request begins."""
        return (affinity,)

    def carry_out(self, decisions: list[Decision], pool: str) -> None:
        """Do what was decided after an event in `pool`, then check what each decision may break."""
        for decision in decisions:
            ticket = decision.ticket
            job = self.waiting.pop(ticket)
            if isinstance(decision, Grant):
                self.books.grants[ticket.request_id] += 1
                job.weight = self.flow(ticket.tenant, ticket.pool).weight
                self.running[ticket] = job
                self.begin(job)
            else:
                self.books.endings[ticket.request_id] += 1
                self.outcomes[ticket.tenant, decision.outcome] += 1
        self.check_bound()
        if self.checks and pool:
            self._check_work_conserved(pool)

    def withdraw(self, job: Job) -> None:
        """The client of a queued request leaves."""
        del self.waiting[job.ticket]
        self.books.endings[job.ticket.request_id] += 1
        self.carry_out(self.admission.withdraw(job.ticket, self.now), job.ticket.pool)

    def release(self, job: Job, usage: Usage | None, *, completed: bool = False) -> None:
        """End a running request at `usage`."""
        ticket = job.ticket
        del self.running[ticket]
        self.books.endings[ticket.request_id] += 1
        cost = 0.0 if usage is None else request_cost(self.cost, usage, ticket.sequences)
        self.books.settled[ticket.pool, ticket.tenant] += to_units(cost, job.weight)
        self.books.settled[ticket.pool, ticket.tenant, ticket.key] += to_units(cost, 1.0)
        self.carry_out(self.admission.release(ticket, usage, self.now, completed=completed), ticket.pool)

    def requeue(self, job: Job, failed_worker: str = "") -> None:
        """The worker sends a request back untouched."""
        del self.running[job.ticket]
        self.waiting[job.ticket] = job
        self.books.requeues[job.ticket.request_id] += 1
        job.prefill_left, job.output_tokens = job.prefill_steps, 0
        decisions = self.admission.requeue(job.ticket, self.now, failed_worker=failed_worker)
        self.carry_out(decisions, job.ticket.pool)

    # -- the engine's part

    def begin(self, job: Job) -> None:
        """A worker's engine gets a request."""

    def step(self, count: int = 1) -> None:
        """Let every worker do `count` steps."""
        for _ in range(count):
            self._step()
        self.check()

    def _step(self) -> None:
        self.wait(STEP_SECONDS)
        for job in list(self.running.values()):
            if job.ticket in self.running:
                self._generate(job)

    def wait(self, seconds: float) -> None:
        """Let time pass without tokens."""
        if self.checks:
            self._note_idle_room(seconds)
        self.now += seconds
        due = self.admission.next_deadline()
        if due is not None and due <= self.now:
            self.carry_out(self.admission.advance(self.now), "")

    def _generate(self, job: Job) -> None:
        if job.prefill_left > 0:
            job.prefill_left -= 1
            if job.prefill_left:
                return
        grown = min(job.ticket.sequences, job.length - job.output_tokens)
        job.output_tokens += grown
        self.books.service[job.ticket.tenant] += self._served(job, grown)
        if not job.ticket.reports_at_end:
            if job.output_tokens <= job.ticket.sequences:
                self.carry_out(self.admission.started(job.ticket, self.now), job.ticket.pool)
            self._report(job)
            self.check_bound()
        if job.output_tokens >= job.length:
            self.release(job, job.usage, completed=True)

    def _report(self, job: Job) -> None:
        if job.output_tokens % job.tells_every:
            return
        if job.ticket.has_reported:
            self.admission.pools[job.ticket.pool].charge_output(job.ticket, job.output_tokens)
        else:
            self.admission.pools[job.ticket.pool].charge(job.ticket, Usage(job.prompt_tokens, 0, job.output_tokens))

    def _served(self, job: Job, grown: int) -> float:
        before = Usage(job.prompt_tokens, job.cached_tokens, job.output_tokens - grown)
        first = job.output_tokens == grown
        cost = request_cost(self.cost, job.usage, job.ticket.sequences)
        return cost - (0.0 if first else request_cost(self.cost, before, job.ticket.sequences))

    def drain(self) -> None:
        """Run until nothing is left, then check that nothing is left."""
        while self.running or self.waiting:
            self._step()
        self.check()
        assert self.fleet.is_idle
        for account in self.admission.pools.values():
            assert account.in_flight == account.queue.queued == 0
            for tenant in account.queue.tenants.values():
                for flow in (tenant, *tenant.keys):
                    assert flow.outstanding == flow.ceilings == flow.refundable == 0
        assert self.admission.next_deadline() is None

    # -- the judge's part

    def check(self) -> None:
        """Hold the scheduler to its invariants, its bound and its books."""
        if not self.checks:
            return
        check_invariants(self.admission)
        assert self.admission.waiting_room.queued == len(self.waiting)
        assert len(self.admission.running) == len(self.running)
        self.check_bound()

    def check_bound(self) -> None:
        """Check the counters of waiting flows against the computed bound, on both levels."""
        if self.checks and self.is_vtc:
            for account in self.admission.pools.values():
                self._check_spread(account.queue)

    def _check_spread(self, queue: PoolQueue) -> None:
        assert queue.spread_units() <= queue.group.policy.bound.units, "spread of tenants"
        for tenant in queue.tenants.values():
            counters = [key.counter for key in tenant.group.policy.waiting]
            assert not counters or max(counters) - min(counters) <= tenant.group.policy.bound.units, "spread of keys"

    def _check_work_conserved(self, pool: str) -> None:
        tenant = self.admission.pools[pool].queue.next_tenant()
        if tenant is None or not self.admission.waiting_room.is_eligible(self.admission.pools[pool], tenant):
            return
        head = tenant.oldest()
        serving = self._serving(pool)
        for worker in [name for name in serving if name != head.avoid] or serving:
            assert not self.idle_room.has_room(self._jobs(worker), head), f"{head.request_id} waits, {worker} has room"

    def _serving(self, pool: str) -> list[str]:
        """The workers of `pool` that may be given requests."""
        up = [worker.worker for worker in self.fleet.snapshot() if worker.pool == pool and worker.state != "down"]
        return [name for name in up if name not in self.paused]

    def _jobs(self, worker: str) -> list[Job]:
        return [job for job in self.running.values() if job.ticket.worker == worker]

    def _note_idle_room(self, seconds: float) -> None:
        """Take down what idles until the next event."""
        for pool, account in self.admission.pools.items():
            waiting = [tenant for tenant in account.queue.tenants.values() if tenant.is_waiting]
            heads = [tenant.oldest() for tenant in waiting if self.admission.waiting_room.is_eligible(account, tenant)]
            avoided = {ticket.avoid for ticket in self.waiting if ticket.pool == pool}
            for worker in self._serving(pool) if heads else ():
                jobs = self._jobs(worker)
                self.idle_room.pass_time(worker, jobs, heads, seconds, is_avoided=worker in avoided)

    def check_books(self) -> None:
        """Every request ended exactly once, was granted once per attempt, and paid exactly its usage."""
        assert len(self.books.endings) == self.books.submitted
        assert set(self.books.endings.values()) <= {1}
        for request, grants in self.books.grants.items():
            assert 0 <= grants - self.books.requeues[request] <= 1
        for account in self.admission.pools.values():
            for tenant in account.queue.tenants.values():
                self._check_paid(tenant, account.spec.name, tenant.name)
                for key in tenant.keys:
                    self._check_paid(key, account.spec.name, tenant.name, key.name)

    def _check_paid(self, flow: Flow, *path: str) -> None:
        assert flow.settled == self.books.settled[path], f"{path} paid exactly what it used"
