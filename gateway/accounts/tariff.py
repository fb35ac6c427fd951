"""What tokens come to in the unit of a budget: tokens, cost units or money.

Money is in billionths of the currency's unit, as in the ledger. Before a request runs nobody knows which part of its
prompt is cached, so that the dearer case counts (`most`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.usage import Usage

NANO: Final = 1e9  # a billionth of the currency's unit is the unit of money here, as in the ledger
_NANO_PER_MILLIONTH: Final = 1000.0  # a price per million tokens is so many billionths for each


class Unit(Enum):
    """What a budget counts."""

    TOKENS = "tokens"
    COST_UNITS = "cost_units"
    MONEY = "money"


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Prices per million tokens, in the currency's unit."""

    prompt: float = 0.0
    cached: float = 0.0
    output: float = 0.0


class Tariff:
    """What the tokens of one pool come to."""

    __slots__ = ("_cost", "_rates")

    def __init__(self, cost: Callable[[int, int, int, int], float], rates: TokenPrices) -> None:
        """`cost` gives cost units for uncached, cached and output tokens, which so many sequences share evenly."""
        self._cost = cost
        self._rates = rates

    def amount(self, unit: Unit, usage: Usage, sequences: int) -> float:
        """What `usage` comes to."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        if unit is Unit.TOKENS:
            return float(usage.prompt_tokens + usage.output_tokens)
        if unit is Unit.COST_UNITS:
            return self._cost(usage.prompt_tokens - cached, cached, usage.output_tokens, sequences)
        rates = self._rates
        tokens = (
            (usage.prompt_tokens - cached) * rates.prompt + cached * rates.cached + usage.output_tokens * rates.output
        )
        return tokens * _NANO_PER_MILLIONTH

    def most(self, unit: Unit, prompt_tokens: int, output_tokens: int, sequences: int) -> float:
        """The most that so many tokens come to, whichever part of the prompt is cached."""
        fresh = self.amount(unit, Usage(prompt_tokens, 0, output_tokens), sequences)
        if unit is Unit.TOKENS:
            return fresh
        return max(fresh, self.amount(unit, Usage(prompt_tokens, prompt_tokens, output_tokens), sequences))
