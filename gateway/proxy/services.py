"""The objects that every request is handled with; `app` builds them once."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.accounts import Claim
from gateway.clients.custody import Custody
from gateway.clients.rate_headers import rate_headers
from gateway.endpoints.workers import WorkerEndpoints
from gateway.fairness import Holdings
from gateway.proxy.budgets import Budgets, budget_headers
from gateway.proxy.delivery import Delivery
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.record import Context
from gateway.proxy.remainders import Remainders
from gateway.watch.death_guard import DeathGuard
from gateway.watch.health import Health
from gateway.wire.headers import forwarded_response_headers


@dataclass(frozen=True, slots=True)
class Services:
    """What one gateway has of each; none of it belongs to a single request."""

    dispatcher: Dispatcher
    endpoints: WorkerEndpoints
    health: Health
    guard: DeathGuard
    holdings: Holdings[Custody]
    remainders: Remainders
    delivery: Delivery
    budgets: Budgets | None = None

    async def weigh(self, context: Context, claim: Claim) -> None:
        """Find out how much a request with budgets needs; raises `Refusal`. Cancelled: nothing is held."""
        assert self.budgets is not None
        name = self.dispatcher.any_worker(context.pool.model)
        worker = None if name is None else self.endpoints[name]
        await self.budgets.weigh(context, claim, worker, self.endpoints.max_model_len(context.pool))

    def answer_headers(
        self, engine_headers: Sequence[tuple[bytes, bytes]], context: Context, claim: Claim | None = None
    ) -> Sequence[tuple[str, str]]:
        """The headers of an engine's answer that pass, what is left of the tenant's rates, and what a budget cut."""
        rates = self.dispatcher.rates(context.identity.tenant.name)
        left = rate_headers(context.parsed.endpoint.dialect, rates)
        return [*forwarded_response_headers(engine_headers), *left, *budget_headers(claim)]
