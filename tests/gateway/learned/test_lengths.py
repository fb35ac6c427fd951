"""How long the next answer is expected to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.learned.lengths import AnswerLengths


def test_where_nobody_has_had_an_answer() -> None:
    """An answer is expected to have 256 tokens, or the request's own limit."""
    assert AnswerLengths().expected("t", 10_000) == 256
    assert AnswerLengths().expected("t", 100) == 100


@given(st.lists(st.integers(0, 5_000), min_size=200, max_size=300))
def test_what_is_expected_adds_up_to_what_is_used(lengths: list[int]) -> None:
    """Over a long run the sums agree in any order, so nobody gains by alternating."""
    learner, expected = AnswerLengths(), 0.0
    for tokens in lengths:
        expected += learner.expected("t", 10**6)
        learner.observe("t", tokens)
    assert expected >= sum(lengths) - 25 * 5_000


def test_a_newcomer_is_like_the_median_tenant() -> None:
    """Each tenant counts once, whatever it sends."""
    learner = AnswerLengths()
    for _ in range(40):
        learner.observe("a", 30)
        learner.observe("b", 50)
        learner.observe("giant", 100_000)
    assert learner.expected("new", 10**6) == pytest.approx(50, abs=1)
    assert learner.expected("a", 10**6) == pytest.approx(30, abs=1)
