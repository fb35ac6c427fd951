"""Gateways that say anything a gateway may say about budgets, from a seed: calls for a store and for its model."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.replicas.budget_call import BudgetCall, BudgetReply, BudgetReport
from gateway.replicas.script import Status

from .crowd import NAMES, AnyCrowd, Caller

AMOUNTS = {"a": 1000, "b": 40, "d\u00e9": 10**12}


@dataclass(slots=True)
class Held:
    """What a caller believes of one budget."""

    granted: int = 0
    held: int = 0
    idle: int = 0
    total: int = 0


@dataclass(slots=True)
class BudgetCaller(Caller):
    """One gateway of the crowd and what it has heard."""

    known: tuple[str, ...] = ()
    held: dict[str, Held] = field(default_factory=dict)


class BudgetCrowd(AnyCrowd[BudgetCaller]):
    """Some gateways of one fleet."""

    caller_type = BudgetCaller
    jumps = MappingProxyType(
        {0: 40, 1: 40, 3: 30, 19: 20, 300: 10, 1_999: 2, 2_001: 2, 20_000: 1, 31_000: 0.5, 90_000_000: 0.2}
    )

    def _call(self, caller: BudgetCaller) -> BudgetCall:
        choose = self._random
        return BudgetCall(
            caller.name,
            caller.boot,
            caller.incarnation,
            caller.number,
            "server" if choose.random() < 0.998 else self._word("server"),
            self._word("gen"),
            caller.generation,
            caller.seq,
            choose.choice((1, 2, 5)),
            caller.must_register and choose.random() < 0.9,
            choose.random() < 0.9,
            choose.random() < 0.01,
            caller.known if choose.random() < 0.5 else (),
            [self._report(caller, name) for name in AMOUNTS if choose.random() < 0.5],
        )

    def _report(self, caller: BudgetCaller, name: str) -> BudgetReport:
        choose, amount = self._random, AMOUNTS[name]
        mine = caller.held.setdefault(name, Held())
        if choose.random() < 0.5:
            spent = choose.randrange(mine.held + 1)
            mine.held -= spent
            mine.total += choose.choice((spent, spent, 0))
        mine.idle = choose.randrange(mine.held + 1)
        least = choose.choice((0, 0, 5, amount // 20))
        usual = least * choose.choice((1, 4))
        others = {each: choose.randrange(amount // 4) for each in NAMES if choose.random() < 0.02}
        return BudgetReport(
            name,
            self.now + choose.choice((1_000, 86_400_000)),
            amount if choose.random() < 0.98 else amount * 2,
            mine.granted,
            mine.held,
            mine.idle,
            usual * choose.choice((1, 3)),
            usual,
            least,
            {caller.name: mine.total} | (others if choose.random() < 0.5 else {}),
            others if choose.random() < 0.5 else {},
        )

    def heard(self, caller: BudgetCaller, call: BudgetCall, reply: BudgetReply) -> None:
        """Take in a reply, unless it is lost."""
        if reply.status is Status.REGISTER:
            caller.must_register = True
            caller.incarnation += 1
            for mine in caller.held.values():
                mine.granted = 0
        if reply.status is not Status.OK or self._random.random() < 0.05:
            return
        caller.must_register = False
        caller.generation, caller.seq, caller.known = reply.generation, reply.seq, tuple(reply.known)
        for state in reply.budgets:
            mine = caller.held[state.name]
            mine.held += max(0, state.granted - mine.granted)
            mine.granted = max(state.granted, mine.granted)

    def told(self, name: str, message: Any) -> None:
        """There are no messages."""
