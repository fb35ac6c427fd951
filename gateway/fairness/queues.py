"""The queues of one pool: the keys of a tenant (`key_queue`), the tenants of the pool.

Tenants and keys are both flows under the same policy, so a tenant with many keys gets no more than one with a single
key. A flow waits while it has an *eligible* request: a tenant that its own limit holds back has a queue but does not
wait. Left to others: room, charges and limits (`admission`).
"""

from collections.abc import Callable
from typing import Any, Generic

from gateway.fairness.flow import Flow
from gateway.fairness.key_queue import KeyQueue
from gateway.fairness.lazy_heap import LazyHeap, ranked, units_of
from gateway.fairness.policies import F, Policy
from gateway.fairness.predictor import Predictor
from gateway.fairness.snapshot import TenantSnapshot
from gateway.fairness.tenants import TenantRegister
from gateway.fairness.ticket import Ticket
from gateway.learned.decay import DecayingSum

_RECENT_SECONDS = 60.0  # horizon of the service that the Jain index compares


class FlowGroup(Generic[F]):
    """The flows that compete on one level: their policy, and which of them has the longest weighted queue."""

    __slots__ = ("longest", "policy")

    def __init__(self, policy: Policy[F]) -> None:
        """An empty group under `policy`."""
        self.policy = policy
        self.longest: LazyHeap[F] = LazyHeap(lambda flow: ranked(-units_of(flow.queued / flow.weight), flow.head_order))


class TenantQueue(Flow):
    """One tenant in one pool: its keys, and what its answers have taught the predictor."""

    __slots__ = (
        "_census",
        "_keys",
        "_waiting_keys",
        "allowance",
        "group",
        "in_flight",
        "is_barred",
        "is_express_eligible",
        "predictor",
        "recent",
    )

    def __init__(self, name: str, register: TenantRegister, policy: Policy[KeyQueue], predictor: Predictor) -> None:
        """A tenant without requests; `register` has its weight and allowance."""
        super().__init__(name, register.weight(name))
        self.allowance = register.allowance(name)
        self._keys: dict[str, KeyQueue] = {}
        self._waiting_keys = 0  # that have requests queued
        self._census = register.census
        self.group: FlowGroup[KeyQueue] = FlowGroup(policy)
        self.predictor = predictor
        self.is_express_eligible = False  # True while it waits with nothing in flight
        self.is_barred = False  # True while workers have no room for its requests, and only for its requests
        self.in_flight = 0
        self.recent = DecayingSum(_RECENT_SECONDS)

    @property
    def keys(self) -> tuple[KeyQueue, ...]:
        """The key flows known at present."""
        return tuple(self._keys.values())

    def known_key(self, name: str) -> KeyQueue | None:
        """The flow of key `name`, if it is known."""
        return self._keys.get(name)

    def key(self, name: str) -> KeyQueue:
        """The flow of key `name`, made on first use; beyond a bound idle ones are forgotten (`census`)."""
        queue = self._keys.get(name)
        if queue is None:
            self._census.add(self)
            queue = self._keys[name] = KeyQueue(name)
        queue.is_used = True
        return queue

    def enqueue(self, ticket: Ticket) -> None:
        """Append a new request to its key's queue."""
        queue = self.key(ticket.key)
        queue.append(ticket)
        if queue.queued == 1:
            self._waiting_keys += 1
            self.group.policy.arrive(queue)
        self._grew(queue)

    def put_back(self, ticket: Ticket) -> None:
        """Put a request whose attempt failed back at the head of its key's queue."""
        queue = self.key(ticket.key)
        queue.put_back(ticket)
        if queue.queued == 1:
            self._waiting_keys += 1
            self.group.policy.arrive(queue)
        else:
            self.group.policy.head_changed(queue)
        self._grew(queue)

    def oldest(self) -> Ticket:
        """The request that goes next among the keys; the queue must not be empty."""
        queue = self.group.policy.first() or self.group.longest.first()  # the latter if all keys wait for budgets
        assert queue is not None
        return queue.oldest()

    def newest(self) -> Ticket:
        """The newest request of the key with the longest queue."""
        queue = self.group.longest.first()
        assert queue is not None
        return queue.newest()

    def shrank(self, ticket: Ticket) -> KeyQueue:
        """Note that `ticket` left its queue; its state says so already."""
        queue = self.key(ticket.key)
        queue.shrank()
        if queue.queued == 0:
            self._waiting_keys -= queue.is_waiting
            self.group.policy.leave(queue)
            self.group.longest.discard(queue)
        elif not queue.is_waiting:
            self._waiting_keys += 1
            self.group.policy.arrive(queue)  # it was left out; its next request may have another budget
        self.queued -= 1
        self._find_head(queue)
        return queue

    def _grew(self, queue: KeyQueue) -> None:
        self.group.longest.add(queue)
        self.queued += 1
        self._find_head(queue)

    def leave_out(self, queue: KeyQueue) -> None:
        """Pass over a key while its next request waits for a budget of its own."""
        self._waiting_keys -= 1
        self.group.policy.leave(queue)
        self._find_head(None)

    def take_back(self, queue: KeyQueue) -> None:
        """Let a key that was left out wait again, if it has a request."""
        if queue.queued and not queue.is_waiting:
            self._waiting_keys += 1
            self.group.policy.arrive(queue)
            self._find_head(None)

    def arrival(self) -> int:
        """Arrival number of the request that goes next; it is found anew, since charges may have changed the head."""
        if self._waiting_keys > 1:
            self._find_head(None)
        return self.head_order

    def _find_head(self, changed: KeyQueue | None) -> None:
        """Find the arrival number of the next request: it decides under FCFS; under other policies it breaks ties.

        If only `changed` waits, the policy need not be asked: among many tenants each object on the way to it costs.
        """
        is_alone = self._waiting_keys == 1 and changed is not None and changed.is_waiting
        queue = changed if is_alone else self.group.policy.first()
        if queue is not None:
            self.head_order = queue.head_order

    @property
    def known_keys(self) -> int:
        """How many key flows are kept."""
        return len(self._keys)

    def snapshot(self, now: float) -> TenantSnapshot:
        """Its account."""
        oldest_seconds = self.oldest().waited(now) if self.queued else 0.0
        is_held_back = self.queued > 0 and not self.is_waiting
        counter, queued, in_flight = self.virtual_time, self.queued, self.in_flight
        return TenantSnapshot(
            self.name, self.weight, counter, self.service, queued, in_flight, oldest_seconds, is_held_back
        )

    def forget_idle(self, *, only_unused: bool = False) -> None:
        """Drop every idle key; with `only_unused`, only those that were not used since the last call."""
        for key in self.keys:
            is_idle = not key.queued and not key.outstanding and not key.ceilings
            if is_idle and not (only_unused and key.is_used):
                del self._keys[key.name]
                self.group.policy.forget(key)
            key.is_used = False


class PoolQueue:
    """All requests that wait for one pool."""

    __slots__ = ("_make_policy", "_make_predictor", "express_eligible", "group", "queued", "tenants")

    def __init__(self, make_policy: Callable[[], Policy[Any]], make_predictor: Callable[[], Predictor]) -> None:
        """An empty pool whose two levels both run the rule of `make_policy`."""
        self._make_policy = make_policy
        self._make_predictor = make_predictor
        self.group: FlowGroup[TenantQueue] = FlowGroup(make_policy())
        self.tenants: dict[str, TenantQueue] = {}
        self.express_eligible: LazyHeap[TenantQueue] = LazyHeap(lambda tenant: ranked(tenant.counter, tenant.arrival()))
        self.queued = 0

    def tenant(self, name: str, register: TenantRegister) -> TenantQueue:
        """The flow of tenant `name`, made on first use."""
        queue = self.tenants.get(name)
        if queue is None:
            queue = self.tenants[name] = TenantQueue(name, register, self._make_policy(), self._make_predictor())
        return queue

    def forget(self, name: str) -> bool:
        """Drop tenant `name`; False, without effect, if it has requests."""
        tenant = self.tenants.get(name)
        if tenant is None:
            return True
        if tenant.queued or tenant.in_flight:
            return False
        del self.tenants[name]
        self.group.policy.forget(tenant)
        return True

    def reweigh(self, name: str, weight: float) -> None:
        """Give tenant `name` another weight, by which it is charged from its next dispatch on."""
        tenant = self.tenants.get(name)
        if tenant is not None:
            tenant.weight = weight
            self.group.longest.lowered(tenant)

    def enqueue(self, tenant: TenantQueue, ticket: Ticket) -> None:
        """Append a new request."""
        before = tenant.head_order
        tenant.enqueue(ticket)
        self._grew(tenant, before)

    def put_back(self, tenant: TenantQueue, ticket: Ticket) -> None:
        """Put a request whose attempt failed back at the head."""
        before = tenant.head_order
        tenant.put_back(ticket)
        self._grew(tenant, before)

    def admit_directly(self, tenant: TenantQueue, ticket: Ticket) -> None:
        """Note a new request that runs at once while nobody waits: tenant and key arrive and leave in one step."""
        tenant.group.policy.admit_directly(tenant.key(ticket.key))
        self.group.policy.admit_directly(tenant)

    def refunded(self, tenant: TenantQueue, ticket: Ticket) -> None:
        """Note a request that held room and was refunded in full: tenant and key get no credit for it."""
        tenant.group.policy.refunded(tenant.key(ticket.key))
        self.group.policy.refunded(tenant)

    def next_tenant(self) -> TenantQueue | None:
        """The waiting tenant that goes next."""
        return self.group.policy.first()

    def review_light(self, tenant: TenantQueue) -> None:
        """Keep `tenant` in `express_eligible` while it waits with nothing in flight, as the express lane demands."""
        is_express_eligible = tenant.is_waiting and not tenant.in_flight
        if is_express_eligible is tenant.is_express_eligible:
            return
        tenant.is_express_eligible = is_express_eligible
        if is_express_eligible:
            self.express_eligible.add(tenant)
        else:
            self.express_eligible.discard(tenant)

    def take_back(self, tenant: TenantQueue, key: KeyQueue) -> None:
        """Let a key of `tenant` wait again that was left out."""
        before = tenant.head_order
        tenant.take_back(key)
        self._move_head(tenant, before)

    def longest_tenant(self) -> TenantQueue:
        """The tenant with the longest weighted queue; something must be queued."""
        tenant = self.group.longest.first()
        assert tenant is not None
        return tenant

    def shrank(self, tenant: TenantQueue, ticket: Ticket) -> KeyQueue:
        """Note that `ticket` left its queue; its state says so already."""
        before = tenant.head_order
        key = tenant.shrank(ticket)
        self.queued -= 1
        if tenant.queued == 0:
            self.group.longest.discard(tenant)
        self._move_head(tenant, before)
        return key

    def spread_units(self) -> int:
        """The largest difference between the counters of waiting tenants, in counter units."""
        counters = [flow.counter for flow in self.group.policy.waiting]
        return max(counters) - min(counters) if counters else 0

    def _grew(self, tenant: TenantQueue, head_order_before: int) -> None:
        self.queued += 1
        self.group.longest.add(tenant)
        self._move_head(tenant, head_order_before)

    def _move_head(self, tenant: TenantQueue, head_order_before: int) -> None:
        """Tell the policy if an older request is next: under any policy this can only move the tenant forward."""
        if tenant.head_order < head_order_before:
            self.group.policy.head_changed(tenant)
