"""The cost functions as the file declares them; `fairness.cost` computes them.

The key `function` chooses one; it may be left out for `linear`.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from gateway.config.section import Section, refuse_truth, restart

TokenWeight = Annotated[float, Field(ge=0, le=1e6), BeforeValidator(refuse_truth)]


class LinearCost(Section):
    """`input_weight * uncached input + cached_input_weight * cached input + output_weight * output`."""

    function: Literal["linear"] = restart("linear", "Name of the function.")
    input_weight: TokenWeight = restart(1, "Cost of an input token.", unit="cost units per token")
    cached_input_weight: TokenWeight | None = restart(
        None,
        "Cost of an input token found in the engine's prefix cache; null: as `input_weight`.",
        unit="cost units per token",
    )
    output_weight: TokenWeight = restart(2, "Cost of an output token.", unit="cost units per token")


class ProfiledCost(Section):
    """`a*x + b*y + c*x*y + d*y^2 + e` for x input and y output tokens; defaults: A10G with Llama-2-7B."""

    function: Literal["profiled"] = restart(..., "Name of the function.")
    a: TokenWeight = restart(0.2100, "Per input token.", unit="ms")
    b: TokenWeight = restart(0.1008, "Per output token.", unit="ms")
    c: TokenWeight = restart(0.003987, "Per pair of an input and an output token.", unit="ms")
    d: TokenWeight = restart(0.003247, "Per square of output tokens.", unit="ms")
    e: TokenWeight = restart(1.146, "Per request.", unit="ms")


class KvTimeCost(Section):
    """KV memory times the time it is used: `x + y*x + y^2/2` token-steps for x input and y output tokens."""

    function: Literal["kv_time"] = restart(..., "Name of the function.")


class ExpressionCost(Section):
    """An arithmetic expression that the operator writes."""

    function: Literal["expression"] = restart(..., "Name of the function.")
    expression: str = restart(
        ...,
        "Arithmetic over `input`, `uncached_input`, `cached_input` and `output` (tokens) with `+ - * / **`, "
        "`min`, `max`. It may never fall when one of them grows, and a divisor must be more than 0 for any tokens.",
        unit="cost units",
        min_length=1,
        max_length=500,
    )


def _cost_function(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("function", "linear"))
    return "linear" if value is None else str(getattr(value, "function", None))


CostSpec = Annotated[
    Annotated[LinearCost, Tag("linear")]
    | Annotated[ProfiledCost, Tag("profiled")]
    | Annotated[KvTimeCost, Tag("kv_time")]
    | Annotated[ExpressionCost, Tag("expression")],
    Discriminator(_cost_function),
]
