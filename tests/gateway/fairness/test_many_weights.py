"""A thousand tenants of weights 1 to 1,000: how long each head waits, by what the others are granted meanwhile."""

from collections import Counter

from gateway.fairness.decisions import Decision
from gateway.usage import Usage
from gateway.workers import WindowSize

from .bench import Bench, Job

TENANTS, GRANTS = 1_000, 4_000
WINDOW = WindowSize(16, 1, 10**9)
PROMPT, LENGTH = 2, 4
COST = PROMPT + 2 * LENGTH
FLOOD = 3_000
WEIGHTS = {f"t{number}": float(number + 1) for number in range(TENANTS)}


class Waits(Bench):
    """A bench that counts the grants to all while each tenant's head waits."""

    def __init__(self, policy: str) -> None:
        super().__init__(policy, window=WINDOW)
        self.checks = False
        self.granted = 0
        self.in_flight = Counter[str]()
        self.most_in_flight = Counter[str]()
        self.heads: dict[str, tuple[int, int]] = {}  # grants and own in flight when the present head began to wait
        self.waits: list[tuple[str, int, int]] = []  # of every head: tenant, grants to others, own in flight before

    def carry_out(self, decisions: list[Decision], pool: str) -> None:
        """Note the wait of each head that is granted."""
        super().carry_out(decisions, pool)
        for decision in decisions:
            tenant = decision.ticket.tenant
            self.note(tenant)
            self.granted += 1
            self.in_flight[tenant] += 1
            self.most_in_flight[tenant] = max(self.most_in_flight[tenant], self.in_flight[tenant])
            self.heads[tenant] = self.granted, self.in_flight[tenant]

    def release(self, job: Job, usage: Usage | None, *, completed: bool = False) -> None:
        """End a request."""
        self.in_flight[job.ticket.tenant] -= 1
        super().release(job, usage, completed=completed)

    def note(self, tenant: str) -> None:
        """The head of `tenant` waits no longer, or is looked at while it waits."""
        since, in_flight = self.heads[tenant]
        self.waits.append((tenant, self.granted - since, in_flight))

    def longest_wait(self) -> float:
        """The largest part of its oracle's bound that a head has waited, in grants.

        Who waits is passed by another until that one's counter is above: by what the tenant has open, times the weight
        of the other; then by what the other has open when it is granted last, and what it may get back.
        """
        passing = sum(self.most_in_flight.values()) * (COST + PROMPT)
        weights = sum(WEIGHTS.values())
        return max(
            wait * COST / (passing + (weights - WEIGHTS[tenant]) * in_flight * COST / WEIGHTS[tenant])
            for tenant, wait, in_flight in self.waits
        )


def longest_wait(policy: str) -> float:
    """All tenants backlogged, the lightest with a flood before the others come."""
    bench = Waits(policy)
    bench.heads = dict.fromkeys(WEIGHTS, (0, 0))
    for name, weight in WEIGHTS.items():
        bench.tenant(name, weight)
    for _ in range(FLOOD):
        bench.submit("t0", prompt=PROMPT, length=LENGTH)
    bench.heads |= dict.fromkeys(list(WEIGHTS)[1:], (bench.granted, 0))
    for name in WEIGHTS:
        for _ in range(3 + round(WEIGHTS[name]) * GRANTS // 500_000):
            bench.submit(name, prompt=PROMPT, length=LENGTH)
    while bench.granted < GRANTS:
        bench.step()
    for name in WEIGHTS:
        bench.note(name)
    assert len(bench.waits) > 2 * TENANTS
    return bench.longest_wait()


def test_each_head_waits_no_longer_than_its_weight_explains() -> None:
    """Whatever its weight, and whoever floods, a head waits within the bound of its oracle."""
    assert longest_wait("vtc") <= 1.0


def test_heads_wait_longer_under_fcfs() -> None:
    """Control: behind the flood."""
    assert longest_wait("fcfs") > 1.0
