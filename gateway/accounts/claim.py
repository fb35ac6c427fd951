"""A request's claim on its budgets: what it may use, what is reserved for it, and the one settlement of each grant.

A reservation is made when the request is granted, in every budget at once. It is settled exactly once, at what the
request has used and never above what was reserved. What an engine used beyond that is counted (`Accounts.excesses`):
the budget does not pay for an engine that does not end where it was told.
"""

from collections.abc import Sequence
from typing import Final

from gateway.accounts.accounts import Accounts
from gateway.accounts.budget import Budget, Tally
from gateway.accounts.rule import Need, Verdict, decide
from gateway.accounts.tariff import Tariff
from gateway.usage import Usage

_ROUNDED_UP: Final = 1.0 + 1e-9  # cached and fresh tokens at one price may come to a little more than all at once


class Claim:
    """The claim of one request; `output_tokens` is the most that each of its sequences may generate."""

    __slots__ = (
        "_held",
        "_tariff",
        "accounts",
        "budgets",
        "expected_tokens",
        "is_exact",
        "limited_by",
        "need",
        "output_tokens",
    )

    def __init__(self, accounts: Accounts, budgets: Sequence[Budget], need: Need, tariff: Tariff) -> None:
        """Claim `need` of all `budgets`, which are of `accounts`."""
        self.budgets = budgets
        self.need = need
        self.output_tokens = need.output_tokens
        self.limited_by: Budget | None = None  # the budget that made it wait, shortened or refused it last
        self.is_exact = False  # True if the engine has counted the prompt
        self.expected_tokens = 0  # the most output that its ticket expected before any budget was asked
        self._tariff = tariff
        self.accounts = accounts
        self._held: list[tuple[Budget, Tally, float]] = []

    def state_prompt(self, prompt_tokens: int, most_output_tokens: int) -> None:
        """Take in the exact count of the prompt, and how many output tokens the engine has room for after it."""
        output_tokens = max(0, min(self.need.output_tokens, most_output_tokens))
        self.need = self.need._replace(
            prompt_tokens=prompt_tokens, output_tokens=output_tokens, tellable_tokens=most_output_tokens
        )
        self.output_tokens = output_tokens
        self.is_exact = True

    def judge(self, usual_tokens: int) -> Verdict:
        """Whether it may run now; `output_tokens` then says how long each of its answers may get."""
        for budget in self.budgets:
            budget.turn(self.accounts.now)
        ruling = decide(self.budgets, self.need, self._tariff, usual_tokens)
        self.limited_by = ruling.budget
        if ruling.verdict is Verdict.RUN:
            self.output_tokens = ruling.output_tokens
        elif ruling.verdict is Verdict.AT_LIMIT and ruling.budget is not None:
            self.accounts.hear(ruling.budget, True)
        return ruling.verdict

    @property
    def fits_whole(self) -> bool:
        """True if every budget may have enough for all that it asks for."""
        return all(
            each.is_known and self._most(each, self.need.output_tokens) <= each.may_be_had for each in self.budgets
        )

    @property
    def is_shortened(self) -> bool:
        """True if its answers may get less long than they asked for."""
        return self.output_tokens < self.need.output_tokens

    def reserve(self) -> None:
        """Reserve what the last verdict let it use, in every budget."""
        assert not self._held, "a request that runs reserves nothing more"
        for budget in self.budgets:
            amount = self._most(budget, self.output_tokens)
            budget.tally.reserve(amount)
            self._held.append((budget, budget.tally, amount))

    def _most(self, budget: Budget, output_tokens: int) -> float:
        """The most that its prompt and answers of `output_tokens` come to."""
        need, sequences = self.need, self.need.sequences
        return self._tariff.most(budget.terms.unit, need.prompt_tokens, output_tokens * sequences, sequences)

    def settle(self, usage: Usage | None) -> None:
        """End the reservation at `usage` (None: nothing was used). Without a reservation this does nothing."""
        held, self._held = self._held, []
        for budget, tally, reserved in held:
            used = 0.0
            if usage is not None:
                used = self._tariff.amount(budget.terms.unit, usage, self.need.sequences)
            self.accounts.excesses += used > reserved * _ROUNDED_UP
            tally.settle(reserved, min(used, reserved))
            budget.changes += 1
            self.accounts.hear(budget, False)

    @property
    def has_reserved(self) -> bool:
        """True while something is reserved for it."""
        return bool(self._held)
