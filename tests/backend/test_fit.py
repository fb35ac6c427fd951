"""Least squares: exact where the measurements are, best where they are not, never negative."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.fit import Measurement, fit

COSTS = st.tuples(*(st.floats(1e-6, 1.0) for _ in range(3)))
GRID = [(1.0, float(size), float(size * context)) for size in (1, 2, 8, 64) for context in (32, 700, 3000)]


@given(COSTS)
@settings(max_examples=200, deadline=None)
def test_exact_measurements_give_their_coefficients_back(costs: tuple[float, ...]) -> None:
    """The features may differ by six orders of magnitude, if each cost is a part that can be seen."""
    scaled = (costs[0], costs[1] / 10, costs[2] / 10_000)
    measurements = [Measurement(row, sum(map(float.__mul__, row, scaled))) for row in GRID]
    assert fit(measurements) == pytest.approx(scaled, rel=1e-3, abs=1e-9)


def test_a_cost_that_would_be_negative_is_none() -> None:
    """Steps that get shorter with the batch are noise: the best that is not negative is a constant."""
    measurements = [Measurement((1.0, 1.0), 0.011), Measurement((1.0, 2.0), 0.010), Measurement((1.0, 4.0), 0.009)]
    step, sequence = fit(measurements)
    assert sequence == 0.0
    assert 0.009 < step < 0.011


def test_no_other_coefficients_are_better() -> None:
    """With noise the sum of squared relative errors is at its least: every small change makes it larger."""
    noise = (1.02, 0.97, 1.05, 0.99, 0.96, 1.01, 1.03, 0.98, 1.0, 1.04, 0.95, 1.02)
    true = (0.006, 0.0003, 2e-6)
    measurements = [
        Measurement(row, sum(map(float.__mul__, row, true)) * factor) for row, factor in zip(GRID, noise, strict=True)
    ]

    def loss(coefficients: tuple[float, ...]) -> float:
        return sum(each.error(coefficients) ** 2 for each in measurements)

    found = fit(measurements)
    for index in range(3):
        for factor in (0.99, 1.01):
            moved = tuple(value * (factor if at == index else 1.0) for at, value in enumerate(found))
            assert loss(moved) > loss(found)


@pytest.mark.parametrize("measurements", [[], [Measurement((0.0,), 1.0)]])
def test_nothing_measured_is_reported(measurements: list[Measurement]) -> None:
    """Without a measurement of a feature the fit makes up no cost."""
    with pytest.raises(ValueError, match="do not determine"):
        fit(measurements)


def test_features_that_always_go_together_are_reported_by_one() -> None:
    """If nothing separates two features, the fit still describes the measurements."""
    measurements = [Measurement((float(n), float(2 * n)), 0.01 * n) for n in (1, 2, 5)]
    found = fit(measurements)
    assert all(each.error(found) < 1e-9 for each in measurements)
