"""The objects that every request is handled with; `app` builds them once."""

from dataclasses import dataclass

from gateway.clients.custody import Custody
from gateway.endpoints.workers import WorkerEndpoints
from gateway.fairness import Holdings
from gateway.proxy.delivery import Delivery
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.remainders import Remainders
from gateway.watch.death_guard import DeathGuard
from gateway.watch.health import Health


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
