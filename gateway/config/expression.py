"""Checks the operator's own cost function: one arithmetic expression with a restricted syntax.

The names are `input` (all prompt tokens), `cached_input` and `uncached_input` (which add up to it) and `output`. The
operators are `+ - * / **`, the functions `min` and `max`, and numbers are allowed. The form of a divisor must show that
it is always positive, and the form of a base with a fractional exponent that it is never negative (`_sign`). So an
evaluation can only fail because a number is too large. The value must be finite, never negative, never fall when one
kind of token grows, and not be zero for a real request; all this is checked on a grid. Whoever compiles the result of
`parse` may rely on these rules.
"""

import ast
import math
from collections.abc import Mapping
from enum import IntEnum
from itertools import product

NAMES = ("input", "uncached_input", "cached_input", "output")
MAX_CHARACTERS = 500
MAX_EXPONENT = 4
GRID_TOKENS = (0, 1, 2, 17, 256, 4096, 65_536, 1_048_576)


class _Sign(IntEnum):
    """What the form of an expression says about its value, for any numbers of tokens >= 0."""

    ANY = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


_FUNCTIONS = {"min": min, "max": max}
_ALLOWED = f"only numbers, {', '.join(NAMES)}, + - * / **, min(...) and max(...) are allowed"


def parse(expression: str) -> ast.Expression:
    """The syntax tree of `expression`; raises `ValueError`, which says why it cannot be a cost."""
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"it is longer than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"it is not an arithmetic expression; {_ALLOWED}") from None
    _check_syntax(tree.body)
    _check_values(tree)
    return tree


def evaluate(node: ast.expr, values: Mapping[str, float]) -> float:
    """The value of a checked expression; raises `ArithmeticError` if it has none."""
    match node:
        case ast.Constant():
            return float(node.value)  # type: ignore[arg-type]
        case ast.Name():
            return values[node.id]
        case ast.UnaryOp():
            operand = evaluate(node.operand, values)
            return -operand if isinstance(node.op, ast.USub) else operand
        case ast.BinOp():
            return _binary(node.op, evaluate(node.left, values), evaluate(node.right, values))
        case ast.Call(func=ast.Name(id=name)):
            return float(_FUNCTIONS[name](evaluate(argument, values) for argument in node.args))
    raise AssertionError(f"unchecked syntax {type(node).__name__}")


def token_values(uncached_input: float, cached_input: float, output: float) -> dict[str, float]:
    """The values of all names for one request."""
    return {
        "input": uncached_input + cached_input,
        "uncached_input": uncached_input,
        "cached_input": cached_input,
        "output": output,
    }


def _binary(operator: ast.operator, left: float, right: float) -> float:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow():
            return float(left**right)
    raise AssertionError(f"unchecked operator {type(operator).__name__}")


def _check_syntax(node: ast.expr) -> None:  # noqa: C901 - a table of what may be written
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if not math.isfinite(value) or abs(value) > 1e12:
                raise ValueError("a number is larger than 1e12")
        case ast.Name(id=name):
            if name not in NAMES:
                raise ValueError(f"`{name[:40]}` is not one of {', '.join(NAMES)}")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check_syntax(operand)
        case ast.BinOp(op=ast.Pow(), left=left, right=ast.Constant(value=int() | float() as exponent)):
            if isinstance(exponent, bool) or not 0 <= exponent <= MAX_EXPONENT:
                raise ValueError(f"an exponent is not from 0 to {MAX_EXPONENT}")
            _check_syntax(left)
            if exponent != int(exponent) and _sign(left) is _Sign.ANY:
                raise ValueError("what has a broken exponent could be negative; nothing in it may be subtracted")
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as operator, left=left, right=right):
            _check_syntax(left)
            _check_syntax(right)
            if isinstance(operator, ast.Div) and _sign(right) is not _Sign.POSITIVE:
                raise ValueError("what it divides by could be 0; divide by a number, or by a sum with one")
        case ast.Call(func=ast.Name(id="min" | "max"), args=[_, _, *_] as arguments, keywords=[]):
            for argument in arguments:
                _check_syntax(argument)
        case ast.BinOp(op=ast.Pow()):
            raise ValueError("an exponent must be a plain number")
        case _:
            raise ValueError(f"{_ALLOWED}")


def _sign(node: ast.expr) -> _Sign:
    """The sign that checked syntax is certain to have."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return _Sign.POSITIVE if value > 0 else _Sign.ANY if value < 0 else _Sign.NOT_NEGATIVE
        case ast.Name():
            return _Sign.NOT_NEGATIVE
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _sign(operand)
        case ast.BinOp(op=ast.Pow(), left=left):
            return _sign(left)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _Sign.ANY if _Sign.ANY in (_sign(left), _sign(right)) else max(_sign(left), _sign(right))
        case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
            return min(_sign(left), _sign(right))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return (max if name == "max" else min)(_sign(argument) for argument in arguments)
    return _Sign.ANY


def _check_values(tree: ast.Expression) -> None:
    costs = {point: _cost(tree, point) for point in product(GRID_TOKENS, repeat=3)}
    lower = dict(zip(GRID_TOKENS[1:], GRID_TOKENS, strict=False))
    for point, cost in costs.items():
        for axis, tokens in enumerate(point):
            if not tokens:
                continue
            below = (*point[:axis], lower[tokens], *point[axis + 1 :])
            # Floats round: a fall of one part in 10^12 is not the formula's.
            if cost < costs[below] * (1 - 1e-12):
                name = NAMES[1:][axis]
                raise ValueError(f"it falls when {name} grows from {lower[tokens]} to {tokens} tokens")
    if costs[1, 0, 1] <= 0:
        raise ValueError("a request of one input and one output token costs nothing")


def _cost(tree: ast.Expression, point: tuple[int, ...]) -> float:
    uncached_input, cached_input, output = point
    at = f"for {uncached_input} uncached, {cached_input} cached and {output} output tokens"
    try:
        cost = evaluate(tree.body, token_values(uncached_input, cached_input, output))
    except (ArithmeticError, TypeError):
        # A negative number to a broken power is complex: float() refuses it with TypeError.
        raise ValueError(f"it has no value {at}") from None
    if not math.isfinite(cost):
        raise ValueError(f"it has no finite value {at}")
    if cost < 0:
        raise ValueError(f"it is negative {at}")
    return cost
