"""How much of each worker a tenant has used for the sake of its cached prompts: the deficits of D2LPM.

Every tenant may spend a quantum of tokens at each worker of a pool; where it has spent that at all workers that serve,
every one gets another quantum. Credit is not saved and debt not kept beyond one quantum. Bounded: the tenants that were
placed longest ago are forgotten, and with them what they had spent. Source: Cao et al., "Locality-aware Fair Scheduling
in LLM Serving" (arXiv 2501.14312), section 4.3. What a spent deficit means is `placement`'s.
"""

from collections import OrderedDict
from collections.abc import Collection

DEFAULT_QUANTUM_TOKENS = 8192.0
MAX_TENANTS = 4096


class _Tenant:
    """One tenant's quanta so far, and its tokens at each worker since."""

    __slots__ = ("quanta", "spent")

    def __init__(self) -> None:
        self.quanta = 1
        self.spent: dict[str, float] = {}


class Deficits:
    """What is left to every tenant at every worker of one pool, in tokens."""

    def __init__(self) -> None:
        """Nobody has spent anything."""
        self.quantum_tokens = DEFAULT_QUANTUM_TOKENS
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()

    def left(self, tenant: str, worker: str) -> float:
        """Tokens that `tenant` may still spend at `worker`; negative where it has overdrawn."""
        account = self._tenants.get(tenant)
        if account is None:
            return self.quantum_tokens
        return account.quanta * self.quantum_tokens - self._spent(account, worker)

    def spend(self, tenant: str, worker: str, tokens: float) -> bool:
        """A request of `tenant` goes to `worker`; True where its deficit there is used up: see `refill`."""
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
        """Tokens spent of all quanta; of the past ones nothing is left over."""
        return max(account.spent.get(worker, 0.0), (account.quanta - 1) * self.quantum_tokens)

    def forget(self, worker: str) -> None:
        """A worker has gone."""
        for account in self._tenants.values():
            account.spent.pop(worker, None)

    @property
    def entries(self) -> int:
        """Pairs of tenant and worker that are kept."""
        return sum(len(account.spent) for account in self._tenants.values())
