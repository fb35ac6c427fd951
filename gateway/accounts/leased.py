"""A budget that several gateways share: this one uses only what it holds, and asks for more through a store.

What it may use in a period is its `quota`, which counts what it has used there: the store raises it, and giving back
lowers it. What others have used is known by writer, as totals that only grow. Figures that go to the store are whole
numbers of a wire unit, rounded so that no gateway uses more than it says. Left to others: when the store is asked,
and what it decides (`gateway.replicas`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from gateway.accounts.budget import Budget, BudgetTerms, Owner
from gateway.accounts.tariff import Unit

_WIRE_UNITS: Final = {Unit.TOKENS: 1.0, Unit.COST_UNITS: 8.0, Unit.MONEY: 1e-3}  # for one of the budget's own
_MOST: Final = 2**52
_ROUNDING: Final = 1e-6


class Ask:
    """What a request that waits needs: to run unchanged, with a usual answer, at all; and what it found."""

    __slots__ = ("least", "reserved", "settled", "usual", "whole")

    def __init__(self, whole: int, usual: int, least: int, reserved: float, settled: float) -> None:
        """In wire units; `reserved` and `settled` are those of the tally then."""
        self.whole = whole
        self.usual = usual
        self.least = least
        self.reserved = reserved
        self.settled = settled

    def is_like(self, other: "Ask") -> bool:
        """True if the answer to the other one answers this one."""
        mine = (self.whole, self.usual, self.least, self.reserved, self.settled)
        return mine == (other.whole, other.usual, other.least, other.reserved, other.settled)


class LeasedBudget(Budget):
    """The part of one owner's budget that is held here."""

    __slots__ = (
        "_lacked",
        "answered",
        "ask",
        "elsewhere",
        "granted",
        "holds",
        "is_alone",
        "is_in_line",
        "is_used",
        "name",
        "per_unit",
        "quota",
        "spare",
        "told",
        "totals",
        "used_at",
        "wanted",
        "writer",
    )

    def __init__(
        self, owner: Owner, terms: BudgetTerms, now: float, writer: str, lacked: Callable[["LeasedBudget"], None]
    ) -> None:
        """Hold nothing; `writer` is the name of this gateway's totals, and `lacked` hears when more is needed."""
        super().__init__(owner, terms, now, is_known=False)
        self.per_unit = _WIRE_UNITS[terms.unit]
        self.writer = writer
        self._lacked = lacked
        self.is_alone = False  # the store does not answer
        self.used_at = -math.inf
        self._begin()

    def _begin(self) -> None:
        """Nothing is known of the period."""
        terms = self.terms
        names = (*self.owner, terms.scope.value, terms.unit.value, terms.period.value, str(terms.zone))
        self.name = repr((*names, int(self.tally.span.start)))  # the same at all gateways
        self.is_used = True
        self.quota = 0
        self.granted = 0  # by the store since this gateway registered
        self.totals: dict[str, int] = {}  # what other writers have used, as far as is known
        self.holds: dict[str, int] = {}  # what other gateways hold, as the store has said it
        self.elsewhere: int | None = None  # what nobody holds and others may give back; None: the store has not said it
        self.told = 0  # the total that the store knows
        self.spare = 0  # what may be kept idle
        self.wanted = 0  # 2: others come first, who lack some; 1: somebody has lacked some lately
        self.is_in_line = False  # the store has told a request to wait
        self.ask: Ask | None = None
        self.answered: Ask | None = None  # whose answer holds until the next call

    # -- as a budget

    def turn(self, now: float) -> None:
        """As the base class says; what was held of the old period stays with the requests that run."""
        before = self.tally
        super().turn(now)
        if self.tally is not before:
            self._begin()

    @property
    def left(self) -> float:
        """As the base class says, of what is held here."""
        if self.is_lifted:
            return math.inf
        return self.quota / self.per_unit - self.tally.settled - self.tally.reserved

    @property
    def used(self) -> float:
        """As the base class says, at all gateways."""
        return self.tally.settled + sum(self.totals.values()) / self.per_unit

    @property
    def may_come_back(self) -> float:
        """As the base class says, here or at other gateways."""
        if self.is_lifted:
            return math.inf
        if self.elsewhere is None:
            return self.terms.amount - self.used
        return (self.quota + self.elsewhere) / self.per_unit - self.tally.settled

    @property
    def may_be_had(self) -> float:
        """As the base class says."""
        return self.may_come_back - self.tally.reserved

    def lacks(self, whole: float, usual: float, least: float) -> bool:
        """As the base class says: the store is asked once, and again while its answer is to wait."""
        if self.is_lifted or whole <= self.left:
            return False
        figures = (self._up(whole), self._up(usual), self._up(least))
        ask = Ask(*figures, self.tally.reserved, self.tally.settled)
        if self.is_alone:
            return least > self.left
        if self.answered is not None and self.answered.is_like(ask):
            return False
        self.is_used = True
        if self.ask is None:
            self.ask = ask
            self._lacked(self)
        return True

    def load(self, start: float, used: Mapping[str, float]) -> None:
        """As the base class says; a total of this gateway's own goes on."""
        if start == self.tally.span.start:
            for writer, amount in used.items():
                if writer == self.writer:
                    self.tally.settled += amount
                    self.quota = self.total
                else:
                    self.totals[writer] = max(self.totals.get(writer, 0), self._up(amount))
            self.newly_reached()
        self.is_known = True

    # -- towards the store

    @property
    def amount(self) -> int:
        """The whole amount."""
        return min(_MOST, math.floor(self.terms.amount * self.per_unit + _ROUNDING))

    @property
    def total(self) -> int:
        """What was settled here."""
        return self._up(self.tally.settled)

    @property
    def held(self) -> int:
        """What is held here and not settled."""
        return max(0, self.quota - self.total)

    @property
    def idle(self) -> int:
        """What of it no request has reserved."""
        return max(0, self.quota - self._up(self.tally.settled + self.tally.reserved))

    def keep(self, idle: int) -> None:
        """Give back what is idle beyond `idle`."""
        self.quota -= max(0, self.idle - idle)

    def register(self) -> None:
        """The store may know nothing of it."""
        self.granted = 0
        self.told = 0

    def grant(self, total: int) -> None:
        """Take in that so much was granted since this gateway registered."""
        self.quota += max(0, total - self.granted)
        self.granted = max(self.granted, total)

    def hear(self, totals: Mapping[str, int], holds: Mapping[str, int], elsewhere: int) -> None:
        """Take in what the store says of others, and of this gateway's own total, which may be ahead of its ledger."""
        for writer, total in totals.items():
            if writer != self.writer:
                self.totals[writer] = max(self.totals.get(writer, 0), total)
            elif total > self.total:
                self.quota += total - self.total
                self.tally.settled = total / self.per_unit
        self.holds = dict(holds)
        self.elsewhere = elsewhere

    def _up(self, amount: float) -> int:
        return max(0, math.ceil(amount * self.per_unit - _ROUNDING))
