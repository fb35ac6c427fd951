"""A sum that forgets with time."""

import math

import pytest

from gateway.learned.decay import DecayingSum


def test_a_decaying_sum_forgets() -> None:
    """After one horizon 1/e is left; a steady input shows its rate."""
    total = DecayingSum(10.0)
    assert total.value(5.0) == 0.0
    total.add(1.0, 0.0)
    assert total.value(10.0) == pytest.approx(1 / math.e)
    for step in range(2_000):
        total.add(0.5, 10.0 + step * 0.1)
    assert total.per_second(10.0 + 199.9) == pytest.approx(5.0, rel=0.01)
