"""The scheduler: decides who runs, where and when, and charges for it. Pure: the caller passes the time.

Single-threaded and synchronous; every call returns the decisions that follow from it, in order, for the caller to carry
out. Rules that hold throughout:
- the next request is chosen at the moment room appears, never before; one that does not fit is not bypassed;
- a ticket is granted at most once at a time and settled exactly once; room and charges move in the same call;
- nobody polls: `next_deadline` names the time at which `advance` must be called.
Left to others: what room there is (`Capacity`), sockets, and the wall clock.
"""

from collections.abc import Iterable

from gateway.fairness.capacity import Capacity
from gateway.fairness.cost import UNITS_PER_COST, Usage
from gateway.fairness.deadlines import Deadlines
from gateway.fairness.decisions import Decision, Grant, Refuse
from gateway.fairness.limits import Allowance, TenantLimits
from gateway.fairness.pool import PoolAccount, PoolSpec, Rules
from gateway.fairness.queues import TenantQueue
from gateway.fairness.snapshot import PoolSnapshot, TicketSnapshot
from gateway.fairness.ticket import Ticket, TicketState
from gateway.outcomes import Outcome

ACCRUAL_SECONDS = 0.25  # how often an answer that reports nothing is charged its running estimate
_NO_WORKER_RETRY_SECONDS = 2.0
_MIN_REQUEUED_SECONDS = 5.0  # a request that a worker lost gets at least this long to find another


class Admission:
    """Virtual token counters, queues and limits of all pools, behind one set of decisions."""

    def __init__(self, rules: Rules, capacity: Capacity) -> None:
        """A scheduler without pools; `configure` adds them."""
        self._rules = rules
        self._capacity = capacity
        self._pools: dict[str, PoolAccount] = {}
        self._allowances: dict[str, Allowance] = {}
        self._weights: dict[str, float] = {}
        self._deadlines = Deadlines()
        self._flying: dict[Ticket, None] = {}
        self._silent: dict[Ticket, None] = {}
        self._next_accrual: float | None = None
        self._orders = 0
        self._queued = 0

    # -- configuration

    def configure_pool(self, spec: PoolSpec) -> None:
        """Add a pool or change its terms; running tickets keep the charge they have and end under the new cost."""
        account = self._pools.get(spec.name)
        if account is None:
            self._pools[spec.name] = PoolAccount(spec, self._rules)
        else:
            account.spec = spec

    def configure_tenant(self, name: str, weight: float, limits: TenantLimits) -> None:
        """Add a tenant or change its weight and limits; counters stay, nothing is charged again."""
        self._weights[name] = weight
        self._allowance(name).change(limits)
        for account in self._pools.values():
            flow = account.queue.tenants.get(name)
            if flow is not None:
                flow.weight = weight
                account.queue.group.longest.lowered(flow)

    def configure_queue(self, max_queued: int) -> None:
        """Change how many requests may wait in all."""
        self._rules = Rules(self._rules.make_policy, self._rules.make_predictor, max_queued)

    # -- arrivals

    def submit(self, ticket: Ticket, now: float) -> list[Decision]:
        """Queue a new request, or refuse it; returns what follows, its own grant perhaps among it."""
        account = self._pools[ticket.pool]
        tenant = account.queue.tenant(ticket.tenant, self._weight(ticket.tenant))
        refusal = self._refusal(ticket, account, tenant, now)
        if refusal is not None:
            ticket.move(TicketState.LEFT)
            return [refusal]
        self._orders += 1
        ticket.order = self._orders
        ticket.submitted_at = now
        ticket.deadline = now + account.spec.queue_timeout_seconds
        ticket.taken_tokens = ticket.prompt_tokens
        allowance = self._allowance(ticket.tenant)
        allowance.take(ticket.taken_tokens, now)
        self._enqueue(ticket, account, tenant, allowance)
        decisions = self.dispatch(ticket.pool, now)
        if self._queued > self._rules.max_queued:
            decisions += self._push_out(now)
        return decisions

    def count_request(self, tenant: str, now: float) -> float | None:
        """Count a request that takes no room against the tenant's rates; seconds to wait where it is over them."""
        allowance = self._allowance(tenant)
        wait = allowance.refusal_seconds(0.0, now)
        if wait is None:
            allowance.take(0.0, now)
        return wait

    def estimate_prompt(self, pool: str, prompt_bytes: int, media_parts: int) -> int:
        """Prompt tokens expected of a request to `pool`."""
        return self._pools[pool].prompts.estimate(prompt_bytes, media_parts)

    def learn_prompt(self, pool: str, prompt_bytes: int, prompt_tokens: int) -> None:
        """Learn from a prompt that the engine has counted."""
        self._pools[pool].prompts.observe(prompt_bytes, prompt_tokens)

    def _refusal(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue, now: float) -> Refuse | None:
        if not self._capacity.serves(ticket.pool):
            return Refuse(ticket, Outcome.NO_WORKER, _NO_WORKER_RETRY_SECONDS)
        allowance = self._allowance(ticket.tenant)
        wait = allowance.refusal_seconds(ticket.prompt_tokens, now)
        if wait is None:
            if not allowance.has_queue_place():
                return Refuse(ticket, Outcome.TENANT_QUEUE_FULL, account.retry_after_seconds(tenant, now))
            wait = account.queue.group.policy.refusal_seconds(tenant, now)
        return None if wait is None else Refuse(ticket, Outcome.RATE_LIMITED, wait)

    def _enqueue(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue, allowance: Allowance) -> None:
        ticket.move(TicketState.QUEUED)
        account.queue.enqueue(tenant, ticket)
        allowance.queued += 1
        self._queued += 1
        self._deadlines.watch(ticket, self._queued)
        self._let_wait(account, tenant)

    def _push_out(self, now: float) -> list[Decision]:
        """Refuse the newest request of the longest weighted queue of the fullest pool: not the newcomer's by rule."""
        account = max(self._pools.values(), key=lambda pool: pool.queue.queued)
        tenant = account.queue.longest_tenant()
        ticket = tenant.newest()
        retry_after = account.retry_after_seconds(tenant, now)
        return [Refuse(ticket, Outcome.PUSHED_OUT, retry_after), *self._leave(ticket, now)]

    # -- departures

    def withdraw(self, ticket: Ticket, now: float) -> list[Decision]:
        """The client of a queued request left; nothing was charged."""
        return self._leave(ticket, now)

    def _leave(self, ticket: Ticket, now: float) -> list[Decision]:
        ticket.move(TicketState.LEFT)
        self._unqueue(ticket)
        self._allowance(ticket.tenant).correct(-ticket.taken_tokens, now)
        return self.dispatch(ticket.pool, now)

    def _unqueue(self, ticket: Ticket) -> None:
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        account.queue.shrank(tenant, ticket)
        self._allowance(ticket.tenant).queued -= 1
        self._queued -= 1
        self._let_wait(account, tenant)

    def _let_wait(self, account: PoolAccount, tenant: TenantQueue) -> None:
        """Make the policy's view of `tenant` true: it waits while it has a request that its own limits let run."""
        policy = account.queue.group.policy
        is_eligible = tenant.queued > 0 and self._fits_limits(tenant)
        if is_eligible and tenant not in policy.waiting:
            policy.arrive(tenant)
        elif not is_eligible and tenant in policy.waiting:
            policy.leave(tenant)

    def _fits_limits(self, tenant: TenantQueue) -> bool:
        allowance = self._allowance(tenant.name)
        return allowance.limits.max_in_flight is None or allowance.has_flight_place(tenant.oldest().sequences)

    # -- dispatch

    def dispatch(self, pool: str, now: float) -> list[Decision]:
        """Grant room to the head of the queue, again and again, until the next head does not fit."""
        account = self._pools[pool]
        decisions: list[Decision] = []
        while (tenant := account.queue.next_tenant()) is not None:
            ticket = tenant.oldest()
            worker = self._capacity.take(pool, ticket.sequences, ticket.prompt_tokens, ticket.avoid)
            if worker is None:
                break
            self._grant(ticket, account, tenant, worker, now)
            decisions.append(Grant(ticket, worker))
        return decisions

    def _grant(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue, worker: str, now: float) -> None:
        ticket.move(TicketState.GRANTED)
        ticket.worker, ticket.granted_at, ticket.holds_prefill = worker, now, True
        ticket.attempts += 1
        self._fly(ticket, account, tenant, 1)
        account.queue.group.policy.taken(tenant)
        tenant.group.policy.taken(tenant.key(ticket.key))
        account.open_tabs(ticket, tenant)
        account.drain.add(1.0, now)
        self._unqueue(ticket)
        self._hold_elsewhere(ticket)
        if ticket.is_silent:
            self._silent[ticket] = None
            if self._next_accrual is None:
                self._next_accrual = now + ACCRUAL_SECONDS

    def _fly(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue, sign: int) -> None:
        self._allowance(ticket.tenant).in_flight += sign * ticket.sequences
        tenant.in_flight += sign
        account.in_flight += sign
        if sign > 0:
            self._flying[ticket] = None
        else:
            del self._flying[ticket]
            self._silent.pop(ticket, None)

    def _hold_elsewhere(self, ticket: Ticket) -> None:
        """A tenant with an in-flight limit may have reached it, or come below it, in its other pools too."""
        if self._allowance(ticket.tenant).limits.max_in_flight is None:
            return
        for account in self._pools.values():
            tenant = account.queue.tenants.get(ticket.tenant)
            if tenant is not None:
                self._let_wait(account, tenant)

    # -- progress

    def started(self, ticket: Ticket, now: float) -> list[Decision]:
        """The first token came: the prompt is read and its room is free."""
        if ticket.started_at is None:
            ticket.started_at = now
            self._pools[ticket.pool].rates.observe_prefill(ticket.prompt_tokens, now - ticket.granted_at)
        return self._give_prefill(ticket, now)

    def _give_prefill(self, ticket: Ticket, now: float) -> list[Decision]:
        if not ticket.holds_prefill:
            return []
        ticket.holds_prefill = False
        self._capacity.prefilled(ticket.worker, ticket.prompt_tokens)
        return self.dispatch(ticket.pool, now)

    def charge(self, ticket: Ticket, usage: Usage) -> None:
        """Charge a running request up to `usage`, the engine's own cumulative figures."""
        self._pools[ticket.pool].charge(ticket, usage)

    def requeue(self, ticket: Ticket, now: float, *, failed_worker: str = "") -> list[Decision]:
        """A worker sent the request back untouched: undo its charge and put it at the head of its queue.

        `failed_worker` names a worker that broke (not one that merely had no room): it is avoided, and the request gets
        a few seconds to find another even where its queue time is used up.
        """
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        self._return_room(ticket)
        self._fly(ticket, account, tenant, -1)
        account.settle(ticket, None)
        ticket.usage, ticket.accrued_tokens, ticket.started_at = None, 0, None
        ticket.move(TicketState.QUEUED)
        account.queue.put_back(tenant, ticket)
        self._allowance(ticket.tenant).queued += 1
        self._queued += 1
        if failed_worker:
            ticket.avoid = failed_worker
            ticket.deadline = max(ticket.deadline, now + _MIN_REQUEUED_SECONDS)
        self._deadlines.watch(ticket, self._queued)
        if tenant not in account.queue.group.policy.waiting and self._fits_limits(tenant):
            account.queue.group.policy.rejoin(tenant)
        self._hold_elsewhere(ticket)
        return self.dispatch(ticket.pool, now)

    def release(self, ticket: Ticket, usage: Usage | None, now: float, *, completed: bool = False) -> list[Decision]:
        """The request ended: settle it at `usage` (None: refund it whole), give back its room, dispatch the next.

        `completed` says that the answer came to its own end, so its length teaches the predictor.
        """
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        ticket.move(TicketState.SETTLED)
        self._return_room(ticket)
        self._fly(ticket, account, tenant, -1)
        before = tenant.settled
        account.settle(ticket, usage)
        tenant.recent.add((tenant.settled - before) / UNITS_PER_COST, now)
        if usage is not None and completed:
            account.learn(ticket, usage, now)
        used = 0 if usage is None else usage.prompt_tokens + usage.output_tokens
        self._allowance(ticket.tenant).correct(used - ticket.taken_tokens, now)
        self._hold_elsewhere(ticket)
        return self._dispatch_all(ticket, now)

    def _return_room(self, ticket: Ticket) -> None:
        if ticket.holds_prefill:
            ticket.holds_prefill = False
            self._capacity.prefilled(ticket.worker, ticket.prompt_tokens)
        self._capacity.give(ticket.worker, ticket.sequences)

    def _dispatch_all(self, ticket: Ticket, now: float) -> list[Decision]:
        """Room came free in the ticket's pool; a tenant's own limit may have come free in every pool."""
        if self._allowance(ticket.tenant).limits.max_in_flight is None:
            return self.dispatch(ticket.pool, now)
        return [decision for pool in self._pools for decision in self.dispatch(pool, now)]

    # -- time

    def next_deadline(self) -> float | None:
        """When `advance` must be called next, None where nothing is due."""
        expiry = self._deadlines.next()
        waits = [] if expiry is None else [expiry]
        if self._next_accrual is not None:
            waits.append(self._next_accrual)
        return min(waits, default=None)

    def advance(self, now: float) -> list[Decision]:
        """Refuse what has waited too long and charge the running estimates that are due."""
        decisions: list[Decision] = []
        while (ticket := self._deadlines.pop_due(now)) is not None:
            decisions += self._expire(ticket, now)
        if self._next_accrual is not None and self._next_accrual <= now:
            decisions += self._accrue(now)
        return decisions

    def _expire(self, ticket: Ticket, now: float) -> list[Decision]:
        account = self._pools[ticket.pool]
        served = self._capacity.serves(ticket.pool)
        outcome = Outcome.QUEUE_TIMEOUT if served else Outcome.NO_WORKER
        tenant = account.queue.tenants[ticket.tenant]
        retry_after = account.retry_after_seconds(tenant, now) if served else _NO_WORKER_RETRY_SECONDS
        return [Refuse(ticket, outcome, retry_after), *self._leave(ticket, now)]

    def _accrue(self, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        for ticket in list(self._silent):
            account = self._pools[ticket.pool]
            elapsed = now - ticket.granted_at
            tokens = account.rates.output_tokens(elapsed, ticket.prompt_tokens) * ticket.sequences
            account.accrue(ticket, min(ticket.max_output_tokens, int(tokens)))
            if elapsed >= account.rates.prefill_seconds(ticket.prompt_tokens):
                decisions += self._give_prefill(ticket, now)
        self._next_accrual = now + ACCRUAL_SECONDS if self._silent else None
        return decisions

    # -- views

    def snapshot(self, now: float) -> tuple[PoolSnapshot, ...]:
        """Every pool with its tenants; O(tenants)."""
        return tuple(account.snapshot(now) for account in self._pools.values())

    def flying(self, now: float) -> Iterable[TicketSnapshot]:
        """Every request that is with a worker."""
        for ticket in self._flying:
            usage = ticket.usage_so_far
            yield TicketSnapshot(
                ticket.request_id,
                ticket.tenant,
                ticket.pool,
                ticket.state.value,
                now - ticket.submitted_at,
                ticket.worker,
                usage.prompt_tokens,
                usage.output_tokens,
            )

    def _allowance(self, tenant: str) -> Allowance:
        allowance = self._allowances.get(tenant)
        if allowance is None:
            allowance = self._allowances[tenant] = Allowance(TenantLimits())
        return allowance

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, 1.0)
