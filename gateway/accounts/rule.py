"""The rule of five lines: whether a request may run within its budgets, and how long its answer may get.

With P tokens of prompt, n sequences, m output tokens asked for and u usual ones, a budget decides by what is left:

1. P + n*m fit: reserve that, and send the request unchanged.
2. P + n*min(m, u) fit: reserve that, and let the engine end there.
3. Something is still reserved: wait, because a part of it comes back.
4. P + n*16 fit: reserve what is left, and let the engine end there.
5. Else the budget is used up.

Of several budgets the one decides in which the answer must be shortest.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from gateway.accounts.budget import Budget
from gateway.accounts.tariff import Tariff, Unit

LEAST_OUTPUT_TOKENS: Final = 16  # per sequence: an answer that may only be shorter is not begun
LEAST_USUAL_TOKENS: Final = 256
_NOT_EVEN_THE_PROMPT: Final = -1


class Verdict(Enum):
    """What follows for a request."""

    RUN = "run"
    WAIT = "wait"
    AT_LIMIT = "at_limit"
    UNKNOWN = "unknown"


class Need(NamedTuple):
    """What a request needs; the figures of output are of one of its `sequences`.

    `prompt_tokens` bounds its whole prompt. `least_output_tokens` is what its answer needs at least: 0 if it generates
    nothing, and as much as `output_tokens` if its answer cannot be made shorter. `tellable_tokens` is the highest
    output limit that its engine accepts beside the prompt, which matters if the client named none.
    """

    prompt_tokens: int
    output_tokens: int
    sequences: int = 1
    least_output_tokens: int = LEAST_OUTPUT_TOKENS
    tellable_tokens: int = 2**53


class Ruling(NamedTuple):
    """The verdict, the most output tokens of each sequence, and the budget that decided (None: all have enough)."""

    verdict: Verdict
    output_tokens: int
    budget: Budget | None


def decide(budgets: Sequence[Budget], need: Need, tariff: Tariff, usual_tokens: int) -> Ruling:
    """Judge a request against all its `budgets`; `usual_tokens` is how long an answer of its tenant usually is."""
    output_tokens, tightest = need.output_tokens, None
    for budget in budgets:
        if not budget.is_known:
            return Ruling(Verdict.UNKNOWN, 0, budget)
        fitting = _fitting_output(budget.left, need, tariff, budget.terms.unit, output_tokens)
        if fitting < output_tokens:
            output_tokens, tightest = fitting, budget
    if tightest is None:
        return Ruling(Verdict.RUN, output_tokens, None)
    least = min(need.least_output_tokens, need.output_tokens)
    if need.tellable_tokens < least:
        least = need.output_tokens
    longest = min(need.output_tokens, max(least, need.tellable_tokens))
    usual = max(least, min(longest, max(LEAST_USUAL_TOKENS, usual_tokens)))
    lacking = [budget for budget in budgets if _lacks(budget, need, tariff, usual, least)]
    if output_tokens >= usual and not lacking:
        return Ruling(Verdict.RUN, usual, tightest)
    for budget in budgets:
        if _is_used_up(budget, need, tariff, least):
            return Ruling(Verdict.AT_LIMIT, 0, budget)
    if lacking or tightest.tally.reservations or output_tokens < least:
        return Ruling(Verdict.WAIT, 0, lacking[0] if lacking else tightest)
    return Ruling(Verdict.RUN, min(output_tokens, longest), tightest)


def _lacks(budget: Budget, need: Need, tariff: Tariff, usual: int, least: int) -> bool:
    """True if the request waits for what other gateways may give."""
    unit, n = budget.terms.unit, need.sequences
    whole, middle, fewest = (
        tariff.most(unit, need.prompt_tokens, tokens * n, n) for tokens in (need.output_tokens, usual, least)
    )
    return budget.lacks(whole, middle, fewest)


def _is_used_up(budget: Budget, need: Need, tariff: Tariff, least: int) -> bool:
    """True if the request does not fit, even if all that is reserved comes back."""
    fewest = tariff.most(budget.terms.unit, need.prompt_tokens, least * need.sequences, need.sequences)
    return fewest > budget.may_come_back


def _fitting_output(left: float, need: Need, tariff: Tariff, unit: Unit, most: int) -> int:
    """The most output tokens of each sequence that fit into `left`, up to `most`; -1 if the prompt alone does not."""
    sequences = need.sequences

    def fits(tokens: int) -> bool:
        return tariff.most(unit, need.prompt_tokens, tokens * sequences, sequences) <= left

    if most < 0 or fits(most):
        return most
    if not fits(0):
        return _NOT_EVEN_THE_PROMPT
    fitting, beyond = 0, most
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if fits(middle):
            fitting = middle
        else:
            beyond = middle
    return fitting
