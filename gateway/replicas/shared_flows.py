"""The flows of one pool's scheduler, kept in step with the store: what is reported of them, and what is heard.

Only flows that can have changed are reported: those with requests in flight, those whose requests have ended, and those
that are named as candidates. After a registration all are reported. Flows that begin to wait are newcomers until a call
that was made afterwards is answered; then they are lifted to the level of the answer (docs/fairness.md, section 8).
Left to others: room and the order of calls (`replica`), the sums (`flow_book`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.fairness.admission import Admission
from gateway.fairness.flow import Flow
from gateway.fairness.policies import VirtualTokenCounter
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket
from gateway.replicas.call import A_KEY, MOST_FLOWS, NOBODY, Candidate, Figures, FlowReport, FlowState
from gateway.replicas.flow_book import FlowBook
from gateway.replicas.spread import Spread

UNUSED_SECONDS: Final = 600.0


def key_name(tenant: str, key: str) -> str:
    """The name of a key's flow; no tenant's name has a zero byte."""
    return f"{tenant}\0{key}"


def vtc(policy: object) -> VirtualTokenCounter[Any]:
    """`policy`, which must be virtual token counters."""
    assert isinstance(policy, VirtualTokenCounter)
    return policy


class SharedFlows:
    """Every flow of one pool."""

    def __init__(self, admission: Admission, pool: str, shift: int) -> None:
        """The flows of `pool`, whose policy is `vtc`; the wire unit is `2 ** shift` counter units."""
        self.book = FlowBook(shift)
        self._register = admission.tenants
        self._account: PoolAccount = admission.pools[pool]
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._ended: dict[tuple[str, str], int] = {}  # with the number of the last call before the end
        self._must_report_all = True
        self._are_all_reported = False  # by the call that is under way
        self._reported_newcomers: dict[TenantQueue, None] = {}  # who had begun to wait when the call was made
        self._forgets_at = 0.0  # 0 before the first call
        self.policy.newcomers = {}
        self.spread = Spread(self.book, self.policy)

    @property
    def policy(self) -> VirtualTokenCounter[TenantQueue]:
        """Who waits, among the tenants."""
        return vtc(self._account.queue.group.policy)

    @property
    def newcomers(self) -> dict[TenantQueue, None]:
        """Who has begun to wait since the last call that was answered was made."""
        return self._reported_newcomers | (self.policy.newcomers or {})

    def forget_unused(self, now: float) -> None:
        """Every ten minutes forget what was heard of flows that are not here and did not change since the last time."""
        if now >= self._forgets_at:
            if self._forgets_at:
                self.book.forget_unused(self.book.to_wire(self.policy.level_elsewhere), self._is_here)
            self._forgets_at = now + UNUSED_SECONDS

    def _is_here(self, name: str) -> bool:
        tenant_name, _, key = name.partition("\0")
        tenant = self._account.queue.tenants.get(tenant_name)
        return tenant is not None and (not key or tenant.known_key(key) is not None)

    def meet(self, tenant_name: str, key: str) -> None:
        """Give the flows of an arriving request, if they are new here, the counters that they have elsewhere."""
        queue = self._account.queue
        tenant = queue.tenants.get(tenant_name)
        if tenant is None:
            tenant = queue.tenant(tenant_name, self._register)
            self.book.introduce(tenant_name, tenant)
            self._set_level(tenant)
        if tenant.known_key(key) is None:
            self.book.introduce(key_name(tenant_name, key), tenant.key(key))

    # -- what is reported

    def granted(self, ticket: Ticket) -> None:
        """A request is in flight now: what it is charged moves."""
        self._in_flight[ticket.tenant, ticket.key] += 1
        self.spread.turned(self._account.queue.tenants[ticket.tenant])

    def ended(self, ticket: Ticket, number: int) -> None:
        """A request has ended, after the call with this number was made."""
        flows = ticket.tenant, ticket.key
        self._in_flight[flows] -= 1
        if not self._in_flight[flows]:
            del self._in_flight[flows]
        self._ended[flows] = number

    def register(self) -> None:
        """Report everything once more."""
        self._must_report_all = True
        self.book.register()

    def reports(self, candidates: Iterable[Candidate]) -> list[FlowReport]:
        """What the next call reports of flows, if it names these candidates."""
        self._reported_newcomers |= self.policy.newcomers or {}
        self.policy.newcomers = {}
        reports = self.book.reports(self._changing(candidates), MOST_FLOWS)
        self._are_all_reported = len(reports) < MOST_FLOWS
        return reports

    def figures(self, now: float, candidates: Iterable[Candidate]) -> Figures:
        """What the next call reports of the bound, after the flows."""
        tenants = self._account.queue.tenants
        old = (each.counter for each in candidates if tenants[each.tenant] not in self._reported_newcomers)
        return self.spread.figures(now, next(old, NOBODY))

    def _changing(self, candidates: Iterable[Candidate]) -> Iterator[tuple[str, Flow, int]]:
        tenants = self._account.queue.tenants
        seen: set[str] = set()
        for tenant_name, key in self._names(candidates):
            tenant = tenants.get(tenant_name)
            if tenant is None:
                continue  # it was removed from the configuration after its last request
            if tenant_name not in seen:
                seen.add(tenant_name)
                yield tenant_name, tenant, self.book.to_wire(vtc(tenant.group.policy).level)
            flow = tenant.known_key(key)
            if flow is not None:
                yield key_name(tenant_name, key), flow, A_KEY

    def _names(self, candidates: Iterable[Candidate]) -> dict[tuple[str, str], None]:
        tenants = self._account.queue.tenants
        if self._must_report_all:
            return dict.fromkeys((tenant.name, key.name) for tenant in tenants.values() for key in tenant.keys)
        names = dict.fromkeys([*self._in_flight, *self._ended])
        for name in dict.fromkeys(candidate.tenant for candidate in candidates):
            names |= dict.fromkeys((name, key.name) for key in tenants[name].group.policy.waiting)
        return names

    # -- what is heard

    def acknowledge(self, number: int) -> bool:
        """The store has taken in the call with this number; True if it reported all that there is to report."""
        self.book.acknowledge()
        if self._are_all_reported:
            self._must_report_all = False
            self._ended = {flows: last for flows, last in self._ended.items() if last >= number}
        return self._are_all_reported

    def hear(self, state: FlowState) -> None:
        """Take in what the store says of a flow."""
        tenant_name, _, key = state.name.partition("\0")
        tenant = self._account.queue.tenants.get(tenant_name)
        if key:
            self._share(state, None if tenant is None else tenant.known_key(key), tenant and tenant.group.policy)
            return
        self._share(state, tenant, self.policy)
        if tenant is not None:
            self._set_level(tenant)

    def _share(self, state: FlowState, flow: Flow | None, policy: Any) -> None:
        moved = self.book.hear(state, flow, 0 if policy is None else policy.bound.margin)
        if moved < 0:
            policy.charged(flow, moved)

    def _set_level(self, tenant: TenantQueue) -> None:
        keys = vtc(tenant.group.policy)
        keys.level_elsewhere = max(keys.level_elsewhere, self.book.level(tenant.name))

    def settle(self, level: int, least_elsewhere: int | None) -> None:
        """Take in the level that all know and the least that waits elsewhere; lift those that are newcomers no more."""
        units, policy = self.book.to_units, self.policy
        self.spread.heard(units(level))
        policy.level_elsewhere = max(policy.level_elsewhere, units(level))
        policy.least_elsewhere = None if least_elsewhere is None else units(least_elsewhere)
        for flow in self._reported_newcomers:
            if flow.is_waiting:
                flow.lift_to(policy.level_elsewhere, policy.bound.margin)
        self._reported_newcomers = {}
