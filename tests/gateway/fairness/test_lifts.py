"""What a lift, a refund and a requeue do to a counter, in either order."""

import pytest

from gateway.fairness.cost import to_units
from gateway.usage import Usage
from gateway.workers import WindowSize

from .bench import Bench


def units(cost: float) -> int:
    return to_units(cost, 1.0)


def test_an_arrival_at_an_empty_queue_is_lifted_to_the_tenant_that_left_last() -> None:
    """Rule 2: nobody waits, so the level is the counter of whoever left the queue last."""
    bench = Bench()
    bench.submit("busy", prompt=10, length=5)
    bench.step(5)
    bench.submit("late", prompt=1, length=1)
    assert bench.flow("late").lifted == units(10 + 2 * 5)


def test_an_arrival_among_others_is_lifted_to_the_least_of_them() -> None:
    """Rule 3: others wait, so the level is the least counter among them."""
    bench = Bench()
    for name in ("a", "b"):
        for _ in range(6):
            bench.submit(name, prompt=4, length=6)
    bench.step(3)
    waiting = [bench.flow(name).counter for name in ("a", "b")]
    bench.submit("late")
    assert bench.flow("late").counter == bench.flow("late").lifted == min(waiting) > 0


def test_a_tenant_that_waits_is_not_lifted_again() -> None:
    """More requests of a waiting tenant change nothing."""
    bench = Bench()
    for _ in range(8):
        bench.submit("a", length=20)
    bench.step(3)
    before = bench.flow("a").lifted
    bench.submit("a")
    assert bench.flow("a").lifted == before


def test_a_counter_is_never_lowered_by_a_lift() -> None:
    """A tenant that used more than those who wait keeps what it owes."""
    bench = Bench()
    for _ in range(30):
        bench.submit("light", length=2)
    bench.submit("heavy", prompt=100, length=3)
    while bench.flow("heavy").queued:
        bench.step()
    owed = bench.flow("heavy").counter
    assert owed > bench.flow("light").counter
    bench.submit("heavy")
    assert bench.flow("heavy").counter == owed


@pytest.mark.parametrize("is_refund_first", [True, False])
def test_lift_and_refund_commute(is_refund_first: bool) -> None:
    """A reservation refunded before or after a lift leaves the same counter: none of it becomes credit."""
    bench = Bench("vtc", "oracle")
    idler = bench.submit("idler", prompt=1, length=400, most=400)
    for _ in range(60):
        bench.submit("busy", prompt=1, length=10, most=10)
    while bench.flow("busy").counter < 2 * bench.flow("idler").counter:
        bench.step()
    bench.checks = False
    if is_refund_first:
        bench.release(idler, Usage(1, 0, 1))
    level = bench.flow("busy").counter
    bench.submit("idler")
    if not is_refund_first:
        bench.release(idler, Usage(1, 0, 1))
    assert bench.flow("idler").counter - bench.flow("idler").outstanding >= level


@pytest.mark.parametrize("is_later", [False, True])
def test_ties_go_by_the_arrival_of_the_request_that_would_run(is_later: bool) -> None:
    """A tenant whose charges brought a later request to its head is as old as that one, not as the one before it."""
    bench = Bench(window=WindowSize(2, 0, 10_000))
    bench.tenant("held", max_in_flight=1)
    bench.submit("a", key="x", prompt=50, length=400)
    bench.submit("held", length=6)
    bench.submit("a", key="x")
    if not is_later:
        bench.submit("a", key="y")
    waits = bench.submit("held")
    if is_later:
        bench.submit("a", key="y")
    bench.step(6)
    (started,) = [job for job in bench.running.values() if job.length == 4]
    assert (started is waits) == is_later
    prompt = units(1)
    assert bench.flow("held").counter - prompt * is_later == bench.flow("a").counter - prompt * (not is_later), "a tie"


def test_a_request_sent_back_is_undone_and_goes_next() -> None:
    """The engine's refusal for lack of room refunds the charge whole and keeps the request's place."""
    bench = Bench("vtc", "oracle")
    first = bench.submit("a", prompt=7, length=5)
    for _ in range(6):
        bench.submit("b", prompt=7, length=5)
    bench.pause("p0w0")
    bench.requeue(first)
    assert bench.flow("a").outstanding == bench.flow("a").settled == 0
    assert bench.admission.pools["p0"].queue.next_tenant() is bench.flow("a")
    bench.resume("p0w0")
    bench.carry_out(bench.admission.dispatch("p0", bench.now), "p0")
    assert first.ticket in bench.running
    assert first.ticket.attempts == 2


def test_requests_sent_back_keep_their_order() -> None:
    """Two requests of one key that come back in any order leave again in the order of their arrival."""
    for order in ((0, 1), (1, 0)):
        bench = Bench()
        jobs = [bench.submit("a") for _ in range(2)]
        bench.submit("a")
        bench.pause("p0w0")
        for index in order:
            bench.requeue(jobs[index])
        bench.resume("p0w0")
        granted = [d.ticket for d in bench.admission.dispatch("p0", 0.0)]
        assert granted[:2] == [job.ticket for job in jobs]


def test_a_request_sent_back_again_and_again_is_watched_once() -> None:
    """A storm of refusals by the engine does not pile up deadlines, and the request still times out once."""
    bench = Bench(queue_timeout_seconds=3.0)
    job = bench.submit("a")
    for _ in range(300):
        bench.pause("p0w0")
        bench.requeue(job)
        bench.resume("p0w0")
        bench.carry_out(bench.admission.dispatch("p0", bench.now), "p0")
    bench.pause("p0w0")
    bench.requeue(job)
    bench.wait(5.0)
    assert sum(bench.outcomes.values()) == 1
    bench.drain()
    bench.check_books()


def test_time_away_with_a_worker_that_failed_is_no_credit() -> None:
    """A request that comes back after a long attempt is not ahead by what others used meanwhile: it is next but one."""
    bench = Bench("vtc")
    lost = bench.submit("unlucky", prompt=5, length=50, prefill_steps=10_000)
    for _ in range(200):
        bench.submit("busy", prompt=1, length=10)
    bench.step(100)
    level = bench.flow("busy").counter
    bench.requeue(lost, "p0w0")
    bench.check()
    assert lost.ticket in bench.waiting
    assert bench.flow("unlucky").counter == level + 1
    bench.step(10)
    assert lost.ticket in bench.running


@pytest.mark.parametrize("policy", ["vtc", "drr"])
def test_a_flood_that_is_refunded_whole_goes_before_nobody_for_ever(policy: str) -> None:
    """Requests that hold room and cost nothing: whoever waits beside them goes at the next release."""
    bench = Bench(policy)
    for _ in range(100):
        bench.submit("free")
    for _ in range(20):
        paying = bench.submit("paying", length=50)
        bench.release(next(iter(bench.running.values())), None)
        assert paying.ticket in bench.running
        bench.release(paying, paying.usage._replace(output_tokens=50), completed=True)
    bench.drain()
    bench.check_books()


@pytest.mark.parametrize("policy", ["vtc", "drr"])
def test_a_flood_that_is_tried_again_goes_before_nobody(policy: str) -> None:
    """A request whose worker broke is refunded, and is first of its tenant; whoever waits beside it goes before it."""
    bench = Bench(policy)
    for _ in range(100):
        bench.submit("free", length=20, most=20)
    for _ in range(20):
        paying = bench.submit("paying", length=50)
        broken = next(iter(bench.running.values()))
        bench.requeue(broken, broken.ticket.worker)
        assert paying.ticket in bench.running
        bench.release(paying, paying.usage._replace(output_tokens=50), completed=True)
        assert broken.ticket in bench.running
    bench.drain()
    bench.check_books()


def test_a_key_whose_requests_are_refunded_whole_goes_before_no_other_key_for_ever() -> None:
    """The same within a tenant."""
    bench = Bench()
    for _ in range(100):
        bench.submit("a", key="free")
    for _ in range(20):
        paying = bench.submit("a", key="paying", length=50)
        bench.release(next(iter(bench.running.values())), None)
        assert paying.ticket in bench.running
        bench.release(paying, paying.usage._replace(output_tokens=50), completed=True)
