"""Service, demand and difference agree with hand-made cases and with the definition written a second way."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.service import (
    Curve,
    Span,
    cost_received,
    cost_wanted,
    measure_difference,
    measure_service,
    throughput,
    tokens_wanted,
)
from evaluation.requests import Ending, Request, Served
from gateway.fairness.cost import Profiled

from . import definition
from .records import RUNS, SECONDS, refused, served

SPANS = st.lists(
    st.builds(
        lambda start, length, cost: Span(start, start + length, cost), SECONDS, st.floats(0, 50), st.floats(0, 9)
    ),
    max_size=20,
)


def test_a_cost_is_spread_evenly_from_first_token_to_last() -> None:
    """200 of cost over 40 s lie at 5 a second; a 60 s window around one end sees half of it, or less."""
    service = measure_service([served("a", 0, 100, 140)])
    assert service.received["a"].until(120) == pytest.approx(100)
    assert service.rates(120)["a"] == pytest.approx(200 / 60)
    assert service.rates(150)["a"] == pytest.approx(20 * 5 / 60)
    assert service.rates(171)["a"] == 0


def test_an_answer_of_one_token_counts_at_its_moment() -> None:
    """Its first token is its last, so its whole cost lies in exactly one of two adjacent windows."""
    curve = measure_service([served("a", 0, 60, 60)]).received["a"]
    assert (curve.between(0, 60), curve.between(60, 120)) == (0, 200)


def test_difference_by_hand() -> None:
    """Tenant a gets 600, b gets 360 of 420, and c wants nothing now: b is short by 60 cost in 60 s."""
    records = [
        served("a", 5, 10, 50, prompt=200, output=200),
        served("b", 5, 20, 80, prompt=20, output=200),
        served("c", 500, 510, 520),
    ]
    service = measure_service(records)
    assert service.rates(30) == pytest.approx({"a": 10, "b": 420 * (40 / 60) / 60, "c": 0})
    assert service.demands(30) == pytest.approx({"a": 10, "b": 7, "c": 0})
    assert service.difference(30) == pytest.approx(7 - 420 * (40 / 60) / 60)
    summary = measure_difference(service, [30, 300])
    assert (summary.maximum, summary.average) == pytest.approx((7 / 3, 7 / 6))
    assert summary.variance == pytest.approx((7 / 6) ** 2)


def test_a_refused_request_asks_for_nothing_unless_told_otherwise() -> None:
    """The published tables leave refused requests out; if they count, they are demand that was not met."""
    records = [served("a", 10, 10, 50), refused("b", 10)]
    assert measure_service(records).difference(30) == 0
    assert measure_service(records, count_refused=True).difference(30) == pytest.approx(200 / 60)


def test_profiled_cost_is_the_published_fit() -> None:
    """100 in and 50 out: 21 + 5.04 + 19.935 + 8.1175 + 1.146 ms."""
    assert cost_received(served("a", 0, 1, 2), Profiled()) == pytest.approx(55.2385)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(0, "a", 10, 50), 50),
        (Request(0, "a", 10, 50, max_output_tokens=20), 20),
        (Request(0, "a", 10, 50, leaves_after_tokens=7), 7),
        (Request(0, "a", 10, 5, max_output_tokens=20, leaves_after_tokens=7), 5),
    ],
)
def test_a_client_wants_what_it_would_take(request_: Request, expected: int) -> None:
    """It would take the least of the answer, of its own limit, and of the tokens after which it leaves."""
    assert tokens_wanted(request_) == expected
    assert cost_wanted(request_) == 10 + 2 * expected


def test_throughput_counts_completed_requests_over_the_whole_run() -> None:
    """Two requests of 150 tokens in 10 s give 30 a second; a request that was cut short adds nothing."""
    cut = Served(Request(0, "a", 100, 50), Ending.CLIENT_LEFT, 0, 1, 2, 20)
    assert throughput([served("a", 0, 1, 2), served("b", 0, 1, 2), cut, refused("a", 3)], 10) == 30


@settings(deadline=None)
@given(RUNS, st.integers(0, 20).map(lambda step: step * 30.0))
def test_service_and_difference_are_as_published(records: list[Served], at: float) -> None:
    """For any run the curves give what the definition gives when it is read word by word."""
    service = measure_service(records)
    rates, demands = service.rates(at), service.demands(at)
    for tenant in service.tenants:
        assert rates[tenant] == pytest.approx(definition.service(records, tenant, at), abs=1e-9)
        assert demands[tenant] == pytest.approx(definition.demand(records, tenant, at), abs=1e-9)
    assert service.difference(at) == pytest.approx(definition.difference(records, at), abs=1e-6)


@settings(deadline=None)
@given(SPANS, st.lists(SECONDS, min_size=2, max_size=6))
def test_windows_conserve(spans: list[Span], cuts: list[float]) -> None:
    """Adjacent windows sum to the window over all of them, and the whole line holds every cost once."""
    curve = Curve(spans)
    edges = [-1.0, *sorted(cuts), 1000.0]
    parts = [curve.between(start, end) for start, end in pairwise(edges)]
    assert all(part >= -1e-9 for part in parts)
    assert sum(parts) == pytest.approx(sum(span.cost for span in spans))
    assert curve.until(1000) == pytest.approx(curve.total)


@settings(deadline=None)
@given(RUNS, SECONDS)
def test_the_difference_is_never_negative_nor_above_what_is_asked(records: list[Served], at: float) -> None:
    """It is never below zero, and at most n times the best service."""
    service = measure_service(records)
    rates = service.rates(at)
    assert -1e-9 <= service.difference(at) <= len(rates) * max(rates.values()) + 1e-9
