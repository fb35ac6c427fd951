"""Keeps the windows of a fleet in step with the store: what the tuner found, and what other replicas hold.

All replicas read the engines' metrics, but one alone moves the limits of the windows: the *tuner*, which is the living
replica whose name is first. It publishes what it finds, with all that a successor needs. The others take it over. Left
to others: how limits are found (`gateway.workers`), when the store is asked (`owner`).
"""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from gateway.fairness import Ticket
from gateway.replicas.call import Reading, WorkerState
from gateway.replicas.replica import Replica
from gateway.replicas.room_book import Room
from gateway.workers import Others, SharedFleet, TunedLimits

NO_ROOM = TunedLimits(0, 0, 0)
MOST_GONE: Final = 64  # workers that are gone, of which a pool still knows something


class Meters(Protocol):
    """Counts the output tokens that this gateway meters, as `watch.Reconciliation` does."""

    def totals(self) -> Mapping[str, int]:
        """How many output tokens were metered here so far, by worker; no number ever falls."""
        ...

    def others_metered(self, worker: str, total: int, /) -> None:
        """Take in how many all other replicas have metered there, from any beginning."""
        ...

    def forget_total(self, worker: str, /) -> None:
        """Let the total of a worker that is gone begin anew, should it come back."""
        ...


class SharedWindows:
    """The windows of all pools."""

    def __init__(self, fleet: SharedFleet, replicas: Mapping[str, Replica]) -> None:
        """Nothing is known of other replicas; `replicas` by pool is a live view."""
        self._fleet = fleet
        self._replicas = replicas
        self._tuned: set[str] = set()  # pools of which this gateway is the tuner
        self.meters: Meters | None = None
        self._metered: dict[str, int] = {}  # by worker, what the last call said
        self._heard_at: dict[str, float] = {}  # by pool, the loop's time of the last answer
        self._is_closed = False

    # -- what a replica asks about the workers

    def needs(self, ticket: Ticket, /) -> tuple[int, int, str]:
        """The prompt tokens and the KV cache (tokens) that a request needs, and the worker preferred for it, or ""."""
        return ticket.prompt_tokens, self._fleet.kv_demand(ticket), self._fleet.preferred(ticket)

    def held(self, worker: str, /) -> tuple[int, int, int, bool]:
        """Of this gateway's requests at `worker`: unread prompt tokens, KV cache (tokens), output tokens ever metered.

        And whether this gateway can send requests there.
        """
        metered = self._metered[worker] = 0 if self.meters is None else self.meters.totals().get(worker, 0)
        return *self._fleet.holds(worker), metered, self._is_open(worker)

    def _is_open(self, worker: str) -> bool:
        return not self._is_closed and self._fleet.is_open(worker)

    # -- the end

    def forget(self, pool: str) -> None:
        """Forget a pool that is shared no longer."""
        self._tuned.discard(pool)
        self._heard_at.pop(pool, None)
        self._fleet.set_express_part(pool, 0, 0)

    def close(self) -> None:
        """Leave all workers to others: the next call gives back what is not in use, and gets no spare room."""
        self._is_closed = True

    # -- what the store says

    def heard(self, pool: str, now: float) -> None:
        """Take over what the answer to a call of `pool` says, which came at the loop's time `now`."""
        replica = self._replicas[pool]
        self._heard_at[pool] = now
        if replica.rank > 0:
            self._tuned.discard(pool)
        else:
            self._tune(pool, replica)
        for state in replica.workers.values():
            if state.name in self._fleet:
                self._take_over(pool, replica, state)
        self._fleet.set_express_part(pool, replica.living, replica.rank)

    def _tune(self, pool: str, replica: Replica) -> None:
        """Be the tuner, and go on where another stopped: the store says what it found until this one has published."""
        is_new = pool not in self._tuned
        self._tuned.add(pool)
        for state in replica.workers.values():
            if is_new or state.state:
                self._fleet.tune(state.name, state.state)

    def _take_over(self, pool: str, replica: Replica, state: WorkerState) -> None:
        room = replica.rooms.rooms[state.name] if state.name in replica.rooms.rooms else Room()
        unread, kv = self._fleet.holds(state.name)
        idle = max(0, state.idle - max(0, room.idle))
        others = Others(
            max(0, state.held - room.held - idle),
            max(0, state.unread - unread),
            max(0, state.held_kv - kv),
            idle,
            replica.least_elsewhere is not None,
            state.ghosts + state.strangers,
        )
        self._fleet.others(state.name, others)
        if self.meters is not None:
            self.meters.others_metered(state.name, state.metered - self._metered.get(state.name, 0))
        if pool not in self._tuned and state.sequences:
            self._fleet.limit(state.name, TunedLimits(state.sequences, state.prompt_tokens, state.kv))

    # -- what the next call says

    def publish(self, pool: str) -> None:
        """Prepare the next call of `pool`: leave closed workers to others, and say what the tuner found anew."""
        replica = self._replicas[pool]
        for spec in self._fleet.specs():
            if spec.pool == pool:
                replica.rooms.meet(spec.name)
        for worker in replica.rooms.rooms:
            if not self._is_open(worker):
                replica.rooms.leave(worker)
        self._forget_gone(replica)
        if pool in self._tuned:
            self._publish_counts(replica)
            self._publish_limits(replica, {reading.worker for reading in replica.readings})

    def _forget_gone(self, replica: Replica) -> None:
        """Forget the workers that are gone once they are many: to forget one, the replica must register anew."""
        rooms = replica.rooms.rooms
        gone = [worker for worker in rooms if worker not in self._fleet and replica.is_done_with(worker)]
        if len(gone) <= MOST_GONE:
            return
        replica.forget(gone)
        for worker in gone:
            self._metered.pop(worker, None)
            if self.meters is not None:
                self.meters.forget_total(worker)

    def _publish_counts(self, replica: Replica) -> None:
        for worker, at, strangers in replica.strangers.take():
            if worker in self._fleet:
                self._add_reading(replica, worker, self._fleet.limits(worker), at, strangers, is_blind=False)

    def _publish_limits(self, replica: Replica, published: Collection[str]) -> None:
        """Report each limit that the store has otherwise and that is not `published` yet; a gone worker has no room."""
        for worker in replica.rooms.rooms:
            if worker in published:
                continue
            is_there = worker in self._fleet
            found = self._fleet.plain_limits(worker) if is_there else NO_ROOM
            state = replica.workers.get(worker)
            known = NO_ROOM[:3] if state is None else (state.sequences, state.prompt_tokens, state.kv)
            if known != found[:3]:
                limits = self._fleet.limits(worker) if is_there else NO_ROOM
                at, strangers = (0, 0) if state is None else (state.reading, state.strangers)
                self._add_reading(replica, worker, limits, at, strangers, is_blind=True)

    def _add_reading(
        self, replica: Replica, worker: str, limits: TunedLimits, at: int, strangers: int, *, is_blind: bool
    ) -> None:
        sequences, prompt_tokens, kv, state = limits
        replica.readings.append(Reading(worker, sequences, prompt_tokens, kv, at, strangers, is_blind, state))

    # -- what engines say

    def needs_reading(self, worker: str) -> bool:
        """True if `worker` must be read even while it is idle: nothing else allows requests there."""
        replica = self._replicas.get(self._fleet.spec(worker).pool)
        return replica is not None and replica.needs_reading(worker)

    def read(self, worker: str, there: float | None, asked_at: float) -> None:
        """Take in that a worker was asked at the loop's time `asked_at`, and has `there` sequences of anybody.

        None: it does not say, and its window is a safe one.
        """
        pool = self._fleet.spec(worker).pool
        replica = self._replicas.get(pool)
        if replica is None:
            return
        window = self._fleet.plain_limits(worker).sequences
        at = replica.store_now - max(0, int((self._heard_at.get(pool, asked_at) - asked_at) * 1000))
        if there is not None:
            replica.read(worker, window, int(there), at)
            return
        strangers = replica.read_blind(worker, window)
        if pool in self._tuned:
            self._add_reading(replica, worker, self._fleet.limits(worker), at, strangers, is_blind=True)
