"""The operator's cost expression: what passes is arithmetic, finite, never negative and never falling."""

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.expression import evaluate, parse, token_values


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        ("input + 2*output", 7 + 2 * 5),
        ("uncached_input + 0.1*cached_input + 2*output", 4 + 0.3 + 10),
        ("input - 0.5*cached_input + output", 7 - 1.5 + 5),
        ("output*input + output**2/2", 35 + 12.5),
        ("max(input, 1) + min(output, 1000) + 1", 13),
        (" -(-input) + +output ", 12),
        ("input ** 1.5 + output", 7**1.5 + 5),
        ("1", 1),
    ],
)
def test_right_expressions(expression: str, cost: float) -> None:
    """A right expression gives the cost that its arithmetic says."""
    assert evaluate(parse(expression).body, token_values(4, 3, 5)) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "not an arithmetic expression"),
        ("input +", "not an arithmetic expression"),
        ("input\0", "not an arithmetic expression"),
        ("(" * 400, "not an arithmetic expression"),
        ("input if output else 1", "only numbers"),
        ("lambda: 1", "only numbers"),
        ("input.real", "only numbers"),
        ("[input][0]", "only numbers"),
        ("abs(input)", "only numbers"),
        ("max(input)", "only numbers"),
        ("max(*[input, 1])", "only numbers"),
        ("max(input, output, key=1)", "only numbers"),
        ("True", "only numbers"),
        ("'a'", "only numbers"),
        ("1j", "only numbers"),
        ("input < output", "only numbers"),
        ("input // 2 + output", "only numbers"),
        ("tokens", "`tokens` is not one of"),
        ("1e400 + input", "larger than 1e12"),
        ("9" * 40, "larger than 1e12"),
        ("2 ** input", "exponent must be a plain number"),
        ("input ** 9", "not from 0 to 4"),
        ("input ** -1", "exponent must be a plain number"),
        ("1 / output", "no value for 0 uncached, 0 cached and 0 output"),
        ("(input - 1) ** 0.5", "has no value"),
        ("input - 5 + output", "is negative for 0 uncached"),
        ("100 - min(output, 50) + input", "falls when output grows from 0 to 1"),
        ("input - 2*cached_input + 10000000", "falls when cached_input grows"),
        ("100000000 - uncached_input", "falls when uncached_input grows"),
        ("0 * input", "costs nothing"),
        ("max(input, 9) - 9", "costs nothing"),
        ("input + " * 100 + "1", "longer than 500 characters"),
    ],
)
def test_wrong_expressions(expression: str, reason: str) -> None:
    """A wrong expression is refused with the reason."""
    with pytest.raises(ValueError) as caught:
        parse(expression)
    assert reason in str(caught.value)


@given(st.text(alphabet="input oucahed_+-*/().,0123456789e maxn", max_size=60) | st.text(max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_parses_or_is_a_value_error(expression: str) -> None:
    """No text raises anything but `ValueError`; what passes compiles."""
    try:
        tree = parse(expression)
    except ValueError:
        return
    assert isinstance(tree, ast.Expression)
    compile(tree, "<cost>", "eval")
