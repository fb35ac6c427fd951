"""What a request costs, and the integer unit in which counters hold it.

A cost function h(uncached input, cached input, output) maps the tokens of one sequence to a cost; the pool's
configuration chooses it. Counters hold integers: `UNITS_PER_COST` units per unit of cost, divided by the tenant's
weight, rounded half to even once per request and level (`to_units` of the cumulative cost; a progress charge is the
difference of two such integers, so charges never drift from the settled total).
Left to others: who is charged (`pool`) and when (`admission`).
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.usage import Usage

UNITS_PER_COST: Final = 1_000_000
LEAST_WEIGHT: Final = 0.001
MOST_COST: Final = 1e30  # a request whose cost reaches this is too large to be counted

# A float near 1.5 * 2^52 has no bits for a fraction, so adding and subtracting it rounds half to even. `round` takes
# several times as long. This holds for amounts between -2^51 and 2^51.
_ROUNDING: Final = 1.5 * 2.0**52
_MOST_ROUNDED: Final = 2.0**51


class CostFunction:
    """h(uncached_input, cached_input, output) >= 0 in cost units, monotone in each argument (tokens).

    If `discounts_cache` is False, h depends only on the sum of both inputs. This class is no ABC, because a compiled
    dataclass cannot derive from one.
    """

    __slots__ = ()

    @property
    def discounts_cache(self) -> bool:
        """True if a cached token may cost less or more than another."""
        return False

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence with these token counts."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Linear(CostFunction):
    """`input_weight * input + output_weight * output` (the paper's service measure, with the defaults 1 and 2)."""

    input_weight: float = 1.0
    output_weight: float = 2.0
    cached_input_weight: float | None = None

    @property
    def discounts_cache(self) -> bool:
        """True if cached input has a weight of its own."""
        return self.cached_input_weight is not None

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence; cached input weighs as much as uncached input unless it has its own weight."""
        cached_weight = self.input_weight if self.cached_input_weight is None else self.cached_input_weight
        return self.input_weight * uncached_input + cached_weight * cached_input + self.output_weight * output


@dataclass(frozen=True, slots=True)
class Profiled(CostFunction):
    """`a*x + b*y + c*x*y + d*y^2 + e`, x input and y output (the paper's fit for A10G, Llama-2-7B, in ms)."""

    a: float = 0.2100
    b: float = 0.1008
    c: float = 0.003987
    d: float = 0.003247
    e: float = 1.146

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence in milliseconds of the profiled engine; without any token it costs nothing."""
        x, y = uncached_input + cached_input, output
        if x + y == 0:
            return 0.0
        return self.a * x + self.b * y + self.c * x * y + self.d * y * y + self.e


@dataclass(frozen=True, slots=True)
class KvTime(CostFunction):
    """KV memory held times the time it is held, in token-steps: `y * x + y^2 / 2`, plus x for the prefill step."""

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Token-steps of one sequence: its prompt, cached or not, is held for the prefill step and for y more steps."""
        x, y = uncached_input + cached_input, output
        return x + y * x + y * y / 2


class Expression(CostFunction):
    """An operator's own formula over `input`, `cached_input`, `uncached_input` and `output`.

    The configuration has checked it on a grid, but it may still overflow for more tokens: its value is kept between 0
    and `MOST_COST`.
    """

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str, tree: ast.Expression) -> None:
        """Compile `tree`, which the configuration has checked against its whitelist of syntax."""
        self.text = text
        namespace: dict[str, object] = {"__builtins__": {}, "min": min, "max": max}
        code = compile(tree, "<cost expression>", "eval")

        def evaluate(uncached_input: float, cached_input: float, output: float) -> float:
            names = {
                "input": uncached_input + cached_input,
                "uncached_input": uncached_input,
                "cached_input": cached_input,
                "output": output,
            }
            return float(eval(code, namespace, names))  # noqa: S307 - whitelisted syntax nodes, no builtins

        self._evaluate: Callable[[float, float, float], float] = evaluate

    @property
    def discounts_cache(self) -> bool:
        """Always True, because the formula may name cached input."""
        return True

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence by the operator's formula."""
        try:
            cost = self._evaluate(uncached_input, cached_input, output)
        except ArithmeticError:
            return MOST_COST
        return max(0.0, cost) if cost < MOST_COST else MOST_COST  # also if two overflows make NaN


def request_cost(function: CostFunction, usage: Usage, sequences: int) -> float:
    """Cost of a request: its tokens are spread evenly over its `sequences`, and `function` gives the cost of each.

    For `linear` this equals the cost of the totals. For a convex function, a request of n choices does not cost as much
    as one answer that is n times as long.
    """
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    return spread_cost(function, usage.prompt_tokens - cached, cached, usage.output_tokens, sequences)


def spread_cost(function: CostFunction, uncached: float, cached: float, output: float, sequences: int) -> float:
    """`request_cost` of plain numbers, so that the streaming path makes no record."""
    # The method is called by name: compiled, that is a jump, but calling the object would box the numbers.
    if sequences == 1:
        return function.__call__(uncached, cached, output)
    return sequences * function.__call__(uncached / sequences, cached / sequences, output / sequences)


def to_units(cost: float, weight: float) -> int:
    """Counter units of `cost` for a flow of `weight`; this is the only rounding, half to even."""
    units = cost * UNITS_PER_COST / weight
    if -_MOST_ROUNDED < units < _MOST_ROUNDED:
        return int(units + _ROUNDING - _ROUNDING)
    return round(units)


def to_cost(units: int) -> float:
    """Counter units as cost units, for people."""
    return units / UNITS_PER_COST
