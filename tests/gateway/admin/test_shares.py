"""What fairness owes."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.shares import Got, owed

GOT = st.builds(Got, st.floats(0.1, 100), st.floats(0, 1e6), st.booleans())


def test_those_who_wait_share_by_weight() -> None:
    assert owed({"a": Got(1, 90, True), "b": Got(2, 30, True)}) == {"a": 40, "b": 80}


def test_who_does_not_wait_is_owed_what_it_asked_for() -> None:
    assert owed({"flood": Got(1, 900, True), "modest": Got(1, 100, False)}) == {"flood": 900, "modest": 100}


def test_who_does_not_wait_is_owed_no_more_than_those_who_do() -> None:
    assert owed({"starved": Got(1, 100, True), "greedy": Got(1, 500, False)}) == {"starved": 300, "greedy": 300}


def test_nobody_is_owed_anything_of_nothing() -> None:
    assert owed({"a": Got(1, 0, True), "b": Got(1, 0, False)}) == {"a": 0, "b": 0}
    assert owed({}) == {}


@given(st.dictionaries(st.text(max_size=3), GOT, max_size=12))
def test_shares_sum_up_to_what_was_given_and_are_max_min(got: dict[str, Got]) -> None:
    """Nobody who waited is owed less for its weight than anybody else."""
    shares = owed(got)
    total = sum(each.received for each in got.values())
    assert math.isclose(sum(shares.values()), total, rel_tol=1e-6, abs_tol=1e-6)
    levels = [shares[name] / each.weight for name, each in got.items()]
    for name, each in got.items():
        if each.has_waited:
            assert shares[name] / each.weight >= max(levels) * (1 - 1e-6) - 1e-6
