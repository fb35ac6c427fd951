"""The budgets of tenants over several gateways: what one of them says to the store in a call, and what it hears.

A request that lacks something waits in its queue; it is judged again after each answer. A budget that nobody used for
`QUIET_SECONDS` gives all back that is idle. Without the store a gateway goes on with what it holds. Pure: the caller
passes the time in seconds, sends one call at a time, and lets the scheduler look again where a method says so.
"""

import math
from collections.abc import Callable
from itertools import islice
from typing import Final

from gateway.accounts import Budget, BudgetTerms, LeasedBudget, Owner
from gateway.accounts.leased import Ask
from gateway.replicas.budget_call import BudgetCall, BudgetReply, BudgetReport, BudgetState
from gateway.replicas.replica import BUSY_SECONDS, IDLE_SECONDS, LEAST_SECONDS
from gateway.replicas.script import Status

QUIET_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 0.2  # without an answer, after which requests use what is held here
MOST_ROWS: Final = 64  # budgets that a call names
MOST_QUIET: Final = 16  # of these, budgets to which nothing happened
ROWS_OF_ALL: Final = 192  # the store looks at what each gateway holds of each budget of a call
LEAST_ROWS: Final = 8


def _nothing() -> None:
    """Do nothing: nobody calls."""


class _Sent:
    """What was said of one budget in the call that is under way."""

    __slots__ = ("ask", "budget", "is_new", "total")

    def __init__(self, budget: LeasedBudget, ask: Ask | None, *, is_new: bool) -> None:
        self.budget = budget
        self.ask = ask
        self.total = budget.total
        self.is_new = is_new


class SharedBudgets:
    """One gateway's part in the budgets of the fleet."""

    def __init__(self, boot: str, expected: int) -> None:
        """Share among `expected` gateways; `boot` is a name that no other process ever has."""
        self.writer = boot  # until the ledger's file is known
        self.store = ""  # the run id of the server that it is connected to
        self.is_without_store = False  # it has not answered for a while
        self.wake: Callable[[], None] = _nothing  # called when there is a reason to call
        self._boot = boot
        self._expected = self._living = expected
        self._budgets: dict[str, LeasedBudget] = {}
        self._touched: dict[str, None] = {}
        self._in_line: dict[str, None] = {}  # whose requests the store has told to wait
        self._holding: dict[str, None] = {}
        self._unreported: dict[str, None] = {}  # of which the store has not heard since this gateway registered
        self._sent: dict[str, _Sent] = {}
        self._known: tuple[str, ...] = ()
        self._incarnation = self._number = self._seq = 0
        self._generation = ""
        self._must_register = True
        self._is_called_for = False
        self._failures = 0
        self._failing_since = 0.0
        self._called_at = -math.inf

    # -- budgets

    def join(self, writer: str) -> None:
        """Tell totals under this name, which no other gateway has at the same time; after the first call it stays."""
        if not self._number:
            self.writer = writer

    def make(self, owner: Owner, terms: BudgetTerms, now: float) -> Budget:
        """A budget that is shared."""
        budget = LeasedBudget(owner, terms, now, self.writer, self._lacked)
        budget.is_alone = self.is_without_store
        return budget

    def touch(self, budget: Budget) -> None:
        """Note that something was settled on `budget`, or counted."""
        if isinstance(budget, LeasedBudget):
            self._note(budget)
            budget.is_used = True
            if budget.wanted or budget.ask is not None:
                self._call_soon()

    def _lacked(self, budget: LeasedBudget) -> None:
        self._note(budget)
        if not budget.is_in_line:
            self._call_soon()

    def _call_soon(self) -> None:
        if not self._is_called_for:
            self._is_called_for = True
            self.wake()

    def _note(self, budget: LeasedBudget) -> None:
        if self._budgets.get(budget.name) is not budget:
            self._budgets[budget.name] = budget
            self._unreported[budget.name] = None
            self._call_soon()
        self._touched[budget.name] = None

    # -- calls

    @property
    def is_used(self) -> bool:
        """True once there was something to tell."""
        return bool(self._number or self._budgets)

    @property
    def has_told_all(self) -> bool:
        """True if the calls since this gateway registered, the last one included, name all that it holds."""
        return not self._unreported

    def next_call_at(self, now: float) -> float:
        """When to call next, if nothing changes; never before there is a budget."""
        if not self.is_used:
            return math.inf
        if self._failures:
            return self._called_at + BUSY_SECONDS
        if self._is_called_for or self._unreported:
            return max(now, self._called_at + LEAST_SECONDS)
        return self._called_at + (BUSY_SECONDS if self._in_line else IDLE_SECONDS)

    def call(self, now: float, new_generation: str, *, is_leaving: bool = False) -> BudgetCall:
        """What to say now; `new_generation` is a random word."""
        self._called_at, self._is_called_for = now, False
        is_registering = self._must_register
        if is_registering:
            self._incarnation += 1
            self._unreported = dict.fromkeys(self._budgets)
            for budget in self._budgets.values():
                budget.register()
        if is_leaving:
            self._unreported |= dict.fromkeys(self._holding)
        self._number += 1
        reports = self._reports(now, is_leaving=is_leaving)
        return BudgetCall(
            self.writer,
            self._boot,
            self._incarnation,
            self._number,
            self.store,
            new_generation,
            self._generation,
            self._seq,
            self._expected,
            is_registering,
            self.has_told_all,
            is_leaving and self.has_told_all,
            self._known if is_registering else (),
            reports,
        )

    def _reports(self, now: float, *, is_leaving: bool) -> list[BudgetReport]:
        self._sent = {}
        found: list[BudgetReport] = []
        for name in self._order():
            budget, is_new = self._budgets.get(name), name in self._unreported
            for names in (self._touched, self._unreported, self._in_line, self._holding):
                names.pop(name, None)
            if budget is None or budget.name != name:  # its period is over
                self._budgets.pop(name, None)
                continue
            found.append(self._report(budget, now, is_new=is_new, is_leaving=is_leaving))
        return found

    def _order(self) -> list[str]:
        most = min(MOST_ROWS, max(LEAST_ROWS, ROWS_OF_ALL // self._living))
        quiet = islice(self._holding, MOST_QUIET)
        return list(dict.fromkeys((*self._in_line, *islice(self._touched, most), *self._unreported, *quiet)))[:most]

    def _report(self, budget: LeasedBudget, now: float, *, is_new: bool, is_leaving: bool) -> BudgetReport:
        if budget.is_used or budget.tally.reservations:
            budget.is_used, budget.used_at = False, now
        if is_leaving or not self._failures:
            self._shed(budget, now, is_leaving=is_leaving)
        budget.answered = None
        self._sent[budget.name] = _Sent(budget, budget.ask, is_new=is_new)
        if budget.held:
            self._holding[budget.name] = None
        if budget.is_in_line:
            self._in_line[budget.name] = None
        ask = None if is_leaving else budget.ask
        totals = {budget.writer: budget.total} if budget.total else {}
        return BudgetReport(
            budget.name,
            math.ceil(budget.tally.span.end * 1000),
            budget.amount,
            budget.granted,
            budget.held,
            budget.idle,
            *((0, 0, 0) if ask is None else (ask.whole, ask.usual, ask.least)),
            totals | budget.totals if is_new else totals,
            budget.holds if is_new else {},
        )

    @staticmethod
    def _shed(budget: LeasedBudget, now: float, *, is_leaving: bool) -> None:
        """Give back what is idle and not to be kept."""
        is_quiet = now - budget.used_at > QUIET_SECONDS
        if is_leaving or is_quiet or budget.is_lifted or budget.wanted == 2:
            budget.keep(0)
        elif budget.ask is None:
            budget.keep(budget.spare)

    # -- answers

    def answered(self, reply: BudgetReply) -> bool:
        """Take in the answer to the call that is under way; True if the scheduler is to look again."""
        was_alone, self._failures = self.is_without_store, 0
        if reply.status is not Status.OK:
            self._must_register = self._must_register or reply.status is Status.REGISTER
            self._repeat()
            self._is_called_for = True
            return False
        self._must_register = False
        self._generation, self._seq = reply.generation, reply.seq
        self._living, self._known = max(1, reply.living), tuple(reply.known)
        heard = [self._hear(self._sent[state.name], state) for state in reply.budgets]
        self._sent = {}
        if was_alone:
            self._stand_alone(is_alone=False)
        return was_alone or any(heard)

    def _hear(self, sent: _Sent, state: BudgetState) -> bool:
        """Take in what the store says of one budget; True if a request waits for that."""
        budget = sent.budget
        if budget.name != state.name:  # its period is over
            return False
        budget.told = sent.total
        budget.hear(state.totals, state.holds, state.free + state.to_return)
        budget.grant(state.granted)
        budget.wanted, budget.spare = state.wanted, state.spare
        if budget.held:
            self._holding[budget.name] = None
        budget.is_in_line = sent.ask is not None and not state.is_decided
        if budget.is_in_line:
            self._in_line[budget.name] = None
        if state.wanted == 2 and budget.idle:
            self._touched[budget.name] = None
            self._is_called_for = True
        if sent.ask is None:
            return False
        budget.answered = sent.ask if state.is_decided else None
        budget.ask = None
        budget.changes += 1
        return True

    def _repeat(self) -> None:
        """Whether the store has heard what was said last is unknown: say it once more."""
        for name, sent in self._sent.items():
            self._touched[name] = None
            if sent.is_new:
                self._unreported[name] = None
        self._sent = {}

    def unanswered(self, now: float) -> bool:
        """The call that was under way failed or took too long; True if the scheduler is to look again."""
        self._repeat()
        if not self._failures:
            self._failing_since = self._called_at
        self._failures += 1
        if self.is_without_store or now - self._failing_since < PATIENCE_SECONDS:
            return False
        self._stand_alone(is_alone=True)
        return True

    def _stand_alone(self, *, is_alone: bool) -> None:
        self.is_without_store = is_alone
        for budget in self._budgets.values():
            budget.is_alone = is_alone
            budget.ask = None
            budget.changes += 1
