"""The operator's cost expression: what passes is arithmetic, finite, never negative and never falling."""

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.expression import evaluate, parse, token_values
from gateway.fairness.cost import MOST_COST, Expression


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
        ("input + output / 4", 7 + 5 / 4),
        ("input * output / (output + 100) + input", 35 / 105 + 7),
        ("output / max(output - 9, 8) + 2 * output", 5 / 8 + 10),
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
        ("1 / output", "divides by could be 0"),
        ("input + 2*output + 0*(1/(output-100))", "divides by could be 0"),
        ("output / min(input, 1)", "divides by could be 0"),
        ("output / (0 * input)", "divides by could be 0"),
        ("output / -2", "divides by could be 0"),
        ("output / (1e-12 ** 4) ** 4 ** 3", "exponent must be"),
        ("(input - 1) ** 0.5", "could be negative"),
        ("(input + output) / ((1e-12 ** 4) ** 4) ** 4", "no value"),
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


_LEAVES = st.sampled_from(["input", "output", "cached_input", "uncached_input", "0", "1", "7", "0.5", "1e-9", "-3"])
_FORMULAS = st.recursive(
    _LEAVES,
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from(["+", "-", "*", "/"]), part).map(lambda found: f"({' '.join(found)})"),
        st.tuples(part, st.sampled_from(["0.5", "2", "4"])).map(lambda found: f"({found[0]}) ** {found[1]}"),
        st.tuples(st.sampled_from(["min", "max"]), part, part).map(lambda found: f"{found[0]}({found[1]}, {found[2]})"),
    ),
    max_leaves=6,
)
_TOKENS = st.integers(0, 300) | st.integers(0, 2**63)


@given(_FORMULAS, _TOKENS, _TOKENS, _TOKENS)
@settings(deadline=None, max_examples=1500, suppress_health_check=list(HealthCheck))
def test_what_passes_has_a_cost_for_any_tokens(expression: str, uncached: int, cached: int, output: int) -> None:
    """A formula that passes the check is a number from 0 to the most that is counted wherever it is asked."""
    try:
        tree = parse(expression)
    except ValueError:
        return
    assert 0.0 <= Expression(expression, tree)(uncached, cached, output) <= MOST_COST


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
