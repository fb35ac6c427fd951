"""One budget: an amount for each period, what of it is settled and what is reserved.

Always `settled + reserved <= amount`, unless the amount was lowered meanwhile or an engine took more than it was told.
A reservation belongs to the period in which it was made. When a new period begins, the budget has its whole amount
again, and what is still open from before counts there no more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from gateway.accounts.period import Period, Span, span_of
from gateway.accounts.tariff import Unit

THRESHOLDS: Final = (80, 100)  # per cent of the amount


class Scope(Enum):
    """Who has a budget of its own."""

    TENANT = "tenant"
    KEY = "key"
    END_USER = "end_user"


class Owner(NamedTuple):
    """Whose budget it is; `key` and `end_user` are empty if the whole tenant shares it."""

    tenant: str
    key: str = ""
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What the operator says: `amount` of `unit` for each `period` of the time zone `zone`.

    Money is in billionths of the currency's unit. `refuses_unknown` is for the time in which the ledger cannot be
    read or written: True refuses requests, False counts on from what is known here.
    """

    amount: float
    unit: Unit
    scope: Scope
    period: Period
    zone: tzinfo
    refuses_unknown: bool = False

    def counts_like(self, other: "BudgetTerms") -> bool:
        """True if what was counted under `other` counts under these terms too."""
        mine = (self.unit, self.scope, self.period, str(self.zone))
        return mine == (other.unit, other.scope, other.period, str(other.zone))


class Tally:
    """What of one period is settled, and what `reservations` have reserved."""

    __slots__ = ("reservations", "reserved", "settled", "span", "told_percent")

    def __init__(self, span: Span) -> None:
        """An unused period."""
        self.span = span
        self.settled = 0.0
        self.reserved = 0.0
        self.reservations = 0
        self.told_percent = 0  # the highest threshold that was reported

    def reserve(self, amount: float) -> None:
        """Keep `amount` for a request."""
        self.reserved += amount
        self.reservations += 1

    def settle(self, reserved: float, used: float) -> None:
        """End a reservation: `used` of it is settled, the rest comes back."""
        self.settled += used
        self.reservations -= 1
        self.reserved = self.reserved - reserved if self.reservations else 0.0  # no rounding is left over


class Budget:
    """The budget of one owner; where gateways share budgets, a subclass says what is `left` here."""

    __slots__ = ("changes", "is_known", "is_lifted", "owner", "tally", "terms")

    def __init__(self, owner: Owner, terms: BudgetTerms, now: float, *, is_known: bool = True) -> None:
        """A budget at `now`; until `is_known` nobody has said what was used of the period before."""
        self.owner = owner
        self.terms = terms
        self.is_known = is_known
        self.is_lifted = False  # True once the operator has removed it
        self.changes = 0  # how often more may have come to be left
        self.tally = Tally(span_of(terms.period, terms.zone, now))

    def turn(self, now: float) -> None:
        """Begin a new period if the present one is over; a clock that goes back changes nothing."""
        if now >= self.tally.span.end:
            self.tally = Tally(span_of(self.terms.period, self.terms.zone, now))
            self.changes += 1

    def lift(self) -> None:
        """Hold back nobody any more: the operator has removed it."""
        self.is_lifted = self.is_known = True
        self.changes += 1

    @property
    def left(self) -> float:
        """What a new request may reserve; less than nothing if the amount was lowered."""
        return self.may_come_back - self.tally.reserved

    @property
    def may_come_back(self) -> float:
        """What may be left once everything reserved has ended."""
        return inf if self.is_lifted else self.terms.amount - self.tally.settled

    @property
    def may_be_had(self) -> float:
        """What is left, here or for gateways that share the budget."""
        return self.left

    @property
    def ends(self) -> str:
        """When the next period begins, as a time of the zone: `2026-12-01T00:00:00+01:00`."""
        return datetime.fromtimestamp(self.tally.span.end, self.terms.zone).isoformat()

    @property
    def used(self) -> float:
        """What was used of the period."""
        return self.tally.settled

    def lacks(self, whole: float, usual: float, least: float) -> bool:
        """True if a request waits for what others may give: it needs `whole`, or `usual`, or `least` at least.

        A budget that is not shared has nothing but what is left.
        """
        return False

    def load(self, start: float, used: Mapping[str, float]) -> None:
        """Count what each writer of a ledger says was used of the period that began at `start`, unless it is over."""
        if start == self.tally.span.start:
            self.tally.settled += sum(used.values())
            self.newly_reached()  # whoever counted it has told of it
        self.is_known = True

    def newly_reached(self, *, is_at_limit: bool = False) -> int:
        """The highest threshold (per cent) that was reached since the last call; 0 if none was.

        A budget of which too little is left for a request `is_at_limit`: if the lowest threshold is reached, it counts
        as used up.
        """
        tally, amount = self.tally, self.terms.amount
        reached = [percent for percent in THRESHOLDS if self.used * 100.0 >= percent * amount]
        if not reached:
            return 0
        highest = THRESHOLDS[-1] if is_at_limit else reached[-1]
        if highest <= tally.told_percent:
            return 0
        tally.told_percent = highest
        return highest


Heard = Callable[[Budget, bool], None]  # a budget has changed; True if a request found it at its limit
