"""Who goes next in an engine's own queue: the tenant with the least virtual token counter.

The rules are those of the gateway's `vtc` (docs/fairness.md): a tenant that begins to wait is lifted to the least
waiting counter, or, where nobody waits, to that of the tenant that left the queue last; a request pays for its prompt
when it is popped and for each token as it is generated; ties go by arrival. A request that was preempted has paid and
goes before all others, because its client's stream stands still. Units are integers: what is put back is refunded
exactly. Which requests there are, and when one is over, is the scheduler's to say.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

UNITS_PER_COST = 1_000_000
INPUT_WEIGHT, OUTPUT_WEIGHT = 1, 2  # cost of a prompt's token and of a generated one (the paper's)
MAX_IDLE_TENANTS = 10_000  # beyond it tenants without a request are forgotten
_SLACK_ENTRIES = 64  # below this size tidying the heap is not worth its while

Request = TypeVar("Request")
_Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a request belongs to: charges are divided by `weight`, which is positive."""

    tenant: str
    weight: float
    prompt_tokens: int


class _Tenant(Generic[Request]):
    __slots__ = ("counter", "filed", "floor", "known", "requests")

    def __init__(self) -> None:
        self.counter = 0
        self.floor = 0  # level of its last lift: no refund goes below it
        self.known = 0  # its requests that are not over
        self.requests: OrderedDict[Request, _Claim[Request]] = OrderedDict()  # those that wait
        self.filed: _Key | None = None  # its key in the heap, None if it does not wait

    @property
    def key(self) -> _Key:
        return self.counter, next(iter(self.requests.values())).arrival


class _Claim(Generic[Request]):
    """What one request costs its tenant; the units hold until it is over, whatever becomes of the weight."""

    __slots__ = ("arrival", "is_paid", "prompt_units", "tenant", "token_units")

    def __init__(self, tenant: _Tenant[Request], payer: Payer, arrival: int) -> None:
        self.tenant = tenant
        self.arrival = arrival
        self.prompt_units = round(payer.prompt_tokens * INPUT_WEIGHT * UNITS_PER_COST / payer.weight)
        self.token_units = round(OUTPUT_WEIGHT * UNITS_PER_COST / payer.weight)
        self.is_paid = False


class FairQueue(Generic[Request]):
    """The waiting requests of one engine, and the counters of their tenants."""

    def __init__(self, payer_of: Callable[[Request], Payer]) -> None:
        """An empty queue; `payer_of` is asked once for each request."""
        self._payer_of = payer_of
        self._tenants: dict[str, _Tenant[Request]] = {}
        self._claims: dict[Request, _Claim[Request]] = {}
        self._preempted: OrderedDict[Request, None] = OrderedDict()
        self._waiting: set[_Tenant[Request]] = set()
        self._heap: list[tuple[_Key, _Tenant[Request]]] = []
        self._left_last: _Tenant[Request] | None = None
        self._arrivals = 0
        self._length = 0
        self._forget_at = MAX_IDLE_TENANTS

    def __len__(self) -> int:
        """Number of waiting requests."""
        return self._length

    def __iter__(self) -> Iterator[Request]:
        """The waiting requests: the preempted, then tenant by tenant as the counters stand now."""
        yield from self._preempted
        for tenant in sorted(self._waiting, key=lambda tenant: tenant.key):
            yield from tenant.requests

    # -- what comes in and goes out

    def add(self, request: Request) -> None:
        """Append a request to its tenant's queue."""
        self._enter(request, is_first=False)

    def put_back(self, request: Request) -> None:
        """Put a popped request back at the head of its tenant's queue, its prompt refunded."""
        self._enter(request, is_first=True)

    def resume(self, request: Request) -> None:
        """Put a preempted request before everything; it has paid."""
        self._preempted[request] = None
        self._preempted.move_to_end(request, last=False)
        self._length += 1

    def peek(self) -> Request | None:
        """The request that goes next, None if none waits."""
        if self._preempted:
            return next(iter(self._preempted))
        tenant = self._first()
        return None if tenant is None else next(iter(tenant.requests))

    def pop(self) -> Request | None:
        """Take out the request that goes next and charge its prompt; None if none waits."""
        request = self.peek()
        if request is not None and not self._leave_preempted(request):
            claim = self._claims[request]
            self._leave(request, claim.tenant)
            claim.tenant.counter += claim.prompt_units
            claim.is_paid = True
        return request

    def remove(self, requests: Iterable[Request]) -> None:
        """Take out those of `requests` that wait here; they are charged nothing."""
        for request in requests:
            claim = self._claims.get(request)
            if not self._leave_preempted(request) and claim is not None and request in claim.tenant.requests:
                self._leave(request, claim.tenant)

    # -- what is paid

    def generated(self, request: Request, tokens: int) -> None:
        """Charge `tokens` that a request has generated."""
        claim = self._claims.get(request)
        if claim is not None:
            claim.tenant.counter += tokens * claim.token_units

    def forget(self, request: Request) -> None:
        """A request is over; one that was preempted may have come to its end by what was under way."""
        claim = self._claims.pop(request, None)
        if claim is not None:
            claim.tenant.known -= 1

    def counter(self, tenant: str) -> int:
        """The counter of a tenant in units; 0 for one that is not known."""
        known = self._tenants.get(tenant)
        return 0 if known is None else known.counter

    # -- inside

    def _enter(self, request: Request, *, is_first: bool) -> None:
        claim = self._claims.get(request) or self._open(request)
        tenant = claim.tenant
        if claim.is_paid:
            tenant.counter = max(tenant.counter - claim.prompt_units, tenant.floor)
            claim.is_paid = False
        tenant.requests[request] = claim
        if is_first:
            tenant.requests.move_to_end(request, last=False)
        self._length += 1
        if len(tenant.requests) == 1:
            self._lift(tenant)
            self._waiting.add(tenant)
        self._file(tenant)

    def _leave(self, request: Request, tenant: _Tenant[Request]) -> None:
        self._length -= 1
        del tenant.requests[request]
        if not tenant.requests:
            tenant.filed = None
            self._waiting.discard(tenant)
            self._left_last = tenant

    def _leave_preempted(self, request: Request) -> bool:
        """Take out a request that was preempted; False if this one is not."""
        if request not in self._preempted:
            return False
        del self._preempted[request]
        self._length -= 1
        return True

    def _lift(self, tenant: _Tenant[Request]) -> None:
        level = self._first() or self._left_last
        if level is not None:
            tenant.floor = max(tenant.floor, level.counter)
            tenant.counter = max(tenant.counter, tenant.floor)

    def _open(self, request: Request) -> _Claim[Request]:
        payer = self._payer_of(request)
        tenant = self._tenants.get(payer.tenant) or self._meet(payer.tenant)
        tenant.known += 1
        self._arrivals += 1
        claim = self._claims[request] = _Claim(tenant, payer, self._arrivals)
        return claim

    def _meet(self, name: str) -> _Tenant[Request]:
        if len(self._tenants) >= self._forget_at:
            self._tenants = {name: tenant for name, tenant in self._tenants.items() if tenant.known}
            self._forget_at = max(MAX_IDLE_TENANTS, 2 * len(self._tenants))
        tenant = self._tenants[name] = _Tenant()
        return tenant

    # -- the tenants by key: one that rose is filed anew when it comes up, one that fell at once

    def _file(self, tenant: _Tenant[Request]) -> None:
        key = tenant.key
        if tenant.filed is None or key < tenant.filed:
            tenant.filed = key
            heappush(self._heap, (key, tenant))
        if len(self._heap) > 2 * len(self._waiting) + _SLACK_ENTRIES:
            self._heap = [(each.filed, each) for each in self._waiting if each.filed is not None]
            heapify(self._heap)

    def _first(self) -> _Tenant[Request] | None:
        heap = self._heap
        while heap:
            filed, tenant = heap[0]
            if tenant.filed != filed:
                heappop(heap)
                continue
            key = tenant.key
            if key == filed:
                return tenant
            tenant.filed = key
            heapreplace(heap, (key, tenant))
        return None
