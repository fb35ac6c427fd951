"""Requests of several sequences: no slot stays idle for them, what they overdraw is bounded, shares hold."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.workers.window import MOST_UNSEEN_WINDOWS

from .bench import Job
from .slots import READING_STEPS, SLACK, SLOTS, DrainingFleet, Slots

STEPS = 600
PLACES = SLOTS + SLACK
CHEAP = settings(
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # an example takes a tenth of a second: to shrink it would take minutes
)
WIDTHS = [2, SLOTS // 2, SLOTS, SLOTS + SLACK, SLOTS + SLACK + 1, 5 * SLOTS]


def behind_long_answers(width: int, bench: Slots) -> tuple[Job, list[Job]]:
    """A full window of long answers of different lengths, a request of `width` sequences, then fifty small ones."""
    bench.checks = False
    for number in range(SLOTS + SLACK):
        bench.send("crowd", 100 + 10 * number)
    wide = bench.send("wide", *[1] * width, prompt=10)
    return wide, [bench.send("small", 2) for _ in range(50)]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_slot_is_idle_for_a_wide_request(width: int) -> None:
    """It starts with the first place that comes free, and the small requests behind it do not wait for the crowd."""
    bench = Slots()
    wide, small = behind_long_answers(width, bench)
    bench.step(102)
    assert wide.ticket not in bench.waiting
    bench.step(150)
    assert not any(job.ticket in bench.waiting or job.ticket in bench.running for job in small)
    assert bench.running, "some long answers still run"
    assert bench.idle == 0


@pytest.mark.parametrize("width", WIDTHS[2:])
def test_slots_would_be_idle_if_a_wide_request_waited_for_all_its_places(width: int) -> None:
    """Control: where the window drains for it the slots of a hundred steps and more are lost."""
    bench = Slots(fleet=DrainingFleet())
    behind_long_answers(width, bench)
    bench.step(252)
    assert bench.idle > 100 * SLOTS // 2


def keep_sending(bench: Slots, tenant: str, count: int, *lengths: int, prompt: int = 1) -> None:
    queued = sum(job.ticket.tenant == tenant for job in bench.waiting.values())
    for _ in range(count - queued):
        bench.send(tenant, *lengths, prompt=prompt)


def part_of_wide(bench: Slots, width: int, length: int, prompt: int = 1) -> float:
    """The part of the service that a tenant of wide requests at will gets against one of small ones."""
    bench.checks = False
    for _ in range(STEPS):
        keep_sending(bench, "wide", 2 * SLOTS, *[length] * width, prompt=prompt)
        keep_sending(bench, "small", 2 * SLOTS, 8)
        bench.step()
    service = bench.books.service
    return service["wide"] / (service["wide"] + service["small"])


@settings(CHEAP, max_examples=25)
@given(st.integers(2, 3 * SLOTS), st.integers(1, 12), st.integers(1, 20), st.sampled_from(["none", "quantile"]))
def test_wide_requests_at_will_cost_nobody_a_slot_or_a_share(
    width: int, length: int, prompt: int, predictor: str
) -> None:
    """The engine runs full, what is there beyond the window is bounded, the other tenant gets its half."""
    bench = Slots("vtc", predictor)
    part = part_of_wide(bench, width, length, prompt)
    assert bench.ran >= 0.95 * SLOTS * STEPS
    assert bench.most_in_flight < PLACES + max(MOST_UNSEEN_WINDOWS * PLACES, width - 1) + width
    bound = 2 * bench.admission.pools["p0"].queue.group.policy.bound.units / 1e6
    total = sum(bench.books.service.values())
    assert abs(part - 0.5) * total <= bound
    bench.checks = True
    bench.check()


@pytest.mark.parametrize("width", [2, 3, 4, 6, 8, SLOTS, PLACES])
@pytest.mark.parametrize("length", [8, 20])
def test_in_the_mean_the_slack_and_one_wide_request_wait_at_the_engine(width: int, length: int) -> None:
    """The next request that is granted does not find a window of others' sequences before it in the engine."""
    bench = Slots()
    part_of_wide(bench, width, length)
    assert bench.queued <= (SLACK + width) * STEPS
    assert bench.ran >= 0.99 * SLOTS * STEPS


@pytest.mark.parametrize(
    ("width", "longest", "part"), [(4, 9, 0.85), (4, 40, 0.9), (PLACES, 9, 0.8), (PLACES, 40, 0.8)]
)
def test_what_ends_between_readings_leaves_few_slots_idle(width: int, longest: int, part: float) -> None:
    """All but one sequence of each request end at once, some before a reading can tell: most slots run."""
    bench = Slots()
    bench.checks = False
    for _ in range(STEPS):
        keep_sending(bench, "wide", 2 * SLOTS, longest, *[1] * (width - 1))
        keep_sending(bench, "small", 2 * SLOTS, 8)
        bench.step()
    assert bench.ran >= part * SLOTS * STEPS


def test_a_tenant_that_alternates_leaves_no_longer_queue() -> None:
    """Uneven requests, whose ends let more go, and even ones in turn: no more waits at the engine in the mean."""
    bench = Slots()
    bench.checks = False
    for step in range(STEPS):
        keep_sending(bench, "wide", 4, *([9] * 4 if step // 20 % 2 else [9, 1, 1, 1]))
        keep_sending(bench, "small", 4, 8)
        bench.step()
    assert bench.queued <= (SLACK + 4) * STEPS


@pytest.mark.parametrize("width", WIDTHS[2:])
def test_being_wide_pays_under_fcfs(width: int) -> None:
    """Control: without counters the wider requests take more than their half."""
    assert part_of_wide(Slots("fcfs"), width, 8) > 0.6


@settings(CHEAP, max_examples=25)
@given(st.integers(2, 3 * SLOTS), st.integers(3 * READING_STEPS, 300), st.booleans())
def test_sequences_that_ended_give_their_places_back_before_their_request_ends(
    width: int, longest: int, reports_at_end: bool
) -> None:
    """All but one sequence end at once: their slots stay idle until a reading has said so, and no longer.

    The first reading after the grant may be too early to know the request, so it may take two.
    """
    bench = Slots()
    bench.checks = False
    for number in range(3):
        bench.send("wide", longest, *[1] * (width - 1), reports_at_end=reports_at_end)
        for _ in range(longest):
            keep_sending(bench, "small", 2 * SLOTS, 8)
            bench.step()
        assert bench.idle <= (number + 1) * SLOTS * 2 * READING_STEPS
        assert bench.fleet.look("p0w0").degraded == "", "the engine is not taken for a liar"
    bench.checks = True
    bench.check()
