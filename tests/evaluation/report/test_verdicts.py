"""A verdict passes exactly where its number stands to the limit as the target says."""

import math

import pytest

from evaluation.report.verdicts import Comparison, Target, missed, number


@pytest.mark.parametrize(
    ("comparison", "measured", "passed"),
    [
        (Comparison.AT_MOST, 0.99, True),
        (Comparison.AT_MOST, 1.0, True),
        (Comparison.AT_MOST, 1.01, False),
        (Comparison.AT_LEAST, 0.99, False),
        (Comparison.AT_LEAST, 1.0, True),
        (Comparison.ABOVE, 1.0, False),
        (Comparison.ABOVE, 1.01, True),
        (Comparison.ABOVE, math.inf, True),
        (Comparison.AT_MOST, math.nan, False),
        (Comparison.AT_LEAST, math.nan, False),
        (Comparison.ABOVE, math.nan, False),
    ],
)
def test_every_comparison_at_its_edge(comparison: Comparison, measured: float, passed: bool) -> None:
    """The limit itself belongs to `at most` and `at least`, not to `above`; nothing measured never passes."""
    assert Target("x", comparison, 1.0).judge(measured).passed is passed


def test_missed_keeps_order_and_names() -> None:
    """Only the missed targets are listed, in the order in which they were judged."""
    target = Target("ratio", Comparison.AT_MOST, 1.05, "x")
    verdicts = [target.judge(1.2, "first"), target.judge(1.0), target.judge(math.nan, "last")]
    assert [verdict.note for verdict in missed(verdicts)] == ["first", "last"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1.0312, "1.031"),
        (0.99, "0.99"),
        (12345.6, "12,346"),
        (math.inf, "infinite"),
        (math.nan, "nothing"),
    ],
)
def test_numbers_are_printed_for_people(value: float, text: str) -> None:
    """About four digits, thousands separated, words where there is no number."""
    assert number(value) == text


def test_texts_carry_sign_and_unit() -> None:
    """The table's cells say the limit and the measurement in the same unit."""
    verdict = Target("wait", Comparison.AT_MOST, 20.0, " ms").judge(12.5)
    assert (verdict.target.text, verdict.text) == ("<= 20 ms", "12.5 ms")
