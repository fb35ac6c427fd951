"""The general statistics agree with numbers worked out by hand and obey their laws."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.statistics import jain_index, max_min_shares, mean, median, percentile, variance

AMOUNTS = st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=1, max_size=20)


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


def test_an_empty_sample_has_no_statistic() -> None:
    """The statistic of an empty sample is not a number, so no verdict can accept it."""
    assert math.isnan(percentile([], 95))
    assert math.isnan(median([]))
    assert math.isnan(mean([]))
    assert math.isnan(variance([]))
    assert math.isnan(jain_index([]))


def test_mean_is_the_sum_over_the_count() -> None:
    """The mean of 1, 2 and 6 is 3."""
    assert mean([1, 2, 6]) == 3


def test_variance_is_of_the_whole_population() -> None:
    """The distances of 1, 2 and 6 from 3 are 2, 1 and 3, so it is 14 / 3 and not 14 / 2."""
    assert variance([1, 2, 6]) == pytest.approx(14 / 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5, 5, 5], 1.0), ([9, 0, 0], 1 / 3), ([1, 3], 0.8), ([1, 2, 3], 36 / 42), ([1e-300, 3e-300], 0.8)],
)
def test_jain_by_hand(values: list[float], expected: float) -> None:
    """Equal values give 1; if one tenant has everything, the index is 1/n."""
    assert jain_index(values) == pytest.approx(expected)


@settings(deadline=None)
@given(AMOUNTS, st.floats(0.1, 10))
def test_jain_lies_between_one_nth_and_one_and_knows_no_unit(values: list[float], factor: float) -> None:
    """The index is bounded and does not depend on the unit; values that are all zero have none."""
    index = jain_index(values)
    if not any(values):
        assert math.isnan(index)
        return
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert jain_index([value * factor for value in values]) == pytest.approx(index)


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
    """Sixty units are divided as water finds its level."""
    assert max_min_shares(demands, weights, 60) == pytest.approx(expected)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1000), min_size=1),
    st.floats(0, 3000),
)
def test_max_min_wastes_nothing_and_gives_nobody_too_much(demands: dict[str, float], capacity: float) -> None:
    """The shares use all of the capacity or meet all of the demand, and none exceeds its demand."""
    shares = max_min_shares(demands, dict.fromkeys(demands, 1.0), capacity)
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())), abs=1e-6)
    assert all(shares[tenant] <= demands[tenant] for tenant in demands)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(0, 1000), st.floats(0.1, 10)), min_size=2),
    st.floats(1, 3000),
)
def test_who_is_short_of_its_demand_has_the_largest_share_per_weight(
    tenants: dict[str, tuple[float, float]], capacity: float
) -> None:
    """Nobody could get more except from a tenant that has no more per weight."""
    weights = {tenant: weight for tenant, (_, weight) in tenants.items()}
    shares = max_min_shares({tenant: demand for tenant, (demand, _) in tenants.items()}, weights, capacity)
    level = max(shares[tenant] / weights[tenant] for tenant in tenants)
    for tenant, (demand, weight) in tenants.items():
        assert shares[tenant] == pytest.approx(demand, abs=1e-6) or shares[tenant] / weight == pytest.approx(level)
