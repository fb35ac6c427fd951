"""The script about budgets as a model in Python: to hold the script against, and to run gateways with."""

from dataclasses import dataclass, field

from gateway.replicas.budget_call import BudgetCall, BudgetReply, BudgetReport, BudgetState
from gateway.replicas.script import Status

LEASE, GHOST, SCARCE, FORGET = 2_000, 30_000, 2_000, 86_400_000  # milliseconds


@dataclass(slots=True)
class Writer:
    """A gateway of which the store has heard."""

    boot: str
    incarnation: int
    number: int
    time: int
    has_told_all: bool


@dataclass(slots=True)
class Hold:
    """What one gateway holds of a budget."""

    boot: str = ""
    incarnation: int = 0
    granted: int = 0
    held: int = 0
    since: int = 0

    def give(self, amount: int) -> None:
        """Hand out some more."""
        self.granted += amount
        self.held += amount


@dataclass(slots=True)
class Row:
    """One budget."""

    totals: dict[str, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    scarce: int = 0
    ends: int = 0


class BudgetModel:
    """One fleet's budgets."""

    def __init__(self) -> None:
        """Nothing is there before the first call."""
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a store that was emptied."""
        self.generation = self.store = ""
        self.seq = self.born = self.expected = 0
        self.known: set[str] = set()
        self.writers: dict[str, Writer] = {}
        self.rows: dict[str, Row] = {}

    def turn(self, call: BudgetCall, now: int) -> tuple[BudgetReply, dict[str, object]]:
        """Carry out one call: its reply; there are no messages."""
        self._look_for_a_loss(call, now)
        self.expected = max(self.expected, call.expected)
        self.writers = {
            name: each for name, each in self.writers.items() if name == call.name or now - each.time <= FORGET
        }
        writer = self.writers.get(call.name)
        is_same = writer is not None and writer.boot == call.boot
        if is_same and (writer.incarnation, writer.number) >= (call.incarnation, call.number):
            return BudgetReply(Status.LATE, self.generation, self.seq, now), {}
        is_current = is_same and writer.incarnation == call.incarnation and call.generation == self.generation
        if not is_current and not call.is_registering:
            return BudgetReply(Status.REGISTER, self.generation, self.seq, now), {}
        self.seq += 1
        self.writers[call.name] = Writer(call.boot, call.incarnation, call.number, now, call.has_told_all)
        self.known |= set(call.known)
        self.is_giving = self._is_settled(now)
        if now - self.born > GHOST:
            self.known = set()
        names = sorted(self.writers, key=str.encode)
        living = sum(self._is_silent(name, now) <= GHOST for name in names)
        states = [self._take(call, report, living, now) for report in call.budgets]
        for name in sorted(self.rows, key=lambda each: (self.rows[each].ends, each.encode()))[:4]:
            if self.rows[name].ends <= now:
                del self.rows[name]
        if call.is_leaving:
            del self.writers[call.name]
            self.known.discard(call.name)
        return BudgetReply(Status.OK, self.generation, self.seq, now, living, names, states), {}

    def _look_for_a_loss(self, call: BudgetCall, now: int) -> None:
        has_lost = call.generation == self.generation and call.seq > self.seq
        if self.generation and not has_lost and call.store == self.store:
            return
        self.seq = max(self.seq, call.seq) if self.generation else 0
        self.generation, self.store, self.born = call.new_generation, call.store, now
        self.known |= set(self.writers)
        self.writers = {}

    def _is_silent(self, name: str, now: int) -> float:
        return now - self.writers[name].time if name in self.writers else float("inf")

    def _is_settled(self, now: int) -> bool:
        age = now - self.born
        are_here = self.known <= self.writers.keys()
        have_told = are_here and all(each.has_told_all for each in self.writers.values())
        are_new = all(each.incarnation == 1 for each in self.writers.values())
        living = sum(self._is_silent(name, now) <= GHOST for name in self.writers)
        return age > GHOST or (have_told and (age > LEASE or (are_new and living >= self.expected)))

    # -- one budget

    def _take(self, call: BudgetCall, report: BudgetReport, living: int, now: int) -> BudgetState:
        row = self.rows.pop(report.name, Row())
        row.ends = report.ends + FORGET
        row.holds = {name: each for name, each in row.holds.items() if not self._is_over(name, each)}
        self._learn(row, call, report)
        mine = row.holds[call.name]
        unheard = max(0, mine.granted - report.granted)
        mine.held, idle = report.held + unheard, report.idle + unheard
        others = {name: each for name, each in row.holds.items() if name != call.name}
        to_return = sum(each.held for name, each in others.items() if self._is_silent(name, now) <= GHOST)
        before, is_decided = mine.granted, True
        if report.whole > idle:
            mine.since = mine.since or self.seq
            is_decided = self._serve(row, mine, others, report, idle, to_return, now)
        else:
            mine.since = 0
        idle += mine.granted - before
        wanted = int(now - row.scarce < SCARCE)
        if not self._is_first(mine, others, now):
            wanted = 2
        spare = 0
        if self.is_giving and not wanted:
            beyond = max(0, idle - report.whole)
            spare = max(0, (self._free(row, report) + beyond) // (2 * living))
            if report.whole and idle >= report.whole:
                mine.give(max(0, spare - beyond))
        state = BudgetState(
            report.name,
            mine.granted,
            is_decided,
            wanted,
            self._free(row, report),
            to_return,
            spare,
            dict(sorted(row.totals.items(), key=lambda each: each[0].encode())),
            {name: others[name].held for name in sorted(others, key=str.encode)},
        )
        if not mine.held and (call.is_leaving or not mine.since):
            del row.holds[call.name]
        if row.totals or row.holds:
            self.rows[report.name] = row
        return state

    def _is_over(self, name: str, hold: Hold) -> bool:
        writer = self.writers.get(name)
        has_told = writer is not None and writer.has_told_all
        return has_told and (writer.boot, writer.incarnation) != (hold.boot, hold.incarnation)

    def _learn(self, row: Row, call: BudgetCall, report: BudgetReport) -> None:
        for name, total in report.totals.items():
            row.totals[name] = max(row.totals.get(name, 0), total)
        for name, held in report.holds.items():
            has_told = name in self.writers and self.writers[name].has_told_all
            if name != call.name and name not in row.holds and not has_told:
                row.holds[name] = Hold(held=held)
        mine = row.holds.get(call.name)
        if mine is None or (mine.boot, mine.incarnation) != (call.boot, call.incarnation):
            row.holds[call.name] = Hold(call.boot, call.incarnation, report.granted)

    @staticmethod
    def _free(row: Row, report: BudgetReport) -> int:
        return report.amount - sum(row.totals.values()) - sum(each.held for each in row.holds.values())

    def _is_first(self, mine: Hold, others: dict[str, Hold], now: int) -> bool:
        waiting = [each.since for name, each in others.items() if each.since and self._is_silent(name, now) <= LEASE]
        return not waiting or 0 < mine.since <= min(waiting)

    def _serve(
        self, row: Row, mine: Hold, others: dict[str, Hold], report: BudgetReport, idle: int, to_return: int, now: int
    ) -> bool:
        if not self.is_giving or not self._is_first(mine, others, now):
            return False
        free = self._free(row, report)
        part = None
        if idle + free >= report.whole:
            part = report.whole - idle
        elif idle + free >= report.usual:
            part = report.usual - idle
        elif to_return + mine.held - idle <= 0:
            part = free if idle + free >= report.least else 0
        if part is None:
            row.scarce = now
            return False
        mine.give(max(0, part))
        mine.since = 0
        return True
