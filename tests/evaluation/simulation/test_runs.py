"""Whole runs: the same every time, nothing lost, charged token by token, and fair where that is claimed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings

from evaluation.metrics.runs import by_tenant
from evaluation.metrics.service import measure_difference, measure_service, throughput
from evaluation.requests import Ending, Request, Served
from evaluation.simulation import workers
from evaluation.simulation.result import Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import EngineModel, Settings
from evaluation.simulation.simulated_gateway import POOL, SimulatedGateway
from gateway.fairness import Decision, KvTime, Linear, Profiled, Ticket
from gateway.fairness.cost import to_units
from gateway.workers import WindowSize

from .loads import COSTS, POLICIES, PREDICTORS, check_conserved, evenly, play, runs, trace_like

Run = tuple[list[Request], Settings]


def story(result: Result) -> list[tuple[object, ...]]:
    """Everything that became of the requests."""
    return [story_of(served) for served in result.served]


def story_of(s: Served) -> tuple[object, ...]:
    """What became of one request."""
    return (s.ending, s.dispatched_at, s.first_token_at, s.last_token_at, s.output_tokens, s.preemptions)


@given(runs())
@settings(max_examples=200, deadline=None)
def test_whatever_the_rules_nothing_is_lost(run: Run) -> None:
    """Every policy, predictor, cost and engine: all end; engine, client and account agree on tokens and cost."""
    requests, rules = run
    check_conserved(requests, simulate(requests, rules), rules)


@given(runs())
@settings(deadline=None)
def test_the_same_run_tells_the_same_story(run: Run) -> None:
    """No clock and no chance: times are equal to the last bit."""
    first, second = (simulate(*run) for _ in range(2))
    assert story(first) == story(second)
    assert first.spread.dispatches == second.spread.dispatches
    assert first.timeline.cumulative() == second.timeline.cumulative()


class CheckedGateway(SimulatedGateway):
    """Compares the charges of all running requests with those made by hand, whenever the scheduler has decided."""

    def _carry_out(self, decisions: list[Decision], now: float) -> None:
        for ticket in self.admission.running:
            self._check(ticket)
        super()._carry_out(decisions, now)

    def _check(self, ticket: Ticket) -> None:
        """A charge covers the reservation or every token; the first token confirms it, and each token beyond."""
        request, tokens, reserved = self.job(ticket).request, len(self.job(ticket).token_times), ticket.reserved_tokens
        charge = self.admission.pools[POOL].spec.cost(request.prompt_tokens, 0, max(tokens, reserved))
        confirmed = tokens if tokens > reserved else 1
        certain = self.admission.pools[POOL].spec.cost(request.prompt_tokens, 0, confirmed) if tokens else 0.0
        for of_flow in ticket.charges:
            assert of_flow.units == to_units(charge, of_flow.weight)
            assert of_flow.certain == to_units(certain, of_flow.weight)


@given(runs())
@settings(max_examples=150, deadline=None)
def test_each_token_is_charged_before_anything_is_decided(run: Run) -> None:
    """At every decision each charge is the one by hand, for each policy, predictor, cost and engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "SimulatedGateway", CheckedGateway)
        simulate(*run)


@given(runs())
@settings(max_examples=150, deadline=None)
def test_the_bound_holds_in_front_of_any_engine(run: Run) -> None:
    """Under `vtc` the counters of those who wait never lie further apart than was computed."""
    requests, rules = run
    assert simulate(requests, replace(rules, policy="vtc")).spread.violations == 0


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: type(cost).__name__)
def test_the_bound_holds_under_overload_behind_the_window(cost: Linear | Profiled | KvTime, predictor: str) -> None:
    """vLLM's batching with unknown lengths: half of every stated maximum is not used, memory runs out now and then."""
    requests = [
        Request(r.arrival_seconds, r.tenant, r.prompt_tokens, r.output_tokens, max_output_tokens=2 * r.output_tokens)
        for r in trace_like(30.0)
    ]
    window = WindowSize(sequences=48, slack=1, prefill_tokens=4_096)
    result = play(requests, engine=EngineModel.VLLM, cost=cost, predictor=predictor, window=window)
    assert result.spread.violations == 0
    assert 0 < result.spread.largest <= result.spread.bound
    assert result.engines[0].preemptions > 0


OVERLOAD = evenly({"a": 90, "b": 180}, 120)


def largest_gap(result: Result, until: int) -> float:
    """Largest difference of accumulated service up to `until` seconds."""
    first, second = result.timeline.cumulative().values()
    return max(abs(a - b) for a, b in zip(first[:until], second[:until], strict=True))


@pytest.mark.parametrize("engine", EngineModel)
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_two_backlogged_tenants_are_served_alike(engine: EngineModel, predictor: str) -> None:
    """Accumulated service differs by at most twice the bound, however long both wait; under FCFS by ever more."""
    fair = play(OVERLOAD, engine=engine, predictor=predictor, until_seconds=120.0)
    assert largest_gap(fair, 120) <= 2 * fair.spread.bound
    control = play(OVERLOAD, engine=engine, policy="fcfs", predictor=predictor, until_seconds=120.0)
    assert largest_gap(control, 120) > 3 * largest_gap(fair, 120)
    assert largest_gap(control, 120) > 1.8 * largest_gap(control, 60)


def test_a_better_prediction_brings_tenants_closer() -> None:
    """Of two tenants over their share, in the order published: none, within 50 %, exact."""
    predictors = ("none", "noisy_oracle:50%", "oracle")
    results = [play(OVERLOAD, predictor=predictor, until_seconds=120.0) for predictor in predictors]
    gaps = [measure_difference(measure_service(result.served)).average for result in results]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 3 * gaps[1] > 3 * gaps[2]


def shares(result: Result, from_second: int = 30) -> dict[str, float]:
    """Each tenant's part of the service once all are backlogged."""
    service = {tenant: sums[-1] - sums[from_second] for tenant, sums in result.timeline.cumulative().items()}
    return {tenant: amount / sum(service.values()) for tenant, amount in service.items()}


def test_weights_divide_the_service() -> None:
    """With equal demand, all over their share, 1 : 2 : 3 within 3 % (a control without weights is equal)."""
    requests = evenly({"a": 120, "b": 120, "c": 120}, 300)
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    weighted = shares(play(requests, weights=weights, predictor="oracle", until_seconds=150.0))
    equal = shares(play(requests, predictor="oracle", until_seconds=150.0))
    for tenant, weight in weights.items():
        assert weighted[tenant] == pytest.approx(weight / 6, rel=0.03)
        assert equal[tenant] == pytest.approx(1 / 3, rel=0.03)


def test_many_keys_gain_nothing_where_they_share() -> None:
    """A tenant with eight keys gets half of the engine under two levels, eight ninths where each key is a tenant."""
    plain = evenly({"one": 240, "many": 240}, 120)
    requests = [
        Request(r.arrival_seconds, r.tenant, 256, 256, f"k{number // 2 % 8}" if r.tenant == "many" else "k")
        for number, r in enumerate(plain)
    ]
    rules = {"predictor": "oracle", "until_seconds": 120.0}
    assert shares(play(requests, keys_share=True, **rules))["many"] == pytest.approx(1 / 2, abs=0.02)
    assert shares(play(requests, keys_share=False, **rules))["many"] == pytest.approx(8 / 9, abs=0.02)


def test_who_asks_too_often_is_refused() -> None:
    """Under `rpm:20` at most 20 a minute are accepted, and who keeps below is never refused."""
    result = play(evenly({"modest": 15, "flood": 90}, 180), policy="rpm:20")
    refused = {name: sum(s.ending is Ending.REFUSED for s in each) for name, each in by_tenant(result.served).items()}
    assert refused == {"flood": 270 - 60, "modest": 0}


def test_waiting_too_long_is_a_refusal() -> None:
    """With 5 s of patience nobody who was served waited longer."""
    result = play(OVERLOAD, queue_timeout_seconds=5.0)
    waits = [s.dispatched_at - s.request.arrival_seconds for s in result.served if s.dispatched_at is not None]
    assert 0 < len(waits) < len(OVERLOAD) and max(waits) <= 5.0


def busy_times(result: Result) -> list[tuple[float, float]]:
    """When at least one request was with the engine, in order."""
    stretches: list[tuple[float, float]] = []
    served = [s for s in result.served if s.dispatched_at is not None and s.last_token_at is not None]
    for began, ended in sorted((s.dispatched_at or 0.0, s.last_token_at or 0.0) for s in served):
        if stretches and began <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], ended))
        else:
            stretches.append((began, ended))
    return stretches


@given(runs())
@settings(max_examples=150, deadline=None)
def test_the_engine_is_never_idle_while_someone_waits(run: Run) -> None:
    """Work is conserved: whoever waits does so while the one engine is busy, without a break."""
    requests, rules = run
    result = simulate(requests, replace(rules, slowness=(1.0,)))
    busy = busy_times(result)
    for served in result.served:
        if served.dispatched_at is not None and served.dispatched_at > served.request.arrival_seconds:
            assert any(a <= served.request.arrival_seconds and served.dispatched_at <= b for a, b in busy)


def test_all_the_work_takes_the_same_time_whoever_goes_first() -> None:
    """An overload is done within 3 % of the same time, at full speed, under every policy that serves all."""
    requests = evenly({"a": 90, "b": 180}, 60)
    ends = {policy: play(requests, policy=policy) for policy in POLICIES if not policy.startswith("rpm")}
    for result in ends.values():
        assert result.ended_at == pytest.approx(ends["fcfs"].ended_at, rel=0.03)
        assert throughput(result.served, result.ended_at) > 800


def measure(policy: str, requests: Sequence[Request]) -> tuple[float, float, float]:
    """Largest and average difference, and throughput."""
    result = play(list(requests), policy=policy)
    difference = measure_difference(measure_service(result.served), [float(at) for at in range(45, 106, 20)])
    return difference.maximum, difference.average, throughput(result.served, result.ended_at)


def test_the_policies_rank_as_published() -> None:
    """On a trace like the published one: RPM buys fairness with throughput, VTC is fair for nothing, FCFS is not."""
    requests = trace_like(120.0)
    found = {policy: measure(policy, requests) for policy in ("fcfs", "vtc", "rpm:5", "rpm:20")}
    averages = [found[policy][1] for policy in ("rpm:5", "vtc", "fcfs")]
    assert averages == sorted(averages)
    assert found["vtc"][0] < 0.7 * found["fcfs"][0]
    assert found["vtc"][2] == pytest.approx(found["fcfs"][2], rel=0.02)
    assert found["rpm:5"][2] < found["rpm:20"][2] < found["fcfs"][2]
    assert found["rpm:5"][2] < 0.7 * found["vtc"][2]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"policy": "fifo"}, "no policy 'fifo': choose one of vtc"),
        ({"predictor": "median"}, "no predictor 'median'"),
        ({"policy": "rpm:many"}, "must be a number"),
    ],
)
def test_unknown_rules_are_reported(written: dict[str, str], complaint: str) -> None:
    """A wrong name lists the right ones."""
    with pytest.raises(ValueError, match=complaint):
        play(OVERLOAD[:1], **written)


@pytest.mark.parametrize("engine", EngineModel)
def test_a_run_that_is_cut_short_agrees_with_the_whole_one(engine: EngineModel) -> None:
    """Up to the cut both are the same; what was under way is unfinished with the tokens that it had by then."""
    requests = trace_like(60.0)
    whole = play(requests, engine=engine)
    cut = play(requests, engine=engine, until_seconds=45.0)
    for served, reference in zip(cut.served, whole.served, strict=True):
        if reference.last_token_at is not None and reference.last_token_at < 45.0:
            assert story_of(served) == story_of(reference)
        else:
            assert served.ending is Ending.UNFINISHED and served.output_tokens < reference.output_tokens
    length = len(cut.timeline.cumulative()["tenant-00"])
    for tenant, sums in cut.timeline.cumulative().items():
        assert sums[: length - 1] == whole.timeline.cumulative()[tenant][: length - 1]
    assert sum(s.output_tokens for s in cut.served) == sum(tally.output_tokens for tally in cut.engines)
