"""Gateways that share a budget, in virtual time: production accounts, a network with faults, one store.

Every gateway has the real `Accounts` and the real `SharedBudgets`; the store is the model that the script is held
against. A witness, which believes nobody, adds up what engines have generated, also for gateways that died meanwhile.
"""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gateway.accounts import (
    Accounts,
    Budget,
    BudgetTerms,
    Claim,
    Need,
    Owner,
    Period,
    Scope,
    Tariff,
    TokenPrices,
    Unit,
    Verdict,
)
from gateway.fairness.decisions import Decision
from gateway.replicas.budget_call import BudgetReply
from gateway.replicas.shared_budgets import SharedBudgets
from gateway.usage import Usage

from .any_fleet import AnyFleet, AnyGateway, Network
from .budget_model import BudgetModel

NOON = 1_796_040_000.0  # 2026-11-30T12:00Z
TARIFF = Tariff(lambda fresh, cached, output, sequences: 1.0 * fresh + 2.0 * output, TokenPrices())
RESTART_SECONDS = 1.0
PROMPT, LONGEST, USUAL = 10, 1000, 60
WAIT_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Request:
    """One request: how much its answer would be, and until when it waits."""

    claim: Claim
    wish: int
    until: float


class Gateway(AnyGateway):
    """One gateway of the fleet."""

    def __init__(self, name: str, boot: str, expected: int, entry: BudgetTerms, past: dict[str, float]) -> None:
        super().__init__(name)
        self.account = SharedBudgets(boot, expected)
        self.account.join(name)
        self.accounts = Accounts(self._hear, self.account.make)
        self.accounts.now = NOON
        self.accounts.configure("alice", [entry])
        budget = self.accounts.of("alice", "k", "")[0]
        self.accounts.load("alice", entry, budget.tally.span.start, {Owner("alice"): past})
        self.waiting: list[Request] = []
        self.running: list[Request] = []

    def _hear(self, budget: Budget, is_at_limit: bool) -> None:
        self.account.touch(budget)


class BudgetFleet(AnyFleet[Gateway]):
    """N gateways that share one budget."""

    def __init__(
        self,
        gateways: int,
        amount: int,
        *,
        network: Network | None = None,
        seed: int = 1,
        store: type[BudgetModel] = BudgetModel,
    ) -> None:
        super().__init__(store(), network, seed)
        self._entry = BudgetTerms(float(amount), Unit.TOKENS, Scope.TENANT, Period.DAY, ZoneInfo("UTC"))
        self.amount, self.used, self.served, self.cut_short, self.refused = amount, 0, 0, 0, 0
        self._expected = gateways
        self.ledgers: dict[str, float] = {}
        self.gateways = [self._gateway(f"g{number}") for number in range(gateways)]

    def _gateway(self, name: str) -> Gateway:
        self._serial += 1
        past = {name: self.ledgers[name]} if name in self.ledgers else {}
        gateway = Gateway(name, f"boot{self._serial}", self._expected, self._entry, past)
        gateway.account.store = self.server
        gateway.account.wake = lambda: self.pump(gateway)
        self.pump(gateway)
        return gateway

    # -- requests

    def flood(self, number: int, per_second: float, until: float) -> None:
        """A client that sends requests to one gateway."""

        def send() -> None:
            if self.now < until:
                self.submit(self.gateways[number])
                self.at(self.random.expovariate(per_second), send)

        self.at(self.random.expovariate(per_second), send)

    def submit(self, gateway: Gateway) -> None:
        """Send one request, whose answer would have about sixty tokens."""
        if gateway.is_dead or gateway.is_frozen:
            return
        claim = Claim(gateway.accounts, gateway.accounts.of("alice", "k", ""), Need(PROMPT, LONGEST), TARIFF)
        gateway.waiting.append(Request(claim, self.random.randrange(20, 100), self.now + WAIT_SECONDS))
        self.review(gateway)

    def review(self, gateway: Gateway) -> None:
        """Judge who waits, in order."""
        still = []
        for request in gateway.waiting:
            verdict = request.claim.judge(USUAL) if not still else Verdict.WAIT
            if verdict is Verdict.RUN:
                self._run(gateway, request)
            elif verdict is Verdict.AT_LIMIT or self.now > request.until:
                self.refused += 1
            else:
                still.append(request)
        gateway.waiting = still
        self.pump(gateway)

    def _run(self, gateway: Gateway, request: Request) -> None:
        request.claim.reserve()
        gateway.running.append(request)
        self.at(self.random.choice((0.1, 0.5, 2.0)), lambda: self._end(gateway, request))

    def _end(self, gateway: Gateway, request: Request) -> None:
        if gateway.is_frozen:
            self.at(0.1, lambda: self._end(gateway, request))
        elif not gateway.is_dead:
            gateway.running.remove(request)
            request.claim.settle(self._generated(gateway, request))
            self.review(gateway)

    def _generated(self, gateway: Gateway, request: Request) -> Usage:
        """What the engine generates, which the ledger knows."""
        output = min(request.wish, request.claim.output_tokens)
        self.cut_short += output < request.wish
        self.served += 1
        self.used += PROMPT + output
        self.ledgers[gateway.name] = self.ledgers.get(gateway.name, 0.0) + PROMPT + output
        return Usage(PROMPT, 0, output)

    def carry_out(self, gateway: Gateway, decisions: list[Decision]) -> None:
        """No scheduler decides here."""

    # -- the way to the store

    def _answered(self, gateway: Gateway, reply: BudgetReply, number: int) -> None:
        self._go_on(gateway, must_review=gateway.account.answered(reply))

    def _unanswered(self, gateway: Gateway) -> None:
        self._go_on(gateway, must_review=gateway.account.unanswered(self.now))

    def _told(self, gateway: Gateway, message: object) -> None:
        """There are no messages."""

    def _go_on(self, gateway: Gateway, *, must_review: bool) -> None:
        if must_review:
            self.review(gateway)
        self.pump(gateway)

    # -- faults

    def crash(self, number: int) -> None:
        """A gateway dies; its engines had generated all, and another process takes its place."""
        gateway = self.gateways[number]
        if not gateway.is_dead:
            gateway.is_dead = True
            for request in gateway.running:
                self._generated(gateway, request)
            self.at(RESTART_SECONDS, lambda: self._restart(number))
