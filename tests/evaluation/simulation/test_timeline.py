"""Service over time, by hand."""

from evaluation.simulation.result import Timeline
from gateway.fairness import KvTime, Linear


def test_a_prompt_counts_at_the_first_token_and_each_token_when_it_comes() -> None:
    """Ten prompt tokens and one at 0.5 s, one at 1.0 s (the next interval), one at 2.9 s; weights 1 and 2."""
    timeline = Timeline(Linear())
    timeline.record("a", 10, [0.5, 1.0, 2.9])
    timeline.record("b", 1, [1.5])
    assert timeline.cumulative() == {"a": [12.0, 14.0, 16.0], "b": [0.0, 3.0, 3.0]}


def test_marginal_costs_add_up_whatever_the_function() -> None:
    """What the intervals hold sums to the whole request's cost."""
    timeline = Timeline(KvTime())
    timeline.record("a", 100, [0.3 * number for number in range(1, 41)])
    sums = timeline.cumulative()["a"]
    assert sums == sorted(sums)
    assert sums[-1] == KvTime()(100, 0, 40)


def test_a_request_without_a_token_received_nothing() -> None:
    """It leaves no row."""
    timeline = Timeline(Linear())
    timeline.record("a", 100, [])
    assert timeline.cumulative() == {}
