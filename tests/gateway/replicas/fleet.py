"""A fleet of production schedulers in virtual time: N gateways, one store, engines, and a network with faults.

Every gateway is the real `Admission` with the real `Replica`; the store is the model that the script is held against.
The fleet plays sockets, engines and clients. After every event it checks that no engine has more than its window.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from gateway.fairness import POLICIES, PREDICTORS, Admission, Grant, PoolSpec, Rules, TenantLimits, Ticket
from gateway.fairness.cost import Linear
from gateway.fairness.decisions import Decision
from gateway.replicas.call import Message, Reading, Reply
from gateway.replicas.replica import Identity, Replica
from gateway.usage import Usage

from .any_fleet import POOL, AnyFleet, AnyGateway, AnyRoom, Network
from .store_model import StoreModel

STEP_SECONDS = 0.05
READING_SECONDS = 0.5
ANSWER_SECONDS = (0.0, 0.0005, 0.003, 0.02)  # until an engine answers a question for its metrics
SHIFT = 8


@dataclass(slots=True, eq=False)
class Job:
    """One request at an engine."""

    ticket: Ticket
    length: int
    output_tokens: int = 0


class SharedRoom(AnyRoom):
    """The scheduler's port to the room that a replica holds."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def take(self, ticket: Ticket, /) -> str | None:
        """What the replica has at hand; of several workers that with the most."""
        permit = self._replica.permit(ticket)
        rooms = self._replica.rooms.rooms
        for worker in sorted(rooms, key=lambda name: (-rooms[name].fresh, -rooms[name].own, name)):
            if self._replica.has_room(worker, permit):
                self._replica.use(worker, ticket, permit)
                return worker
        return None

    def give(self, ticket: Ticket, /) -> None:
        """Back to the replica."""
        self._replica.give(ticket)


class PlainWorkers:
    """Workers at which sequences alone take room."""

    def needs(self, ticket: Ticket, /) -> tuple[int, int, str]:
        """Nothing else."""
        return 0, 0, ""

    def held(self, worker: str, /) -> tuple[int, int, int, bool]:
        """Nothing else."""
        return 0, 0, 0, True


class Gateway(AnyGateway):
    """One gateway of the fleet."""

    def __init__(self, name: str, replica: Replica, predictor: str) -> None:
        super().__init__(name)
        self.replica = self.account = replica
        rules = Rules(lambda: POLICIES["vtc"](None), PREDICTORS[predictor](None), 1_000_000)
        self.admission = Admission(rules, SharedRoom(self.replica))
        self.admission.configure_pool(PoolSpec(POOL, Linear(), 1e9))
        self.replica.attach(self.admission, POOL, PlainWorkers())
        self.jobs: dict[Ticket, Job] = {}
        self.waiting: dict[Ticket, Job] = {}


@dataclass(slots=True)
class Flood:
    """A client that keeps `depth` requests queued at one gateway."""

    gateway: int
    tenant: str
    key: str = "key"
    length: Callable[[Random], int] = lambda random: 20
    depth: int = 100
    since: float = 0.0
    until: float = 1e9


@dataclass(slots=True)
class Books:
    """What the fleet has seen."""

    served: Counter[tuple[str, str]] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    idle: int = 0  # slots times steps that were free while somebody waited
    steps: int = 0
    beyond: int = 0  # the most that an engine ever had beyond its window


class Observer(Protocol):
    """Who watches a fleet from outside."""

    def executed(self, gateway: Gateway, number: int) -> None:
        """The store has carried out a call."""

    def answered(self, gateway: Gateway, number: int, reply: Reply) -> None:
        """Its answer has come."""

    def turned(self, gateway: Gateway, tenant: str) -> None:
        """A request of `tenant` was granted."""

    def arrived(self, gateway: Gateway, tenant: str) -> None:
        """A request of `tenant` came."""

    def check(self) -> None:
        """Something happened."""


class Fleet(AnyFleet[Gateway]):
    """N gateways in front of shared engines."""

    def __init__(
        self,
        gateways: int,
        *,
        workers: int = 1,
        window: int = 33,
        network: Network | None = None,
        seed: int = 1,
        predictor: str = "quantile",
        weights: dict[str, float] | None = None,
        knows_strangers: bool = True,
        has_metrics: bool = True,
        lease_seconds: float = 2.0,
        replica_type: type[Replica] = Replica,
        store_type: type[StoreModel] = StoreModel,
    ) -> None:
        super().__init__(store_type(), network, seed)
        self.replica_type = replica_type
        self._expected = gateways
        self._knows_strangers = knows_strangers
        self.has_metrics = has_metrics
        self._lease_seconds = lease_seconds
        self.window = window
        self.workers = [f"w{number}" for number in range(workers)]
        self.running: dict[str, dict[Ticket, tuple[Gateway, Job]]] = {worker: {} for worker in self.workers}
        self.books = Books()
        self.floods: list[Flood] = []
        self._weights = weights or {}
        self._predictor = predictor
        for number in range(gateways):
            self.gateways.append(self._gateway(f"g{number}"))
        self.observer: Observer | None = None
        self.at(STEP_SECONDS, self._step)
        self.at(0.001, self._read)

    def _gateway(self, name: str) -> Gateway:
        self._serial += 1
        identity = Identity(name, f"boot{self._serial}", "settings")
        replica = self.replica_type(identity, SHIFT, self._expected, self._lease_seconds)
        gateway = Gateway(name, replica, self._predictor)
        gateway.replica.store = self.server
        for worker in self.workers:
            gateway.replica.rooms.meet(worker)
        for tenant, weight in self._weights.items():
            gateway.admission.configure_tenant(tenant, weight, TenantLimits())
        self.pump(gateway)
        return gateway

    def _happened(self) -> None:
        self._check_windows()
        if self.observer is not None:
            self.observer.check()

    def _check_windows(self) -> None:
        for running in self.running.values():
            self.books.beyond = max(self.books.beyond, len(running) - self.window)

    # -- clients

    def submit(self, gateway: Gateway, tenant: str, key: str = "key", length: int = 20) -> Ticket:
        """Send one request of `length` tokens."""
        self._serial += 1
        ticket = Ticket(f"r{self._serial}", tenant, key, POOL)
        ticket.sized(sequences=1, prompt_tokens=10, max_output_tokens=2 * length, reports_at_end=False)
        gateway.replica.flows.meet(tenant, key)
        gateway.waiting[ticket] = Job(ticket, length)
        self.carry_out(gateway, gateway.admission.submit(ticket, self.now))
        if self.observer is not None:
            self.observer.arrived(gateway, tenant)
        return ticket

    def _fill(self, flood: Flood) -> None:
        gateway = self.gateways[flood.gateway]
        if gateway.is_dead or gateway.is_frozen or not flood.since <= self.now < flood.until:
            return
        queued = sum(t.tenant == flood.tenant and t.key == flood.key for t in gateway.waiting)
        for _ in range(flood.depth - queued):
            self.submit(gateway, flood.tenant, flood.key, flood.length(self.random))

    # -- gateways

    def carry_out(self, gateway: Gateway, decisions: list[Decision]) -> None:
        """Do what a gateway decided."""
        for decision in decisions:
            job = gateway.waiting.pop(decision.ticket)
            assert isinstance(decision, Grant)
            gateway.jobs[job.ticket] = job
            self.running[decision.worker][job.ticket] = gateway, job
            self.books.started[job.ticket.tenant] += 1
            if self.observer is not None:
                self.observer.turned(gateway, job.ticket.tenant)
        self._check_windows()
        self.pump(gateway)

    # -- the way to the store

    def _executed(self, gateway: Gateway, number: int) -> None:
        if self.observer is not None:
            self.observer.executed(gateway, number)

    def _answered(self, gateway: Gateway, reply: Reply, number: int) -> None:
        gateway.replica.answered(reply)
        if self.observer is not None:
            self.observer.answered(gateway, number, reply)
        self.dispatch(gateway)

    def _unanswered(self, gateway: Gateway) -> None:
        gateway.replica.unanswered(self.now)
        self.dispatch(gateway)

    def _told(self, gateway: Gateway, message: Message) -> None:
        gateway.replica.told(message)
        self.dispatch(gateway)

    # -- readings

    def _read(self) -> None:
        """Every gateway asks the engines for their metrics."""
        self.at(READING_SECONDS, self._read)
        for gateway in self.gateways:
            at = gateway.replica.store_now
            self.at(self.random.choice(ANSWER_SECONDS), lambda gateway=gateway, at=at: self._take_reading(gateway, at))

    def _take_reading(self, gateway: Gateway, at: int) -> None:
        """The metrics have come: the tuner tells the store what they show."""
        if gateway.is_dead or gateway.is_frozen:
            return
        replica = gateway.replica
        for worker in self.workers:
            if self.has_metrics:
                replica.read(worker, self.window, len(self.running[worker]), at)
            else:
                replica.read_blind(worker, self.window)
                self._report(replica, Reading(worker, self.window, 0, 0, at, is_blind=True))
            if worker not in replica.workers or not replica.workers[worker].sequences:
                self._report(replica, Reading(worker, self.window, 0, 0, 0, is_blind=True))
        self.dispatch(gateway)

    @staticmethod
    def _report(replica: Replica, reading: Reading) -> None:
        if replica.rank == 0:
            replica.readings.append(reading)

    def _before_call(self, gateway: Gateway) -> None:
        for worker, at, strangers in gateway.replica.strangers.take():
            reading = Reading(worker, self.window, 0, 0, at, strangers if self._knows_strangers else 0)
            self._report(gateway.replica, reading)

    # -- faults

    def crash(self, number: int) -> None:
        """A gateway dies; its engine connections break, and the engines stop its answers a little later."""
        gateway = self.gateways[number]
        if not gateway.is_dead:
            gateway.is_dead = True
            self.at(0.1, lambda: self._abort(gateway))
            self.at(1.0, lambda: self._restart(number))

    def _abort(self, gateway: Gateway) -> None:
        for running in self.running.values():
            for ticket in [ticket for ticket, (owner, _) in running.items() if owner is gateway]:
                del running[ticket]

    def _stood_still(self, gateway: Gateway, seconds: float) -> None:
        if seconds >= 0.5:
            gateway.replica.stood_still()
        for job in list(gateway.jobs.values()):
            self._finish(gateway, job)

    # -- engines

    def _step(self) -> None:
        self.at(STEP_SECONDS, self._step)
        is_wanted = any(gateway.waiting for gateway in self.gateways)
        self.books.steps += 1
        for worker, running in self.running.items():
            if is_wanted:
                self.books.idle += max(0, self.window - len(running))
            for gateway, job in list(running.values()):
                self._generate(gateway, job, worker)
        for flood in self.floods:
            self._fill(flood)

    def _generate(self, gateway: Gateway, job: Job, worker: str) -> None:
        if job.output_tokens < job.length:
            job.output_tokens += 1
        ticket = job.ticket
        if job.output_tokens == job.length:
            self.running[worker].pop(ticket)
        if gateway.is_frozen or gateway.is_dead:
            return
        self.books.served[ticket.tenant, ticket.key] += 2 if job.output_tokens > 1 else 12
        usage = Usage(10, 0, job.output_tokens)
        if job.output_tokens == 1:
            self.carry_out(gateway, gateway.admission.started(ticket, self.now))
        gateway.admission.pools[POOL].charge(ticket, usage)
        self._finish(gateway, job)

    def _finish(self, gateway: Gateway, job: Job) -> None:
        if job.output_tokens == job.length:
            del gateway.jobs[job.ticket]
            usage = Usage(10, 0, job.length)
            self.carry_out(gateway, gateway.admission.release(job.ticket, usage, self.now, completed=True))

    # -- views

    def share(self, *tenants: str) -> list[float]:
        """What each of `tenants` was served, as part of what they were served together."""
        served = [sum(cost for (who, _), cost in self.books.served.items() if who == tenant) for tenant in tenants]
        return [part / sum(served) for part in served]

    def restart_books(self) -> None:
        """Count from now on."""
        self.books = Books(beyond=self.books.beyond)
