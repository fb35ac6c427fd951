"""The arithmetic of the benches against numbers worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.bench.measures import (
    intervals,
    max_min_shares,
    mean,
    median,
    percentile,
    ratio_of_service,
    release_moments,
    releases_seen,
    share_within,
)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 95, 7.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 50, 3.0),
        ([5.0, 1.0, 4.0, 2.0, 3.0], 100, 5.0),
        ([1.0, 2.0], 50, 1.5),
        ([0.0, 10.0, 20.0], 95, 19.0),
        ([float(i) for i in range(101)], 95, 95.0),
        ([3.0, 1.0], 0, 1.0),
    ],
)
def test_percentile_interpolates_between_the_nearest_ranks(
    values: list[float], percent: float, expected: float
) -> None:
    """The percentile of a small sample equals the one worked out by hand, in any order of the values."""
    assert percentile(values, percent) == pytest.approx(expected)


def test_an_empty_sample_has_no_percentile() -> None:
    """Nothing measured is not a number, so no verdict can accept it."""
    assert math.isnan(percentile([], 95))
    assert math.isnan(median([]))
    assert math.isnan(mean([]))
    assert math.isnan(share_within([], 1))


def test_mean_is_the_sum_over_the_count() -> None:
    """Of 1, 2 and 6 it is 3."""
    assert mean([1, 2, 6]) == 3


def test_ratio_is_taken_per_weight() -> None:
    """Service 300 and 100 at weights 3 and 1 is fair; at equal weights it is three times apart."""
    services = {"a": 300.0, "b": 100.0}
    assert ratio_of_service(services, {"a": 3, "b": 1}) == pytest.approx(1.0)
    assert ratio_of_service(services, {"a": 1, "b": 1}) == pytest.approx(3.0)


def test_a_starved_tenant_makes_the_ratio_infinite() -> None:
    """Zero service is never within any ratio of somebody else's."""
    assert ratio_of_service({"a": 5.0, "b": 0.0}, {"a": 1, "b": 1}) == math.inf


def test_share_within_counts_the_limit_itself() -> None:
    """Of 0, 1, 1, 2 three quarters are at most 1."""
    assert share_within([0, 1, 1, 2], 1) == pytest.approx(0.75)


def test_ends_of_one_engine_step_are_one_release() -> None:
    """Ends 1 ms apart are one moment; the moment does not drift along a chain of close ends."""
    assert release_moments([1.000, 1.001, 1.0015, 1.5], 0.002) == [1.000, 1.5]
    assert release_moments([0.0, 0.0015, 0.003, 0.0045], 0.002) == [0.0, 0.003]
    assert release_moments([2.0, 1.0], 0.002) == [1.0, 2.0]


def test_intervals_are_between_consecutive_moments() -> None:
    """Three moments have two intervals; one moment has none."""
    assert intervals([1.0, 1.5, 3.0]) == [0.5, 1.5]
    assert intervals([1.0]) == []


@pytest.mark.parametrize(
    ("arrived", "granted", "expected"),
    [(0.5, 1.0, 1), (0.5, 2.0, 2), (1.5, 1.9, 0), (0.0, 9.0, 3), (1.0, 1.0, 1)],
)
def test_releases_seen_counts_the_one_that_granted(arrived: float, granted: float, expected: int) -> None:
    """Of releases at 1, 2 and 3 a wait sees those within it, both ends included."""
    assert releases_seen([1.0, 2.0, 3.0], arrived, granted) == expected


@pytest.mark.parametrize(
    ("demands", "weights", "expected"),
    [
        ({"a": 10, "b": 90}, {"a": 1, "b": 1}, {"a": 10, "b": 50}),
        ({"a": 100, "b": 100}, {"a": 1, "b": 3}, {"a": 15, "b": 45}),
        ({"a": 5, "b": 20, "c": 100}, {"a": 1, "b": 1, "c": 1}, {"a": 5, "b": 20, "c": 35}),
        ({"a": 5, "b": 5}, {"a": 1, "b": 1}, {"a": 5, "b": 5}),
    ],
)
def test_max_min_by_hand(demands: dict[str, float], weights: dict[str, float], expected: dict[str, float]) -> None:
    """Sixty units divided as water finds its level."""
    assert max_min_shares(demands, weights, 60) == pytest.approx(expected)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1000), min_size=1),
    st.floats(0, 3000),
)
def test_max_min_wastes_nothing_and_gives_nobody_too_much(demands: dict[str, float], capacity: float) -> None:
    """All of the capacity or all of the demand is given, and no share exceeds its demand."""
    shares = max_min_shares(demands, dict.fromkeys(demands, 1.0), capacity)
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())), abs=1e-6)
    assert all(shares[tenant] <= demands[tenant] for tenant in demands)
