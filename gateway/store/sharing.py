"""One gateway's part in an account that several gateways share: what the composition root builds, starts and stops."""

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping

from gateway.config import Replicas, WithoutStore
from gateway.fairness import Admission, Ticket
from gateway.fairness.cost import to_cost
from gateway.replicas.call import WorkerState
from gateway.replicas.replica import Identity, Replica
from gateway.replicas.room_book import Room
from gateway.replicas.shared_budgets import SharedBudgets
from gateway.replicas.shared_limits import SharedLimits
from gateway.replicas.snapshot import ReplicasSnapshot, SharedPoolSnapshot, SharedWorkerSnapshot
from gateway.store.budget_leases import BudgetLeases
from gateway.store.owner import Owner, Store
from gateway.store.quotas import Quotas
from gateway.store.room import SharedRoom
from gateway.store.windows import Meters, SharedWindows
from gateway.workers import SharedFleet

Connect = Callable[[Replicas], Store]


class Sharing:
    """The replicas of all pools of this gateway."""

    def __init__(self, settings: Replicas, name: str, connect: Connect, report: Callable[[str | None], None]) -> None:
        """Share nothing before `attach`; this gateway is called `name` among the replicas.

        `connect` makes a way to the store. `report` hears why the store has begun to fail, and None when it answers
        again.
        """
        self._identity = Identity(name, secrets.token_hex(8), "")
        self._settings = settings
        self.replicas: dict[str, Replica] = {}
        self.fleet = SharedFleet()
        self.windows = SharedWindows(self.fleet, self.replicas)
        self.owner = Owner(connect(settings), settings, self.replicas, self.windows, report)
        self.room = SharedRoom(self.fleet, self.replicas, self.owner)
        self._quota_store = connect(settings)
        self.budgets = SharedBudgets(self._identity.boot, settings.expected)
        self._budget_leases = BudgetLeases(connect(settings), settings.fleet, self.budgets)

    def attach(
        self,
        admission: Admission,
        meters: Meters,
        dispatch: Callable[[Iterable[str]], None],
        review_budgets: Callable[[], None],
    ) -> None:
        """Share the pools of `admission`; `dispatch` hears of pools in which room may have appeared.

        `review_budgets` lets the scheduler look again at who waits for a budget.
        """
        self._budget_leases.attach(review_budgets)
        self._admission = admission
        self.windows.meters = meters
        self.owner.dispatch = dispatch
        continues = self._settings.without_store is WithoutStore.CONTINUE
        limits = SharedLimits(self._identity, admission, self._settings.expected, continues=continues)
        self.quotas = Quotas(self._quota_store, self._settings.fleet, limits, lambda: dispatch(list(admission.pools)))
        self.owner.fault_of_limits = lambda: self.quotas.fault or self._budget_leases.fault

    def configure(self, shifts: Mapping[str, int], settings: str) -> None:
        """Share the pools in `shifts`, each with the binary logarithm of its wire unit in counter units.

        `settings` is a digest of what all replicas must agree on.
        """
        for pool, shift in shifts.items():
            if pool not in self.replicas:
                self.owner.add(pool, self._replica(pool, shift))
            replica = self.replicas[pool]
            replica.identity = replica.identity._replace(settings=settings)

    def _replica(self, pool: str, shift: int) -> Replica:
        """A replica with a boot of its own: the totals of an earlier one, whose pool was removed, are not its own."""
        identity = self._identity._replace(boot=secrets.token_hex(8))
        replica = Replica(identity, shift, self._settings.expected, self._settings.lease_seconds)
        replica.attach(self._admission, pool, self.windows)
        return replica

    def remove(self, pool: str) -> None:
        """Share `pool` no longer, which the scheduler has forgotten."""
        self.owner.remove(pool)

    async def start(self) -> None:
        """Join the others; returns when the store has answered or failed."""
        await self.quotas.start()
        await self._budget_leases.start()
        await self.owner.start()

    async def stop(self) -> None:
        """Leave the others all room."""
        await self.quotas.stop()
        await self._budget_leases.stop()
        await self.owner.stop()

    def snapshot(self, tenants: Collection[str] | None = None) -> ReplicasSnapshot:
        """This gateway among the replicas, at this moment, with the limits of `tenants` (None: of all)."""
        return ReplicasSnapshot(
            fleet=self._settings.fleet,
            name=self._identity.name,
            expected=self._settings.expected,
            failure=self.owner.fault,
            age_seconds=self.owner.age_seconds,
            calls=self.owner.calls.snapshot(),
            pools=tuple(_pool(pool, replica) for pool, replica in self.replicas.items()),
            limits=self.quotas.snapshot(tenants),
        )

    @property
    def refuses(self) -> bool:
        """True if new requests are to be refused, because the store has been silent for a lease."""
        is_strict = self._settings.without_store is WithoutStore.REFUSE
        return is_strict and bool(self.owner.failure) and self.owner.age_seconds > self._settings.lease_seconds

    def meet(self, ticket: Ticket) -> None:
        """Give the flows of an arriving request the counters that they have elsewhere, if they are new here."""
        replica = self.replicas.get(ticket.pool)
        if replica is not None:
            replica.flows.meet(ticket.tenant, ticket.key)


def _pool(pool: str, replica: Replica) -> SharedPoolSnapshot:
    rooms = replica.rooms.rooms
    return SharedPoolSnapshot(
        pool=pool,
        living=replica.living,
        rank=replica.rank,
        with_other_settings=replica.with_other_settings,
        spread=to_cost(replica.spread_units),
        spread_bound=to_cost(replica.spread_bound_units),
        workers=tuple(_worker(rooms.get(state.name) or Room(), state) for state in replica.workers.values()),
    )


def _worker(room: Room, state: WorkerState) -> SharedWorkerSnapshot:
    return SharedWorkerSnapshot(
        worker=state.name,
        held=room.held,
        idle=max(0, room.idle),
        window=state.sequences,
        held_by_all=state.held,
        idle_of_all=state.idle,
        ghosts=state.ghosts,
    )
