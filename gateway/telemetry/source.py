"""Where telemetry reads the state of the running gateway.

The composition root implements `StateSource`. A snapshot shows one instant, and taking it changes nothing. Service and
counters are in cost units, times in seconds.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from gateway.accounts import BudgetsSnapshot
from gateway.config import Scheduler
from gateway.fairness import Holding, PoolSnapshot
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.replicas.snapshot import ReplicasSnapshot
from gateway.webhook import WebhookSnapshot
from gateway.workers import WorkerSnapshot


class StateSource(Protocol):
    """The running gateway as telemetry sees it."""

    def pools(self, tenants: Collection[str] | None = None) -> Sequence[PoolSnapshot]:
        """Every pool with the accounts of `tenants`, or with every account if that is None.

        A scrape names the few tenants that it shows: taking the accounts of 10,000 tenants costs 50 ms of the event
        loop. Whoever calls ignores accounts that it did not ask for.
        """
        ...

    def workers(self) -> Sequence[WorkerSnapshot]:
        """Every worker of every pool."""
        ...

    def held_bodies(self) -> Iterable[Holding]:
        """What each request holds in memory."""
        ...

    def most_held_bytes(self) -> int:
        """The most bytes that all requests may hold together."""
        ...

    def tasks(self) -> int:
        """How many tasks the event loop has."""
        ...

    def budgets(self, tenants: Collection[str] | None = None) -> BudgetsSnapshot | None:
        """What is used of the budgets of `tenants` (None: of all); None if nobody has any."""
        ...

    def replicas(self, tenants: Collection[str] | None = None) -> ReplicasSnapshot | None:
        """This gateway among those that share its account; None if it counts for itself alone.

        It has the limits of `tenants`, or of every tenant if that is None; as with `pools`, a scrape names few.
        """
        ...

    def ledger(self) -> LedgerSnapshot | None:
        """How the ledger fares; None if none is kept."""
        ...

    def webhook(self) -> WebhookSnapshot | None:
        """How the webhook fares; None if there is none."""
        ...

    def queue_limits(self) -> Scheduler:
        """What the configuration in force says of every pool's queue."""
        ...
