"""Gateways that share the limits of tenants, in virtual time: production schedulers, a network with faults, one store.

Every gateway is the real `Admission` with the real `SharedLimits`; the store is the model that the script is held
against. A request that the held part of a limit does not cover waits for one call, as the dispatcher lets it. A
witness, which believes nobody, compares what all gateways have in use with the limits at each request.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.fairness import POLICIES, PREDICTORS, Admission, Grant, PoolSpec, Rules, TenantLimits, Ticket, TicketState
from gateway.fairness.buckets import Bucket
from gateway.fairness.cost import Linear
from gateway.fairness.decisions import Decision
from gateway.outcomes import Outcome
from gateway.replicas.quota_call import QuotaCall, QuotaMessage, QuotaReply
from gateway.replicas.replica import Identity
from gateway.replicas.shared_limits import SharedLimits, Wait
from gateway.usage import Usage

from .any_fleet import POOL, AnyFleet, AnyGateway, AnyRoom, Network
from .quota_model import QuotaModel

RESTART_SECONDS = 1.0


class Slots(AnyRoom):
    """Room for so many requests at one gateway."""

    def __init__(self, slots: int) -> None:
        self._free = slots

    def take(self, ticket: Ticket, /) -> str | None:
        """A slot for each request."""
        if not self._free:
            return None
        self._free -= 1
        return "w"

    def give(self, ticket: Ticket, /) -> None:
        """The slot is free."""
        self._free += 1


class Gateway(AnyGateway):
    """One gateway of the fleet."""

    def __init__(self, name: str, boot: str, expected: int, slots: int, share: type[SharedLimits] | None) -> None:
        super().__init__(name)
        rules = Rules(lambda: POLICIES["vtc"](None), PREDICTORS["none"](None), 1_000_000)
        self.admission = Admission(rules, Slots(slots))
        self.limits = share(Identity(name, boot, "settings"), self.admission, expected) if share else None
        self.account = self.limits
        self.admission.configure_pool(PoolSpec(POOL, Linear(), 1e9))
        self.seconds: dict[Ticket, float] = {}  # how long each request runs
        self.running: set[Ticket] = set()
        self.waits: list[tuple[Wait, Ticket]] = []


@dataclass(slots=True)
class Books:
    """What the fleet has seen."""

    begun: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # tenant, outcome
    beyond: dict[str, float] = field(default_factory=dict)  # limit to the most that was ever in use, as a part of it
    slowest_seconds: float = 0.0  # that a request waited for the store
    rows: int = 0  # in all calls


class QuotaFleet(AnyFleet[Gateway]):
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
        super().__init__(store(), network, seed)
        self.tenants = tenants
        self.books = Books()
        self._size = gateways, slots, share
        self.gateways = [self._gateway(f"g{number}") for number in range(gateways)]
        self.orphans: Counter[str] = Counter()  # sequences of dead gateways that still run
        self._met: set[tuple[Gateway, str]] = set()
        self.unheard: set[str] = set()  # tenants whose limits a gateway met first while it was cut off
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
        if (gateway, tenant) not in self._met:
            self._met.add((gateway, tenant))
            if gateway.is_cut:
                self.unheard.add(tenant)
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
        self.carry_out(gateway, gateway.admission.submit(ticket, self.now))
        self._witness(ticket.tenant)
        if ticket.state is not TicketState.LEFT:
            self._admitted(ticket.tenant, ticket.prompt_tokens + ticket.max_output_tokens)
        self._touch(gateway, ticket.tenant)

    def _touch(self, gateway: Gateway, tenant: str) -> None:
        if gateway.limits is not None:
            if gateway.limits.touch(tenant):
                self.dispatch(gateway)
            self.pump(gateway)

    def carry_out(self, gateway: Gateway, decisions: list[Decision]) -> None:
        """Do what a gateway decided."""
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
            self.carry_out(gateway, gateway.admission.release(ticket, usage, self.now, completed=True))
            self._touch(gateway, ticket.tenant)

    # -- the way to the store

    def _called(self, call: QuotaCall) -> None:
        self.books.rows += len(call.limits)

    def _answered(self, gateway: Gateway, reply: QuotaReply, number: int) -> None:
        assert gateway.limits is not None
        self._go_on(gateway, must_dispatch=gateway.limits.answered(reply, self.now))

    def _unanswered(self, gateway: Gateway) -> None:
        assert gateway.limits is not None
        self._go_on(gateway, must_dispatch=gateway.limits.unanswered(self.now))

    def _told(self, gateway: Gateway, message: QuotaMessage) -> None:
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

    # -- views

    @property
    def most(self) -> float:
        """The most of any limit that was in use at once, as a part of it."""
        return self.most_of(self.tenants)

    def most_of(self, tenants: Iterable[str]) -> float:
        """The same of the limits of some tenants."""
        names = set(tenants)
        return max((part for limit, part in self.books.beyond.items() if limit.split()[0] in names), default=0.0)

    def restart_books(self) -> None:
        """Count from now on."""
        self.books = Books()


def _bucket(per_minute: int | None) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute)
