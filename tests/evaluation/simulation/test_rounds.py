"""The paper's engine by hand: when a round comes, what it admits, how long it takes."""

import pytest

from backend.engine.core import StepCost
from evaluation.requests import Request
from evaluation.simulation.result import Result
from evaluation.simulation.run import RequestTooLarge, simulate
from evaluation.simulation.settings import RoundsSize, Settings

# A decode step of n sequences takes n hundredths of a second and one, a prompt token a thousandth.
COST = StepCost(0.01, 0.001, 0.01, 0.0)


def run(*requests: Request, **sizes: int) -> Result:
    """Play them under FCFS in an engine of 1,000 tokens, unless `sizes` say otherwise."""
    size = RoundsSize(**{"pool_tokens": 1_000, "tenant_tokens": 0, **sizes})
    return simulate(requests, Settings(policy="fcfs", step_cost=COST, rounds=size))


def times(result: Result) -> list[tuple[float, float, float]]:
    """Dispatch, first and last token of each request."""
    return [
        (round(s.dispatched_at or 0, 6), round(s.first_token_at or 0, 6), round(s.last_token_at or 0, 6))
        for s in result.served
    ]


def test_a_request_alone() -> None:
    """Prefill 0.01 + 100 x 0.001, then a step of 0.02 for each of the other 10 tokens."""
    assert times(run(Request(2.0, "a", 100, 11))) == [(2.0, 2.11, 2.31)]


def test_one_token_needs_no_step() -> None:
    """The prefill ends it, and the next begins at once."""
    first, second = Request(0.0, "a", 100, 1), Request(0.05, "a", 40, 1)
    assert times(run(first, second)) == [(0.0, 0.11, 0.11), (0.11, 0.16, 0.16)]


def test_those_who_come_together_are_read_together() -> None:
    """One round, one prefill, steps of two."""
    assert times(run(Request(0.0, "a", 100, 3), Request(0.0, "b", 50, 2))) == [
        (0.0, 0.16, 0.21),
        (0.0, 0.16, 0.19),
    ]


def test_the_next_round_is_ten_steps_after_the_last() -> None:
    """Who comes in step 1 waits for the end of step 10; the round after that for ten steps more."""
    result = run(Request(0.0, "a", 90, 30), Request(0.11, "b", 90, 30), Request(0.32, "c", 90, 5))
    begun = 0.1 + 10 * 0.02
    then = begun + 0.1 + 10 * 0.03
    assert [at for at, _, _ in times(result)] == pytest.approx([0.0, begun, then])


def test_a_late_arrival_is_admitted_at_the_end_of_the_step_under_way() -> None:
    """Ten steps are over: in the middle of step 13, long before anything ends, its end is soon enough."""
    result = run(Request(0.0, "a", 90, 100), Request(0.355, "b", 90, 5))
    assert times(result)[1][0] == pytest.approx(0.1 + 13 * 0.02)


def test_what_does_not_fit_waits_for_an_end_and_is_not_bypassed() -> None:
    """600 + 100 beside 300 + 80 is too much for 1,000; the small one behind it would have fitted."""
    big, large, small = Request(0.0, "a", 600, 100), Request(0.0, "b", 300, 110), Request(0.0, "c", 10, 10)
    result = run(big, large, small)
    end_of_big = times(result)[0][2]
    assert [at for at, _, _ in times(result)] == [0.0, end_of_big, end_of_big]


def test_growth_is_foreseen() -> None:
    """Two of 400 + 99 fit 1,000 exactly not (998 < 1,000, 999 with a token more does, 1,000 does not)."""
    assert times(run(*[Request(0.0, "a", 400, 99)] * 2))[1][0] == 0.0
    assert times(run(Request(0.0, "a", 400, 100), Request(0.0, "a", 400, 100)))[1][0] > 0.0


def test_a_tenant_takes_its_part_of_the_pool() -> None:
    """Each tenant with a running request costs 32 tokens, once."""
    pair = {"pool_tokens": 1_000, "tenant_tokens": 32}
    same, other = Request(0.0, "a", 400, 80), Request(0.0, "b", 400, 80)
    assert times(run(same, same, **pair))[1][0] == 0.0
    assert times(run(same, other, **pair))[1][0] > 0.0


def test_a_round_reads_no_more_than_its_cap() -> None:
    """2,000 and 1,072 prompt tokens fill the cap of 3,072; the third waits for ten steps."""
    result = run(*[Request(0.0, "a", prompt, 50) for prompt in (2_000, 1_072, 1)], pool_tokens=10_000)
    first = 0.01 + 3.072
    assert [at for at, _, _ in times(result)] == pytest.approx([0.0, 0.0, first + 10 * 0.03])


def test_no_more_run_than_may() -> None:
    """The third of three waits for a place, not for memory."""
    result = run(*[Request(0.0, "a", 10, 20)] * 3, max_running=2)
    assert times(result)[2][0] == times(result)[0][2]


def test_a_client_that_leaves_frees_its_room_at_its_last_token() -> None:
    """After 5 of 500 tokens the other one may begin; it is not told apart from a full answer by the fit check."""
    leaver = Request(0.0, "a", 400, 500, leaves_after_tokens=5)
    result = run(leaver, Request(0.0, "b", 590, 10))
    assert result.served[0].output_tokens == 5
    assert times(result)[1][0] == times(result)[0][2] == pytest.approx(0.41 + 4 * 0.02)


def test_a_run_cut_short_leaves_unfinished_requests() -> None:
    """At 0.2 s a has 5 tokens (0.11, then four steps of 0.02), b has waited; the tallies say the same."""
    requests = (Request(0.0, "a", 100, 100), Request(0.15, "b", 100, 10))
    size = RoundsSize(pool_tokens=1_000, tenant_tokens=0)
    result = simulate(requests, Settings(policy="fcfs", step_cost=COST, rounds=size, until_seconds=0.2))
    assert [(served.output_tokens, served.ending.value) for served in result.served] == [
        (5, "unfinished"),
        (0, "unfinished"),
    ]
    assert result.served[0].last_token_at == pytest.approx(0.19)
    assert (result.ended_at, result.engines[0].steps, result.engines[0].output_tokens) == (0.2, 4, 5)


def test_two_engines_share_one_queue() -> None:
    """The second takes what the first has no room for."""
    size = RoundsSize(pool_tokens=1_000, tenant_tokens=0)
    requests = [Request(0.0, "a", 600, 50)] * 2
    result = simulate(requests, Settings(policy="fcfs", step_cost=COST, rounds=size, slowness=(1.0, 1.0)))
    assert [at for at, _, _ in times(result)] == [0.0, 0.0]
    assert [tally.output_tokens for tally in result.engines] == [50, 50]


@pytest.mark.parametrize("request_", [Request(0.0, "a", 900, 100), Request(0.0, "a", 0, 5), Request(0.0, "a", 5, 0)])
def test_what_can_never_run_is_reported_at_once(request_: Request) -> None:
    """A request that no empty engine holds, or without tokens."""
    with pytest.raises(RequestTooLarge):
        run(request_)
