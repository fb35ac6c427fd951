"""The engine's fair queue, held against the gateway's own policy as the oracle."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.vllm.pythonpath.vtc_engine_order.fair_queue import MAX_IDLE_TENANTS, UNITS_PER_COST, FairQueue, Payer
from gateway.fairness.cost import to_units
from gateway.fairness.flow import Flow
from gateway.fairness.policies import VirtualTokenCounter

TENANTS = {"a": 1.0, "b": 1.0, "c": 3.0, "d": 0.7}


@dataclass(frozen=True, eq=False)
class Asked:
    """A request as the engine knows it."""

    tenant: str
    prompt_tokens: int
    weight: float = 1.0


def payer_of(asked: Asked) -> Payer:
    """The tenant that a request belongs to."""
    return Payer(asked.tenant, asked.weight, asked.prompt_tokens)


@dataclass
class Oracle:
    """The gateway's policy over one flow a tenant, each with its queue. It hears what the fair queue hears."""

    policy: VirtualTokenCounter = field(default_factory=VirtualTokenCounter)
    flows: dict[str, Flow] = field(default_factory=lambda: {name: Flow(name, w) for name, w in TENANTS.items()})
    queues: dict[str, deque[tuple[int, Asked]]] = field(default_factory=lambda: {name: deque() for name in TENANTS})
    arrivals: dict[Asked, int] = field(default_factory=dict)

    def enter(self, asked: Asked, *, is_first: bool) -> None:
        flow, queue = self.flows[asked.tenant], self.queues[asked.tenant]
        place = self.arrivals.setdefault(asked, len(self.arrivals) + 1)
        if is_first:
            self.charge(asked, -asked.prompt_tokens)
            queue.appendleft((place, asked))
        else:
            queue.append((place, asked))
        flow.head_order = queue[0][0]
        if len(queue) == 1:
            self.policy.arrive(flow)
        elif is_first:
            self.policy.head_changed(flow)

    def leave(self, asked: Asked) -> None:
        flow, queue = self.flows[asked.tenant], self.queues[asked.tenant]
        queue.remove((self.arrivals[asked], asked))
        if queue:
            flow.head_order = queue[0][0]
        else:
            self.policy.leave(flow)

    def charge(self, asked: Asked, cost: float) -> None:
        flow = self.flows[asked.tenant]
        units = to_units(cost, flow.weight)
        flow.charge(units)
        self.policy.charged(flow, units)

    def next(self) -> Asked | None:
        flow = self.policy.first()
        return None if flow is None else self.queues[flow.name][0][1]


class Both:
    """A fair queue and its oracle, led through the same events; `check` holds one against the other."""

    def __init__(self) -> None:
        self.fair: FairQueue[Asked] = FairQueue(payer_of)
        self.oracle = Oracle()
        self.running: list[Asked] = []

    def add(self, tenant: str, prompt_tokens: int) -> None:
        asked = Asked(tenant, prompt_tokens, TENANTS[tenant])
        self.fair.add(asked)
        self.oracle.enter(asked, is_first=False)

    def pop(self) -> None:
        asked = self.fair.pop()
        if asked is not None:
            self.oracle.leave(asked)
            self.oracle.charge(asked, asked.prompt_tokens)
            self.running.append(asked)

    def put_back(self, number: int) -> None:
        if self.running:
            asked = self.running.pop(number % len(self.running))
            self.fair.put_back(asked)
            self.oracle.enter(asked, is_first=True)

    def generate(self, number: int, tokens: int) -> None:
        if self.running:
            asked = self.running[number % len(self.running)]
            self.fair.generated(asked, tokens)
            for _ in range(tokens):
                self.oracle.charge(asked, 2)

    def finish(self, number: int) -> None:
        if self.running:
            self.fair.forget(self.running.pop(number % len(self.running)))

    def abort(self, number: int) -> None:
        waiting = list(self.fair)
        if waiting:
            asked = waiting[number % len(waiting)]
            self.fair.remove([asked, *self.running])
            self.fair.forget(asked)
            self.oracle.leave(asked)

    def check(self) -> None:
        assert self.fair.peek() is self.oracle.next()
        assert len(self.fair) == sum(map(len, self.oracle.queues.values())) == len(list(self.fair))
        for name, flow in self.oracle.flows.items():
            assert self.fair.counter(name) == flow.counter, name


NUMBERS = st.integers(0, 30)
EVENTS = st.one_of(
    *[st.tuples(st.just("add"), st.sampled_from(sorted(TENANTS)), st.integers(1, 40))] * 4,
    *[st.tuples(st.just("pop"))] * 3,
    *[st.tuples(st.just("put_back"), NUMBERS)] * 2,
    *[st.tuples(st.just("generate"), NUMBERS, st.integers(1, 40))] * 3,
    st.tuples(st.just("finish"), NUMBERS),
    st.tuples(st.just("abort"), NUMBERS),
)
BACKLOG = [("add", tenant, 10) for tenant in (*TENANTS, *TENANTS)]


@settings(max_examples=300)
@given(st.lists(EVENTS, min_size=10, max_size=80))
def test_it_picks_what_the_gateways_policy_picks(events: list[tuple[Any, ...]]) -> None:
    """Same next request, same counters, after whatever comes, goes, is sent back, generates or is aborted."""
    both = Both()
    for name, *arguments in (*BACKLOG, *events):
        getattr(both, name)(*arguments)
        both.check()


def test_a_preempted_request_goes_first_and_pays_once() -> None:
    """It has been served already: it waits behind nobody, and its prompt costs nothing a second time."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    heavy, light = Asked("a", 1000), Asked("b", 1)
    queue.add(heavy)
    assert queue.pop() is heavy
    queue.add(light)
    queue.resume(heavy)
    assert list(queue) == [heavy, light]
    assert queue.pop() is heavy
    assert queue.counter("a") == 1000 * UNITS_PER_COST
    queue.resume(heavy)
    queue.remove([heavy])
    assert list(queue) == [light]


def test_a_preempted_request_that_ends_meanwhile_leaves_nothing() -> None:
    """A step that was under way may hold its last token: it is over first and taken out of the queue then."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    asked = Asked("a", 10)
    queue.add(asked)
    queue.pop()
    queue.resume(asked)
    queue.forget(asked)
    queue.remove([asked])
    assert (len(queue), queue.peek(), queue._claims) == (0, None, {})
    assert queue._tenants["a"].known == 0


def test_the_preempted_resume_in_the_order_that_they_ran_in() -> None:
    """The engine preempts its newest first, so that the last to be put back is the first to go on."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    older, newer = Asked("a", 1), Asked("a", 1)
    for asked in (older, newer):
        queue.add(asked)
        queue.pop()
    queue.resume(newer)
    queue.resume(older)
    assert [queue.pop(), queue.pop(), queue.pop()] == [older, newer, None]


def test_idle_tenants_are_forgotten_and_busy_ones_are_not() -> None:
    """A new name for each request fills no memory; a tenant with a request under way keeps its counter."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    stays = Asked("stays", 7)
    queue.add(stays)
    queue.pop()
    for number in range(2 * MAX_IDLE_TENANTS + 10):
        passing = Asked(f"passing {number}", 1)
        queue.add(passing)
        queue.pop()
        queue.forget(passing)
    known = sum(queue.counter(f"passing {number}") > 0 for number in range(2 * MAX_IDLE_TENANTS + 10))
    assert known <= MAX_IDLE_TENANTS
    assert queue.counter("stays") == 7 * UNITS_PER_COST


def test_its_weights_are_the_papers() -> None:
    """One for a token of the prompt, two for a generated one, in the gateway's units."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    asked = Asked("a", 10, weight=2.0)
    queue.add(asked)
    queue.pop()
    queue.generated(asked, 3)
    assert queue.counter("a") == to_units(10 + 2 * 3, 2.0)
    assert to_units(1, 1.0) == UNITS_PER_COST


def test_a_long_queue_of_refiled_tenants_stays_small() -> None:
    """Requests that the engine cannot take yet are popped and put back in every step: nothing may pile up."""
    queue: FairQueue[Asked] = FairQueue(payer_of)
    for number in range(50):
        queue.add(Asked(f"t{number % 10}", 100 + number))
    for _ in range(400):
        skipped = [asked for asked in (queue.pop() for _ in range(7)) if asked is not None]
        for asked in reversed(skipped):
            queue.put_back(asked)
    assert len(queue) == 50
    assert len(queue._heap) <= 200
