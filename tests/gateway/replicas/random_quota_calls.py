"""Replicas that say anything a replica may say about limits, from a seed: calls for a store and for its model."""

from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.replicas.quota_call import NEVER_TOLD, LimitReport, QuotaCall, QuotaMessage, QuotaReply
from gateway.replicas.script import Status

from .crowd import AnyCrowd, Caller

MOST = {"f:a": 3, "f:b": 400, "q:a": 10, "q:d\u00e9": 1_000, "r:a": 60, "t:a": 1_000, "t:b": 10**10}


@dataclass(slots=True)
class Held:
    """What a caller believes of one limit."""

    granted: int = NEVER_TOLD
    held: int = 0
    spent: int = 0
    confirmed: int = 0


@dataclass(slots=True)
class LimitCaller(Caller):
    """One replica of the crowd and what it has heard of limits."""

    claims: int = 0
    held: dict[str, Held] = field(default_factory=dict)


class QuotaCrowd(AnyCrowd[LimitCaller]):
    """Some replicas of one fleet."""

    caller_type = LimitCaller
    jumps = MappingProxyType(
        {0: 40, 1: 40, 3: 30, 19: 20, 21: 20, 300: 10, 1_999: 2, 2_001: 2, 20_000: 1, 31_000: 0.5, 700_000: 0.2}
    )

    def _call(self, caller: LimitCaller) -> QuotaCall:
        choose = self._random
        return QuotaCall(
            caller.name,
            caller.boot,
            caller.incarnation,
            caller.number,
            "server" if choose.random() < 0.998 else self._word("server"),
            self._word("gen"),
            caller.generation,
            caller.seq,
            choose.choice((0, caller.claims, caller.claims)),
            choose.choice((1, 2, 5)),
            caller.must_register and choose.random() < 0.9,
            choose.random() < 0.9,
            choose.random() < 0.01,
            [self._report(caller, name) for name in MOST if choose.random() < 0.3],
        )

    def _report(self, caller: LimitCaller, name: str) -> LimitReport:
        choose, is_rate = self._random, name[0] in "rt"
        mine = caller.held.setdefault(name, Held())
        if choose.random() < 0.3:
            back = choose.randrange(mine.held + 1)
            mine.held -= back
            if is_rate:
                mine.spent += choose.choice((back, back, 0, back // 2, -3))
        used = 0 if is_rate else choose.randrange(mine.held + 1)
        lack = choose.choice((0, 0, 1, 5, MOST[name] // 3, 2 * MOST[name]))
        need = 0 if name[0] != "f" or not lack else choose.choice((1, min(lack, MOST[name])))
        known = choose.choice((NEVER_TOLD, choose.randrange(MOST[name]))) if is_rate else NEVER_TOLD
        return LimitReport(
            name,
            MOST[name] if choose.random() < 0.98 else MOST[name] * 2,
            is_rate,
            mine.granted,
            mine.held,
            used,
            mine.spent,
            mine.confirmed,
            known,
            choose.randrange(known + 1) if known >= 0 else NEVER_TOLD,
            need,
            lack,
        )

    def heard(self, caller: LimitCaller, call: QuotaCall, reply: QuotaReply) -> None:
        """Take in a reply, unless it is lost."""
        if reply.status is Status.REGISTER:
            caller.must_register = True
            caller.incarnation += 1
            for mine in caller.held.values():
                mine.granted = NEVER_TOLD
        if reply.status is not Status.OK or self._random.random() < 0.05:
            return
        caller.must_register = False
        caller.generation, caller.seq, caller.claims = reply.generation, reply.seq, reply.claims
        for report in call.limits:
            caller.held[report.name].confirmed = report.spent
        for state in reply.limits:
            mine = caller.held[state.name]
            if mine.granted < 0:
                mine.granted = state.granted - state.given
            self._granted(caller, state.name, state.granted)
            if state.is_gone:
                caller.held[state.name] = Held()

    @staticmethod
    def _granted(caller: LimitCaller, name: str, granted: int) -> None:
        mine = caller.held.setdefault(name, Held())
        if mine.granted >= 0:
            mine.held += max(0, granted - mine.granted)
            mine.granted = max(granted, mine.granted)

    def told(self, name: str, message: QuotaMessage) -> None:
        """Take in a message, unless it is lost."""
        for caller in self._callers:
            if caller.name == name and self._random.random() < 0.95:
                for limit, granted in message.grants:
                    self._granted(caller, limit, granted)
