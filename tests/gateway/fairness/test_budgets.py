"""The scheduler with budgets: nobody takes more than there is or waits in vain, and whoever waits blocks nobody."""

from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import Accounts, Budget, BudgetTerms, Claim, Need, Period, Scope, Tariff, TokenPrices, Unit
from gateway.fairness import Ticket
from gateway.outcomes import Outcome

from .bench import Bench, Job

NOON = 1_796_040_000.0  # 2026-11-30T12:00Z
TARIFF = Tariff(lambda fresh, cached, output, sequences: 1.0 * (fresh + cached) + 2.0 * output, TokenPrices())
MANY_STEPS = 20_000


def ignore(budget: Budget, is_at_limit: bool) -> None:
    """Hear of a budget."""


class BudgetBench(Bench):
    """A bench whose tenants may have budgets, and whose engine ends an answer where it is told."""

    def __init__(self, **terms: Any) -> None:
        super().__init__(**terms)
        self.accounts = Accounts(ignore)
        self.accounts.now = NOON

    def budgets(self, tenant: str, *amounts: tuple[Scope, float]) -> None:
        """Give a tenant these budgets for each hour, of which nothing was used before."""
        listed = [BudgetTerms(amount, Unit.TOKENS, scope, Period.HOUR, ZoneInfo("UTC")) for scope, amount in amounts]
        self.accounts.configure(tenant, listed)
        for each in listed:
            self.accounts.load(tenant, each, 0.0, {})
        self.tenant(tenant, has_budgets=bool(amounts))

    def claim(self, ticket: Ticket) -> None:
        """Let a request claim what it may use."""
        budgets = self.accounts.of(ticket.tenant, ticket.key, ticket.key)
        if budgets:
            per_sequence = ticket.max_output_tokens // ticket.sequences
            need = Need(ticket.prompt_tokens, per_sequence, ticket.sequences)
            ticket.claim = Claim(self.accounts, budgets, need, TARIFF)
            ticket.claim.expected_tokens = ticket.max_output_tokens

    def begin(self, job: Job) -> None:
        """Let the engine end the answer where its budget ends."""
        claim = job.ticket.claim
        if claim is not None:
            job.length = min(job.length, claim.output_tokens * job.ticket.sequences)

    def next_hour(self) -> None:
        """Let a new period begin."""
        self.accounts.now += 3600
        self.admission.waiting_room.review_budgets()
        self.carry_out(self.admission.dispatch("p0", self.now), "p0")

    def check(self) -> None:
        """No budget has given more than its amount."""
        super().check()
        for each in self.accounts.all():
            assert each.tally.settled + each.tally.reserved <= each.terms.amount

    def end(self) -> None:
        """Run to the end, which must come soon: nobody waits for what does not come back."""
        for _ in range(MANY_STEPS):
            if not self.running and not self.waiting:
                break
            self._step()
        self.drain()
        assert all(each.tally.reservations == 0 for each in self.accounts.all())


requests = st.tuples(
    st.sampled_from(["alice", "bob", "carol"]),
    st.sampled_from(["k", "l"]),
    st.integers(1, 60),  # prompt
    st.integers(1, 80),  # length
    st.sampled_from([80, 400, 2000]),  # most
    st.integers(1, 2),  # sequences
    st.integers(0, 30),  # steps after it
)


@given(
    story=st.lists(requests, max_size=40),
    tenant=st.integers(20, 2000),
    key=st.integers(20, 1000),
    turns=st.sets(st.integers(0, 40), max_size=2),
    policy=st.sampled_from(["vtc", "fcfs", "drr"]),
)
def test_no_budget_is_passed_and_nobody_waits_in_vain(
    story: list[tuple[str, str, int, int, int, int, int]], tenant: int, key: int, turns: set[int], policy: str
) -> None:
    """Whatever comes, ends, breaks or leaves: alice shares an amount, bob's keys have their own, carol has none."""
    bench = BudgetBench(policy=policy)
    bench.budgets("alice", (Scope.TENANT, tenant), (Scope.END_USER, key))
    bench.budgets("bob", (Scope.KEY, key))
    for number, (name, of, prompt, length, most, sequences, steps) in enumerate(story):
        bench.submit(name, key=of, prompt=prompt, length=length * sequences, most=most * sequences, sequences=sequences)
        bench.step(steps)
        if number in turns:
            bench.next_hour()
        if number % 7 == 3 and bench.running:
            bench.requeue(next(iter(bench.running.values())), "p0w0" if number % 2 else "")
        if number % 7 == 5 and bench.waiting:
            bench.withdraw(next(iter(bench.waiting.values())))
    bench.end()
    assert {outcome for _, outcome in bench.outcomes} <= {Outcome.BUDGET_USED_UP}
    assert not [name for name, _ in bench.outcomes if name == "carol"]


def test_who_waits_for_a_budget_blocks_neither_keys_nor_tenants() -> None:
    """Of four slots one is taken; a key waits for what that one has reserved, and all others run."""
    bench = BudgetBench()
    bench.budgets("bob", (Scope.KEY, 600.0))
    first = bench.submit("bob", key="k", length=500, most=500)
    held = bench.submit("bob", key="k", length=500, most=500)
    others = [bench.submit("bob", key="l", length=10, most=10), bench.submit("alice", length=10)]
    assert set(bench.running) == {first.ticket, *(each.ticket for each in others)}
    assert set(bench.waiting) == {held.ticket}
    bench.end()
    assert held.length == 600 - (1 + 500) - 1, "it gets what is left"


def test_a_tenant_that_waits_for_its_budget_collects_no_credit() -> None:
    """When it may run again it is lifted level with who was served meanwhile, as after a limit of its own."""
    bench = BudgetBench()
    bench.budgets("bob", (Scope.TENANT, 1200.0))
    bench.submit("bob", length=100, most=1000)
    bench.submit("bob", length=100, most=1000)
    for _ in range(60):
        bench.submit("alice", length=20)
    bench.step(90)
    assert bench.flow("alice").counter > 0
    bench.step(40)
    assert bench.flow("bob").lifted > 0
    bench.end()


def test_a_request_that_is_sent_back_reserves_again() -> None:
    """Its reservation ends with the attempt, and the next one has its own."""
    bench = BudgetBench()
    bench.budgets("bob", (Scope.TENANT, 1200.0))
    job = bench.submit("bob", length=100, most=1000)
    bench.step(3)
    bench.requeue(job, "p0w0")
    (budget,) = bench.accounts.all()
    assert budget.tally.reservations == len(bench.running) == 1
    bench.end()
    assert budget.tally.settled == 101
