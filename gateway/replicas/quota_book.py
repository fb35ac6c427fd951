"""What one replica holds of every limit of every tenant, and which of it the next call names.

A tenant is in the book from the time when its requests need more than every replica has without asking, or when others
use a limit of it, until nobody holds any of its limits. A call names the tenants that something happened to since the
last one, and some others in turn. Left to others: the order of calls, and the store's absence (`shared_limits`).
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from gateway.fairness.admission import Admission
from gateway.fairness.limits import Allowance
from gateway.replicas.leases import Demand, FlightLease, Lease, RateLease, leases_of
from gateway.replicas.quota_call import MOST_ROWS, LimitReport, LimitState
from gateway.replicas.snapshot import SharedLimitSnapshot

MOST_CLAIMS: Final = 100_000  # names of limits that others use
MOST_QUIET: Final = 16  # tenants of a call to which nothing happened
MOST_OF_ONE: Final = 4  # limits of one tenant
LEAST_ROWS: Final = 8
ROWS_OF_ALL: Final = 96  # the store looks at what each replica holds of each limit of a call


class _Account:
    """One tenant's leases, and what its requests lack."""

    __slots__ = ("allowance", "answered", "demand", "leases", "limits")

    def __init__(self, tenant: str, allowance: Allowance, replicas: int) -> None:
        self.allowance = allowance
        self.answered = 0  # the number of the last call that named it and was answered
        self.limits = allowance.limits
        self.demand = Demand()
        self.leases: dict[str, Lease] = {lease.name: lease for lease in leases_of(tenant, allowance, replicas)}

    def renew(self, tenant: str, replicas: int) -> None:
        """Take over changed limits; a lease of one that is as before stays."""
        before, self.limits = self.leases, self.allowance.limits
        self.leases = {lease.name: lease for lease in leases_of(tenant, self.allowance, replicas)}
        for name, lease in self.leases.items():
            if name in before and before[name].most == lease.most:
                self.leases[name] = before[name]


class QuotaBook:
    """Leases by tenant."""

    def __init__(self, admission: Admission, replicas: int) -> None:
        """Nothing is held; `replicas` share every limit of `admission`."""
        self.replicas = replicas
        self.claimed: dict[str, None] = {}  # limits that others use
        self._admission = admission
        self._accounts: dict[str, _Account] = {}
        self._waiting: dict[str, None] = {}  # tenants whose requests wait for the store's answer
        self._touched: dict[str, None] = {}
        self._held_back: dict[str, None] = {}  # tenants that wait for places in flight
        self._named: list[str] = []  # tenants of the call that is under way
        self._sent: dict[str, Lease] = {}
        self._is_cut = False  # the last call could not name all
        self._unreported: dict[str, None] = {}  # tenants of which the store has not heard since this replica registered

    # -- what happens here

    def touch(self, tenant: str) -> bool:
        """Note that a request of `tenant` came or ended; True if it waits for places in flight that others may have."""
        if tenant not in self._accounts and not self._is_held_back(tenant):
            return False
        account = self._account(tenant)
        self._touched[tenant] = None
        was_held_back = account.demand.head_sequences > 0
        self._look(tenant, account)
        return account.demand.head_sequences > 0 and not was_held_back

    def expect(self, tenant: str, tokens: float) -> Demand:
        """Note that a request of `tenant` with `tokens` waits for the store's answer; end it with `forget`."""
        demand = self._account(tenant).demand
        demand.requests += 1
        demand.tokens += tokens
        self._waiting[tenant] = None
        return demand

    def forget(self, tenant: str, tokens: float, demand: Demand) -> None:
        """Note that a request waits no more, which `demand` counts; the tenant may have been removed meanwhile."""
        demand.requests -= 1
        demand.tokens -= tokens
        account = self._accounts.get(tenant)
        if account is None or not account.demand.requests:
            self._waiting.pop(tenant, None)

    def is_answered(self, tenant: str, number: int) -> bool:
        """True if a call from `number` on that named `tenant` was answered."""
        account = self._accounts.get(tenant)
        return account is None or account.answered >= number

    def _account(self, tenant: str) -> _Account:
        """The account of `tenant`, made on first use, and anew if the tenant was removed and added again."""
        allowance, account = self._admission.tenants.allowance(tenant), self._accounts.get(tenant)
        if account is None or account.allowance is not allowance:
            account = self._accounts[tenant] = _Account(tenant, allowance, self.replicas)
        return account

    def _is_held_back(self, tenant: str) -> bool:
        allowance = self._admission.tenants.allowance(tenant)
        return allowance.is_capped and any(not allowance.has_flight_place(each) for each in self._heads(tenant))

    def _heads(self, tenant: str) -> Iterator[int]:
        """The sequences of the request that goes next in each pool."""
        for account in self._admission.pools.values():
            queue = account.queue.tenants.get(tenant)
            if queue is not None and queue.queued and not queue.is_barred:
                yield queue.oldest().sequences

    def _look(self, tenant: str, account: _Account) -> None:
        """Find out what the tenant lacks for the next request that its limit in flight holds back."""
        allowance = account.allowance
        heads = list(self._heads(tenant)) if allowance.is_capped else []
        is_held_back = bool(heads) and not any(allowance.has_flight_place(each) for each in heads)
        account.demand.head_sequences = min(heads) if is_held_back else 0
        account.demand.waiting_sequences = max(allowance.queued, account.demand.head_sequences)  # as if all were alike
        if is_held_back:
            self._held_back[tenant] = None
        else:
            self._held_back.pop(tenant, None)

    @property
    def is_holding_back(self) -> bool:
        """True if a tenant waits for places in flight."""
        return bool(self._held_back)

    # -- what is reported

    def register(self) -> None:
        """Report everything once more: the store may know nothing of this replica."""
        self._unreported = dict.fromkeys(self._accounts)
        for account in self._accounts.values():
            for lease in account.leases.values():
                lease.register()

    @property
    def has_more(self) -> bool:
        """True if there is more to report than the last call reported."""
        return self._is_cut

    @property
    def has_told_all(self) -> bool:
        """True if the calls since this replica registered, the last one included, name all that it holds."""
        return not self._unreported

    def reports(self, now: float, *, must_keep: bool) -> list[LimitReport]:
        """What the next call reports; under way until `hear` or `unanswered`.

        `must_keep` says that nothing is given back, because the last call was not answered.
        """
        most_rows = min(MOST_ROWS, max(LEAST_ROWS, ROWS_OF_ALL // self.replicas))
        found: list[LimitReport] = []
        self._named, self._sent, self._is_cut = [], {}, False
        for tenant in self._order():
            self._named.append(tenant)
            self._touched.pop(tenant, None)
            self._unreported.pop(tenant, None)
            account = self._accounts.get(tenant)
            if account is not None:
                found += self._reports_of(tenant, account, now, must_keep=must_keep)
            if len(found) > most_rows - MOST_OF_ONE:
                self._is_cut = True
                break
        return found

    def _order(self) -> list[str]:
        quiet = list(self._accounts)[:MOST_QUIET]
        for tenant in quiet:  # they come last next time
            self._accounts[tenant] = self._accounts.pop(tenant)
        return list(dict.fromkeys((*self._waiting, *self._unreported, *self._held_back, *self._touched, *quiet)))

    def _reports_of(self, tenant: str, account: _Account, now: float, *, must_keep: bool) -> list[LimitReport]:
        if account.limits is not account.allowance.limits:
            account.renew(tenant, self.replicas)
        self._look(tenant, account)
        found: list[LimitReport] = []
        for lease in account.leases.values():
            report = lease.report(account.demand, now, must_keep=must_keep)
            if lease.is_confirmed or lease.name in self.claimed or _says_something(report):
                found.append(report)
                self._sent[lease.name] = lease
        if not found and tenant not in self._waiting and tenant not in self._held_back:
            del self._accounts[tenant]
        return found

    def unanswered(self) -> None:
        """Whether the store has heard what was under way is unknown: report it once more."""
        self._touched |= dict.fromkeys(self._named)
        self._named, self._sent = [], {}

    def go_on(self) -> None:
        """The store does not answer: keep all that is held."""
        for account in self._accounts.values():
            for lease in account.leases.values():
                lease.go_on()

    # -- what is heard

    def hear(self, states: Iterable[LimitState], number: int) -> list[str]:
        """Take in the answer to call `number`, which was under way; the tenants whose places in flight may differ."""
        grown: dict[str, None] = {}
        for tenant in self._named:
            if tenant in self._accounts:
                self._accounts[tenant].answered = number
        for state in states:
            lease = self._sent.get(state.name)
            if lease is not None:
                lease.hear(state, self.replicas)
                if isinstance(lease, FlightLease):
                    grown[state.name[2:]] = None
            if state.is_gone:
                self.claimed.pop(state.name, None)
        self._named, self._sent = [], {}
        return list(grown)

    def grant(self, name: str, total: int) -> bool:
        """Take in a grant between calls; True if it was of use."""
        lease = self._lease(name)
        if lease is None or not lease.is_confirmed:
            return False
        self._touched[name[2:]] = None
        return lease.grant(total)

    def recall(self, name: str) -> None:
        """Others lack some of this limit."""
        lease = self._lease(name)
        if lease is not None:
            lease.recall()
            self._touched[name[2:]] = None

    def claim(self, name: str) -> None:
        """Others use this limit: hold some of it too, in case that the store goes."""
        tenant = name[2:]
        if len(self.claimed) < MOST_CLAIMS:
            self.claimed[name] = None
        if tenant in self._admission.tenants:
            self._account(tenant)
            self._touched[tenant] = None

    def _lease(self, name: str) -> Lease | None:
        account = self._accounts.get(name[2:])
        return None if account is None else account.leases.get(name)

    # -- views

    def note_refused(self, tenant: str, tokens: float, now: float) -> None:
        """Note which limits refuse a request of `tenant` with `tokens`, if any does, although the store was asked."""
        account = self._accounts.get(tenant)
        for lease in () if account is None else account.leases.values():
            if lease.lacks(tokens, now):
                lease.refused_at = now

    def snapshot(self, now: float, tenants: Collection[str] | None) -> tuple[SharedLimitSnapshot, ...]:
        """The limits of `tenants` that are in the book; None: of all that are."""
        shown = self._accounts.keys() if tenants is None else self._accounts.keys() & tenants
        return tuple(lease.snapshot(name, now) for name in shown for lease in self._accounts[name].leases.values())

    # -- without the store

    def claim_parts(self, tenant: str) -> None:
        """Hold an equal part of each limit of `tenant` that nobody is known to use."""
        account = self._account(tenant)
        for name, lease in account.leases.items():
            if name not in self.claimed and not lease.is_known:
                lease.claim_part()

    def waiting(self) -> list[str]:
        """Tenants whose requests wait for an answer, or for places in flight."""
        return [*self._waiting, *self._held_back]

    def drop_idle(self) -> None:
        """Give back all that is not in use."""
        for account in self._accounts.values():
            for lease in account.leases.values():
                lease.drop_idle()

    def keep_parts(self, *, are_equal: bool) -> None:
        """The store may have given what is held here to others: keep an equal part of each limit, or what is in use."""
        for account in self._accounts.values():
            for lease in account.leases.values():
                lease.keep(lease.most // lease.replicas if are_equal else 0)

    def stand_alone(self, now: float, *, is_alone: bool) -> None:
        """Rates refill here, or no more."""
        for account in self._accounts.values():
            for lease in account.leases.values():
                if isinstance(lease, RateLease):
                    lease.stand_alone(now, is_alone=is_alone)


def _says_something(report: LimitReport) -> bool:
    is_used = 0 <= report.left < report.most
    return bool(report.held or report.want or report.spent != report.confirmed or is_used)
