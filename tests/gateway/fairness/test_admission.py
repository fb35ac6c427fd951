"""Decisions of the scheduler case by case: limits, holds, time-outs, several pools, reconfiguration."""

import pytest

from gateway.config.expression import parse
from gateway.fairness import POLICIES, KvTime, check_invariants
from gateway.fairness.census import SWEEP_SECONDS
from gateway.fairness.cost import LEAST_WEIGHT, Expression
from gateway.fairness.ticket import MOVES, Ticket, TicketState
from gateway.outcomes import Outcome
from gateway.usage import Usage
from gateway.workers import Signal, WindowSize

from .bench import Bench


@pytest.mark.parametrize("after", TicketState)
@pytest.mark.parametrize("before", TicketState)
def test_a_ticket_moves_along_its_table_only(before: TicketState, after: TicketState) -> None:
    """Every pair of states: the table's moves succeed, any other is our own mistake."""
    ticket = Ticket("r", "t", "k", "p")
    ticket.state = before
    if (before, after) in MOVES:
        ticket.move(after)
        assert ticket.state is after
    else:
        with pytest.raises(AssertionError):
            ticket.move(after)


def test_every_state_but_the_last_two_can_be_left() -> None:
    """No ticket is stuck, and none comes back from its end."""
    left = {before for before, _ in MOVES}
    assert set(TicketState) - left == {TicketState.SETTLED, TicketState.LEFT}


@pytest.mark.parametrize("predictor", ["none", "oracle"])
def test_a_request_whose_cost_cannot_be_counted_is_refused_and_nothing_else(predictor: str) -> None:
    """A formula that overflows for what one request may come to refuses that one; accounts, room and others stay."""
    text = "input + output ** 4 * output ** 4 * output ** 4"
    bench = Bench("vtc", predictor, cost=Expression(text, parse(text)))
    good = bench.submit("t", length=3)
    for most in (2**63, 10**400):
        bad = bench.submit("t", length=3, most=most)
        assert bad.ticket.state is TicketState.LEFT
    assert bench.outcomes["t", Outcome.BAD_REQUEST] == 2
    assert good.ticket in bench.running
    bench.check()
    bench.drain()


@pytest.mark.parametrize("weight", [LEAST_WEIGHT, 1e6])
def test_a_weight_at_either_end_is_counted(weight: float) -> None:
    """The least and the largest weight carry the largest requests."""
    bench = Bench("vtc", "oracle", cost=KvTime())
    bench.tenant("t", weight)
    bench.submit("t", prompt=2**40, length=9, most=2**63)
    bench.drain()
    bench.check_books()


def test_a_weight_below_the_least_is_our_own_mistake() -> None:
    """The configuration refuses it before it comes here."""
    with pytest.raises(AssertionError, match="has the weight"):
        Bench().tenant("t", 1e-310)


def test_a_held_tenant_blocks_nobody() -> None:
    """A tenant at its in-flight limit waits for itself; room goes to the others at once."""
    bench = Bench()
    bench.tenant("held", max_in_flight=1)
    for _ in range(5):
        bench.submit("held", length=50)
    job = bench.submit("free", length=50)
    assert job.ticket in bench.running
    assert len(bench.running) == 2
    assert bench.admission.snapshot(0.0)[0].tenants[0].is_held_back


def test_a_held_tenant_banks_no_credit() -> None:
    """When a limit holds a tenant back its counter is lifted on return: it gets its share from then on, no more."""
    bench = Bench()
    bench.tenant("held", max_in_flight=1)
    for _ in range(400):
        bench.submit("held")
        bench.submit("free")
    bench.step(200)
    assert bench.flow("free").settled > 2 * (bench.flow("held").settled)
    bench.tenant("held")
    bench.carry_out(bench.admission.dispatch("p0", bench.now), "p0")
    before = {name: bench.flow(name).settled for name in ("held", "free")}
    bench.step(200)
    gained = {name: bench.flow(name).settled - before[name] for name in before}
    assert gained["held"] <= 1.1 * gained["free"]


def test_a_barred_tenant_blocks_nobody_and_runs_nothing_until_the_bar_ends() -> None:
    """A barred tenant's queued and new requests wait in that pool in their order, and it blocks nobody."""
    bench = Bench(pools=2)
    bench.admission.bar("p0", "nobody")
    running = [bench.submit("alice", length=50).ticket for _ in range(4)]
    queued = [bench.submit("alice", length=1).ticket for _ in range(2)]
    bench.admission.bar("p0", "alice")
    bob = bench.submit("bob", length=1).ticket
    while any(ticket in bench.running for ticket in running):
        bench.step()
    queued.append(bench.submit("alice", length=1).ticket)
    elsewhere = bench.submit("alice", pool="p1", length=1).ticket
    assert elsewhere in bench.running
    assert bob.state is TicketState.GRANTED
    assert {ticket.state for ticket in queued} == {TicketState.QUEUED}
    (held,) = [each for each in bench.admission.snapshot(bench.now)[0].tenants if each.tenant == "alice"]
    assert held.is_held_back
    check_invariants(bench.admission)
    granted = bench.admission.unbar("p0", "alice", bench.now)
    assert [decision.ticket for decision in granted] == queued


def test_an_in_flight_limit_spans_the_pools() -> None:
    """One place in flight, two pools: the second request runs when the first ended, wherever it is."""
    bench = Bench(pools=2)
    bench.tenant("t", max_in_flight=1)
    first = bench.submit("t", pool="p0")
    second = bench.submit("t", pool="p1")
    other = bench.submit("u", pool="p1")
    assert first.ticket in bench.running
    assert second.ticket in bench.waiting
    assert other.ticket in bench.running
    bench.release(first, first.usage)
    assert second.ticket in bench.running


def test_a_grant_that_holds_a_tenant_lets_others_pass_in_its_other_pool() -> None:
    """A tenant whose too large head blocked a pool is held by a grant elsewhere: the next in line runs at once."""
    bench = Bench(pools=2, window=WindowSize(2, 0, 100))
    bench.tenant("t", max_in_flight=2)
    bench.submit("u", pool="p1", length=50, prefill_steps=99, prompt=90)
    blocked = bench.submit("t", pool="p1", prompt=50)
    small = bench.submit("v", pool="p1", prompt=1)
    assert {blocked.ticket, small.ticket} <= set(bench.waiting)
    bench.submit("t", pool="p0", sequences=2, length=2)
    assert small.ticket in bench.running


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_sequences_in_flight_stay_within_the_limit(limit: int) -> None:
    """The limit counts sequences; one request larger than it runs alone."""
    bench = Bench(window=WindowSize(8, 0, 1000))
    bench.tenant("t", max_in_flight=limit)
    for number in range(12):
        bench.submit("t", sequences=1 + number % 3, length=6)
    while bench.running:
        sequences = [job.ticket.sequences for job in bench.running.values()]
        assert sum(sequences) <= limit or len(sequences) == 1
        bench.step()
    bench.check_books()


def test_a_queue_time_out_is_a_deadline_not_a_poll() -> None:
    """The next deadline is the oldest request's; at that time it is refused, and only then."""
    bench = Bench(queue_timeout_seconds=10.0)
    for _ in range(4):
        bench.submit("a", length=10_000, reports_at_end=False)
    bench.wait(3.0)
    bench.submit("a")
    assert bench.admission.next_deadline() == 13.0
    bench.wait(9.9)
    assert not bench.outcomes
    bench.wait(0.1)
    assert bench.outcomes["a", Outcome.QUEUE_TIMEOUT] == 1
    assert bench.admission.next_deadline() is None


@pytest.mark.parametrize(
    ("limits", "requests", "outcome"),
    [
        ({"max_queued": 2}, 7, Outcome.TENANT_QUEUE_FULL),
        ({"requests_per_minute": 6}, 7, Outcome.RATE_LIMITED),
        ({"tokens_per_minute": 6 * (10 + 4)}, 7, Outcome.RATE_LIMITED),
    ],
)
def test_own_limits_refuse_the_request_beyond_them(limits: dict[str, int], requests: int, outcome: Outcome) -> None:
    """Each limit refuses exactly the first request that passes it, with a time to come back."""
    bench = Bench()
    bench.tenant("t", **limits)
    for _ in range(requests):
        bench.submit("t", prompt=10)
    assert bench.outcomes == {("t", outcome): 1}
    bench.submit("other", prompt=10)
    assert bench.outcomes.total() == 1


def test_a_full_queue_asks_for_another_attempt_within_a_minute() -> None:
    """However slowly it drains: that is a guess, and others may leave."""
    bench = Bench(window=WindowSize(1, 0, 100_000))
    for _ in range(500):
        bench.submit("t")
    bench.step()
    account = bench.admission.pools["p0"]
    assert account.retry_after_seconds(account.queue.tenants["t"], bench.now) == 60.0


def test_a_rate_over_tokens_takes_prompt_and_expected_answer_in_advance() -> None:
    """Of twenty at once three run, 10 + 256 tokens each; they take 510 each, and the next runs within a minute."""
    bench = Bench(window=WindowSize(64, 0, 100_000))
    bench.tenant("t", tokens_per_minute=1000)
    for _ in range(20):
        bench.submit("t", prompt=10, length=500)
    assert len(bench.running) == 3
    assert bench.outcomes == {("t", Outcome.RATE_LIMITED): 17}
    for job in list(bench.running.values()):
        bench.release(job, Usage(10, 0, 500), completed=True)
    bench.submit("t", prompt=10, length=500)
    assert not bench.running
    bench.wait(60.0)
    bench.submit("t", prompt=10, length=500)
    assert len(bench.running) == 1


def test_what_is_not_used_is_given_back_to_the_rate() -> None:
    """What was taken in advance comes back with each end; then answers like the tenant's own are expected."""
    bench = Bench(window=WindowSize(64, 0, 100_000))
    bench.tenant("t", tokens_per_minute=1000)
    for _ in range(20):
        job = bench.submit("t", prompt=10, length=10, most=500)
        bench.release(job, Usage(10, 0, 10), completed=True)
    for _ in range(20):
        bench.submit("t", prompt=10, length=10, most=500)
    assert len(bench.running) == 20


def test_a_newcomer_is_expected_to_answer_like_the_median_tenant() -> None:
    """Each tenant counts once, however many answers it had: one with giants moves nobody's rate."""
    bench = Bench(window=WindowSize(64, 0, 1_000_000))
    bench.tenant("new", tokens_per_minute=1000)
    for tenant, length in (("a", 40), ("b", 40), ("giant", 10_000)):
        for _ in range(30):
            job = bench.submit(tenant, prompt=10, length=length, most=20_000)
            bench.release(job, Usage(10, 0, length), completed=True)
    for _ in range(40):
        bench.submit("new", prompt=10, length=40, most=20_000)
    assert 19 <= len(bench.running) <= 20


def test_leaving_before_the_end_hides_no_long_answers_from_the_rate() -> None:
    """An answer that was broken off teaches that it was longer than expected; the rate holds."""
    bench = Bench(window=WindowSize(64, 0, 1_000_000))
    bench.tenant("t", tokens_per_minute=1000)
    used = 0
    for _ in range(600):
        bench.wait(1.0)
        bench.submit("t", prompt=10, length=5_000)
        for job in list(bench.running.values()):
            bench.release(job, Usage(10, 0, 4_990))
            used += 5_000
    assert used <= 1000 * (1 + 10) + 5_000


def test_requests_for_a_pool_without_workers_are_refused() -> None:
    """No request queues for a pool that cannot answer; one that queued before is refused at its deadline."""
    bench = Bench(queue_timeout_seconds=5.0)
    for _ in range(5):
        bench.submit("t")
    bench.fleet.signal("p0w0", Signal.GONE)
    bench.submit("t")
    assert bench.outcomes["t", Outcome.NO_WORKER] == 1
    bench.wait(6.0)
    assert bench.outcomes["t", Outcome.NO_WORKER] == 2


def test_a_request_that_a_worker_lost_avoids_it() -> None:
    """The retry goes elsewhere, and gets time for it although its queue time is used up."""
    bench = Bench(workers=2, queue_timeout_seconds=1.0)
    job = bench.submit("t")
    bench.wait(0.99)
    failed = job.ticket.worker
    bench.requeue(job, failed)
    assert job.ticket.worker != failed
    assert job.ticket.deadline >= bench.now + 5.0


def test_fcfs_serves_in_order_of_arrival_over_keys_and_tenants() -> None:
    """The control policy is exactly first come, first served."""
    bench = Bench("fcfs", window=WindowSize(1, 0, 1000))
    jobs = [bench.submit(f"t{number % 3}", key=f"k{number % 2}", length=1) for number in range(12)]
    order = []
    while bench.running:
        order += [ticket.order for ticket in bench.running]
        bench.step()
    assert order == sorted(job.ticket.order for job in jobs)


@pytest.mark.parametrize("policy", POLICIES)
def test_requests_of_one_key_leave_in_order(policy: str) -> None:
    """FIFO within a key under every policy."""
    bench = Bench(policy, window=WindowSize(1, 0, 1000))
    for number in range(18):
        bench.submit(f"t{number % 2}", key=f"k{number % 3}", length=1 + number % 4)
    seen: dict[tuple[str, str], int] = {}
    while bench.running:
        ticket = next(iter(bench.running))
        assert seen.get((ticket.tenant, ticket.key), 0) <= ticket.order
        seen[ticket.tenant, ticket.key] = ticket.order
        bench.step()


def test_rpm_refuses_for_good_and_forgets_after_a_minute() -> None:
    """Three requests a minute: the fourth is refused with the time until the first leaves the window."""
    bench = Bench("rpm", parameter=3)
    for _ in range(4):
        bench.submit("t", length=1)
    bench.submit("other", length=1)
    assert bench.outcomes == {("t", Outcome.RATE_LIMITED): 1}
    bench.wait(60.0)
    bench.submit("t", length=1)
    assert bench.outcomes.total() == 1


def test_a_change_of_weight_restates_nothing() -> None:
    """Counters and service stay when a weight changes; only later charges are divided by the new one."""
    bench = Bench()
    job = bench.submit("t", prompt=10, length=5)
    bench.step(5)
    flow = bench.flow("t")
    counter, service = flow.counter, flow.service
    bench.tenant("t", 4.0)
    assert (flow.counter, flow.service) == (counter, service)
    bench.submit("t", prompt=8, length=1)
    bench.step(1)
    assert flow.counter - counter == (8 + 2) * 1_000_000 // 4
    assert flow.service == service + 8 + 2
    assert job.ticket.state is TicketState.SETTLED


def test_a_change_of_weight_leaves_the_service_of_what_runs() -> None:
    """A request that runs while its tenant's weight changes counts in the tenant's account at what it was charged."""
    bench = Bench()
    bench.submit("t", prompt=10, length=5)
    bench.step(2)
    before = bench.flow("t").service
    bench.tenant("t", 4.0)
    assert bench.flow("t").service == before == 10 + 2 * 2
    bench.step(3)
    assert bench.flow("t").service == 10 + 2 * 5


def test_the_reservation_covers_what_was_predicted() -> None:
    """Tokens within the reservation move no counter; the first one beyond it does; the end settles exactly."""
    bench = Bench("vtc", "quantile")
    bench.submit("t", prompt=1, length=10, most=100)
    bench.step(10)
    job = bench.submit("t", prompt=1, length=50, most=100)
    flow, dispatched = bench.flow("t"), bench.flow("t").counter
    bench.step(10)
    assert flow.counter == dispatched
    bench.step(1)
    assert flow.counter == dispatched + 2 * 1_000_000
    bench.release(job, Usage(1, 0, 3))
    assert flow.service == (1 + 20) + (1 + 6)


def test_the_snapshot_reports_spread_and_bound_in_cost_units() -> None:
    """The exported spread is that of the waiting counters and lies within the exported bound."""
    bench = Bench()
    for _ in range(30):
        bench.submit("a", length=20)
        bench.submit("b", length=3)
    while bench.admission.pools["p0"].queue.spread_units() == 0:
        bench.step()
    (pool,) = bench.admission.snapshot(bench.now)
    counters = [tenant.counter for tenant in pool.tenants if tenant.queued]
    assert pool.spread == pytest.approx(max(counters) - min(counters))
    assert 0 < pool.spread <= pool.spread_bound
    assert 0.5 <= pool.jain_index <= 1.0
    assert [view.worker for view in bench.admission.in_flight(bench.now)] == ["p0w0"] * 4


def test_idle_keys_are_forgotten_without_losing_charges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random identity per request does not fill the memory, and the tenant's account does not notice."""
    monkeypatch.setattr("gateway.fairness.census.MAX_IDLE_KEYS", 8)
    for policy in ("vtc", "drr"):
        bench = Bench(policy)
        for number in range(200):
            bench.submit("t", key=f"visitor{number}", prompt=1, length=1)
            bench.step(2)
            assert len(bench.flow("t").keys) <= 10
        assert bench.flow("t").service == 200 * 3


def test_idle_keys_have_one_bound_over_all_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tenants with an end user for each request keep no more together than one of them alone would."""
    monkeypatch.setattr("gateway.fairness.census.MAX_IDLE_KEYS", 8)
    bench = Bench()
    for number in range(200):
        bench.submit(f"t{number % 20}", key=f"visitor{number}", prompt=1, length=1)
        bench.step(2)
        (account,) = bench.admission.pools.values()
        assert sum(len(tenant.keys) for tenant in account.queue.tenants.values()) <= 10
    assert bench.flow("t3").service == 10 * 3


def test_idle_keys_are_forgotten_by_time() -> None:
    """Idle keys are forgotten within an hour, busy ones never, and charges stay."""
    bench = Bench()
    long = bench.submit("t", key="long", prompt=1, length=10_000)
    for number in range(20):
        bench.submit("t", key=f"visitor{number}", prompt=1, length=1)
        bench.step(2)
    for _ in range(3):
        bench.wait(SWEEP_SECONDS / 2)
        bench.submit("t", key="steady", prompt=1, length=1)
        bench.step(2)
    assert len(bench.flow("t").keys) == 22
    bench.wait(SWEEP_SECONDS)
    bench.submit("u", prompt=1, length=1)
    assert {key.name for key in bench.flow("t").keys} == {"long", "steady"}
    bench.step(2)
    spent = bench.flow("t").service
    bench.release(long, None)
    assert spent >= 23 * 3
    bench.drain()
    bench.check_books()


def test_the_check_notices_a_counter_that_does_not_add_up() -> None:
    """Control: the invariants fail where a charge or a place was lost."""
    for spoil in ("counter", "outstanding", "queued", "refundable"):
        bench = Bench()
        for _ in range(6):
            bench.submit("t")
        setattr(bench.flow("t"), spoil, getattr(bench.flow("t"), spoil) + 1)
        with pytest.raises(AssertionError):
            check_invariants(bench.admission)


def test_an_engines_figures_are_believed_as_far_as_they_are_possible() -> None:
    """At the first report, at each token and at the end, no figure counts beyond the prompts and the output limit."""
    bench = Bench()
    job = bench.submit("t", prompt=10, length=5)
    job.ticket.bounded(most_prompt_tokens=20, most_output_tokens=5)
    claimed = Usage(10**9, 10**9, 10**9)
    bench.admission.pools[job.ticket.pool].charge(job.ticket, claimed)
    assert bench.flow("t").service == 20 + 2 * 5
    bench.admission.pools[job.ticket.pool].charge_output(job.ticket, 10**9)
    assert bench.flow("t").service == 20 + 2 * 5
    bench.admission.release(job.ticket, claimed, bench.now, completed=True)
    assert bench.flow("t").service == 20 + 2 * 5
    assert bench.admission.snapshot(bench.now)[0].spread_bound <= 2 * (20 + 2 * 5)
    assert job.ticket.usage == Usage(20, 20, 5)


def test_a_wait_leaves_out_the_attempts_between() -> None:
    """Two seconds queued, five at a worker without room, three at one that broke: two seconds and one retry."""
    bench = Bench(workers=2, window=WindowSize(1, 0, 1000))
    busy = [bench.submit("u", length=10_000) for _ in range(2)]
    job = bench.submit("t")
    bench.wait(2.0)
    bench.release(busy[0], busy[0].usage)
    bench.wait(5.0)
    bench.requeue(job)
    bench.wait(3.0)
    bench.release(busy[1], busy[1].usage)
    bench.requeue(job, job.ticket.worker)
    assert job.ticket in bench.running
    assert (job.ticket.attempts, job.ticket.retries) == (3, 1)
    assert job.ticket.waited(bench.now) == 2.0


def test_a_request_that_never_ran_has_waited_until_now() -> None:
    """A request that a worker sent back waits again from that moment."""
    bench = Bench(window=WindowSize(1, 0, 1000))
    bench.submit("u", length=10_000)
    job = bench.submit("t")
    bench.wait(7.0)
    assert job.ticket.waited(bench.now) == 7.0
    assert job.ticket.retries == 0
