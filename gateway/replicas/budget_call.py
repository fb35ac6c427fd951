"""What a gateway and the store say to each other about budgets.

`budgets.lua` is the other side and describes its keys. All amounts are integers of a budget's wire unit; times are
milliseconds of the store's clock. Left to others: what is said (`shared_budgets`), and how it is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.replicas.script import AccountScript, Status, as_text

BUDGETS: Final = AccountScript("budgets.lua", "vtcb1", ("meta", "writers", "budgets", "ends"))
_NONE: Final[Mapping[str, int]] = {}


class BudgetReport(NamedTuple):
    """What the caller holds of one budget, and what a request needs that waits for it.

    `held` includes all of the `granted` that it has heard of. Of it, `idle` is not reserved. Who waits needs `whole`
    idle to run unchanged, `usual` with a usual answer and `least` at all (0: nobody waits). `totals` are what each
    writer has used, `holds` what others hold, as far as the store may not know it.
    """

    name: str
    ends: int
    amount: int
    granted: int = 0
    held: int = 0
    idle: int = 0
    whole: int = 0
    usual: int = 0
    least: int = 0
    totals: Mapping[str, int] = _NONE
    holds: Mapping[str, int] = _NONE


@dataclass(frozen=True, slots=True)
class BudgetCall:
    """All that a gateway says in one call; `name` is the writer of its ledger, `known` are those it has heard of."""

    name: str
    boot: str
    incarnation: int
    number: int
    store: str  # the server's run id, which the caller asked for when it connected
    new_generation: str
    generation: str = ""
    seq: int = 0
    expected: int = 1
    is_registering: bool = False
    has_told_all: bool = True
    is_leaving: bool = False
    known: Sequence[str] = ()
    budgets: Sequence[BudgetReport] = ()

    def arguments(self) -> list[str | int | bytes]:
        """The arguments of the script, in order."""
        words: list[str | int | bytes] = [self.name, self.boot, self.incarnation, self.number]
        words += [self.store, self.new_generation, self.generation, self.seq, self.expected]
        words += [int(self.is_registering), int(self.has_told_all), int(self.is_leaving)]
        words += [len(self.known), *self.known, len(self.budgets)]
        for report in self.budgets:
            words += report[:-2]
            for pairs in (report.totals, report.holds):
                words.append(len(pairs))
                for writer, amount in pairs.items():
                    words += [writer, amount]
        return words


class BudgetState(NamedTuple):
    """A budget as the store has it.

    `is_decided` says that the request that waits may use what is there now. `wanted` is 2 if others come first, who
    lack some, 1 if somebody has lacked some lately, else 0. Nobody holds what is `free`, other living gateways hold
    `to_return`. The caller may keep `spare` idle.
    """

    name: str
    granted: int
    is_decided: bool
    wanted: int
    free: int
    to_return: int
    spare: int
    totals: Mapping[str, int]
    holds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BudgetReply:
    """The store's answer; what follows `now` has a meaning only if the status is OK."""

    status: Status
    generation: str
    seq: int
    now: int
    living: int = 1
    known: Sequence[str] = ()
    budgets: Sequence[BudgetState] = ()


def read_reply(words: Sequence[Any]) -> BudgetReply:
    """The reply in `words`, as the store's protocol has it."""
    status, generation, seq, now = words[:4]
    if status != Status.OK:
        return BudgetReply(Status(status), as_text(generation), seq, now)
    living, known, budgets = words[4:]
    names, states = [as_text(each) for each in known], [_state(*row) for row in budgets]
    return BudgetReply(Status.OK, as_text(generation), seq, now, living, names, states)


def _state(name: bytes | str, granted: int, is_decided: int, *rest: Any) -> BudgetState:
    wanted, free, to_return, spare, totals, holds = rest
    figures = (wanted, free, to_return, spare)
    return BudgetState(as_text(name), granted, bool(is_decided), *figures, _pairs(totals), _pairs(holds))


def _pairs(flat: Sequence[Any]) -> dict[str, int]:
    return {as_text(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}
