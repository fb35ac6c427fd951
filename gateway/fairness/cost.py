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
from typing import Final, NamedTuple

UNITS_PER_COST: Final = 1_000_000
LEAST_WEIGHT: Final = 0.001
MOST_COST: Final = 1e30  # of one request: a cost that reaches it is too large to be counted

# A float near 1.5 * 2^52 has no bits for a fraction: to add it and take it off rounds half to even, as `round` does in
# several times the time, for all that is less than 2^51 either way.
_ROUNDING: Final = 1.5 * 2.0**52
_MOST_ROUNDED: Final = 2.0**51


class Usage(NamedTuple):
    """Tokens of one request so far: whole prompt, its cached part, output over all its sequences.

    A tuple because one is made for every chunk of every stream, and a frozen dataclass takes three times as long.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class CostFunction:
    """h(uncached_input, cached_input, output) >= 0 in cost units, monotone in each argument (tokens).

    `discounts_cache` False: h depends on the sum of both inputs alone, whoever read them. No ABC: compiled, a dataclass
    cannot derive from one.
    """

    __slots__ = ()

    @property
    def discounts_cache(self) -> bool:
        """True where a cached token may cost less or more than another."""
        return False

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence with these token counts."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Linear(CostFunction):
    """`input_weight * input + output_weight * output` (the paper's service, defaults 1 and 2)."""

    input_weight: float = 1.0
    output_weight: float = 2.0
    cached_input_weight: float | None = None

    @property
    def discounts_cache(self) -> bool:
        """True where cached input has a weight of its own."""
        return self.cached_input_weight is not None

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence; cached input weighs as much as uncached unless told otherwise."""
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
        """Cost of one sequence in milliseconds of the profiled engine; the constant needs an input or an output."""
        x, y = uncached_input + cached_input, output
        if x + y == 0:
            return 0.0
        return self.a * x + self.b * y + self.c * x * y + self.d * y * y + self.e


@dataclass(frozen=True, slots=True)
class KvTime(CostFunction):
    """KV memory held times the time it is held, in token-steps: `y * x + y^2 / 2`, plus x for the prefill step."""

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Token-steps of one sequence: its prompt is held a step for the prefill, then y more; cached too."""
        x, y = uncached_input + cached_input, output
        return x + y * x + y * y / 2


class Expression(CostFunction):
    """An operator's own formula over `input`, `cached_input`, `uncached_input` and `output`, checked before.

    Its value is held within 0 and `MOST_COST`: what was checked on a grid may yet overflow for more tokens.
    """

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str, tree: ast.Expression) -> None:
        """Compile `tree`, which the configuration has held against its whitelist of syntax."""
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
        """Always possible: the formula may name it."""
        return True

    def __call__(self, uncached_input: float, cached_input: float, output: float) -> float:
        """Cost of one sequence by the operator's formula."""
        try:
            cost = self._evaluate(uncached_input, cached_input, output)
        except ArithmeticError:
            return MOST_COST
        return max(0.0, cost) if cost < MOST_COST else MOST_COST  # also where two overflows make no number


def request_cost(function: CostFunction, usage: Usage, sequences: int) -> float:
    """Cost of a request: its tokens spread evenly over its `sequences`, each costed by `function`.

    For `linear` this equals the cost of the totals; for the convex functions it keeps a request of n choices from
    being costed like one n times as long.
    """
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    return spread_cost(function, usage.prompt_tokens - cached, cached, usage.output_tokens, sequences)


def spread_cost(function: CostFunction, uncached: float, cached: float, output: float, sequences: int) -> float:
    """`request_cost` of plain numbers: no record is made on the streaming path."""
    # By its method: compiled, that is a jump, where the call of an object makes objects of its numbers.
    if sequences == 1:
        return function.__call__(uncached, cached, output)
    return sequences * function.__call__(uncached / sequences, cached / sequences, output / sequences)


def to_units(cost: float, weight: float) -> int:
    """Counter units of `cost` for a flow of `weight`: the one stated rounding, half to even."""
    units = cost * UNITS_PER_COST / weight
    if -_MOST_ROUNDED < units < _MOST_ROUNDED:
        return int(units + _ROUNDING - _ROUNDING)
    return round(units)


def to_cost(units: int) -> float:
    """Cost units, for people, of counter units."""
    return units / UNITS_PER_COST
