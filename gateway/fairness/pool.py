"""One pool's account: its queues, its cost function, what it has learned, and the charges of its tickets.

This module alone opens, moves and settles the charges of a ticket, on both levels (tenant and key). Left to
`admission`: room, limits, deadlines and the order of decisions.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.accounts import Claim, Verdict
from gateway.fairness.cost import MOST_COST, CostFunction, request_cost, spread_cost, to_cost, to_units
from gateway.fairness.open_charge import OpenCharge
from gateway.fairness.policies import Policy
from gateway.fairness.predictor import Predictor
from gateway.fairness.queues import PoolQueue, TenantQueue
from gateway.fairness.reckoning import Reckoning
from gateway.fairness.snapshot import PoolSnapshot, TenantSnapshot, jain_index
from gateway.fairness.ticket import MAX_TOKENS, Ticket
from gateway.learned.decay import DecayingSum
from gateway.learned.lengths import AnswerLengths
from gateway.learned.prompts import PromptEstimator
from gateway.learned.speeds import EngineSpeeds, StreamPace
from gateway.outcomes import LONGEST_RETRY_SECONDS
from gateway.usage import Usage

_DRAIN_SECONDS = 30.0  # horizon of the drain rate from which Retry-After is computed


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """The operator's settings for a pool."""

    name: str
    cost: CostFunction
    queue_timeout_seconds: float = 60.0
    locality_quantum: float = 0.0  # a request may go this many cost units before its turn, for the prefix cache's sake


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of every pool: who goes next, how much output is reserved, how many requests may wait in each."""

    make_policy: Callable[[], Policy[Any]]
    make_predictor: Callable[[], Predictor]
    max_queued: int = 10_000  # requests per pool


class PoolAccount:
    """The queues and the charges of one pool."""

    __slots__ = ("_discounts_cache", "drain", "in_flight", "lengths", "prompts", "queue", "reckoning", "spec", "speeds")

    def __init__(self, spec: PoolSpec, rules: Rules) -> None:
        """An idle pool."""
        self.configure(spec)
        self.queue = PoolQueue(rules.make_policy, rules.make_predictor)
        self.prompts = PromptEstimator()
        self.lengths = AnswerLengths()
        self.speeds = EngineSpeeds()
        self.reckoning = Reckoning(self.speeds)
        self.drain = DecayingSum(_DRAIN_SECONDS)
        self.in_flight = 0

    def configure(self, spec: PoolSpec) -> None:
        """Take over the operator's settings."""
        self.spec = spec
        self._discounts_cache = spec.cost.discounts_cache  # asked with every token

    # -- charges

    @property
    def locality_units(self) -> int:
        """The locality quantum in counter units."""
        return to_units(self.spec.locality_quantum, 1.0)

    def predict(self, ticket: Ticket, tenant: TenantQueue) -> None:
        """Reserve the output that the tenant's earlier answers predict, when `ticket` first comes to its turn."""
        if ticket.is_predicted:
            return
        ticket.is_predicted = True
        per_sequence = ticket.max_output_tokens // ticket.sequences
        ticket.reserved_tokens = tenant.predictor.predict(per_sequence) * ticket.sequences

    def is_countable(self, ticket: Ticket) -> bool:
        """True if the most that `ticket` can cost is a number that counters can hold; asked before anything moves."""
        try:
            return self._cost_of(ticket, ticket.max_output_tokens) < MOST_COST
        except ArithmeticError:
            return False

    def dispatch_charge(self, ticket: Ticket) -> float:
        """What `ticket` is charged when it is dispatched: its prompt and its reservation."""
        return self._cost_of(ticket, ticket.reserved_tokens)

    def _cost_of(self, ticket: Ticket, output_tokens: int) -> float:
        return spread_cost(self.spec.cost, ticket.prompt_tokens, 0, output_tokens, ticket.sequences)

    def open_charges(self, ticket: Ticket, tenant: TenantQueue, units_ahead: tuple[int, int]) -> None:
        """Charge the prompt and the reserved output at dispatch, to the key and to its tenant.

        `units_ahead` says how far tenant and key are ahead of their turn, in counter units. The key is always charged
        before its tenant, because the key that is next decides how the tenant's ties are broken.
        """
        key = tenant.key(ticket.key)
        of_key, of_tenant = OpenCharge(key, tenant.group.policy), OpenCharge(tenant, self.queue.group.policy)
        ticket.charges = (of_key, of_tenant)
        charge = self.dispatch_charge(ticket)
        ceiling = self._cost_of(ticket, max(ticket.max_output_tokens, ticket.reserved_tokens))
        of_key.open(charge, ceiling, units_ahead[1])
        of_tenant.open(charge, ceiling, units_ahead[0])
        tenant.in_flight += 1
        self.in_flight += 1

    def charge(self, ticket: Ticket, usage: Usage) -> None:
        """Bring the charge of a running ticket to `usage`, its engine's cumulative figures; this does nothing else."""
        if ticket.report(usage) and ticket.output_tokens <= ticket.reserved_tokens:
            return
        self._charge_reported(ticket)

    def charge_output(self, ticket: Ticket, output_tokens: int) -> None:
        """Bring the charge of a running ticket whose engine has reported its input to `output_tokens`: the hot path."""
        if output_tokens > ticket.most_output_tokens:
            output_tokens = ticket.most_output_tokens
        ticket.output_tokens = output_tokens
        if output_tokens > ticket.reserved_tokens:
            self._charge_reported(ticket)

    def _charge_reported(self, ticket: Ticket) -> None:
        """Bring the charge of `ticket` to what its engine has reported, or to what was reckoned if that is more."""
        cached, reported, reserved = ticket.cached_tokens, ticket.output_tokens, ticket.reserved_tokens
        output = ticket.accrued_tokens if ticket.accrued_tokens > reported else reported
        cost = certain = self._running_cost(ticket, ticket.reported_prompt_tokens, cached, output)
        if self._discounts_cache or cached or reported < reserved or reported < output:
            certain = self._certain_cost(ticket)
        for open_charge in ticket.charges:
            open_charge.charge_to(cost, certain)

    def accrue(self, ticket: Ticket, now: float) -> None:
        """Charge a running estimate to a ticket that reports nothing; take it back once the ticket reports again."""
        tokens = self.reckoning.running_output(ticket, now)
        if tokens is None:
            if ticket.accrued_tokens and ticket.has_reported:
                ticket.accrued_tokens = 0
                self._charge_reported(ticket)
        elif tokens > max(ticket.accrued_tokens, ticket.output_tokens):
            ticket.accrued_tokens = tokens
            prompt, cached = ticket.prompt_tokens, 0
            if ticket.has_reported:
                prompt, cached = ticket.reported_prompt_tokens, ticket.cached_tokens
            cost = self._running_cost(ticket, prompt, cached, tokens)
            for open_charge in ticket.charges:
                open_charge.charge_to(cost)

    def settle(self, ticket: Ticket, tenant: TenantQueue, usage: Usage | None) -> None:
        """Close the charges at exactly `usage`; None refunds the whole charge."""
        cost = 0.0
        if usage is not None:
            cost = self.cost(ticket, usage)
            ticket.settle(usage, cost)
        if ticket.claim is not None:
            ticket.claim.settle(usage)
        for open_charge in ticket.charges:
            open_charge.settle(cost)
        ticket.charges = ()
        tenant.in_flight -= 1
        self.in_flight -= 1
        if tenant.in_flight == 0:
            self.queue.review_light(tenant)

    def _running_cost(self, ticket: Ticket, prompt: int, cached: int, output: int) -> float:
        """What a running request is charged in all at these tokens, and at least its reservation."""
        if output < ticket.reserved_tokens:
            output = ticket.reserved_tokens
        if cached > prompt:
            cached = prompt
        return spread_cost(self.spec.cost, prompt - cached, cached, output, ticket.sequences)

    def _certain_cost(self, ticket: Ticket) -> float:
        """The cost that the engine has confirmed, less the most that a discount for cached tokens may take off."""
        prompt, output, sequences = ticket.reported_prompt_tokens, ticket.output_tokens, ticket.sequences
        uncached = spread_cost(self.spec.cost, prompt, 0, output, sequences)
        if not self._discounts_cache:
            return uncached
        return min(uncached, spread_cost(self.spec.cost, 0, prompt, output, sequences))

    def cost(self, ticket: Ticket, usage: Usage) -> float:
        """The cost of `usage` by the pool's function, spread over the ticket's sequences."""
        return request_cost(self.spec.cost, usage, ticket.sequences)

    # -- estimates

    def estimated_usage(self, ticket: Ticket, until: float) -> Usage:
        """What a running request has used, if its engine generated until `until` and gave no final figures."""
        return self.reckoning.final_usage(ticket, until)

    def should_be_read(self, ticket: Ticket, now: float) -> bool:
        """True if the engine should have read the prompt of a running ticket by `now`."""
        return now - ticket.granted_at >= self.speeds.prefill_seconds(ticket.tenant, ticket.prompt_tokens)

    def expected_tokens(self, ticket: Ticket) -> int:
        """The prompt and the output expected of a request, in tokens, whatever the predictor reserves."""
        most = ticket.max_output_tokens // ticket.sequences
        return ticket.prompt_tokens + self.lengths.expected(ticket.tenant, most) * ticket.sequences

    def verdict(self, claim: Claim, tenant: str) -> Verdict:
        """Whether the budgets of a request of `tenant` let it run; four times the expected answer is usual."""
        return claim.judge(4 * self.lengths.expected(tenant, MAX_TOKENS))

    # -- learning

    def learn(self, ticket: Ticket, usage: Usage, now: float, *, completed: bool) -> None:
        """Learn from an answer that ended.

        An answer that was broken off teaches only one thing: that it was longer than expected, if it was.
        """
        tenant, sequences = ticket.tenant, ticket.sequences
        per_sequence = usage.output_tokens / sequences
        is_longer = usage.output_tokens > ticket.taken_tokens - ticket.prompt_tokens
        if ticket.max_output_tokens and (completed or is_longer):
            self.lengths.observe(tenant, per_sequence)
        if completed:
            self.queue.tenants[tenant].predictor.observe(math.ceil(per_sequence))
            self._learn_pace(ticket, usage, now)

    def _learn_pace(self, ticket: Ticket, usage: Usage, now: float) -> None:
        tenant, sequences = ticket.tenant, ticket.sequences
        per_sequence = usage.output_tokens / sequences
        fresh_tokens = usage.prompt_tokens - min(usage.cached_tokens, usage.prompt_tokens)
        began, dispatched = ticket.started_at, ticket.granted_at
        if began is None:
            self.speeds.observe_whole(tenant, fresh_tokens, per_sequence, now - dispatched)
        else:
            later = (usage.output_tokens - (ticket.first_output_tokens or sequences)) / sequences
            pace = StreamPace(per_sequence, later, now - began)
            self.speeds.observe_stream(tenant, fresh_tokens, began - dispatched, pace)

    def retry_after_seconds(self, tenant: TenantQueue, now: float) -> float:
        """The seconds in which the queue, at its measured drain rate, serves what `tenant` has queued and one more.

        This is a guess, so it is a minute at most, and 1 s without a measured rate. The tenant's share of the rate is
        its weight among those who wait.
        """
        rate = self.drain.per_second(now)
        if rate <= 0.0:
            return 1.0
        others = sum(flow.weight for flow in _some(self.queue, tenant))
        share = tenant.weight / (tenant.weight + others)
        return min((tenant.queued + 1) / (rate * share), LONGEST_RETRY_SECONDS)

    # -- views

    def snapshot(self, now: float, estimated_tokens: int, tenants: Collection[str] | None = None) -> PoolSnapshot:
        """This pool at `now`, with the accounts of all tenants; takes O(waiting tenants) besides those.

        If `tenants` are named, their accounts alone are shown, each as it is when it is asked for.
        """
        queue = self.queue
        shown = self._accounts(queue.tenants if tenants is None else tenants, now)
        waiting = queue.group.policy.waiting
        recent = [flow.recent.value(now) for flow in waiting]
        return PoolSnapshot(
            pool=self.spec.name,
            queued=queue.queued,
            in_flight=self.in_flight,
            spread=to_cost(queue.spread_units()),
            spread_bound=to_cost(queue.group.policy.bound.units),
            jain_index=jain_index(recent),
            drain_rate_per_second=self.drain.per_second(now),
            estimated_tokens=estimated_tokens,
            tenants=tuple(shown) if tenants is None else shown,
        )

    def _accounts(self, names: Collection[str], now: float) -> Iterator[TenantSnapshot]:
        for name in names:
            tenant = self.queue.tenants.get(name)
            if tenant is not None:
                yield tenant.snapshot(now)


_MOST_COMPETITORS = 64  # the share is estimated from at most so many: Retry-After is advice, not a promise


def _some(queue: PoolQueue, tenant: TenantQueue) -> list[TenantQueue]:
    """Other waiting tenants, at most `_MOST_COMPETITORS` of them: a refusal must stay cheap in a flood."""
    others: list[TenantQueue] = []
    for flow in queue.group.policy.waiting:
        if flow is not tenant:
            others.append(flow)
        if len(others) == _MOST_COMPETITORS:
            break
    return others
