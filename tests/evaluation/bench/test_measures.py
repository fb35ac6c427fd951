"""The arithmetic of the benches against numbers worked out by hand."""

import math

import pytest

from evaluation.bench.judgement import (
    intervals,
    ratio_of_service,
    release_moments,
    releases_seen,
    share_within,
)


def test_an_empty_sample_has_no_share() -> None:
    """Nothing measured is not a number, so no verdict can accept it."""
    assert math.isnan(share_within([], 1))


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
