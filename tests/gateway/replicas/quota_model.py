"""The script about the limits of tenants as a model in Python: to hold the script against, and to run fleets with.

Levels of rates are fractions here, and what the others hold is summed anew each time.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from gateway.fairness.limits import PART
from gateway.replicas.quota_call import LimitReport, LimitState, QuotaCall, QuotaMessage, QuotaReply
from gateway.replicas.script import Status

LEASE, GHOST, RECALL, WANTED, IDLE, MINUTE = 2_000, 30_000, 20, 2_000, 600_000, 60_000  # milliseconds
LOOKS, PAGE, EXACT = 16, 64, 1_000


@dataclass(slots=True)
class Member:
    """A replica of which the store has heard."""

    boot: str
    incarnation: int
    number: int
    time: int
    has_told_all: bool


@dataclass(slots=True)
class Lease:
    """What one replica holds of a limit."""

    boot: str
    incarnation: int
    granted: int
    held: int = 0
    used: int = 0
    spent: int = 0
    need: int = 0
    since: int = 0

    def give(self, amount: int) -> None:
        """Hand out some more."""
        self.granted += amount
        self.held += amount


@dataclass(slots=True)
class Limit:
    """One limit."""

    most: int
    is_rate: bool
    level: Fraction
    filled: int
    claimed: int
    charged: int = 0
    touched: int = 0
    wanted: int = 0
    recalled: int = 0
    left: Fraction | None = None
    leases: dict[str, Lease] = field(default_factory=dict)


@dataclass(slots=True)
class _Messages:
    """What is told to one replica."""

    grants: list[tuple[str, int]] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)


class QuotaModel:
    """One fleet's limits."""

    def __init__(self) -> None:
        """Nothing is there before the first call."""
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a store that was emptied."""
        self.generation = self.store = ""
        self.seq = 0
        self._begin("", 0)

    def _begin(self, generation: str, now: int) -> None:
        self.generation, self.born, self.at, self.filled, self.expected = generation, now, now, 0, 0
        self.members: dict[str, Member] = {}
        self.limits: dict[str, Limit] = {}

    def turn(self, call: QuotaCall, now: int) -> tuple[QuotaReply, dict[str, QuotaMessage]]:
        """Carry out one call: its reply, and the messages to other replicas by name."""
        has_lost = call.generation == self.generation and call.seq > self.seq
        if not self.generation or has_lost or call.store != self.store:
            self.seq = max(self.seq, call.seq) if self.generation else 0
            self._begin(call.new_generation, now)
        self.store = call.store
        member = self.members.get(call.name)
        is_same = member is not None and member.boot == call.boot
        if is_same and (member.incarnation, member.number) >= (call.incarnation, call.number):
            return QuotaReply(Status.LATE, self.generation, self.seq, now), {}
        self.expected = max(self.expected, call.expected)
        is_known = is_same and member.incarnation == call.incarnation and call.generation == self.generation
        if not is_known and not call.is_registering:
            return QuotaReply(Status.REGISTER, self.generation, self.seq, now), {}
        self.seq += 1
        self._refill(now)
        self._bury(call, now)
        self.members[call.name] = Member(call.boot, call.incarnation, call.number, now, call.has_told_all)
        self.messages = {name: _Messages() for name in sorted(self.members)}
        states = [self._take(call, report, now) for report in call.limits]
        self._forget_idle(now)
        reply = self._reply(call, states, now)
        if call.is_leaving:
            del self.members[call.name]
        return reply, self._told(call)

    def _refill(self, now: int) -> None:
        if self.members:
            heard = sum(max(0, min(now, member.time + LEASE) - self.at) for member in self.members.values())
            self.filled += heard * EXACT // len(self.members)
        else:
            self.filled += max(0, now - self.at) * EXACT
        self.at = max(self.at, now)

    def _bury(self, call: QuotaCall, now: int) -> None:
        self.members = {
            name: member for name, member in self.members.items() if name == call.name or now - member.time <= GHOST
        }

    def _is_settled(self, now: int) -> bool:
        are_all_here = len(self.members) >= self.expected and all(each.has_told_all for each in self.members.values())
        return now - self.born >= LEASE or are_all_here

    # -- one limit

    def _take(self, call: QuotaCall, report: LimitReport, now: int) -> LimitState:
        limit = self.limits.get(report.name)
        if limit is None:
            is_full = report.known < 0 or report.left >= report.most
            if is_full and not (report.held or report.need or report.want or report.spent != report.confirmed):
                return LimitState(report.name, 0, 0, report.most, report.most, 0, True)
            limit = self._claim(call, report)
        dead = [name for name, lease in limit.leases.items() if not self._lives(name, lease)]
        for lease in [limit.leases.pop(name) for name in dead]:
            limit.level -= lease.held if limit.is_rate else 0
        limit.most, limit.is_rate, limit.touched = report.most, report.is_rate, now
        refill = Fraction(min(MINUTE, self.filled // EXACT - limit.filled) * limit.most, MINUTE)
        limit.level = min(limit.level + refill, Fraction(limit.most))
        limit.left = None if limit.left is None else limit.left + refill
        limit.filled = self.filled // EXACT
        lease, heard = self._note(call, report, limit, now)
        unheard = lease.granted - heard
        need, want = max(0, report.need - unheard), max(0, report.want - unheard)
        if need and not lease.need:
            lease.since = self.seq
        lease.need = need
        if self._is_settled(now):
            self._begin_to_give(limit)
            self._hand_out(call.name, report.name, limit, want, now)
        is_gone = self._is_unused(limit)
        if is_gone:
            del self.limits[report.name]
        return LimitState(
            report.name,
            lease.granted,
            lease.granted - heard,
            self.free(limit),
            self._level(limit),
            self._wanted(call.name, limit, now),
            is_gone,
        )

    def _lives(self, name: str, lease: Lease) -> bool:
        return name in self.members and self.members[name].boot == lease.boot

    def _claim(self, call: QuotaCall, report: LimitReport) -> Limit:
        limit = Limit(report.most, report.is_rate, Fraction(report.most), self.filled // EXACT, self.seq)
        self.limits[report.name] = limit
        for name in self.members.keys() - {call.name}:
            self.messages[name].claimed.append(report.name)
        return limit

    def _note(self, call: QuotaCall, report: LimitReport, limit: Limit, now: int) -> tuple[Lease, int]:
        lease, heard, is_young = limit.leases.get(call.name), report.granted, now - self.born < LEASE
        if heard < 0 or lease is None or lease.incarnation != call.incarnation:
            if report.known >= 0 and is_young:
                limit.level = min(limit.level, Fraction(report.known - limit.charged))
                lefts = [Fraction(report.left), *([] if limit.left is None else [limit.left])]
                limit.left = min(lefts)
            heard = 0 if lease is None else lease.granted
            lease = limit.leases[call.name] = Lease(call.boot, call.incarnation, heard, spent=report.confirmed)
        limit.level = min(limit.level - (report.spent - lease.spent), Fraction(limit.most))
        if is_young:
            limit.charged += report.spent - lease.spent
        lease.held = report.held + lease.granted - heard
        lease.used, lease.spent = report.used, report.spent
        return lease, heard

    def _is_whole(self) -> bool:
        return len(self.members) >= self.expected and all(each.incarnation > 1 for each in self.members.values())

    def _begin_to_give(self, limit: Limit) -> None:
        if limit.left is not None and not self._is_whole():
            limit.level = min(limit.level, limit.left + sum(lease.held for lease in limit.leases.values()))
        limit.left = None

    def free(self, limit: Limit) -> int:
        """What nobody holds."""
        parts = 0 if limit.is_rate else len(self.members) * (limit.most // PART)
        most = self._level(limit) if limit.is_rate else limit.most
        return max(0, most - parts - sum(lease.held for lease in limit.leases.values()))

    @staticmethod
    def _level(limit: Limit) -> int:
        return limit.level.numerator // limit.level.denominator

    def _hand_out(self, caller: str, name: str, limit: Limit, want: int, now: int) -> None:
        lease = limit.leases[caller]
        before = lease.held
        while waiting := [who for who, each in limit.leases.items() if each.need]:
            first = min(waiting, key=lambda who: limit.leases[who].since)
            need = limit.leases[first].need
            if need > self.free(limit):
                self._recall(caller, name, limit, now)
                return
            limit.leases[first].give(need)
            limit.leases[first].need = 0
            if first != caller:
                self.messages[first].grants.append((name, limit.leases[first].granted))
        rest = max(0, want - (lease.held - before))
        amount = min(rest, self.free(limit))
        lease.give(amount)
        if amount < rest:
            self._recall(caller, name, limit, now)
        if now - limit.wanted >= WANTED:
            idle = max(0, lease.held - lease.used - want)
            lease.give(max(0, (self.free(limit) + idle) // (2 * len(self.members)) - idle))

    def _recall(self, caller: str, name: str, limit: Limit, now: int) -> None:
        limit.wanted = now
        if now - limit.recalled < RECALL:
            return
        limit.recalled = now
        for who, lease in limit.leases.items():
            if who != caller and lease.held > 0:
                self.messages[who].wanted.append(name)

    @staticmethod
    def _wanted(caller: str, limit: Limit, now: int) -> int:
        if any(lease.need for name, lease in limit.leases.items() if name != caller):
            return 2
        return int(now - limit.wanted < WANTED)

    @staticmethod
    def _is_unused(limit: Limit) -> bool:
        is_full = limit.left is None and (not limit.is_rate or limit.level == limit.most)
        return is_full and not any(lease.held > 0 or lease.need for lease in limit.leases.values())

    def _forget_idle(self, now: int) -> None:
        if self.seq % LOOKS or not self.limits:
            return
        names = sorted(self.limits, key=lambda name: (self.limits[name].claimed, name.encode()))
        name = names[self.seq // LOOKS % len(names)]
        if now - self.limits[name].touched > IDLE:
            del self.limits[name]

    # -- the end

    def _reply(self, call: QuotaCall, states: list[LimitState], now: int) -> QuotaReply:
        claims = sorted(
            (limit.claimed, name.encode(), name) for name, limit in self.limits.items() if limit.claimed > call.claims
        )
        has_more = len(claims) > PAGE
        return QuotaReply(
            Status.OK,
            self.generation,
            self.seq,
            now,
            len(self.members),
            self._is_settled(now),
            claims[PAGE][0] - 1 if has_more else self.seq,
            has_more,
            states,
            [name for _, _, name in claims[:PAGE]],
        )

    def _told(self, call: QuotaCall) -> dict[str, QuotaMessage]:
        return {
            name: QuotaMessage(self.generation, self.members[name].incarnation, said.grants, said.wanted, said.claimed)
            for name, said in self.messages.items()
            if name != call.name and (said.grants or said.wanted or said.claimed)
        }
