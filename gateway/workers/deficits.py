"""Counts how many tokens each tenant may still spend at each worker: the deficits of D2LPM.

Every tenant may spend a quantum of tokens at each worker of a pool. When it has spent the quantum at all workers that
serve, it gets another one at each. No more than one quantum is carried over, neither as credit nor as debt. The table
is bounded: the tenant whose request was placed longest ago is forgotten. Source: Cao et al., "Locality-aware Fair
Scheduling in LLM Serving" (arXiv 2501.14312), section 4.3. Left to `placement`: what a spent deficit means.
"""

from collections import OrderedDict
from collections.abc import Collection

DEFAULT_QUANTUM_TOKENS = 8192.0
MAX_TENANTS = 4096


class _Tenant:
    """How many quanta one tenant has received, and how many tokens it has spent at each worker."""

    __slots__ = ("quanta", "spent")

    def __init__(self) -> None:
        self.quanta = 1
        self.spent: dict[str, float] = {}


class Deficits:
    """What each tenant may still spend at each worker of one pool, in tokens."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        self.quantum_tokens = DEFAULT_QUANTUM_TOKENS
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()

    def left(self, tenant: str, worker: str) -> float:
        """Tokens that `tenant` may still spend at `worker`; negative if it has overdrawn."""
        account = self._tenants.get(tenant)
        if account is None:
            return self.quantum_tokens
        return account.quanta * self.quantum_tokens - self._spent(account, worker)

    def spend(self, tenant: str, worker: str, tokens: float) -> bool:
        """Count a request of `tenant` that goes to `worker`; True if the deficit there is used up: see `refill`."""
        account = self._tenants.get(tenant)
        if account is None:
            account = self._tenants[tenant] = _Tenant()
            if len(self._tenants) > MAX_TENANTS:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(tenant)
        most = (account.quanta + 1) * self.quantum_tokens
        account.spent[worker] = min(most, self._spent(account, worker) + tokens)
        return self.left(tenant, worker) <= 0

    def refill(self, tenant: str, serving: Collection[str]) -> None:
        """Give `tenant` another quantum at every worker if it has used up that of all `serving`."""
        account = self._tenants[tenant]
        if all(self.left(tenant, worker) <= 0 for worker in serving):
            account.quanta += 1
            account.spent = {worker: spent for worker, spent in account.spent.items() if worker in serving}

    def _spent(self, account: _Tenant, worker: str) -> float:
        """Tokens spent of all quanta; past quanta count as spent whole."""
        return max(account.spent.get(worker, 0.0), (account.quanta - 1) * self.quantum_tokens)

    def forget(self, worker: str) -> None:
        """Forget a worker that has gone."""
        for account in self._tenants.values():
            account.spent.pop(worker, None)

    def check_invariants(self) -> None:
        """Assert that nobody has credit or debt beyond one quantum."""
        for name, account in self._tenants.items():
            assert all(abs(self.left(name, worker)) <= self.quantum_tokens for worker in account.spent)

    @property
    def entries(self) -> int:
        """How many pairs of tenant and worker are kept."""
        return sum(len(account.spent) for account in self._tenants.values())
