"""What fleets in virtual time have in common: events in the order of their time, a network with faults, a store.

A subclass knows what its gateways share, and so the calls, the answers and the messages.
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Generic, TypeVar

from gateway.fairness import Admission, Ticket
from gateway.fairness.decisions import Decision
from gateway.fairness.invariants import check_invariants

POOL = "p"
TIMEOUT_SECONDS = 0.05
EPOCH_MILLISECONDS = 1_700_000_000_000


@dataclass(slots=True)
class Network:
    """How long a message takes, and how often it is lost or comes twice."""

    delays: tuple[float, ...] = (0.0002,)
    loss: float = 0.0
    repetition: float = 0.0
    message_delays: tuple[float, ...] = ()  # of what the store says between calls, where it is not as the others


class AnyRoom:
    """The scheduler's port to room without an express lane and without caches, at workers that always serve."""

    def take_express(self, ticket: Ticket, /) -> str | None:
        """There is none."""
        return None

    def has_express(self, pool: str) -> bool:
        """There is none."""
        return False

    def affinity(self, ticket: Ticket, /) -> int:
        """Nothing is cached."""
        return 0

    def prefilled(self, ticket: Ticket, /) -> None:
        """Prompts take no room here."""

    def serves(self, pool: str) -> bool:
        """Always."""
        return True

    def awaits(self, pool: str) -> bool:
        """Always."""
        return True


class AnyGateway:
    """One gateway of a fleet. Its `account`, if it shares one, says what to tell the store and when."""

    admission: Admission
    account: Any

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.under_way = 0  # the number of the call that is not answered
        self.timer = 0
        self.is_cut = self.is_frozen = self.is_dead = False


_G = TypeVar("_G", bound=AnyGateway)


class AnyFleet(ABC, Generic[_G]):
    """N gateways and a store."""

    def __init__(self, store: Any, network: Network | None, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.network = network or Network()
        self.store, self.server = store, "server0"
        self.is_store_gone = False
        self.gateways: list[_G] = []
        self._snapshots: list[bytes] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    @abstractmethod
    def _gateway(self, name: str) -> _G:
        """A process that begins as gateway `name`."""

    # -- time

    def at(self, delay: float, happens: Callable[[], None]) -> None:
        """Let something happen after `delay` seconds."""
        self._serial += 1
        heappush(self._events, (self.now + delay, self._serial, happens))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, happens = heappop(self._events)
            happens()
            self._happened()
        self.now = end

    def _happened(self) -> None:
        """Look at the fleet after an event."""

    @property
    def milliseconds(self) -> int:
        """The store's clock."""
        return EPOCH_MILLISECONDS + int(self.now * 1000)

    # -- the way to the store

    @abstractmethod
    def carry_out(self, gateway: _G, decisions: list[Decision]) -> None:
        """Do what a gateway decided."""

    def dispatch(self, gateway: _G) -> None:
        """Use the room that has come."""
        self.carry_out(gateway, gateway.admission.dispatch(POOL, self.now))

    def pump(self, gateway: _G) -> None:
        """Set the timer of the next call, unless one is under way."""
        if gateway.under_way or gateway.is_frozen or gateway.is_dead or gateway.account is None:
            return
        gateway.timer += 1
        timer = gateway.timer
        due = max(self.now, gateway.account.next_call_at(self.now))
        self.at(due - self.now, lambda: self._call(gateway) if gateway.timer == timer else None)

    def _call(self, gateway: _G) -> None:
        if gateway.under_way or gateway.is_frozen or gateway.is_dead:
            return
        self._before_call(gateway)
        call = gateway.account.call(self.now, f"generation{self._serial}")
        self._called(call)
        gateway.calls += 1
        number = gateway.under_way = gateway.calls
        for delay in self._deliveries(gateway):
            self.at(delay, lambda: self._arrive(gateway, call, number))
        self.at(TIMEOUT_SECONDS, lambda: self._time_out(gateway, number))

    def _before_call(self, gateway: _G) -> None:
        """Look at a gateway that is about to call."""

    def _called(self, call: Any) -> None:
        """Look at a call that is sent."""

    def _deliveries(self, gateway: _G, delays: tuple[float, ...] = ()) -> list[float]:
        """When what is sent between `gateway` and the store arrives: never, once or twice."""
        if self.is_store_gone or gateway.is_cut or self.random.random() < self.network.loss:
            return []
        times = 2 if self.random.random() < self.network.repetition else 1
        return [self.random.choice(delays or self.network.delays) for _ in range(times)]

    def _arrive(self, gateway: _G, call: Any, number: int) -> None:
        if call.store != self.server or self.is_store_gone:
            return  # its connection broke
        reply, messages = self.store.turn(call, self.milliseconds)
        self._executed(gateway, number)
        for delay in self._deliveries(gateway):
            self.at(delay, lambda: self._answer(gateway, reply, number))
        for name, message in messages.items():
            other = next(each for each in self.gateways if each.name == name)
            for delay in self._deliveries(other, self.network.message_delays):
                self.at(delay, lambda other=other, message=message: self._tell(other, message))

    def _executed(self, gateway: _G, number: int) -> None:
        """Look at the store, which has carried out a call."""

    def _answer(self, gateway: _G, reply: Any, number: int) -> None:
        if gateway.under_way == number and not gateway.is_frozen and not gateway.is_dead:
            gateway.under_way = 0
            self._answered(gateway, reply, number)

    def _time_out(self, gateway: _G, number: int) -> None:
        if gateway.under_way == number and not gateway.is_frozen and not gateway.is_dead:
            gateway.under_way = 0
            gateway.account.store = self.server
            self._unanswered(gateway)

    def _tell(self, gateway: _G, message: Any) -> None:
        if not gateway.is_frozen and not gateway.is_dead:
            self._told(gateway, message)

    @abstractmethod
    def _answered(self, gateway: _G, reply: Any, number: int) -> None:
        """The answer to call `number` has come."""

    @abstractmethod
    def _unanswered(self, gateway: _G) -> None:
        """The answer has not come in time."""

    @abstractmethod
    def _told(self, gateway: _G, message: Any) -> None:
        """A message of the store has come."""

    # -- faults

    def _restart(self, number: int) -> None:
        self.gateways[number] = self._gateway(self.gateways[number].name)

    def freeze(self, number: int, seconds: float) -> None:
        """A gateway does nothing for a while; its answers go on at the engines."""
        gateway = self.gateways[number]
        if not gateway.is_dead and not gateway.is_frozen:
            gateway.is_frozen = True
            self.at(seconds, lambda: self._thaw(gateway, seconds))

    def _thaw(self, gateway: _G, seconds: float) -> None:
        gateway.is_frozen = False
        if gateway.is_dead:
            return
        self._stood_still(gateway, seconds)
        if gateway.under_way:
            self._time_out(gateway, gateway.under_way)
        else:
            self.pump(gateway)

    def _stood_still(self, gateway: _G, seconds: float) -> None:
        """A gateway notices that it did nothing for a while."""

    def cut(self, number: int, seconds: float) -> None:
        """Nothing passes between a gateway and the store for a while."""
        gateway = self.gateways[number]
        gateway.is_cut = True
        self.at(seconds, lambda: setattr(gateway, "is_cut", False))

    def lose_store(self, seconds: float) -> None:
        """Nobody reaches the store for a while."""
        self.is_store_gone = True
        self.at(seconds, lambda: setattr(self, "is_store_gone", False))

    def wipe(self) -> None:
        """The store loses everything."""
        self.store.wipe()

    def fail_over(self) -> None:
        """Another server takes over with what it had a little earlier."""
        self._serial += 1
        self.server = f"server{self._serial}"
        if self._snapshots:
            self.store = pickle.loads(self._snapshots[0])  # noqa: S301 - our own

    def keep_snapshots(self, seconds: float = 0.1) -> None:
        """Let a second server follow at a distance of `seconds`."""
        self._snapshots = [*self._snapshots[-1:], pickle.dumps(self.store, pickle.HIGHEST_PROTOCOL)]
        self.at(seconds, lambda: self.keep_snapshots(seconds))

    # -- views

    def check(self) -> None:
        """Every scheduler's books add up."""
        for gateway in self.gateways:
            check_invariants(gateway.admission)
