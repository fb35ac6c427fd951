"""Replicas that say anything a replica may say, right or wrong, from a seed: calls for a store and for its model."""

from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.replicas.call import (
    A_KEY,
    Call,
    Candidate,
    Figures,
    FlowReport,
    Message,
    Reading,
    Reply,
    Status,
    WorkerReport,
)

from .crowd import AnyCrowd, Caller

TENANTS = ("a", "b", "c", "d\u00e9")
WORKERS = ("w0", "w1", "w2")
BIG = 2**52


@dataclass(slots=True)
class PoolCaller(Caller):
    """One replica of the crowd and what it has heard of a pool."""

    changes: int = 0
    granted: dict[str, int] = field(default_factory=dict)
    returned: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)


class Crowd(AnyCrowd[PoolCaller]):
    """Some replicas of one pool."""

    caller_type = PoolCaller
    jumps = MappingProxyType(
        {0: 80, 1: 30, 3: 30, 10: 20, 40: 10, 149: 4, 151: 4, 700: 2, 2_001: 1, 5_000: 0.5, 61_000: 0.2, 302_000: 0.1}
    )

    def _call(self, caller: PoolCaller) -> Call:
        choose = self._random
        is_registering = caller.must_register and choose.random() < 0.9
        return Call(
            caller.name,
            caller.boot,
            caller.incarnation,
            caller.number,
            choose.choice(("s1", "s1", "s2")),
            choose.choice((2_000, 2_000, 500, 4_000)),
            "server" if choose.random() < 0.998 else self._word("server"),
            self._word("gen"),
            caller.generation,
            caller.seq,
            caller.changes,
            is_registering,
            choose.random() < 0.01,
            choose.choice((0, choose.randrange(2_000))),
            choose.choice((0, 0, 1, 5)),
            choose.random() < 0.3,
            self._figures(),
            [self._flow(caller) for _ in range(choose.choice((0, 0, 1, 3)))],
            [self._worker(caller, worker, is_registering) for worker in WORKERS if choose.random() < 0.5],
            [self._reading(worker) for worker in WORKERS if choose.random() < 0.1],
            self._candidates(),
        )

    def _figures(self) -> Figures:
        amounts = (self._random.randrange(900) for _ in range(4))
        counters = (self._random.randrange(-1, 900) for _ in range(2))
        return Figures(*amounts, *counters)

    def _flow(self, caller: PoolCaller) -> FlowReport:
        choose = self._random
        tenant = choose.choice(TENANTS)
        name = choose.choice((tenant, f"{tenant}\0key"))
        if choose.random() < 0.02:
            name = f"{tenant}{choose.randrange(1_000)}"
        total = caller.totals.get(name, 0) + choose.choice((0, 1, 7, 100, -5, BIG // 10**6))
        total = caller.totals[name] = max(0, total)
        return FlowReport(
            name,
            total,
            caller.acknowledged.get(name, 0),
            choose.choice((0, 0, choose.randrange(2_000))),
            choose.choice((0, 0, choose.randrange(2_000))),
            A_KEY if "\0" in name else choose.choice((0, choose.randrange(2_000))),
            choose.random() < 0.05,
        )

    def _worker(self, caller: PoolCaller, worker: str, is_registering: bool) -> WorkerReport:
        choose = self._random
        held = caller.granted.get(worker, 0) - caller.returned.get(worker, 0)
        sizes = (
            choose.choice((0, 0, 1, 4)),
            choose.choice((0, 0, 50)),
            choose.choice((0, 500)),
            choose.randrange(9_000),
            choose.randrange(900),
        )
        is_open = choose.random() < 0.9
        if is_registering:
            return WorkerReport(worker, max(0, held), 0, *sizes, is_open)
        if held > 0:
            caller.returned[worker] = caller.returned.get(worker, 0) + choose.randrange(held + 1)
        return WorkerReport(worker, caller.granted.get(worker, 0), caller.returned.get(worker, 0), *sizes, is_open)

    def _reading(self, worker: str) -> Reading:
        choose = self._random
        at = self.now - choose.choice((0, 1, 500, 3_000))
        tokens, kv = choose.choice((0, 60, 1_000)), choose.choice((0, 800))
        return Reading(
            worker,
            choose.choice((1, 4, 33)),
            tokens,
            kv,
            at,
            choose.choice((0, 0, 2)),
            choose.random() < 0.1,
            self._word("state"),
        )

    def _candidates(self) -> list[Candidate]:
        choose = self._random
        counter, found = choose.randrange(20) * 100, []  # several have the same
        for _ in range(choose.choice((0, 0, 1, 2, 5, 16))):
            counter += choose.choice((0, 100))
            found.append(
                Candidate(
                    counter,
                    choose.choice(TENANTS),
                    choose.randrange(3),
                    choose.choice((1, 1, 1, 2)),
                    choose.choice((0, 5, 40)),
                    choose.choice((0, 300)),
                    choose.choice(("", *WORKERS, "nowhere")),
                )
            )
        return found

    def heard(self, caller: PoolCaller, call: Call, reply: Reply) -> None:
        """Take in a reply, unless it is lost."""
        if reply.status is Status.REGISTER:
            caller.must_register = True
            caller.incarnation += 1
        if reply.status is not Status.OK or self._random.random() < 0.05:
            return
        if call.is_registering:
            caller.must_register = False
            caller.granted = {row.name: row.granted for row in call.workers}
            caller.returned = {}
        caller.generation, caller.seq, caller.changes = reply.generation, reply.seq, reply.changes
        caller.acknowledged |= {row.name: row.total for row in call.flows}
        caller.granted |= dict(reply.grants)

    def told(self, name: str, message: Message) -> None:
        """Take in a message, unless it is lost."""
        for caller in self._callers:
            if caller.name == name and self._random.random() < 0.95:
                caller.granted |= dict(message.grants)
