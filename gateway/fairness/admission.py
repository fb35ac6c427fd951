"""The scheduler: decides who runs, where and when, and charges for it. Pure: the caller passes the time.

It is single-threaded and synchronous. Every call returns the decisions that follow from it, in order; the caller
carries them out. Rules:
- The next request is chosen at the moment room appears, never before (`turns`).
- A ticket has at most one grant at a time and is settled exactly once. Room and charges move in the same call.
- Nobody polls: `next_deadline` names the time at which `advance` must be called.
Left to others: what room there is (`Capacity`), sockets, and the wall clock.
"""

from collections.abc import Collection, Iterable, Mapping

from gateway.fairness.capacity import Capacity
from gateway.fairness.cost import to_cost
from gateway.fairness.decisions import Decision, Grant
from gateway.fairness.limits import TenantLimits
from gateway.fairness.pool import PoolAccount, PoolSpec, Rules
from gateway.fairness.queues import TenantQueue
from gateway.fairness.refusals import at_arrival, of_a_full_queue, of_a_late_request, of_a_used_up_budget
from gateway.fairness.running import Running
from gateway.fairness.snapshot import PoolSnapshot, TicketSnapshot
from gateway.fairness.tenants import TenantRegister
from gateway.fairness.ticket import Ticket, TicketState
from gateway.fairness.turns import Turn, Turns
from gateway.fairness.waiting_room import WaitingRoom
from gateway.usage import Usage

_MIN_REQUEUED_SECONDS = 5.0  # a request whose worker broke gets at least this long to find another


class Admission:
    """Virtual token counters, queues and limits of all pools, behind one set of decisions."""

    def __init__(self, rules: Rules, capacity: Capacity) -> None:
        """A scheduler without pools; `configure_pool` adds them."""
        self._rules = rules
        self._capacity = capacity
        self._pools: dict[str, PoolAccount] = {}
        self._tenants = TenantRegister()
        self.waiting_room = WaitingRoom(self._pools, self._tenants)
        self._turns = Turns(capacity, self.waiting_room)
        self.running = Running()

    # -- configuration

    def configure_pool(self, spec: PoolSpec) -> None:
        """Add a pool or change its settings; running tickets keep their charge and are settled by the new cost."""
        account = self._pools.get(spec.name)
        if account is None:
            self._pools[spec.name] = PoolAccount(spec, self._rules)
        else:
            account.configure(spec)

    def forget_pool(self, name: str) -> bool:
        """Forget a pool with all that it has charged and learned; False, without effect, if a request waits or runs."""
        account = self._pools[name]
        if account.queue.queued or account.in_flight:
            return False
        for tenant in account.queue.tenants.values():
            self._tenants.census.leave(tenant)
        del self._pools[name]
        return True

    def configure_tenant(self, name: str, weight: float, limits: TenantLimits) -> None:
        """Add a tenant or change its weight and limits; counters stay, and nothing is charged again.

        If a changed limit no longer holds the tenant back, its requests run with the next `dispatch` of its pools.
        """
        self._tenants.change(name, weight, limits)
        for account in self._pools.values():
            account.queue.reweigh(name, weight)
        self.waiting_room.review_everywhere(name)

    def forget_tenant(self, name: str) -> bool:
        """Forget a tenant that was removed, with its counters; False while it has requests."""
        is_gone = all(account.queue.forget(name) for account in self._pools.values())
        if is_gone:
            self._tenants.forget(name)
        return is_gone

    def configure_queue(self, max_queued: int) -> None:
        """Change how many requests may wait in each pool."""
        self._rules = Rules(self._rules.make_policy, self._rules.make_predictor, max_queued)

    # -- arrivals

    def submit(self, ticket: Ticket, now: float) -> list[Decision]:
        """Queue a new request, or refuse it; returns the decisions that follow, perhaps its own grant among them."""
        self._tenants.census.sweep(now)
        account = self._pools[ticket.pool]
        tenant = account.queue.tenant(ticket.tenant, self._tenants)
        refusal = at_arrival(ticket, account, tenant, self._capacity, now)
        if refusal is not None:
            ticket.leave(now)
            return [refusal]
        ticket.enter(now, account.spec.queue_timeout_seconds)
        tenant.allowance.take(ticket.taken_tokens, now)
        decisions = self._arrive(ticket, account, tenant, now)
        if account.queue.queued > self._rules.max_queued:
            pushed_out = of_a_full_queue(account, now)
            decisions += [pushed_out, *self.withdraw(pushed_out.ticket, now)]
        return decisions

    def lacks_lease(self, ticket: Ticket, now: float) -> bool:
        """True if a limit would refuse a new request that other gateways share, of which they may have some left."""
        allowance, account = self._tenants.allowance(ticket.tenant), self._pools[ticket.pool]
        is_shared = allowance.is_leased and account.is_countable(ticket)
        return is_shared and allowance.lacks(account.expected_tokens(ticket), now)

    def _arrive(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue, now: float) -> list[Decision]:
        """Let a new request run at once if nobody waits and it has room; else queue it."""
        is_alone = self.waiting_room.is_empty_before(ticket, account, tenant)
        if is_alone and (turn := self._turns.take_for(ticket, account, tenant)) is not None:
            self.waiting_room.admit_directly(ticket, account, tenant)
            return [self._grant(turn, account, now)]
        self.waiting_room.enter(ticket, account, tenant)
        return self._dispatch([ticket.pool], now, is_full=is_alone)

    def count_request(self, tenant: str, now: float) -> float | None:
        """Count a request that takes no room against the tenant's rates; the seconds to wait if it is over them."""
        return self._tenants.allowance(tenant).count_request(now)

    # -- bars

    def bar(self, pool: str, name: str) -> None:
        """Let no request of tenant `name` run in `pool` until `unbar`; the tenant is held back and blocks nobody."""
        self.waiting_room.set_bar(pool, name, is_barred=True)

    def unbar(self, pool: str, name: str, now: float) -> list[Decision]:
        """End a bar, and dispatch."""
        self.waiting_room.set_bar(pool, name, is_barred=False)
        return self.dispatch(pool, now) if pool in self._pools else []

    # -- departures

    def withdraw(self, ticket: Ticket, now: float) -> list[Decision]:
        """Take a queued request out, which will not run; nothing is charged for it."""
        ticket.leave(now)
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        self.waiting_room.leave(ticket, account, tenant)
        tenant.allowance.correct(-ticket.taken_tokens, now)
        return self.dispatch(ticket.pool, now)

    # -- dispatch

    def dispatch(self, pool: str, now: float) -> list[Decision]:
        """Grant room to the request in turn, again and again, until the next one does not fit."""
        return self._dispatch([pool], now)

    def _dispatch(self, pools: list[str], now: float, *, is_full: bool = False) -> list[Decision]:
        """Dispatch each of `pools`, and after a grant to a tenant that couples the pools also the others.

        `is_full` is passed to `Turns.take`, for a request that came while nobody waited.
        """
        decisions: list[Decision] = []
        while pools:
            account, is_coupled = self._pools[pools.pop()], False
            while account.queue.queued and (turn := self._turns.take(account, is_full=is_full)) is not None:
                decisions.append(self._grant(turn, account, now))
                self.waiting_room.leave(turn.ticket, account, turn.tenant)
                self.waiting_room.review_elsewhere(turn.tenant)
                is_coupled = is_coupled or self.waiting_room.couples(turn.tenant)
            if is_coupled:
                pools = [name for name in self._pools if name != account.spec.name]
        return decisions

    def _grant(self, turn: Turn, account: PoolAccount, now: float) -> Decision:
        ticket = turn.ticket
        if turn.is_at_limit:
            return of_a_used_up_budget(ticket, turn.tenant, now)
        ticket.grant(turn.worker, now)
        self.running.begin(ticket, now)
        turn.tenant.allowance.in_flight += ticket.sequences
        account.open_charges(ticket, turn.tenant, turn.units_ahead)
        account.drain.add(1.0, now)
        return Grant(ticket, turn.worker)

    # -- progress

    def started(self, ticket: Ticket, now: float) -> list[Decision]:
        """Note that the first token came: the prompt is read, and its room is free.

        An answer that is not streamed comes all at once, so its first byte says nothing of when the prompt was read.
        """
        if ticket.started_at is None and (ticket.is_watched or not ticket.reports_at_end):
            ticket.started_at = ticket.noted_at = now
        return self._give_prefill(ticket, now)

    def _give_prefill(self, ticket: Ticket, now: float) -> list[Decision]:
        if not ticket.holds_prefill:
            return []
        ticket.holds_prefill = False
        self._capacity.prefilled(ticket)
        return self.dispatch(ticket.pool, now)

    def requeue(self, ticket: Ticket, now: float, *, failed_worker: str = "") -> list[Decision]:
        """Undo the charge of a request whose attempt is repeated, and put it back at the head of its queue.

        `failed_worker` names a worker that broke; it is "" if the worker only had no room. The request avoids a worker
        that broke, and gets a few seconds to find another one even if its queue time is used up. Such a request has
        held room for nothing, so its tenant gets no credit: others that wait go first.
        """
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        self._land(ticket, tenant, now)
        account.settle(ticket, tenant, None)
        ticket.send_back(now)
        if failed_worker:
            account.queue.refunded(tenant, ticket)
            ticket.shun(failed_worker)
            ticket.is_retry = True
            ticket.deadline = max(ticket.deadline, now + _MIN_REQUEUED_SECONDS)
        self.waiting_room.enter_again(ticket, account, tenant)
        self.waiting_room.review_elsewhere(tenant)
        return self._dispatch_all(ticket, tenant, now)

    def release(self, ticket: Ticket, usage: Usage | None, now: float, *, completed: bool = False) -> list[Decision]:
        """End a request: settle it at the possible part of `usage` (None: refund it in full), and dispatch the next.

        `completed` says that the answer came to its own end, so that its length teaches the predictor.
        """
        account = self._pools[ticket.pool]
        tenant = account.queue.tenants[ticket.tenant]
        ticket.move(TicketState.SETTLED)
        if usage is not None:
            usage = ticket.possible(usage)
            ticket.report(usage)  # the capacity learns from it, also if the answer reported nothing while it ran
        self._land(ticket, tenant, now)
        before = tenant.settled
        account.settle(ticket, tenant, usage)
        tenant.recent.add(to_cost(tenant.settled - before), now)
        if usage is None:
            account.queue.refunded(tenant, ticket)
        else:
            account.learn(ticket, usage, now, completed=completed)
        used = 0 if usage is None else usage.prompt_tokens + usage.output_tokens
        tenant.allowance.correct(used - ticket.taken_tokens, now)
        self.waiting_room.review_elsewhere(tenant)
        return self._dispatch_all(ticket, tenant, now)

    def _land(self, ticket: Ticket, tenant: TenantQueue, now: float) -> None:
        """Give back all the room that the ticket holds."""
        if ticket.holds_prefill:
            ticket.holds_prefill = False
            self._capacity.prefilled(ticket)
        self.running.end(ticket, now)
        self._capacity.give(ticket)  # with its last request a worker may leave
        tenant.allowance.land(ticket.sequences)

    def _dispatch_all(self, ticket: Ticket, tenant: TenantQueue, now: float) -> list[Decision]:
        """Dispatch the ticket's pool, where room came free, and every pool if the tenant couples them."""
        return self._dispatch(list(self._pools) if self.waiting_room.couples(tenant) else [ticket.pool], now)

    # -- time

    def next_deadline(self) -> float | None:
        """When `advance` must be called next; None if nothing is due."""
        deadline, accrual = self.waiting_room.deadlines.next(), self.running.next_accrual
        if deadline is None or accrual is None:
            return accrual if deadline is None else deadline
        return min(deadline, accrual)

    def advance(self, now: float) -> list[Decision]:
        """Refuse what has waited too long and charge the running estimates that are due."""
        decisions: list[Decision] = []
        while (ticket := self.waiting_room.deadlines.pop_due(now)) is not None:
            refusal = of_a_late_request(ticket, self._pools[ticket.pool], self._capacity, now)
            decisions += [refusal, *self.withdraw(ticket, now)]
        for ticket in self.running.due(now):
            decisions += self._accrue(ticket, now)
        return decisions

    def _accrue(self, ticket: Ticket, now: float) -> list[Decision]:
        """Charge what an answer should have generated unreported; give back the prompt's room if it should be read."""
        account = self._pools[ticket.pool]
        account.accrue(ticket, now)
        return self._give_prefill(ticket, now) if ticket.reports_at_end and account.should_be_read(ticket, now) else []

    # -- views

    def snapshot(self, now: float, tenants: Collection[str] | None = None) -> tuple[PoolSnapshot, ...]:
        """Every pool, with the accounts of `tenants` (None: of all); the totals always cover all tenants."""
        return tuple(
            account.snapshot(now, self.running.estimated_tokens(name), tenants) for name, account in self._pools.items()
        )

    def in_flight(self, now: float) -> Iterable[TicketSnapshot]:
        """Every request that is at a worker."""
        return self.running.views(now)

    @property
    def pools(self) -> Mapping[str, PoolAccount]:
        """Every pool's account by name."""
        return self._pools

    @property
    def tenants(self) -> TenantRegister:
        """Every tenant's weight and allowance."""
        return self._tenants
