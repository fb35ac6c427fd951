"""Gateways that share the limits of tenants, in virtual time: production schedulers, a network with faults, one store.

Every gateway is the real `Admission` with the real `SharedLimits`; the store is the model that the script is held
against. A request that the held part of a limit does not cover waits for one call, as the dispatcher lets it. A
witness, which believes nobody, compares what all gateways have in use with the limits at each request.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from gateway.fairness import POLICIES, PREDICTORS, Admission, Grant, PoolSpec, Rules, TenantLimits, Ticket, TicketState
from gateway.fairness.cost import Linear
from gateway.fairness.decisions import Decision
from gateway.fairness.invariants import check_invariants
from gateway.fairness.limits import Bucket
from gateway.outcomes import Outcome
from gateway.replicas.quota_call import QuotaCall, QuotaMessage, QuotaReply
from gateway.replicas.replica import Identity
from gateway.replicas.shared_limits import SharedLimits, Wait
from gateway.usage import Usage

from .quota_model import QuotaModel

POOL = "p"
TIMEOUT_SECONDS = 0.05
RESTART_SECONDS = 1.0
EPOCH_MILLISECONDS = 1_700_000_000_000


@dataclass(slots=True)
class Network:
    """How long a message takes, and how often it is lost or comes twice."""

    delays: tuple[float, ...] = (0.0002,)
    loss: float = 0.0
    repetition: float = 0.0
    message_delays: tuple[float, ...] = ()  # of what the store says between calls, where it is not as the others


class Slots:
    """Room for so many requests at one gateway."""

    def __init__(self, slots: int) -> None:
        self._free = slots

    def take(self, ticket: Ticket, /) -> str | None:
        """A slot for each request."""
        if not self._free:
            return None
        self._free -= 1
        return "w"

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

    def give(self, ticket: Ticket, /) -> None:
        """The slot is free."""
        self._free += 1

    def serves(self, pool: str) -> bool:
        """Always."""
        return True

    def awaits(self, pool: str) -> bool:
        """Always."""
        return True


class Gateway:
    """One gateway of the fleet."""

    def __init__(self, name: str, boot: str, expected: int, slots: int, share: type[SharedLimits] | None) -> None:
        self.name = name
        rules = Rules(lambda: POLICIES["vtc"](None), PREDICTORS["none"](None), 1_000_000)
        self.admission = Admission(rules, Slots(slots))
        self.limits = share(Identity(name, boot, "settings"), self.admission, expected) if share else None
        self.admission.configure_pool(PoolSpec(POOL, Linear(), 1e9))
        self.seconds: dict[Ticket, float] = {}  # how long each request runs
        self.running: set[Ticket] = set()
        self.waits: list[tuple[Wait, Ticket]] = []
        self.calls = self.under_way = self.timer = 0
        self.is_cut = self.is_frozen = self.is_dead = False


@dataclass(slots=True)
class Books:
    """What the fleet has seen."""

    begun: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # tenant, outcome
    beyond: dict[str, float] = field(default_factory=dict)  # limit to the most that was ever in use, as a part of it
    slowest_seconds: float = 0.0  # that a request waited for the store
    rows: int = 0  # in all calls


class QuotaFleet:
    """N gateways that share limits."""

    def __init__(
        self,
        gateways: int,
        tenants: dict[str, TenantLimits],
        *,
        network: Network | None = None,
        seed: int = 1,
        slots: int = 10**6,
        share: type[SharedLimits] | None = SharedLimits,
        store: type[QuotaModel] = QuotaModel,
    ) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.network = network or Network()
        self.store, self.server = store(), "server0"
        self.is_store_gone = False
        self.tenants = tenants
        self.books = Books()
        self._snapshots: list[QuotaModel] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._size = gateways, slots, share
        self.gateways = [self._gateway(f"g{number}") for number in range(gateways)]
        self.orphans: Counter[str] = Counter()  # sequences of dead gateways that still run
        self._rates = {
            name: (_bucket(limits.requests_per_minute), _bucket(limits.tokens_per_minute))
            for name, limits in tenants.items()
        }

    def _gateway(self, name: str) -> Gateway:
        self._serial += 1
        gateway = Gateway(name, f"boot{self._serial}", *self._size)
        for tenant, limits in self.tenants.items():
            gateway.admission.configure_tenant(tenant, 1.0, limits)
        if gateway.limits is not None:
            gateway.limits.store = self.server
            self.pump(gateway)
        return gateway

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
        self.now = end

    # -- the witness

    def _witness(self, tenant: str) -> None:
        limits = self.tenants[tenant]
        accounts = [each.admission.tenants.allowance(tenant) for each in self.gateways if not each.is_dead]
        if limits.max_in_flight is not None:
            in_flight = sum(each.in_flight for each in accounts) + self.orphans[tenant]
            self._note(f"{tenant} in flight", in_flight / limits.max_in_flight)
        if limits.most_queued is not None:
            self._note(f"{tenant} queued", sum(each.queued for each in accounts) / limits.most_queued)

    def _note(self, limit: str, part: float) -> None:
        self.books.beyond[limit] = max(self.books.beyond.get(limit, 0.0), part)

    def _admitted(self, tenant: str, tokens: int) -> None:
        """What was let through, held against one bucket for the whole fleet."""
        requests, expected = self._rates[tenant]
        for name, bucket, amount in (("requests", requests, 1), ("tokens", expected, tokens)):
            if bucket is not None:
                missing = bucket.wait_seconds(amount, self.now) * bucket.per_minute / 60
                bucket.take(amount, self.now)
                self._note(f"{tenant} {name}", 1.0 + missing / bucket.per_minute if missing else 0.0)

    # -- clients

    def flood(self, gateway: int, tenant: str, per_second: float, seconds: float, since: float, until: float) -> None:
        """A client that sends requests of 10 tokens, each of which runs for `seconds`."""

        def send() -> None:
            if self.now < until:
                self.submit(self.gateways[gateway], tenant, seconds)
                self.at(1 / per_second, send)

        self.at(since, send)

    def submit(self, gateway: Gateway, tenant: str, seconds: float, tokens: int = 10, sequences: int = 1) -> None:
        """Send one request of `tokens`, all of them its prompt but one for each sequence."""
        if gateway.is_dead or gateway.is_frozen:
            return
        self._serial += 1
        ticket = Ticket(f"r{self._serial}", tenant, "key", POOL)
        ticket.sized(
            sequences=sequences,
            prompt_tokens=tokens - sequences,
            max_output_tokens=sequences,
            reports_at_end=False,
        )
        gateway.seconds[ticket] = seconds
        if gateway.limits is not None and gateway.admission.lacks_lease(ticket, self.now):
            wait = gateway.limits.expect(tenant, tokens)
            if not gateway.limits.is_over(wait):
                asked_at = self.now
                gateway.waits.append((wait, ticket))
                self.at(5.0, lambda: self._check_waited(gateway, ticket, asked_at))
                self.pump(gateway)
                return
            gateway.limits.forget(wait)
        self._admit(gateway, ticket)

    def _check_waited(self, gateway: Gateway, ticket: Ticket, asked_at: float) -> None:
        if not gateway.is_dead and any(other is ticket for _, other in gateway.waits):
            self.books.slowest_seconds = self.now - asked_at

    def _admit(self, gateway: Gateway, ticket: Ticket) -> None:
        self._carry_out(gateway, gateway.admission.submit(ticket, self.now))
        self._witness(ticket.tenant)
        if ticket.state is not TicketState.LEFT:
            self._admitted(ticket.tenant, ticket.prompt_tokens + ticket.max_output_tokens)
        self._touch(gateway, ticket.tenant)

    def _touch(self, gateway: Gateway, tenant: str) -> None:
        if gateway.limits is not None:
            if gateway.limits.touch(tenant):
                self.dispatch(gateway)
            self.pump(gateway)

    def _carry_out(self, gateway: Gateway, decisions: list[Decision]) -> None:
        for decision in decisions:
            ticket = decision.ticket
            if isinstance(decision, Grant):
                gateway.running.add(ticket)
                self.books.begun[ticket.tenant] += 1
                self._witness(ticket.tenant)
                self.at(gateway.seconds[ticket], lambda ticket=ticket: self._end(gateway, ticket))
            else:
                self.books.refused[ticket.tenant, decision.outcome.value] += 1
                assert decision.outcome in (Outcome.RATE_LIMITED, Outcome.TENANT_QUEUE_FULL)

    def _end(self, gateway: Gateway, ticket: Ticket) -> None:
        if gateway.is_frozen:
            self.at(0.1, lambda: self._end(gateway, ticket))
        elif not gateway.is_dead:
            gateway.running.remove(ticket)
            usage = Usage(ticket.prompt_tokens, 0, ticket.max_output_tokens)
            self._carry_out(gateway, gateway.admission.release(ticket, usage, self.now, completed=True))
            self._touch(gateway, ticket.tenant)

    # -- the way to the store

    def dispatch(self, gateway: Gateway) -> None:
        """Use the places that have come."""
        self._carry_out(gateway, gateway.admission.dispatch(POOL, self.now))

    def pump(self, gateway: Gateway) -> None:
        """Set the timer of the next call, unless one is under way."""
        if gateway.under_way or gateway.is_frozen or gateway.is_dead or gateway.limits is None:
            return
        gateway.timer += 1
        timer = gateway.timer
        due = max(self.now, gateway.limits.next_call_at(self.now))
        self.at(due - self.now, lambda: self._call(gateway) if gateway.timer == timer else None)

    def _call(self, gateway: Gateway) -> None:
        if gateway.under_way or gateway.is_frozen or gateway.is_dead:
            return
        assert gateway.limits is not None
        call = gateway.limits.call(self.now, f"generation{self._serial}")
        self.books.rows += len(call.limits)
        gateway.calls += 1
        number = gateway.under_way = gateway.calls
        for delay in self._deliveries(gateway):
            self.at(delay, lambda: self._arrive(gateway, call, number))
        self.at(TIMEOUT_SECONDS, lambda: self._time_out(gateway, number))

    def _deliveries(self, gateway: Gateway, delays: tuple[float, ...] = ()) -> list[float]:
        if self.is_store_gone or gateway.is_cut or self.random.random() < self.network.loss:
            return []
        times = 2 if self.random.random() < self.network.repetition else 1
        return [self.random.choice(delays or self.network.delays) for _ in range(times)]

    def _arrive(self, gateway: Gateway, call: QuotaCall, number: int) -> None:
        if call.store != self.server or self.is_store_gone:
            return  # its connection broke
        reply, messages = self.store.turn(call, EPOCH_MILLISECONDS + int(self.now * 1000))
        for delay in self._deliveries(gateway):
            self.at(delay, lambda: self._answer(gateway, reply, number))
        for name, message in messages.items():
            other = next(each for each in self.gateways if each.name == name)
            for delay in self._deliveries(other, self.network.message_delays):
                self.at(delay, lambda other=other, message=message: self._tell(other, message))

    def _answer(self, gateway: Gateway, reply: QuotaReply, number: int) -> None:
        if gateway.under_way == number and not gateway.is_frozen and not gateway.is_dead:
            gateway.under_way = 0
            assert gateway.limits is not None
            self._go_on(gateway, must_dispatch=gateway.limits.answered(reply, self.now))

    def _time_out(self, gateway: Gateway, number: int) -> None:
        if gateway.under_way == number and not gateway.is_frozen and not gateway.is_dead:
            gateway.under_way = 0
            assert gateway.limits is not None
            gateway.limits.store = self.server
            self._go_on(gateway, must_dispatch=gateway.limits.unanswered(self.now))

    def _tell(self, gateway: Gateway, message: QuotaMessage) -> None:
        if not gateway.is_frozen and not gateway.is_dead:
            assert gateway.limits is not None
            self._go_on(gateway, must_dispatch=gateway.limits.told(message))

    def _go_on(self, gateway: Gateway, *, must_dispatch: bool) -> None:
        assert gateway.limits is not None
        if must_dispatch:
            self.dispatch(gateway)
        over = [pair for pair in gateway.waits if gateway.limits.is_over(pair[0])]
        gateway.waits = [pair for pair in gateway.waits if pair not in over]
        for wait, ticket in over:
            gateway.limits.forget(wait)
            self._admit(gateway, ticket)
        self.pump(gateway)

    # -- faults

    def crash(self, number: int) -> None:
        """A gateway dies; the engines end its answers a little later, and another process takes its place."""
        gateway = self.gateways[number]
        if not gateway.is_dead:
            gateway.is_dead = True
            for ticket in gateway.running:
                self.orphans[ticket.tenant] += ticket.sequences
            self.at(0.1, lambda: self._abort(gateway))
            self.at(RESTART_SECONDS, lambda: self._restart(number))

    def _abort(self, gateway: Gateway) -> None:
        for ticket in gateway.running:
            self.orphans[ticket.tenant] -= ticket.sequences

    def _restart(self, number: int) -> None:
        self.gateways[number] = self._gateway(self.gateways[number].name)

    def freeze(self, number: int, seconds: float) -> None:
        """A gateway does nothing for a while; its answers go on at the engines."""
        gateway = self.gateways[number]
        if not gateway.is_dead and not gateway.is_frozen:
            gateway.is_frozen = True
            self.at(seconds, lambda: self._thaw(gateway))

    def _thaw(self, gateway: Gateway) -> None:
        gateway.is_frozen = False
        if not gateway.is_dead and gateway.limits is not None:
            number = gateway.under_way
            self._time_out(gateway, number) if number else self.pump(gateway)

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
            self.store = copy.deepcopy(self._snapshots[0])

    def keep_snapshots(self, seconds: float = 0.1) -> None:
        """Let a second server follow at a distance of `seconds`."""
        self._snapshots = [*self._snapshots[-1:], copy.deepcopy(self.store)]
        self.at(seconds, lambda: self.keep_snapshots(seconds))

    # -- views

    def check(self) -> None:
        """Every scheduler's books add up."""
        for gateway in self.gateways:
            check_invariants(gateway.admission)

    @property
    def most(self) -> float:
        """The most of any limit that was in use at once, as a part of it."""
        return max(self.books.beyond.values(), default=0.0)

    def restart_books(self) -> None:
        """Count from now on."""
        self.books = Books()


def _bucket(per_minute: int | None) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute)
