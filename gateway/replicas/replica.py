"""One replica's side: what it says in a call, what follows from the answer, and which room it may use meanwhile.

Rules. A request that has room never asks the store. Granted room goes to whoever is first here now. The replica uses
room of its own (freed by its requests, or spare) only while its first counter is not above the least that it knows to
wait elsewhere; what it may not use it gives back with its next call. Spare room is kept while nobody waits. Pure: the
caller passes the time in seconds, sends one call at a time, and carries out what the scheduler decides. Left to others:
sockets, and the workers' own limits.
"""

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from gateway.fairness.admission import Admission
from gateway.fairness.flow import Flow
from gateway.fairness.policies import VirtualTokenCounter
from gateway.fairness.ticket import Ticket
from gateway.replicas.call import (
    MOST_CANDIDATES,
    NO_FIGURES,
    NOBODY,
    Call,
    Candidate,
    Message,
    Reading,
    Reply,
    WorkerState,
)
from gateway.replicas.candidates import Workers, candidates
from gateway.replicas.outage import Outage
from gateway.replicas.room_book import Permit, RoomBook
from gateway.replicas.script import Status
from gateway.replicas.shared_flows import SharedFlows, vtc
from gateway.replicas.strangers import StrangersBook

BUSY_SECONDS: Final = 0.05  # between two calls while somebody waits
IDLE_SECONDS: Final = 0.5
CALLS_IN_A_LEASE: Final = 4  # at least, so that a lost call or two is no death
LEAST_SECONDS: Final = 0.005  # between two looks whether to call
SPACING_SECONDS: Final = 0.02  # at least, between two calls while somebody waits
FAILURES: Final = 2  # calls lost in a row, after which nobody is waited for who may wait elsewhere
MOST_SPARE: Final = 16
SPARE_SHARE: Final = 1.5  # of the free room, a replica keeps one part in so many times the living replicas


class Identity(NamedTuple):
    """Who a replica is: its name, a random word of its own, a digest of what all replicas must agree on."""

    name: str
    boot: str
    settings: str


class Replica:
    """One gateway among several, for one pool."""

    def __init__(self, identity: Identity, shift: int, expected: int, lease_seconds: float = 2.0) -> None:
        """A replica of which the store knows nothing; `attach` gives it its scheduler.

        `expected` is how many replicas there are, until the store states how many live. A replica that the store does
        not hear for `lease_seconds` is taken for dead.
        """
        self.identity = identity
        self._lease_seconds = lease_seconds
        self._idle_seconds = min(IDLE_SECONDS, lease_seconds / CALLS_IN_A_LEASE)
        self.store = ""  # the run id of the server that it is connected to
        self._shift = shift
        self.rooms = RoomBook()
        self.readings: list[Reading] = []  # to be reported with the next call
        self.workers: dict[str, WorkerState] = {}
        self.strangers = StrangersBook()
        self.store_now = 0  # the store's time in its last answer, in milliseconds
        self.living = expected
        self.rank = 0  # its place among the living by name
        self.with_other_settings = 0  # living replicas that must agree and do not
        self._figures = NO_FIGURES  # of all replicas
        self.least_elsewhere: int | None = None  # in wire units
        self._tenant_elsewhere = ""  # whose counter that is, and the least of its keys' there
        self._key_counter_elsewhere = 0
        self._incarnation = 0
        self.number = 0  # of the last call
        self._generation = ""
        self._seq = 0
        self._changes = 0
        self._must_register = True
        self._outage: Outage | None = None
        self._failures = 0  # in a row
        self._idle_before = 0  # room at hand after the last answer
        self._is_past_lease = False
        self._registered_at = 0  # by the store's clock
        self.is_suspended = False  # use nothing until a call was answered or failed
        self._is_called_for = True
        self._reported_head: list[Candidate] = []
        self._is_asking = False  # a call is under way
        self._called_at = -math.inf
        self._confirmed_at: float | None = None  # the time of the last call that was answered, or else of the first

    def attach(self, admission: Admission, pool: str, workers: Workers) -> None:
        """Work for `pool` of `admission`, whose policy is `vtc`."""
        self._workers = workers
        self._account = admission.pools[pool]
        self.flows = SharedFlows(admission, pool, self._shift)

    # -- room

    def permit(self, ticket: Ticket) -> Permit:
        """Which room `ticket`, which is first here, may use now."""
        if self.is_suspended:
            return Permit.NOTHING
        if self._outage is not None and self._is_past_lease:
            return Permit.ALLOWED
        is_entitled = self._failures >= FAILURES or self._is_entitled(ticket)
        return Permit.OWN if is_entitled else Permit.GRANTED

    def has_room(self, worker: str, permit: Permit) -> bool:
        """True if there is a place at `worker` that `permit` lets a request use."""
        if permit is not Permit.ALLOWED:
            return self.rooms.has_place(worker, permit)
        assert self._outage is not None
        is_allowed = self.rooms.used(worker) < self._outage.limit(worker)
        return is_allowed and (not self._is_asking or self.rooms.has_place(worker, Permit.OWN))

    def use(self, worker: str, ticket: Ticket, permit: Permit) -> None:
        """Use the place at `worker`; while a call is under way never more than it reports."""
        if permit is Permit.ALLOWED and not self._is_asking:
            self.rooms.overdraw(worker, ticket.sequences)
        else:
            self.rooms.use(worker, ticket.sequences)
        self.flows.granted(ticket)

    def _is_entitled(self, ticket: Ticket) -> bool:
        if self.least_elsewhere is None:
            return True
        tenant = self._account.queue.tenants[ticket.tenant]
        wire = self.flows.book.to_wire
        if ticket.tenant == self._tenant_elsewhere:
            return wire(_counter(tenant.key(ticket.key), vtc(tenant.group.policy))) <= self._key_counter_elsewhere
        return wire(_counter(tenant, self.flows.policy)) <= self.least_elsewhere

    def give(self, ticket: Ticket) -> None:
        """A request ended; what it held is the replica's own."""
        self.rooms.end(ticket.worker, ticket.sequences)
        self.flows.ended(ticket, self.number)

    @property
    def spread_units(self) -> int:
        """How far the counters of tenants that wait anywhere lay apart at the last answer, in counter units."""
        return self.flows.book.to_units(self._figures.spread)

    @property
    def spread_bound_units(self) -> int:
        """The bound on that, from what was in flight anywhere; 0 if nobody waits."""
        return self.flows.book.to_units(self._figures.bound)

    @property
    def is_waiting(self) -> bool:
        """True if somebody waits here."""
        return len(self.flows.policy.waiting) > 0

    @property
    def is_busy(self) -> bool:
        """True if somebody waits anywhere."""
        return self.is_waiting or self.least_elsewhere is not None

    @property
    def is_low(self) -> bool:
        """True if some of the room that the last answer left is used, and less than half of the spare room is left."""
        return self.rooms.idle < min(self._idle_before, self.spare_target / 2)

    @property
    def spare_target(self) -> int:
        """Sequences that this replica keeps at hand while nobody waits."""
        free = sum(worker.free for worker in self.workers.values())
        return min(MOST_SPARE, int((free + self.rooms.own) / (SPARE_SHARE * self.living)))

    def _settle_room(self) -> None:
        """After the dispatch: give back what is at hand and not to be used or kept."""
        if self._outage is not None:
            return
        if not self.is_waiting:
            self.rooms.keep_fresh()
        if self.least_elsewhere is not None:
            self.rooms.give_back(0)
        elif not self.is_waiting:
            self.rooms.give_back(self.spare_target)

    # -- calls

    def next_call_at(self, now: float) -> float:
        """When to call next, if nothing changes."""
        if self._outage is not None:
            return self._called_at + (self._idle_seconds if self._is_past_lease else BUSY_SECONDS)
        if self._is_called_for or self._has_news():
            is_new = self.least_elsewhere is None and not self._reported_head  # the store knows of nobody who waits
            return now if is_new else self._called_at + spacing_seconds(self.living)
        is_counting = any(worker.is_in_question for worker in self.workers.values())
        return self._called_at + (BUSY_SECONDS if self.is_busy or is_counting else self._idle_seconds)

    def _has_news(self) -> bool:
        if self.is_waiting:
            return self._candidates(1) != self._reported_head or (
                self.least_elsewhere is not None and self.rooms.own > 0
            )
        if self.least_elsewhere is not None:
            return self.rooms.own > 0
        return self.is_low

    def _candidates(self, most: int) -> list[Candidate]:
        return candidates(self._account, self.flows.book, self._workers, most)

    def call(self, now: float, new_generation: str, *, is_leaving: bool = False) -> Call:
        """What to say now; `new_generation` is a random word. A replica that `is_leaving` gives back what is idle."""
        self._called_at, self._is_called_for, self._is_asking = now, False, True
        if self._confirmed_at is None:
            self._confirmed_at = now
        self._settle_room()
        if is_leaving:
            self.rooms.drop_idle()
        self.flows.forget_unused(now)
        if self._must_register:
            self._begin_again()
        self.number += 1
        named = self._candidates(MOST_CANDIDATES)
        self._reported_head = named[:1]
        flows = self.flows.reports(named)
        return Call(
            self.identity.name,
            self.identity.boot,
            self._incarnation,
            self.number,
            self.identity.settings,
            round(self._lease_seconds * 1000),
            self.store,
            new_generation,
            self._generation,
            self._seq,
            self._changes,
            self._must_register,
            is_leaving,
            self._own_vt(),
            max(0, self.rooms.own),
            self._account.queue.queued > len(named),
            self.flows.figures(now, named),
            flows,
            self.rooms.reports(self._workers.held),
            self._take_readings(),
            named,
        )

    def _take_readings(self) -> list[Reading]:
        readings, self.readings = self.readings, []
        return readings

    def _own_vt(self) -> int:
        """The level of an arrival, if nobody waits anywhere."""
        if self.is_waiting or self.least_elsewhere is not None:
            return 0
        return self.flows.book.to_wire(self.flows.policy.level)

    # -- answers

    def answered(self, reply: Reply) -> None:
        """Take in the answer to the call that is under way; dispatch afterwards."""
        self.store_now = reply.now
        self._is_asking = False
        if reply.status is Status.REGISTER:
            self._must_register = True
        if reply.status is not Status.OK:
            self._is_called_for = True
            return
        if self._must_register:
            self._registered_at = reply.now
        self._must_register, self._outage, self._is_past_lease, self._failures = False, None, False, 0
        self.is_suspended, self._confirmed_at = False, self._called_at
        if reply.generation != self._generation:
            self.strangers.clear()
        self._generation, self._seq, self._changes = reply.generation, reply.seq, reply.changes
        self._is_called_for = not self.flows.acknowledge(self.number) or reply.has_more_changes
        self.living, self.rank, self.with_other_settings = reply.living, reply.rank, reply.with_other_settings
        self._figures = reply.figures
        self.workers = {worker.name: worker for worker in reply.workers}
        self.strangers.answered(self.number, reply)
        for state in reply.flows:
            self.flows.hear(state)
        self.least_elsewhere = None if reply.least_elsewhere == NOBODY else reply.least_elsewhere
        self._tenant_elsewhere, self._key_counter_elsewhere = reply.tenant_elsewhere, reply.key_counter_elsewhere
        self.flows.settle(reply.vt, self.least_elsewhere)
        for grant in reply.grants:
            self.rooms.grant(grant.worker, grant.granted)
        self._idle_before = self.rooms.idle

    def unanswered(self, now: float) -> None:
        """The call that was under way failed or took too long; whether the store has seen it is unknown."""
        self.is_suspended = self._is_asking = False
        self._failures += 1
        if self._outage is None:
            assert self._confirmed_at is not None
            self._outage = Outage(self._confirmed_at + self._lease_seconds, self.living)
        self.watch_lease(now)
        if self._is_past_lease:
            self.rooms.drop_idle()

    def watch_lease(self, now: float) -> None:
        """Use nothing of the store's any more if the lease has ended; it may end while the next call is under way."""
        if self._outage is not None and not self._is_past_lease and not self._outage.has_lease(now):
            self._is_past_lease = self._must_register = True
            if self._is_asking:
                self.rooms.keep_within(self._outage.limit)
            else:
                self.rooms.drop_idle()

    def needs_reading(self, worker: str) -> bool:
        """True if nothing but a reading allows anything at `worker`: without the store, or with one that began anew."""
        state = self.workers.get(worker)
        return self._outage is not None or (state is not None and state.is_uncounted)

    def read(self, worker: str, window: int, there: int, at: int) -> None:
        """Take in that `there` sequences of anybody are at `worker`, as its engine said, asked at the store time `at`.

        What that shows `strangers` says when the others have reported.
        """
        if self._outage is not None:
            self._outage.read(worker, window, there, self.rooms.used(worker), is_leased=not self._is_past_lease)
        state = self.workers.get(worker)
        if state is not None and self._outage is None and self._knows_others:
            self.strangers.read(there, state, at, self.number)

    @property
    def _knows_others(self) -> bool:
        """True if the last answer knows of replicas that came back to the store when this one did."""
        return self.store_now >= self._registered_at + round(1000 * self._idle_seconds)

    def read_blind(self, worker: str, window: int) -> int:
        """Take in that an engine says nothing; returns the room that was left to strangers before."""
        if self._outage is not None:
            self._outage.read_blind(worker, window)
        state = self.workers.get(worker)
        return 0 if state is None else state.strangers

    def stood_still(self) -> None:
        """This process did nothing for half a second or more: what it holds unused may no longer be its own."""
        self.rooms.drop_idle()
        if self._outage is not None:
            self._outage.forget()
        self.is_suspended = True
        self._is_called_for = True

    def is_done_with(self, worker: str) -> bool:
        """True if nothing is held at `worker`, and the store does not know it or knows that it has no window."""
        state = self.workers.get(worker)
        return self.rooms.is_empty(worker) and (state is None or state.sequences == 0)

    def forget(self, workers: Iterable[str]) -> None:
        """Forget `workers` that are gone and done with, and register anew: the totals of rooms begin anew with that."""
        for worker in workers:
            self.rooms.forget(worker)
            self.strangers.forget(worker)
        self._must_register = True

    def told(self, message: Message) -> None:
        """Take in what the store says between calls; dispatch afterwards."""
        is_ours = (message.generation, message.incarnation) == (self._generation, self._incarnation)
        if not is_ours or self._must_register or self.is_suspended:
            return
        for grant in message.grants:
            self.rooms.grant(grant.worker, grant.granted)
        if message.is_asked:
            self._is_called_for = True
        if message.is_recall and (self.rooms.own > 0 or self.least_elsewhere is None):
            self._is_called_for = True
            if self.least_elsewhere is None:
                self.rooms.give_back(0)

    def _begin_again(self) -> None:
        """Say everything anew, under a new incarnation: what is held now is what was granted."""
        self._incarnation += 1
        self._changes = 0
        if self.is_suspended:
            self.rooms.drop_idle()
        elif self._outage is not None and self._is_past_lease:
            self.rooms.draw(self._outage.limit)
        self.rooms.register()
        self.flows.register()


def spacing_seconds(replicas: int) -> float:
    """The least time between two calls of one replica while somebody waits.

    An engine takes new requests once in a step, which is seldom shorter, so calls more often would fill few places
    earlier. Of many replicas all together take half of the store's time: a call took Redis 7.0 0.25 ms with 3 replicas,
    0.38 ms with 8, and 0.94 ms with 32.
    """
    return max(SPACING_SECONDS, 2 * replicas * (0.0002 + 0.000025 * replicas))


def _counter(flow: Flow, policy: VirtualTokenCounter[Any]) -> int:
    """The counter of `flow` when it waits: one that does not wait yet will be lifted first."""
    return flow.counter if flow.is_waiting else max(flow.counter, policy.level)
