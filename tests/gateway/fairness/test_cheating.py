"""Ways to cheat that gain nothing: what a tenant gets does not depend on what it tries."""

from collections.abc import Callable

import pytest

from gateway.outcomes import Outcome
from gateway.usage import Usage

from .bench import Bench, Job

STEPS = 1_500


def keep_queued(bench: Bench, tenant: str, count: int, length: int = 8, **size: int) -> None:
    """Keep `count` requests of `tenant` queued."""
    queued = sum(job.ticket.tenant == tenant for job in bench.waiting.values())
    for _ in range(count - queued):
        bench.submit(tenant, length=length, **size)


def jobs_of(bench: Bench, tenant: str) -> list[Job]:
    return [job for job in bench.running.values() if job.ticket.tenant == tenant]


def cancels_while_queued(bench: Bench, step: int) -> None:
    """Queue many, withdraw them all, queue them again."""
    keep_queued(bench, "cheat", 20)
    if step % 3 == 0:
        for job in [job for job in bench.waiting.values() if job.ticket.tenant == "cheat"]:
            bench.withdraw(job)
        keep_queued(bench, "cheat", 20)


def stops_at_the_last_moment(bench: Bench, step: int) -> None:
    """Disconnect one token before the end, to keep the charge from being settled."""
    keep_queued(bench, "cheat", 20)
    for job in jobs_of(bench, "cheat"):
        if job.output_tokens == job.length - 1:
            bench.release(job, job.usage)


def asks_for_much_and_leaves(bench: Bench, step: int) -> None:
    """Announce a huge answer, so that the reservation is large, then leave early for the refund."""
    keep_queued(bench, "cheat", 20, most=4_000)
    for job in jobs_of(bench, "cheat"):
        if job.output_tokens >= 5:
            bench.release(job, job.usage)


def asks_for_little_and_uses_more(bench: Bench, step: int) -> None:
    """Understate the prompt."""
    keep_queued(bench, "cheat", 20, prompt=30, estimate=1)


def takes_many_choices(bench: Bench, step: int) -> None:
    """Ask for four answers at once."""
    keep_queued(bench, "cheat", 20, length=32, sequences=4)


def takes_a_new_key_each_time(bench: Bench, step: int) -> None:
    """A fresh identity for every request."""
    queued = sum(job.ticket.tenant == "cheat" for job in bench.waiting.values())
    for number in range(20 - queued):
        bench.submit("cheat", key=f"{step}-{number}", length=8)


def comes_and_goes(bench: Bench, step: int) -> None:
    """Pause to let the counter fall behind, then burst."""
    if step % 100 >= 50:
        keep_queued(bench, "cheat", 40)


def storms(bench: Bench, step: int) -> None:
    """Hold a deep queue and retry at once whatever is refused."""
    keep_queued(bench, "cheat", 60)


CHEATS = [
    cancels_while_queued,
    stops_at_the_last_moment,
    asks_for_much_and_leaves,
    asks_for_little_and_uses_more,
    takes_many_choices,
    takes_a_new_key_each_time,
    comes_and_goes,
    storms,
]


def part_of_cheat(
    policy: str, predictor: str, cheat: Callable[[Bench, int], None], *, max_queued: int = 10**6
) -> float:
    """The part of all service that the cheat gets against an honest backlogged tenant."""
    bench = Bench(policy, predictor, max_queued=max_queued)
    bench.checks = False
    for step in range(STEPS):
        cheat(bench, step)
        keep_queued(bench, "honest", 10)
        bench.step()
    bench.checks = True
    bench.check()
    service = bench.books.service
    return service["cheat"] / (service["cheat"] + service["honest"])


@pytest.mark.parametrize("predictor", ["none", "quantile", "oracle"])
@pytest.mark.parametrize("cheat", CHEATS)
def test_cheating_gains_nothing(cheat: Callable[[Bench, int], None], predictor: str) -> None:
    """Under VTC no trick brings more than half of the service (plus 3 % of it for what is in flight)."""
    assert part_of_cheat("vtc", predictor, cheat) <= 0.515


@pytest.mark.parametrize(
    "cheat", [asks_for_little_and_uses_more, takes_many_choices, takes_a_new_key_each_time, storms]
)
def test_cheating_pays_under_fcfs(cheat: Callable[[Bench, int], None]) -> None:
    """Control: under FCFS, which counts nothing, the same tricks bring more."""
    assert part_of_cheat("fcfs", "none", cheat) > 0.6


def test_a_flood_pushes_out_its_own_requests() -> None:
    """In a full buffer the longest queue loses its newest request; the modest tenant loses none."""
    bench = Bench(max_queued=12)
    for _ in range(40):
        bench.submit("flood")
    for _ in range(5):
        bench.submit("modest")
    assert bench.outcomes["modest", Outcome.PUSHED_OUT] == 0
    assert bench.outcomes["flood", Outcome.PUSHED_OUT] == 45 - 4 - 12
    assert bench.flow("modest").queued == 5


def test_weights_count_in_the_push_out() -> None:
    """The longest queue is measured by weight, so a tenant with more weight may queue more."""
    bench = Bench(max_queued=12)
    bench.tenant("paying", 10.0)
    for _ in range(12):
        bench.submit("paying")
    for _ in range(12):
        bench.submit("other")
    assert bench.outcomes["other", Outcome.PUSHED_OUT] == 12 - 4
    assert bench.outcomes["paying", Outcome.PUSHED_OUT] == 0


def test_many_idle_tenants_pass_on_no_credit() -> None:
    """A hundred new tenants with one request each delay a backlogged one by no more than they use."""
    bench = Bench()
    for _ in range(20):
        bench.submit("honest", length=8)
    bench.step(40)
    counters = bench.flow("honest").counter
    for number in range(100):
        bench.submit(f"sybil{number}", length=1)
    assert all(bench.flow(f"sybil{number}").counter >= counters - 1 for number in range(100) if bench.waiting)


def test_a_retry_storm_uses_up_its_own_rate() -> None:
    """Withdrawing does not give a request back to the tenant's rate."""
    bench = Bench()
    bench.tenant("t", requests_per_minute=5)
    for _ in range(50):
        job = bench.submit("t")
        if job.ticket in bench.running:
            bench.release(job, None)
    assert bench.outcomes["t", Outcome.RATE_LIMITED] == 45


def test_an_aborted_answer_is_paid_for() -> None:
    """Who disconnects in mid-stream pays for the prompt and for each token that was generated."""
    bench = Bench("vtc", "oracle")
    job = bench.submit("t", prompt=10, length=100)
    bench.step(7)
    bench.release(job, job.usage)
    assert bench.flow("t").service == 10 + 2 * 7
    assert bench.flow("t").outstanding == 0


def test_silent_requests_are_charged_while_they_run() -> None:
    """An answer that reports nothing is charged by the learned rate, and exactly at its end."""
    bench = Bench()
    job = bench.submit("t", prompt=10, length=200, reports_at_end=True)
    bench.step(100)
    running = bench.flow("t").service
    assert running > 10 + 2 * 40
    bench.release(job, Usage(10, 0, 3))
    assert bench.flow("t").service == 10 + 2 * 3
